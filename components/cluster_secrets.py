"""The secrets of a namespace: which ones steps read, and how a pod that was not given them as variables gets them.

KFP's own pipelines have each secret set as environment variables by the cluster. A launcher that cannot express that,
as Elyra's visual editor cannot for nodes like ours, names the secrets on the step's command line instead: the step then
asks the Kubernetes API as the pod's service account, which Data Science Pipelines allows to read secrets.
"""

import base64
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from loopline.components.environment import environment
from loopline.components.errors import InputError, TemporaryError
from loopline.components.secrecy import remember

#: Secrets that a namespace may hold; each is optional, and so is each key, which becomes an environment variable.
SECRETS = {
    "loopline-s3": {
        name: name
        for name in (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL",
            "AWS_DEFAULT_REGION", "AWS_REGION",
        )
    },
    "loopline-mlflow": {
        name: name
        for name in (
            "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_TRACKING_AUTH", "MLFLOW_WORKSPACE", "MLFLOW_S3_ENDPOINT_URL",
        )
    },
    # As `cosign generate-key-pair k8s://NAMESPACE/loopline-signing` makes it.
    "loopline-signing": {
        "cosign.key": "COSIGN_PRIVATE_KEY", "cosign.password": "COSIGN_PASSWORD", "cosign.pub": "COSIGN_PUBLIC_KEY",
    },
    # Public keys of those whose approval a promotion needs, and whether every promotion needs one: "true".
    "loopline-approvers": {"approvers.pub": "LOOPLINE_APPROVERS_KEYS", "required": "LOOPLINE_REQUIRE_APPROVAL"},
    # Of type kubernetes.io/basic-auth; the other two where the host's name does not tell which service it is.
    "loopline-git": {
        "username": "GIT_USERNAME", "password": "GIT_PASSWORD", "provider": "GIT_PROVIDER", "api-url": "GIT_API_URL",
    },
    "loopline-sites": {"token": "LOOPLINE_SITE_TOKEN"},
    # Where the sites' metrics are kept, and where the verdict's gauges go.
    "loopline-prometheus": {
        "url": "PROMETHEUS_URL", "token": "PROMETHEUS_TOKEN", "pushgateway-url": "PROMETHEUS_PUSHGATEWAY_URL",
    },
}  # fmt: skip

#: Secrets that are files, and the folder where a task finds them. A registry's is a kubernetes.io/dockerconfigjson.
MOUNTED = {"loopline-registry": "/var/run/secrets/loopline/registry"}

#: The key of a kubernetes.io/dockerconfigjson, and the variables that name such a file.
_LOGIN, _LOGIN_NAMED_BY = ".dockerconfigjson", ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG")

#: What a pod knows of the account it runs as: token, namespace and the API's certificate authority.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S, _TRIES = 10, 3

logger = logging.getLogger("loopline")


@contextlib.contextmanager
def cluster_secrets(names: Iterable[str]) -> Iterator[None]:
    """Set what secrets of this pod's namespace hold as environment variables, for the length of a ``with`` block.

    A variable that is set already stays. A secret or key that is not there is left out, as all are optional; so is all
    of it outside a pod.

    Args:
        names: Secrets of ``SECRETS`` or ``MOUNTED``; ``name/key`` for one key.

    Raises:
        InputError: A name is unknown, the pod has no token, or a secret cannot be read.
        TemporaryError: The Kubernetes API does not answer.
    """
    wanted = [name.partition("/") for name in names]
    for name, _, key in wanted:
        if name not in MOUNTED and (name not in SECRETS or (key and key not in SECRETS[name])):
            raise InputError(f"There is no secret {name!r}: name one of {', '.join([*SECRETS, *MOUNTED])}.")
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:  # for this user alone
        values = {}
        for name, _, key in wanted:
            values |= _take_login(name, Path(folder)) if name in MOUNTED else _take_variables(name, key)
        with environment(values):
            yield


def _take_variables(name: str, key: str) -> dict[str, str]:
    keys = {key: SECRETS[name][key]} if key else SECRETS[name]
    missing = {key: variable for key, variable in keys.items() if variable not in os.environ}
    data = _read(name) if missing else {}
    taken = {variable: _text(name, key, data[key]) for key, variable in missing.items() if key in data}
    if taken:
        logger.info("secret %s sets %s", name, ", ".join(taken))
    return taken


def _take_login(name: str, folder: Path) -> dict[str, str]:
    if any(os.environ.get(variable) for variable in _LOGIN_NAMED_BY) or (Path(MOUNTED[name]) / _LOGIN).exists():
        return {}
    data = _read(name)
    if _LOGIN not in data:
        return {}
    file = folder / "auth.json"
    file.write_text(_text(name, _LOGIN, data[_LOGIN]), encoding="utf-8")
    logger.info("secret %s sets %s", name, _LOGIN_NAMED_BY[0])
    return {_LOGIN_NAMED_BY[0]: str(file)}


def _read(name: str) -> dict[str, str]:
    """Return what a secret holds, in base64; nothing when there is no such secret or it may not be read."""
    import requests
    from requests.adapters import HTTPAdapter, Retry

    token, namespace = remember(_account("token")), _account("namespace")
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    url = f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/secrets/{name}"
    retry = Retry(_TRIES, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)
    with requests.Session() as session:
        # Neither a proxy nor another certificate authority of the environment gets between the pod and its API.
        session.trust_env = False
        session.mount("https://", HTTPAdapter(max_retries=retry))
        try:
            answer = session.get(
                url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=_TIMEOUT_S,
                verify=str(ACCOUNT / "ca.crt"),
                allow_redirects=False,
            )
        except (requests.exceptions.RequestException, OSError) as error:
            raise TemporaryError(
                f"Secret {name} cannot be read: the Kubernetes API does not answer ({type(error).__name__})."
            ) from None
    if answer.status_code in (401, 403):
        # Where nothing of it is needed, this harms nobody: the step goes on, and says itself what it lacks.
        logger.warning(
            "secret %s may not be read by this service account (status %d): let it `get` secrets in namespace %s, or "
            "set the variables",
            name, answer.status_code, namespace,
        )  # fmt: skip
        return {}
    if answer.status_code == 404:
        return {}
    if answer.status_code >= 500 or answer.status_code == 429:
        raise TemporaryError(f"Secret {name} cannot be read: the Kubernetes API answers {answer.status_code}.")
    if answer.status_code != 200:
        raise InputError(f"Secret {name} cannot be read: the Kubernetes API answers {answer.status_code}.")
    try:
        found = answer.json().get("data") or {}
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, AttributeError, RecursionError):
        raise TemporaryError(f"Secret {name} cannot be read: the Kubernetes API does not answer with one.") from None


def _account(file: str) -> str:
    try:
        return (ACCOUNT / file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(
            f"{ACCOUNT / file} cannot be read ({error.strerror}): mount the service account's token, or set the "
            "variables that the secrets would."
        ) from None


def _text(name: str, key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        raise InputError(f"Secret {name} holds no text under {key}: write it anew.") from None
