"""How a registry is told who asks: basic authentication, or a token from the server that it names.

Specification: https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/.
"""

import re
from urllib.parse import urlsplit

import requests

from loopline.components.data.sources import LOCAL_HOSTS
from loopline.components.delivery.credentials import ADVICE, load_credentials
from loopline.components.errors import InputError

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
        realm = urlsplit(parameters["realm"])
        if realm.scheme != "https" and realm.hostname not in LOCAL_HOSTS:
            raise InputError(
                f"Registry {self._host} names a token server without encryption ({realm.netloc}): no login goes there."
            )
        asked = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        login = self._credentials
        options = {"timeout": _TIMEOUT_S, "verify": session.verify, "allow_redirects": False}
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "loopline"}
            response = requests.post(parameters["realm"], data={**form, **asked}, **options)
        else:
            headers = {"Authorization": login.basic} if login else {}
            response = requests.get(parameters["realm"], params=asked, headers=headers, **options)
        if response.status_code in (400, 401, 403):
            raise self.refusal()
        try:
            answer = response.json() if response.status_code == 200 else {}
        except ValueError:
            answer = {}
        if token := answer.get("token") or answer.get("access_token"):
            return token
        raise InputError(
            f"The token server {realm.netloc} of registry {self._host} answered HTTP {response.status_code} without a "
            "token: try again later."
        )
