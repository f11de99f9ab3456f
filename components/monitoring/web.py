"""Ask servers that watch other servers: Prometheus, a Pushgateway, ``/metrics``."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import requests

from loopline.components import certificates
from loopline.components.addresses import guard
from loopline.components.data.sources import LOCAL_HOSTS, is_private, safe_name
from loopline.components.delivery.inference import RefusedError, UnreachableError
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError
from loopline.components.secrecy import hide

#: Seconds to wait for a connection, and for each part of the answer.
TIMEOUT = (5, 30)


def check_url(url: str, what: str) -> str:
    """Return an address without its last slash.

    Args:
        url: The address.
        what: What names it, for the message.

    Raises:
        InputError: It is not one of http or https.
    """
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"{what} is {safe_name(url)!r}: write an http:// or https:// address.")
    return url.rstrip("/")


def call(
    method: str,
    url: str,
    *,
    token: str = "",
    body: bytes | None = None,
    form: Mapping[str, str] | None = None,
    most_bytes: int = 64 * 2**20,
) -> str:
    """Ask a server once, without following where it points.

    Args:
        method: The method of HTTP.
        url: The address.
        token: A bearer token; sent where nobody on the way can read it, over https or on this machine.
        body: What to send; None for nothing.
        form: The same as the fields of a form.
        most_bytes: The longest answer that is read.

    Returns:
        The answer's text.

    Raises:
        UnreachableError: Nothing answers there in time, or it is not to be trusted.
        RefusedError: It answered with an error.
        InputError: The answer is too long, or the certificate authorities cannot be read.
    """
    parts, name = urlsplit(url), safe_name(url)
    secret = token.strip() if is_private(url) else ""
    verify = ca_bundle() or True
    try:
        with guard(requests.Session()) as session:
            # A proxy does not know this machine's own servers.
            session.trust_env = parts.hostname not in LOCAL_HOSTS
            with session.request(
                method, url, data=form if body is None else body, auth=_bearer(secret) if secret else None,
                timeout=TIMEOUT, verify=verify, allow_redirects=False, stream=True,
            ) as answer:  # fmt: skip
                content = answer.raw.read(most_bytes + 1, decode_content=True)
                status = answer.status_code
    except requests.exceptions.SSLError as error:
        raise UnreachableError(certificates.explain(name, str(error), "SSL_CERT_FILE")) from None
    except (requests.exceptions.RequestException, requests.packages.urllib3.exceptions.HTTPError) as error:
        raise UnreachableError(f"Nothing answers at {name} ({type(error).__name__}).") from None
    except OSError:
        raise InputError(f"The certificate authorities in {verify} cannot be read: name a PEM file.") from None
    text = content.decode("utf-8", "replace")
    if status // 100 != 2:
        reason = hide(" ".join(text.split()))[:200]
        raise RefusedError(f"{name} answered HTTP {status}: {reason or 'nothing'}", status, reason)
    if len(content) > most_bytes:
        raise InputError(f"{name} answered more than {most_bytes // 2**20} MiB: is this the right address?")
    return text


def _bearer(token: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what signs a request; as a header of the session, a line in ``.netrc`` would come before it."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign
