"""The pipeline server that a launcher speaks to: found in a workbench or pod, after ``oc login``, or told."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from loopline.components.errors import InputError, TemporaryError
from loopline.components.pipeline_connection import (
    Connection,
    account_token,
    bearer,
    check_token_may_go_to,
    endpoint_found_here,
    open_connection,
    pod_namespace,
    token_file,
)
from loopline.components.pipeline_server import ask, list_all
from loopline.pipelines.launching import workbench
from loopline.pipelines.launching.cluster import APPLICATION, Cluster

#: Seconds before a question is put again to a server that was away.
PAUSES = (0.5, 1.0, 2.0, 4.0)
_TIMEOUT_S = 60


class NoServerError(InputError):
    """No pipeline server is known here."""


@dataclass(frozen=True)
class Server:
    """A pipeline server that answered.

    Attributes:
        connection: How it is asked.
        namespace: The namespace it serves; empty when it is not known.
        dashboard: The address of OpenShift AI's dashboard; empty when it is not known.
    """

    connection: Connection
    namespace: str
    dashboard: str

    @property
    def host(self) -> str:
        """Its URL."""
        return self.connection.host

    @cached_property
    def pipelines(self):
        """Pipelines and their versions, as KFP's generated client asks for them."""
        import kfp_server_api

        return kfp_server_api.PipelineServiceApi(self._client)

    @cached_property
    def uploads(self):
        """Uploads of pipelines."""
        import kfp_server_api

        return kfp_server_api.PipelineUploadServiceApi(self._client)

    @cached_property
    def experiments(self):
        """Experiments."""
        import kfp_server_api

        return kfp_server_api.ExperimentServiceApi(self._client)

    @cached_property
    def runs(self):
        """Runs."""
        import kfp_server_api

        return kfp_server_api.RunServiceApi(self._client)

    @cached_property
    def recurring_runs(self):
        """Recurring runs, which are the server's schedules."""
        import kfp_server_api

        return kfp_server_api.RecurringRunServiceApi(self._client)

    def ask(self, call: Callable, *arguments, **named):
        """Ask once.

        Args:
            call: A method of one of the services.
            arguments: What it takes.
            named: What else it takes.

        Returns:
            What it returns.

        Raises:
            InputError: The server refuses.
            TemporaryError: It is away for now.
        """
        return ask(lambda: call(*arguments, _request_timeout=_TIMEOUT_S, **named))

    def look(self, call: Callable, *arguments, **named):
        """Ask for something that can be asked again, and again where the server is away for a moment; see ``ask``."""
        return patiently(lambda: self.ask(call, *arguments, **named))

    def list(self, call: Callable, field: str, **filters) -> Iterator:
        """List everything of a kind, page by page; see ``loopline.components.pipeline_server.list_all``."""
        return list_all(lambda **page: self.look(call, **page), field, **filters)

    def read_text(self, path: str, **query: str) -> str:
        """Read what KFP's client has no method for.

        Args:
            path: The path.
            query: Its parameters.

        Returns:
            The answer as text.

        Raises:
            InputError: The server does not give it; ``temporary`` when it does not answer at all.
        """
        import requests

        try:
            answer = requests.get(
                self.host + path,
                params=query,
                auth=bearer(self.connection.read_token()),
                timeout=_TIMEOUT_S,
                verify=self.connection.authority or True,
                allow_redirects=False,
            )
        except requests.exceptions.RequestException as error:
            raise TemporaryError(f"The pipeline server does not answer ({type(error).__name__}).") from None
        if answer.status_code != 200:
            raise InputError(f"The pipeline server answers {answer.status_code} when asked for {path}.")
        answer.encoding = "utf-8"
        return answer.text

    @cached_property
    def _client(self):
        import kfp_server_api
        from requests.utils import get_environ_proxies, select_proxy

        settings = kfp_server_api.Configuration()
        settings.host, settings.ssl_ca_cert = self.host, self.connection.authority
        settings.proxy = select_proxy(self.host, get_environ_proxies(self.host))
        settings.api_key["authorization"], settings.api_key_prefix["authorization"] = "", "Bearer"
        settings.refresh_api_key_hook = self.connection.refresh_api_key_hook
        settings.retries = False  # ``patiently`` does, and writes nothing into what is followed
        return kfp_server_api.ApiClient(settings)


