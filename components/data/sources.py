"""Find the files behind one URI: local paths, globs and folders, S3 and HTTPS."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from loopline.components import certificates
from loopline.components.environment import ca_bundle
from loopline.components.errors import AbsentError, InputError, TemporaryError

# Most data are files, and most who import this module want a name or a rule of it.
if TYPE_CHECKING:
    import requests
    import urllib3

#: Seconds to wait for a connection, and for the next bytes on one.
TIMEOUT = (10, 60)
#: The statuses with which a server says that it is busy or away for now.
AWAY = (429, 500, 502, 503, 504)
#: Hosts that may be read from without encryption: nothing leaves the machine.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_private(url: str) -> bool:
    """Return whether nobody can listen on the way to an address: over https, or on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all
        return False
    return parts.scheme == "https" or parts.hostname in LOCAL_HOSTS


@dataclass(frozen=True)
class Source:
    """One file to read, from its first byte as often as needed.

    Attributes:
        name: What to call it in messages: no credentials, no query string.
        open: Opens it for reading.
        path: Where it is when it is a local file, else None.
    """

    name: str
    open: Callable[[], BinaryIO]
    path: Path | None = None


def find_sources(uri: str) -> list[Source]:
    """Find what a URI stands for.

    Args:
        uri: A local path, folder or glob; ``s3://bucket/key``, where the key may be a prefix or a glob; or an
            ``https://`` address.

    Returns:
        At least one source, sorted by name.

    Raises:
        InputError: Nothing is there, it cannot be reached or the scheme is unknown.
    """
    scheme = uri.split("://", 1)[0].lower() if "://" in uri else ""
    if scheme == "s3":
        from loopline.components.data.s3 import find_objects

        return find_objects(uri)
    if scheme in ("http", "https"):
        return [_web_source(uri)]
    if scheme not in ("", "file"):
        raise InputError(f"Cannot read {safe_name(uri)}: use a local path, s3://bucket/key or an https:// address.")
    return _local_sources(uri.removeprefix("file://"))


def safe_name(uri: str) -> str:
    """Return a URI without what may be secret in it: user, password, query and fragment."""
    if "://" not in uri:
        return uri
    scheme, rest = uri.split("://", 1)
    if scheme.lower() in ("s3", "file"):
        return uri
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def is_data_name(path: str) -> bool:
    """Tell data files from the markers and checksums that lie beside them (``_SUCCESS``, ``.part.crc``)."""
    return not any(part.startswith(("_", ".")) and part not in (".", "..") for part in path.split("/"))


def _local_sources(path: str) -> list[Source]:
    from loopline.components.data.local import find_files

    found = find_files(path)
    return [Source(str(file), lambda file=file: open(file, "rb"), file) for file in found]


class WebStream(io.RawIOBase):
    """A response body as a file; a connection that breaks becomes one clear sentence.

    Args:
        response: The open response.
        name: What to call the file.
    """

    def __init__(self, response: "urllib3.BaseHTTPResponse", name: str):
        self._response, self._name, self._bytes = response, name, 0

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def readinto(self, buffer) -> int:
        """Read up to the buffer's length; 0 at the end."""
        import urllib3

        try:
            data = self._response.read(len(buffer), decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise TemporaryError(
                f"The connection to {self._name} broke after {self._bytes:,} bytes ({type(error).__name__}): try again."
            ) from None
        buffer[: len(data)] = data
        self._bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            self._response.close()
            self._response.release_conn()
        super().close()


def _web_source(uri: str) -> Source:
    name = safe_name(uri)
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise InputError(f"{name} is no address: write https://host/path.") from None
    if "@" in parts.netloc:
        raise InputError(
            f"The address of {name} holds a user name or password, which would be stored with the run: "
            "put them in a .netrc file instead."
        )
    if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
        raise InputError(f"{name} would be read over an unencrypted connection: use https://.")
    return Source(name, lambda: _open_web(uri, name))


def _open_web(uri: str, name: str) -> BinaryIO:
    import requests
    from urllib3 import Retry

    from loopline.components.addresses import guard

    # requests honors proxies and .netrc.
    verify = ca_bundle() or True
    try:
        # However long the server asks to wait, a step that waits for hours is one that hangs. A connection that breaks
        # is not tried again: urllib3 would log the address, with what is secret in its query.
        retries = Retry(
            total=2, connect=0, read=0, other=0, backoff_factor=0.2, status_forcelist=AWAY,
            respect_retry_after_header=False, raise_on_status=False,
        )  # fmt: skip
        with guard(requests.Session(), loopback=False, max_retries=retries) as session:
            response = session.get(uri, stream=True, timeout=TIMEOUT, verify=verify)
    except requests.exceptions.SSLError as error:
        raise certificates.refusal(name, error, "SSL_CERT_FILE") from None
    except requests.exceptions.ConnectionError as error:
        raise TemporaryError(f"Cannot reach {name} ({_reason(error)}): check the address and the network.") from None
    except (requests.exceptions.RequestException, OSError) as error:
        kind = TemporaryError if isinstance(error, requests.exceptions.Timeout) else InputError
        raise kind(f"Cannot read {name} ({type(error).__name__}): check the address and the network.") from None
    _check_redirects(response, uri, name)
    if response.status_code != 200:
        response.close()
        if response.status_code in AWAY:
            raise TemporaryError(f"{name} is busy or away (HTTP {response.status_code}): try again.")
        advice = {
            401: "it asks for credentials: put them in a .netrc file",
            403: "access is refused: check the permissions or ask for a new link",
            404: "there is no such file: check the address",
        }.get(response.status_code, "try again later or check the address")
        kind = AbsentError if response.status_code == 404 else InputError
        raise kind(f"{name} answered HTTP {response.status_code}: {advice}.")
    return io.BufferedReader(WebStream(response.raw, name), 2**20)


def _check_redirects(response: "requests.Response", uri: str, name: str) -> None:
    """Refuse a response if any step on the way to it was unencrypted, other than from one local address to another."""
    local = urlsplit(uri).scheme == "http"
    for step in (*response.history, response):
        parts = urlsplit(step.url)
        if parts.scheme != "https" and not (local and parts.hostname in LOCAL_HOSTS):
            response.close()
            raise InputError(
                f"{name} redirects to {safe_name(step.url)}, an unencrypted connection: use an address that stays on "
                "https://."
            )


def _reason(error: Exception) -> str:
    """Return the last words of a chain of network errors, such as ``Connection refused``."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No address associated", "timed out"):
        if known in text:
            return known
    return type(error).__name__
