"""MLflow: which store it is, whether it answers, and whether models may be registered there."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components.data.sources import LOCAL_HOSTS
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.registry.store import open_store, tracking_uri
from loopline.components.secrecy import without_credentials
from loopline.pipelines.doctor.findings import Finding, failure, ok, problem, skipped, warning
from loopline.pipelines.doctor.network import contact
from loopline.pipelines.doctor.settings import Settings

#: The registered model that is made and deleted; whatever else has the name is left alone.
PROBE = "loopline-doctor"
NOTE = "Made by `loopline doctor` to see whether models may be registered. It can be deleted."
_MODELS = "/api/2.0/mlflow/registered-models"
_DENIED = (401, 403)


def check(settings: Settings) -> Iterator[Finding]:
    """Check the model store: its kind, and what may be done there."""
    try:
        uri = tracking_uri()
    except InputError as error:
        yield failure("store", error)
        return
    if uri.startswith("sqlite:///"):
        yield from _sqlite(Path(uri.removeprefix("sqlite:///").split("?")[0]))
    elif not uri.startswith(("http://", "https://")):
        yield ok("store", f"{without_credentials(uri)} (not looked at: MLflow reads it)")
    else:
        yield from _server(uri, settings.read_only)


def _sqlite(file: Path) -> Iterator[Finding]:
    if not file.exists():
        yield ok("store", f"SQLite, {file}: the first run makes it")
        return
    yield ok("store", f"SQLite, {file}, {file.stat().st_size / 2**20:.1f} MiB")
    try:
        with sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=2, isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        database.close()
    except sqlite3.Error as error:
        yield problem(
            "registering", f"{file} cannot be written ({error})",
            f"Let this user write {file} and its folder, or set LOOPLINE_HOME to another one.",
        )  # fmt: skip
        return
    folder = home() / "mlartifacts"
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        yield problem("artifacts", f"{folder} cannot be written", f"Let this user write {folder}.")
        return
    yield ok("registering", "models may be registered")


def _server(uri: str, read_only: bool) -> Iterator[Finding]:
    where = without_credentials(uri)
    certificates = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
    try:
        contact(
            f"{where.rstrip('/')}/health", "MLFLOW_TRACKING_URI", certificates,
            "MLFLOW_TRACKING_SERVER_CERT_PATH" if certificates else "SSL_CERT_FILE",
        )  # fmt: skip
        with open_store() as store:
            yield ok("store", f"the server {where}, {_version(uri)}")
            yield ok("account", f"accepted ({_account()})")
            if read_only:
                yield skipped("registering", "--read-only")
            else:
                yield _registering(uri)
            yield from _artifacts(store.client, uri, read_only)
    except InputError as error:
        yield failure("store", error)


def _account() -> str:
    if os.environ.get("MLFLOW_TRACKING_AUTH"):
        return f"MLFLOW_TRACKING_AUTH={os.environ['MLFLOW_TRACKING_AUTH']}"
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return "MLFLOW_TRACKING_TOKEN"
    if os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return f"user {os.environ['MLFLOW_TRACKING_USERNAME']}"
    return "it asks for none"


def _version(uri: str) -> str:
    answer = _call(uri, "GET", "/version")
    found = answer.text.strip() if answer.status_code == 200 and len(answer.text) < 30 else ""
    return f"MLflow {found}" if found[:1].isdigit() else "which does not tell its version"


def _registering(uri: str) -> Finding:
    title = "registering"
    # Who may do it is asked before what is sent is looked at: without a name nothing is made.
    if _call(uri, "POST", f"{_MODELS}/create", {}).status_code in _DENIED:
        return problem(title, f"this account may not register models at {without_credentials(uri)}", _grant())
    if not _may_delete_own(uri):
        return ok(title, "models may be registered (none was made, since this account may not delete any)")
    made = _call(uri, "POST", f"{_MODELS}/create", {"name": PROBE, "description": NOTE})
    if made.status_code != 200 and "RESOURCE_ALREADY_EXISTS" not in made.text:
        return problem(title, f"a model cannot be registered ({_said(made)})", _grant())
    if not _is_ours(uri):
        return ok(title, f"models may be registered; {PROBE} is a model of somebody's and was left alone")
    deleted = _call(uri, "DELETE", f"{_MODELS}/delete", {"name": PROBE})
    if deleted.status_code not in (200, 404):
        return warning(
            title, f"models may be registered, but {PROBE}, made to try it, cannot be deleted ({_said(deleted)})",
            f"Delete the registered model {PROBE} as an administrator of MLflow.",
        )  # fmt: skip
    return ok(title, f"models may be registered ({PROBE} was made and deleted)")


def _may_delete_own(uri: str) -> bool:
    """Return whether a model that is made can surely be deleted: by its owner in MLflow's own basic auth, or by all."""
    if os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return True
    answer = _call(uri, "DELETE", f"{_MODELS}/delete", {"name": f"{PROBE}-that-does-not-exist"})
    return answer.status_code not in _DENIED


