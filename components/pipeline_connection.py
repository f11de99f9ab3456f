"""Where a pipeline server is, who asks it, and which authorities may vouch for it.

In a pod all of it is found, as the platform's own clients find it: ``KF_PIPELINES_ENDPOINT``, else the service of the
``dspa`` in the pod's namespace; the token of ``KF_PIPELINES_SA_TOKEN_PATH``, else of the pod's service account; the
certificate authorities of ``KF_PIPELINES_SSL_SA_CERTS`` or ``PIPELINES_SSL_SA_CERTS``, the cluster's and the machine's.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components import certificates
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError, TemporaryError
from loopline.components.secrecy import remember

#: What a pod knows of itself.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: What a service of OpenShift AI asks of an account.
FORBIDDEN = "bind it to the role ds-pipeline-user-access-dspa."
_NO_URL = "no URL of a pipeline server: write it as https://HOST:PORT."


@dataclass(frozen=True)
class Connection:
    """A server that answered, and how to ask it.

    Attributes:
        host: Its URL.
        read_token: Reads the token; called for each question, since a cluster replaces it within the hour.
        authority: The file of the certificate authorities that vouch for it; None for those of Python's packages.
        health: What it told of itself.
    """

    host: str
    read_token: Callable[[], str]
    authority: str | None
    health: dict

    def refresh_api_key_hook(self, configuration) -> None:
        """Give a question its token: what KFP's clients call before each one."""
        configuration.api_key["authorization"] = self.read_token()


def find_connection(host: str = "") -> Connection:
    """Find the server from a pod or from the environment, and see that it answers.

    Args:
        host: Its URL; found as said above when empty.

    Returns:
        How to ask it.

    Raises:
        InputError: There is no such server, or it refuses this account.
    """
    if host:
        check_token_may_go_to(host)
    return open_connection(host or endpoint_found_here(), token_file(account_token()))


def check_token_may_go_to(host: str) -> None:
    """Refuse a server that a parameter names, unless it is of this cluster or has a token of its own.

    A parameter must not be enough to send this account's token anywhere.

    Args:
        host: Its URL.

    Raises:
        InputError: It would get this account's token.
    """
    check_is_https(host)
    # Workbenches name this account's own token there.
    named = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH")
    if not is_inside(host) and (not named or Path(named) == ACCOUNT / "token"):
        raise InputError(
            f"The pipeline server {host} is outside this cluster, where this account's token is not sent: name the "
            "file of a token for it in KF_PIPELINES_SA_TOKEN_PATH."
        )


def open_connection(host: str, read_token: Callable[[], str], authorities: Iterable[str] = ()) -> Connection:
    """Ask a server one plain question whose failure says in one sentence what is wrong.

    Args:
        host: Its URL.
        read_token: Reads the token.
        authorities: Files of certificate authorities to try besides those that are found.

    Returns:
        How to ask it.

    Raises:
        InputError: There is no such server, or it refuses this account.
        TemporaryError: It does not answer.
    """
    check_is_https(host)
    host, token, untrusted = host.rstrip("/"), read_token(), []
    for authority in _authorities(authorities):
        try:
            return Connection(host, read_token, authority, _ask_health(host, token, authority))
        except _UntrustedError as error:
            untrusted.append(str(error))
    # Only the authority that vouches for a certificate gets so far as to see what else is wrong with it.
    for problem in untrusted:
        if not certificates.is_unknown(problem) and not certificates.is_no_file(problem):
            raise certificates.refusal(host, problem, "KF_PIPELINES_SSL_SA_CERTS")
    raise InputError(
        f"The certificate of {host} is signed by an authority that is not known here: name the file of the authority "
        "in KF_PIPELINES_SSL_SA_CERTS."
    )


def endpoint_found_here() -> str:
    """Return the URL of ``KF_PIPELINES_ENDPOINT``, else of the service in this pod's namespace.

    Raises:
        InputError: Neither is known.
    """
    named, namespace = os.environ.get("KF_PIPELINES_ENDPOINT"), pod_namespace()
    if not named and not namespace:
        raise InputError("No pipeline server: this is not a pod, so set KF_PIPELINES_ENDPOINT to its URL.")
    return named or f"https://ds-pipeline-dspa.{namespace}.svc.cluster.local:8443"


