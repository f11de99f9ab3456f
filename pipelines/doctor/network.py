"""First contact with a server, so that what is away shows within seconds."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from loopline.components import certificates
from loopline.components.data.sources import LOCAL_HOSTS, safe_name
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError

#: Seconds to wait for a connection, and for the answer.
TIMEOUT_S = (4, 5)


class UntrustedError(InputError):
    """Something answers, and it cannot be told who."""


@dataclass(frozen=True)
class Contact:
    """A server's first answer.

    Attributes:
        status: The status of HTTP.
        text: The body's beginning.
        skew_s: Seconds by which this machine's clock is ahead of the server's; None when it does not tell the time.
    """

    status: int
    text: str
    skew_s: float | None


def contact(url: str, setting: str, authority: str = "", authority_setting: str = "SSL_CERT_FILE") -> Contact:
    """Ask a server for one page, once, without following where it points.

    Args:
        url: The page.
        setting: Where the address comes from, for the message.
        authority: The file with the certificate authorities; ``ca_bundle()`` when empty.
        authority_setting: The variable that names this file, for the message.

    Returns:
        The first answer.

    Raises:
        UntrustedError: The certificate is not trusted.
        InputError: Nothing answers there in time. The message is what is wrong, a colon, and what to do.
    """
    import requests

    parts = urlsplit(url)
    where = safe_name(f"{parts.scheme}://{parts.netloc}")
    verify = authority or ca_bundle() or True
    sent = time.time()
    try:
        with requests.Session() as session:
            # A proxy does not know this machine's own servers, and .netrc's login is not meant for this.
            session.trust_env = parts.hostname not in LOCAL_HOSTS
            session.auth = _leave
            with session.get(url, timeout=TIMEOUT_S, verify=verify, allow_redirects=False, stream=True) as answer:
                text = answer.raw.read(4096, decode_content=True).decode("utf-8", "replace")
                told = answer.headers.get("Date", "")
                return Contact(answer.status_code, text, _skew(told, (sent + time.time()) / 2))
    except requests.exceptions.SSLError as error:
        raise UntrustedError(certificates.explain(where, str(error), authority_setting)) from None
    except (requests.exceptions.RequestException, requests.packages.urllib3.exceptions.HTTPError) as error:
        raise InputError(f"{where} does not answer ({_reason(error)}): {_advice(error, parts, setting)}.") from None
    except (OSError, ValueError):
        raise InputError(
            f"The certificate authorities in {verify} cannot be read: let {authority_setting} name a PEM file."
        ) from None


def _leave(request):
    return request


def _reason(error: Exception) -> str:
    text = str(error)
    known = {
        "Connection refused": "nothing listens there",
        "Name or service not known": "its host's name is not known",
        "Failed to resolve": "its host's name is not known",
        "timed out": f"no answer within {sum(TIMEOUT_S)} s",
        "Network is unreachable": "there is no way to it",
        "No route to host": "there is no way to it",
        "Tunnel connection failed": "the proxy does not connect to it",
        "Cannot connect to proxy": "the proxy does not answer",
    }
    return next((words for sign, words in known.items() if sign in text), type(error).__name__)


def _advice(error: Exception, parts, setting: str) -> str:
    if "roxy" in str(error):
        return f"check HTTPS_PROXY, or add {parts.hostname} to NO_PROXY"
    return f"check {setting}, the network and the proxy"


def _skew(told: str, now: float) -> float | None:
    try:
        return now - parsedate_to_datetime(told).timestamp()
    except (TypeError, ValueError):
        return None