def _is_ours(uri: str) -> bool:
    found = _call(uri, "GET", f"{_MODELS}/get", params={"name": PROBE})
    return found.status_code == 200 and found.json()["registered_model"].get("description") == NOTE


def _grant() -> str:
    if os.environ.get("MLFLOW_TRACKING_AUTH", "").startswith("kubernetes"):
        return (
            "Bind the ClusterRole mlflow-operator-mlflow-integration to this account: deploy/openshift has the "
            "RoleBinding for pipeline-runner-dspa."
        )
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this account")
    return f"Let an administrator of MLflow give {user} a role that may create registered models."


def _artifacts(client, uri: str, read_only: bool) -> Iterator[Finding]:
    title = "artifacts"
    found = client.search_experiments(max_results=1)
    if not found:
        yield skipped(title, "there is no experiment yet that shows where they are kept")
        return
    location = found[0].artifact_location
    scheme = urlsplit(location).scheme
    if scheme == "mlflow-artifacts":
        yield _proxied(uri, read_only)
    elif scheme == "s3":
        yield _direct(location)
    elif scheme in ("", "file") and urlsplit(uri).hostname not in LOCAL_HOSTS:
        yield problem(
            title, f"the server keeps them in {location}, a folder of its own machine",
            "Start the server with --artifacts-destination, so that it takes them from its clients.",
        )  # fmt: skip
    else:
        yield ok(title, f"in {without_credentials(location)} (not written to)")


def _proxied(uri: str, read_only: bool) -> Finding:
    if read_only:
        return ok("artifacts", "through the server (not written to: --read-only)")
    path = f"/api/2.0/mlflow-artifacts/artifacts/{PROBE}/probe"
    written = _call(uri, "PUT", path, data=b"loopline doctor\n")
    if written.status_code in _DENIED:
        return ok("artifacts", "through the server; this account writes in experiments of its own only")
    if written.status_code != 200:
        return problem(
            "artifacts", f"the server cannot write them ({_said(written)})",
            "Look at the server's log, and give it a place for --artifacts-destination that it may write.",
        )  # fmt: skip
    deleted = _call(uri, "DELETE", path.removesuffix("/probe"))
    if deleted.status_code != 200:
        return warning(
            "artifacts", f"through the server; {PROBE}/probe cannot be deleted ({_said(deleted)})",
            f"Delete the folder {PROBE} in the server's --artifacts-destination.",
        )  # fmt: skip
    return ok("artifacts", f"through the server, which may write them ({PROBE}/probe was written and deleted)")


def _direct(location: str) -> Finding:
    from importlib.util import find_spec

    bucket = f"s3://{urlsplit(location).netloc}"
    own = os.environ.get("AWS_S3_ENDPOINT", "")
    if own and not os.environ.get("MLFLOW_S3_ENDPOINT_URL") and not os.environ.get("AWS_ENDPOINT_URL"):
        return problem(
            "artifacts", f"clients write them to {bucket}, at Amazon: MLflow does not read AWS_S3_ENDPOINT",
            f"Set MLFLOW_S3_ENDPOINT_URL={own} (a key of the secret loopline-mlflow).",
        )  # fmt: skip
    if find_spec("boto3") is None:
        return problem(
            "artifacts", f"clients write them to {bucket}, and boto3 is missing here",
            "Start the server with --artifacts-destination, or run `pip install boto3` here and in the step image.",
        )  # fmt: skip
    return ok("artifacts", f"clients write them to {bucket}: --s3 {bucket} shows whether this account may")


def _call(uri: str, method: str, path: str, values: dict | None = None, **more):
    """Ask the server as MLflow does, with its credentials and certificates, once."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if values is not None:
        more["json"] = values
    return http_request(
        get_default_host_creds(uri), path, method, max_retries=0, timeout=5, raise_on_status=False, **more
    )


def _said(answer) -> str:
    text = " ".join(without_credentials(answer.text).split())[:150]
    return f"status {answer.status_code}: {text}" if text else f"status {answer.status_code}"
