"""The Kubernetes API, as far as launchers ask it: with the account of this pod, or the login of ``oc login``."""

import contextlib
import os
from dataclasses import dataclass

from loopline.components.errors import InputError
from loopline.components.pipeline_connection import pod_namespace

_TIMEOUT_S = 10
#: The name that OpenShift AI gives the one application of a namespace, and its group.
APPLICATION = "dspa"
_APPLICATIONS = ("datasciencepipelinesapplications.opendatahub.io", "v1", "datasciencepipelinesapplications")
_ROUTES = ("route.openshift.io", "v1", "routes")


@dataclass(frozen=True)
class Cluster:
    """A cluster that somebody is logged in to.

    Attributes:
        namespace: The current one.
        client: A ``kubernetes.client.ApiClient``.
    """

    namespace: str
    client: object

    @classmethod
    def find(cls) -> "Cluster | None":
        """Return the cluster of this pod, else that of the kubeconfig; None when there is neither.

        Raises:
            InputError: The kubeconfig cannot be read.
        """
        namespace, files = pod_namespace(), os.pathsep.join(kubeconfigs())
        if not namespace and not files:
            return None
        import yaml
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            if namespace:
                config.load_incluster_config(settings)
            else:
                # Said, since the client reads the variable when it is imported and never again.
                config.load_kube_config(files, client_configuration=settings)
                namespace = config.list_kube_config_contexts(files)[1]["context"].get("namespace") or "default"
        except (config.ConfigException, KeyError, TypeError):
            return None  # nobody is logged in
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(
                f"The kubeconfig {files} cannot be read ({type(error).__name__}): log in with `oc login`."
            ) from None
        settings.verify_ssl = True  # also where `oc login` was told otherwise
        settings.retries = False
        return cls(namespace, client.ApiClient(settings))

    def read_token(self) -> str:
        """Return the token of the login.

        Raises:
            InputError: The login has none.
        """
        settings = self.client.configuration
        token = (settings.get_api_key_with_prefix("authorization") or "").removeprefix("Bearer ")
        if not token:
            raise InputError("The kubeconfig holds no token: log in with `oc login`.")
        return token

    @property
    def authority(self) -> str:
        """The file of the authorities that vouch for the cluster; empty when the login names none."""
        return self.client.configuration.ssl_ca_cert or ""

    def route(self) -> str:
        """Return the URL of the namespace's pipeline server.

        Raises:
            InputError: There is none, or the cluster does not tell.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            found = self._read(_ROUTES, f"ds-pipeline-{APPLICATION}")
            return f"https://{found['spec']['host']}"
        except ApiException as error:
            told = {404: "it has no pipeline server", 401: "the login has expired"}.get(error.status, error.reason)
            hint = "log in with `oc login`" if error.status == 401 else "choose another with `oc project`"
            raise InputError(f"Namespace {self.namespace}: {told}; {hint}, or name the server with --host.") from None
        except HTTPError as error:
            host = self.client.configuration.host
            raise InputError(
                f"The cluster {host} does not answer ({type(error).__name__}): log in with `oc login`, or name the "
                "pipeline server with --host."
            ) from None

    def cron_zone(self) -> str:
        """Return the time zone in which the namespace's schedules are read; empty where the cluster does not tell."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        with contextlib.suppress(ApiException, HTTPError, AttributeError):
            spec = self._read(_APPLICATIONS, APPLICATION).get("spec") or {}
            # The resource's own default, should the cluster not have written it down.
            return (spec.get("scheduledWorkflow") or {}).get("cronScheduleTimezone") or "UTC"
        return ""

    def _read(self, kind: tuple[str, str, str], name: str) -> dict:
        from kubernetes.client import CustomObjectsApi

        group, version, plural = kind
        api = CustomObjectsApi(self.client)
        return api.get_namespaced_custom_object(
            group, version, self.namespace, plural, name, _request_timeout=_TIMEOUT_S
        )


def kubeconfigs() -> list[str]:
    """Return the files that a login is kept in, as far as they are there."""
    named = [file for file in os.environ.get("KUBECONFIG", "").split(os.pathsep) if file] or ["~/.kube/config"]
    # Path.is_file is an error where nobody may look.
    return [file for file in map(os.path.expanduser, named) if os.path.isfile(file)]  # noqa: PTH113
