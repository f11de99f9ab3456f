"""How a registry is told who asks: basic authentication, or a token from the server that it names.

Specification: https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/.
"""

import re
from urllib.parse import urlsplit

import requests

from loopline.components import certificates
from loopline.components.data.sources import LOCAL_HOSTS
from loopline.components.delivery.credentials import ADVICE, load_credentials
from loopline.components.errors import InputError, TemporaryError

_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_TIMEOUT_S = (10, 30)


class RegistryAuth(requests.auth.AuthBase):
    """Signs the requests to one registry, and no others: redirects lead to other hosts."""

    def __init__(self, host: str, repository: str):
        """Read the login for a repository.

        Args:
            host: The registry's host and port, as it is asked.
            repository: The repository.

        Raises:
            InputError: A file with logins cannot be used.
        """
        self._host = host
        self._credentials = load_credentials(host, repository)
        self._header = ""

    @property
    def has_login(self) -> bool:
        """Whether there is a login for the registry."""
        return self._credentials is not None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header, where there is one, to a request to the registry."""
        # A header set by hand, such as one from .netrc, must not go to wherever a redirect leads.
        request.headers.pop("Authorization", None)
        if self._header and urlsplit(request.url).netloc == self._host:
            request.headers["Authorization"] = self._header
        return request

    def answer(self, session: requests.Session, response: requests.Response) -> None:
        """Get ready to ask again what was refused with status 401.

        Args:
            session: The session to ask for a token with.
            response: What was refused.

        Raises:
            InputError: The login is missing, wrong or expired.
        """
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        if scheme.lower() == "bearer" and parameters.get("realm"):
            self._header = f"Bearer {self._token(session, parameters)}"
            return
        if self._credentials is None:
            raise self.refusal()
        if scheme.lower() != "basic" or self._credentials.identity_token:
            raise InputError(f"Registry {self._host} wants {scheme or 'no known'} authentication: {ADVICE}.")
        self._header = self._credentials.basic

    def refusal(self) -> InputError:
        """Return the sentence that says what is wrong with the login."""
        if self._credentials is None:
            return InputError(f"Registry {self._host} wants a login and there is none for it: {ADVICE}.")
        return InputError(
            f"Registry {self._host} refuses the login in {self._credentials.source}: it is wrong or has expired; "
            f"{ADVICE}."
        )

    def _token(self, session: requests.Session, parameters: dict) -> str:
        address = parameters["realm"]
        server = self._check_token_server(address)
        asked = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        login = self._credentials
        # A login of ours, or none: without one requests would take what .netrc has for the server.
        options = {"auth": _Header(login.basic if login and not login.identity_token else "")}
        options |= {"timeout": _TIMEOUT_S, "verify": session.verify, "allow_redirects": False}
        try:
            if login and login.identity_token:
                form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "loopline"}
                response = session.post(address, data={**form, **asked}, **options)
            else:
                response = session.get(address, params=asked, **options)
        except requests.exceptions.RequestException as error:
            untrusted = isinstance(error, requests.exceptions.SSLError) and not certificates.is_cut(str(error))
            raise (InputError if untrusted else TemporaryError)(
                f"The token server {server} of registry {self._host} cannot be asked ({network_reason(error)}): try "
                "again later, or check the network, the proxy and SSL_CERT_FILE."
            ) from None
        if response.status_code in (400, 401, 403):
            raise self.refusal()
        try:
            answer = response.json() if response.status_code == 200 else {}
        except (ValueError, RecursionError):
            answer = {}
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if isinstance(token, str):
            return token
        raise TemporaryError(
            f"The token server {server} of registry {self._host} answered HTTP {response.status_code} without a "
            "token: try again later."
        )

    def _check_token_server(self, address: str) -> str:
        """Return the host of the server that a registry names; a login must not go there without encryption."""
        try:
            realm = urlsplit(address)
            local = realm.hostname in LOCAL_HOSTS
        except ValueError:
            raise InputError(f"Registry {self._host} names no token server there could be: use another one.") from None
        if realm.scheme != "https" and not local:
            raise InputError(
                f"Registry {self._host} names a token server without encryption ({realm.netloc}): no login goes there."
            )
        return realm.netloc


class _Header(requests.auth.AuthBase):
    """Sets the header of a login, or leaves it out."""

    def __init__(self, value: str):
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.pop("Authorization", None)
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def network_reason(error: Exception) -> str:
    """Return the last words of a chain of network errors, such as ``Connection refused``."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "timed out", "Connection reset", "TLS CA"):
        if known in text:
            return "the file that SSL_CERT_FILE names is missing" if known == "TLS CA" else known
    return type(error).__name__