def pod_namespace() -> str:
    """Return the namespace of this pod; empty where this is none."""
    try:
        return (ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""


def account_token() -> Path:
    """Return the file of the token that the environment names, else of this pod's."""
    return Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or ACCOUNT / "token")


def token_file(path: Path) -> Callable[[], str]:
    """Return what reads a token from a file.

    Args:
        path: The file.

    Returns:
        A function that raises InputError where it cannot be read.
    """

    def read() -> str:
        try:
            token = path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InputError(f"The token {path} cannot be read ({error.strerror}): run as a service account.") from None
        except UnicodeDecodeError:
            raise InputError(f"The file {path} holds no token: a token is plain text.") from None
        if not token:
            raise InputError(f"The token {path} is empty: run as a service account.")
        return remember(token)

    return read


def bearer(token: str) -> Callable:
    """Return what gives a question of ``requests`` its token: a header alone would yield to a login of ``.netrc``.

    Args:
        token: The token.
    """

    def sign(request):
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def is_inside(host: str) -> bool:
    """Return whether a URL is that of a service of this cluster."""
    return (urlsplit(host).hostname or "").endswith((".svc", ".svc.cluster.local"))


def check_is_https(host: str) -> None:
    """Refuse a URL to which a token would travel for all to read, or that is none.

    Args:
        host: The URL.

    Raises:
        InputError: It is not https.
    """
    try:
        parts = urlsplit(host)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError(f"{host!r} is {_NO_URL}") from None
    if parts.scheme == "http" and named:
        raise InputError(f"The pipeline server {host!r} would get a token in the clear: write it as https://HOST:PORT.")
    if parts.scheme != "https" or not named:
        raise InputError(f"{host!r} is {_NO_URL}")


def _authorities(more: Iterable[str]) -> list[str | None]:
    """List the certificate authorities to try.

    One name is not enough: in a workbench KF_PIPELINES_SSL_SA_CERTS vouches for the server's public address, and
    another file for its service.
    """
    named = os.environ.get("KF_PIPELINES_SSL_SA_CERTS") or os.environ.get("PIPELINES_SSL_SA_CERTS")
    if named and not Path(named).is_file():
        raise InputError(f"The certificate authority {named} cannot be read: name a PEM file.")
    of_cluster = [str(ACCOUNT / name) for name in ("service-ca.crt", "ca.crt") if (ACCOUNT / name).exists()]
    return list(dict.fromkeys([*([named] if named else []), *of_cluster, *more, ca_bundle() or None, None]))


class _UntrustedError(Exception):
    """An authority does not vouch for the server."""


def _ask_health(host: str, token: str, authority: str | None) -> dict:
    """Ask the server for its health."""
    # kfp itself tries for half a minute, with tracebacks in the log.
    import requests

    try:
        answer = requests.get(
            f"{host}/apis/v2beta1/healthz",
            auth=bearer(token),
            timeout=30,
            verify=authority or True,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as error:
        raise _UntrustedError(str(error)) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise InputError(f"{host!r} is {_NO_URL}") from None
    except requests.exceptions.RequestException as error:
        raise TemporaryError(f"The pipeline server {host} does not answer ({type(error).__name__}).") from None
    except OSError:
        raise InputError(f"The certificate authority {authority} cannot be read: name a PEM file.") from None
    if answer.status_code in (301, 302, 307, 308, 401, 403):
        raise InputError(f"The pipeline server {host} refuses this account (status {answer.status_code}): {FORBIDDEN}")
    if answer.status_code >= 500:
        raise TemporaryError(f"The pipeline server {host} does not answer (status {answer.status_code}).")
    if answer.status_code == 200:
        with contextlib.suppress(ValueError, RecursionError):  # a page of something else
            told = answer.json()
            if isinstance(told, dict):
                return told
    raise InputError(f"{host} is no pipeline server: it answers {answer.status_code} when asked for its health.")
