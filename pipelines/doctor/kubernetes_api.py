"""The Kubernetes API as the doctor needs it: found, asked within seconds, and its refusals as sentences.

In a pod it is the cluster's own, asked as the pod's account; on a laptop the one of the current context of kubeconfig.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError
from loopline.pipelines.doctor.place import Place
from loopline.pipelines.launching.cluster import kubeconfigs

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

#: Seconds to wait for a connection, and for an answer.
_TIMEOUT_S = (4, 5)


class NoClusterError(InputError):
    """There is no Kubernetes API to ask."""


class DeniedError(InputError):
    """This account may not ask that."""


class Cluster:
    """A cluster's API, and what was learned of it.

    Attributes:
        namespace: The namespace of the pipelines; known once ``open`` was called.
        host: The API's address.
        user: Who asks; empty when the API does not tell.
        version: The API's version.
    """

    def __init__(self, place: Place, namespace: str = ""):
        self.namespace, self.host, self.user, self.version = namespace, "", "", ""
        self._place, self._lock = place, threading.Lock()
        self._client: ApiClient | None = None
        self._error: InputError | None = None

    def open(self) -> "ApiClient":
        """Return a client; the API is asked for its version when this is called first, by whichever thread.

        Raises:
            NoClusterError: This is no pod, and there is no kubeconfig.
            InputError: The API cannot be used.
        """
        with self._lock:
            if self._client is None and self._error is None:
                try:
                    self._client = self._connect()
                except InputError as error:
                    self._error = error
        if self._error:
            raise self._error
        return self._client

    def ask(self, question: Callable):
        """Put a question to the API.

        Args:
            question: Called with the client and the keyword for its timeout.

        Returns:
            What it returns; None where there is no such object.

        Raises:
            DeniedError: This account may not ask that.
            InputError: The API cannot be used.
        """
        return _ask(self.open(), question)

    def get(self, path: str) -> dict | None:
        """Return an object of the API by its path; None where there is none.

        Raises:
            DeniedError: This account may not read it.
            InputError: The API cannot be used.
        """
        return self.ask(lambda client, **limits: _get(client, path, **limits))

    def _connect(self) -> "ApiClient":
        files = os.pathsep.join(kubeconfigs())
        if not self._place.in_cluster and not files:
            raise NoClusterError("This is no pod, and there is no kubeconfig: log in with `oc login`.")
        import yaml
        from kubernetes import client, config

        configuration = client.Configuration()
        # The variables that tell proxies are read by the client; what it would retry for a long time is not.
        configuration.retries = 0
        try:
            if self._place.in_cluster:
                config.load_incluster_config(client_configuration=configuration)
                self.namespace = self.namespace or self._place.namespace
            else:
                config.load_kube_config(files, client_configuration=configuration, persist_config=False)
                _, current = config.list_kube_config_contexts(files)
                self.namespace = self.namespace or current["context"].get("namespace", "default")
        except (config.ConfigException, OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"The access to the cluster cannot be read ({reason}): log in with `oc login`.") from None
        configuration.verify_ssl = True  # whoever listens on the way would get the token
        configuration.ssl_ca_cert = configuration.ssl_ca_cert or ca_bundle() or None
        self.host = configuration.host
        opened = client.ApiClient(configuration)
        self.version = _ask(opened, lambda c, **limits: _get(c, "/version", **limits))["gitVersion"]
        self.user = self._ask_user(opened)
        return opened

    def _ask_user(self, opened: "ApiClient") -> str:
        from kubernetes import client

        try:
            review = _ask(
                opened,
                lambda c, **limits: client.AuthenticationV1Api(c).create_self_subject_review(
                    client.V1SelfSubjectReview(), **limits
                ),
            )
        except InputError:
            return ""
        return review.status.user_info.username if review else ""


def _get(opened: "ApiClient", path: str, **limits) -> dict:
    headers = {"Accept": "application/json"}
    return opened.call_api(
        path, "GET", header_params=headers, auth_settings=["BearerToken"], response_type="object",
        _return_http_data_only=True, **limits,
    )  # fmt: skip


def _ask(opened: "ApiClient", question: Callable):
    import urllib3
    from kubernetes.client import ApiException

    host = opened.configuration.host
    try:
        return question(opened, _request_timeout=_TIMEOUT_S)
    except ApiException as error:
        if error.status == 404:
            return None
        if error.status == 401:
            raise InputError(
                f"The API of {host} refuses the token (status 401): log in again with `oc login`."
            ) from None
        if error.status == 403:
            raise DeniedError(f"This account may not ask that of {host}: use one that may.") from None
        raise InputError(f"The API of {host} answers with status {error.status}: look at the cluster.") from None
    except urllib3.exceptions.HTTPError as error:
        reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        if isinstance(reason, urllib3.exceptions.SSLError):
            raise InputError(
                f"The certificate of {host} is not trusted: put its certificate authority into kubeconfig."
            ) from None
        raise InputError(
            f"The cluster {host} does not answer ({type(reason).__name__}): connect to its network."
        ) from None
