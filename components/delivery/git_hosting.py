"""Ask GitHub, GitLab or Gitea for a merge, through their REST APIs.

GitHub: https://docs.github.com/rest/pulls/pulls; GitLab: https://docs.gitlab.com/api/merge_requests; Gitea and Forgejo:
https://docs.gitea.com/api, repository. The token is ``GIT_PASSWORD``.
"""

import contextlib
import logging
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import requests

from loopline.components import certificates
from loopline.components.addresses import guard
from loopline.components.data.sources import LOCAL_HOSTS
from loopline.components.delivery.git import credentials
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError
from loopline.components.secrecy import hide

PROVIDERS = ("github", "gitlab", "gitea")
#: Seconds to wait for an answer, how often to ask again, and most seconds between two trials.
TIMEOUT_S, RETRIES, PAUSE_S = 30.0, 4, 30.0
#: Requests on one page of a list, and most pages to look through.
_PAGE, _PAGES = 50, 20

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Proposal:
    """A request to merge.

    Attributes:
        head: The branch to merge.
        base: The branch to merge into.
        title: Its title.
        body: What more to say.
    """

    head: str
    base: str
    title: str
    body: str


@dataclass(frozen=True)
class Hosting:
    """A project at a service.

    Attributes:
        provider: One of ``PROVIDERS``.
        api: The address of the service's API.
        project: The project's path, such as ``owner/name``.
    """

    provider: str
    api: str
    project: str

    def find(self, head: str, base: str) -> str:
        """Return the address of the open request to merge a branch into another; empty when there is none.

        Args:
            head: The branch to merge.
            base: The branch to merge into.

        Raises:
            InputError: The service refuses or does not answer.
        """
        with self._understood():
            return self._find(head, base)

    def _find(self, head: str, base: str) -> str:
        if self.provider == "gitlab":
            query = {"source_branch": head, "target_branch": base, "state": "opened"}
            found = self._call("GET", self._path, params=query)
            return found[0]["web_url"] if found else ""
        if self.provider == "github":
            query = {"head": f"{self.project.partition('/')[0]}:{head}", "base": base, "state": "open"}
            found = self._call("GET", self._path, params=query)
            return found[0]["html_url"] if found else ""
        for page in range(1, _PAGES + 1):  # Gitea's list knows no branches
            found = self._call("GET", self._path, params={"state": "open", "limit": _PAGE, "page": page})
            for entry in found:
                if (entry["head"]["ref"], entry["base"]["ref"]) == (head, base):
                    return entry["html_url"]
            if not found:
                break
        return ""

    def open(self, proposal: Proposal) -> str:
        """Open a request to merge, unless there is one.

        Args:
            proposal: What to ask for.

        Returns:
            The address of the request.

        Raises:
            InputError: The service refuses or does not answer.
        """
        names = ("head", "base", "title", "body")
        if self.provider == "gitlab":
            names = ("source_branch", "target_branch", "title", "description")
        values = (proposal.head, proposal.base, proposal.title, proposal.body)
        body = dict(zip(names, values, strict=True))
        try:
            opened = self._call("POST", self._path, json=body)
        except _ExistsError as error:
            # Somebody else was faster, or the service did it and its answer was lost.
            if address := self.find(proposal.head, proposal.base):
                return address
            raise InputError(str(error)) from None
        with self._understood():
            return opened["web_url" if self.provider == "gitlab" else "html_url"]

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Say that an answer is none of such a service where it has another form."""
        try:
            yield
        except (LookupError, TypeError, AttributeError):
            raise InputError(
                f"{self.provider} at {self.api} answers with something else than pull requests: check GIT_API_URL."
            ) from None

    @property
    def _path(self) -> str:
        if self.provider == "gitlab":
            return f"/projects/{quote(self.project, safe='')}/merge_requests"
        return f"/repos/{quote(self.project)}/pulls"

    def _call(self, method: str, path: str, **content):
        url = self.api + path
        for trial in range(RETRIES + 1):
            last = trial == RETRIES
            try:
                response = _send(method, url, self._headers(), **content)
            except _AwayError as error:
                if last:
                    raise InputError(f"{error}: check the network and GIT_API_URL.") from None
                _wait(trial, "", error)
                continue
            if last or not _is_temporary(response):
                break
            _wait(trial, response.headers.get("Retry-After", ""), f"{self.api} answered HTTP {response.status_code}")
        return self._read(response, method)

    def _headers(self) -> dict[str, str]:
        _, token = credentials()
        if not token:
            raise InputError(f"To open a pull request at {self.api} set GIT_PASSWORD (secret loopline-git) to a token.")
        if self.provider == "gitlab":
            return {"PRIVATE-TOKEN": token}
        if self.provider == "gitea":
            return {"Authorization": f"token {token}", "Accept": "application/json"}
        return {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def _read(self, response: requests.Response, method: str):
        status, said = response.status_code, _message(response)
        where = f"{self.provider} at {self.api}"
        if method == "POST" and status in (409, 422):
            raise _ExistsError(f"{where} does not open a pull request for {self.project} ({said}): open it by hand.")
        advice = {
            401: "refuses the token: set GIT_PASSWORD (secret loopline-git) to one that has not expired",
            403: "does not let this token open pull requests: give it the right to read and write them",
            404: f"knows no project {self.project}, or this token may not see it: check the address and the token",
            429: "has had too many requests: try again later",
        }
        if status in advice:
            raise InputError(f"{where} {advice[status]} (HTTP {status}: {said}).")
        if status >= 500:
            raise InputError(f"{where} has a problem (HTTP {status}: {said}): try again later.")
        try:
            answer = response.json() if status < 300 else None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, list if method == "GET" else dict):
            raise InputError(f"{where} does not answer as one (HTTP {status}): check GIT_API_URL and GIT_PROVIDER.")
        return answer


class _AwayError(Exception):
    """The service did not answer."""


class _ExistsError(Exception):
    """The service did not open a request, perhaps since there is one."""


def open_hosting(url: str) -> Hosting:
    """Find out at which service a repository is.

    ``GIT_PROVIDER`` and ``GIT_API_URL`` name the service where the host's name does not, and its API.

    Args:
        url: The repository's address.

    Returns:
        The project.

    Raises:
        InputError: It is at none that is known, or the API's address is unencrypted.
    """
    parts = urlsplit(url if "://" in url else re.sub("^([^/:]+):", r"ssh://\1/", url))
    host, project = parts.hostname or "", parts.path.strip("/").removesuffix(".git")
    if not host or parts.scheme == "file" or "/" not in project:
        raise InputError(f"Repository {url} is at no service that has pull requests: use mode direct.")
    provider = os.environ.get("GIT_PROVIDER", "").strip().lower() or _guess_provider(host)
    if provider not in PROVIDERS:
        problem = f"GIT_PROVIDER is {provider!r}" if provider else f"{host} does not tell what service it is"
        raise InputError(f"{problem}: set GIT_PROVIDER to one of {', '.join(PROVIDERS)}.")
    api = os.environ.get("GIT_API_URL", "").strip().rstrip("/") or _guess_api(provider, parts)
    api_parts = urlsplit(api)
    if api_parts.scheme != "https" and not (api_parts.scheme == "http" and api_parts.hostname in LOCAL_HOSTS):
        raise InputError(f"The API at {api} would be asked over an unencrypted connection: use https://.")
    return Hosting(provider, api, project)


def _guess_provider(host: str) -> str:
    named = {"codeberg": "gitea", "forgejo": "gitea"} | {provider: provider for provider in PROVIDERS}
    return next((provider for word, provider in named.items() if word in host), "")


def _guess_api(provider: str, parts) -> str:
    if parts.hostname == "github.com":
        return "https://api.github.com"
    # An ssh address tells the port of ssh, not of the API.
    place = f"{parts.scheme}://{parts.netloc}" if parts.scheme.startswith("http") else f"https://{parts.hostname}"
    return place + {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}[provider]


def _send(method: str, url: str, headers: Mapping[str, str], **content) -> requests.Response:
    verify = ca_bundle() or True
    host = urlsplit(url).hostname

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(headers)  # here, so that no .netrc replaces it
        return request

    try:
        with guard(requests.Session()) as session:
            session.trust_env = host not in LOCAL_HOSTS
            return session.request(
                method, url, auth=authorize, timeout=TIMEOUT_S, verify=verify, allow_redirects=False, **content
            )
    except requests.exceptions.SSLError as error:
        if certificates.is_cut(str(error)):
            raise _AwayError(f"{host} cut the connection") from None
        raise certificates.refusal(host, error, "SSL_CERT_FILE") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _AwayError(f"{host} does not answer ({type(error).__name__})") from None
    except (requests.exceptions.RequestException, OSError) as error:
        raise InputError(
            f"{host} cannot be asked for a pull request ({type(error).__name__}): check GIT_API_URL."
        ) from None


def _is_temporary(response: requests.Response) -> bool:
    limited = response.status_code == 403 and (
        "Retry-After" in response.headers or response.headers.get("X-RateLimit-Remaining") == "0"
    )
    return limited or response.status_code == 429 or response.status_code >= 500


def _wait(trial: int, retry_after: str, problem) -> None:
    seconds = float(retry_after) if retry_after.isdecimal() else random.uniform(0.5, 1.5) * 2**trial
    logger.info("%s, trying again in %.0f s", problem, min(seconds, PAUSE_S))
    time.sleep(min(seconds, PAUSE_S))


def _message(response: requests.Response) -> str:
    """Return what a service says of a problem: GitHub and Gitea as message, GitLab as message or error."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return response.reason or "it said nothing"
    errors = body.get("errors") or []
    details = [error.get("message", "") if isinstance(error, dict) else str(error) for error in errors]
    message = body.get("message") or body.get("error") or ""
    words = [*(message if isinstance(message, list) else [str(message)]), *details]
    return hide("; ".join(word for word in words if word))[:300] or "it said nothing"
