"""Keep secrets out of what is shown, whatever a server or a library puts into its answers."""

import base64
import binascii
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, unquote_plus, urlsplit

#: Variables whose values are secrets, and of these the ones that name a file or a switch.
_SECRET = re.compile("PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY|ACCESS_KEY|API_KEY|CREDENTIAL|COOKIE")
_NAMES_A_FILE = re.compile("_PATH$|_FILE$|_DIR$|_URI$|_URL$|_HOST$|_NAME$")
#: What is shorter would only garble the text, and so would a switch (TOKENIZERS_PARALLELISM) or a port.
_SHORTEST = 4
_NO_SECRET = re.compile(r"(?i)true|false|none|null|yes|no|\d{1,7}")
_HIDDEN = "***"
#: What may be a secret in another form: base64, or text with percent signs.
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_PERCENT = re.compile(r"[^\s\"'<>,;]*%[0-9A-Fa-f]{2}[^\s\"'<>,;]*")
#: Parts of a request that are secrets whoever sent them: logins, and what a presigned address is signed with.
_LOGIN = re.compile(r"(?i)\b(basic|bearer)\s+(?=[a-z._~+/-]*[0-9=])[a-z0-9._~+/=-]{8,}")
_SIGNED = re.compile(
    r"(?i)((?:x-amz-|x-goog-)(?:signature|credential|security-token)|[?&](?:sig|signature|token|access_token|password))"
    r"(=|%3d)[^&\s\"'<>]+"
)

#: What was read from files: logins, tokens, keys.
_read: set[str] = set()


def remember(secret: str) -> str:
    """Note a secret that did not come by an environment variable, so that it is hidden; returns it."""
    _read.update(_parts(secret))
    return secret


def without_credentials(text: str) -> str:
    """Return a text with ``user:password@`` taken out of every URI in it.

    A password may hold an ``@``: what comes before the last one is left out.
    """
    return re.sub(r"(?<=://)[^/\s]+@", "", text)


def hide(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text without secrets: those of the environment and of files, however they are encoded, and all logins.

    Args:
        text: What is to be shown.
        environment: The variables; those of this process when None.
    """
    # The longest first: one may be a part of another.
    secrets = sorted({*_secrets(os.environ if environment is None else environment), *_read}, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    text = _SIGNED.sub(rf"\1\2{_HIDDEN}", _LOGIN.sub(rf"\1 {_HIDDEN}", without_credentials(text)))
    if secrets:
        text = _ENCODED.sub(lambda found: _HIDDEN if _holds(_decodings(found[0]), secrets) else found[0], text)
        text = _PERCENT.sub(
            lambda found: _HIDDEN if _holds((unquote(found[0]), unquote_plus(found[0])), secrets) else found[0], text
        )
    return text


def _secrets(environment: Mapping[str, str]) -> Iterable[str]:
    for name, value in environment.items():
        if "://" in value and "@" in value:
            yield from _userinfo(value)
        if not _SECRET.search(name) or _NAMES_A_FILE.search(name):
            continue
        if "PRIVATE_KEY" in name and "-----BEGIN" not in value:
            continue  # the path of a key
        yield from _parts(value)


def _parts(secret: str) -> Iterable[str]:
    """Yield a secret as it may be shown: a text of several lines line by line."""
    for part in {secret, secret.strip(), *secret.splitlines()}:
        if len(part) >= _SHORTEST and not part.startswith("-----") and not _NO_SECRET.fullmatch(part):
            yield part


def _userinfo(address: str) -> Iterable[str]:
    """Yield the password of an address, as of a proxy, as it stands there and as it is meant."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        return
    yield from (part for part in {password, unquote(password)} if len(part) >= _SHORTEST)


def _decodings(text: str) -> Iterable[str]:
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    # What stands before it may be of another word, so that it begins at any of four characters.
    for start in range(4):
        whole = body[start : start + (len(body) - start) // 4 * 4] if start else body
        try:
            yield base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            continue


def _holds(texts: Iterable[str], secrets: list[str]) -> bool:
    return any(secret in text for text in texts for secret in secrets)