def connect(host: str = "", token: str = "", token_path: str = "") -> Server:
    """Find the pipeline server, and see that it answers.

    In a workbench or another pod it is the one of the namespace, asked as this account. Elsewhere it is told, or the
    one in the namespace of ``oc login``.

    Args:
        host: Its URL; found when empty.
        token: A token for it; found when empty.
        token_path: A file with one.

    Returns:
        The server.

    Raises:
        InputError: There is none, it refuses, or no token for it is found.
        TemporaryError: It does not answer.
    """
    login = _Login()
    host, told = host or _find_host(login), bool(host)
    read_token = _find_token(host, told, token, token_path, login)
    found = login.cluster if login.looked else None
    connection = open_connection(host, read_token, [found.authority] if found and found.authority else [])
    namespace = _namespace_in(host) or pod_namespace() or (found.namespace if found else "")
    return Server(connection, namespace, workbench.dashboard_address())


def find_host(host: str = "") -> str:
    """Return the address of the pipeline server that ``connect`` asks.

    Args:
        host: Its URL, if it is told.

    Raises:
        NoServerError: None is known here.
        InputError: The namespace of the login has none, or the cluster does not tell.
    """
    return host or _find_host(_Login())


def patiently(question: Callable):
    """Put a question again while the server is away, a few times.

    Args:
        question: Asks; it must do no harm to ask twice.

    Returns:
        What it returns.

    Raises:
        InputError: The server refuses, or stays away.
    """
    for pause in PAUSES:
        try:
            return question()
        except TemporaryError:
            time.sleep(pause)
    return question()


def find_or_make(find: Callable, make: Callable):
    """Return what is there, else make it: so that a call that got lost, or somebody else's, makes nothing twice.

    Args:
        find: Looks for it by what is its alone; returns None when it is not there.
        make: Makes it.

    Returns:
        It.

    Raises:
        InputError: The server refuses, or stays away.
    """

    def attempt():
        found = find()
        if found is not None:
            return found
        try:
            return make()
        except TemporaryError:
            raise
        except InputError:
            # Servers refuse a name that is taken, with statuses of their own: it may have been taken just now.
            found = find()
            if found is None:
                raise
            return found

    return patiently(attempt)


class _Login:
    """The cluster that somebody is logged in to, looked for when it is needed."""

    looked = False

    @cached_property
    def cluster(self) -> Cluster | None:
        self.looked = True
        return Cluster.find()


def _find_host(login: _Login) -> str:
    if os.environ.get("KF_PIPELINES_ENDPOINT") or pod_namespace():
        return endpoint_found_here()
    # Before Elyra's runtime, which may be of another cluster: that one must not get the login's token.
    if login.cluster is not None:
        return login.cluster.route()
    if known := workbench.pipeline_server():
        return known
    raise NoServerError(
        "No pipeline server is known here: name it with --host, or log in to its cluster with `oc login`."
    )


def _namespace_in(host: str) -> str:
    """Return the namespace that the address of a service or of its route tells; empty when it tells none."""
    found = re.match(rf"https://ds-pipeline-{APPLICATION}[.-]([a-z0-9-]+)\.", host)
    return found[1] if found else ""


def _find_token(host: str, told: bool, token: str, token_path: str, login: _Login) -> Callable[[], str]:
    if token:
        return lambda: token
    if token_path:
        return token_file(Path(token_path))
    if os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or pod_namespace():
        if told:
            check_token_may_go_to(host)
        return token_file(account_token())
    if login.cluster is None:
        raise InputError(
            f"There is no token for {host}: log in with `oc login`, or name the file of one with --token-file or in "
            "KF_PIPELINES_SA_TOKEN_PATH."
        )
    return login.cluster.read_token
