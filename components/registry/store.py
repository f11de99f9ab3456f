"""Reach the model store: an MLflow server, or SQLite and a folder where there is none."""

import contextlib
import fcntl
import gc
import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.environment import environment, home, home_is_kept
from loopline.components.errors import InputError
from loopline.components.registry.failures import explain_failure, probe_server
from loopline.components.secrecy import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SERVER = ("http://", "https://")
#: What holds unless the environment says otherwise. A step reports to nobody but the server it was given; it waits some
#: fifteen seconds for one that went away, not MLflow's four minutes, and not as long as a server asks for, which may be
#: hours; its log is for people.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
#: What MLflow imports when it first opens a SQLite store.
_SQL_STORES = ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store")


@dataclass(frozen=True)
class Store:
    """An open model store.

    Attributes:
        client: Talks to it.
        uri: The MLflow tracking URI. May hold credentials: never log it.
        artifact_root: The folder for the files of new experiments; None where MLflow knows better.
    """

    client: "MlflowClient"
    uri: str
    artifact_root: Path | None


def tracking_uri() -> str:
    """Return where MLflow keeps models: ``MLFLOW_TRACKING_URI``, else SQLite in ``home()``.

    Returns:
        An MLflow tracking URI.

    Raises:
        InputError: This is a pod and nobody named a folder that outlives it: SQLite would be lost.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if not home_is_kept():
        raise InputError(
            "MLFLOW_TRACKING_URI is not set and a model kept inside a pod is lost with it: set it to the address of "
            "the MLflow server, or LOOPLINE_HOME to a folder that outlives the pod."
        )
    return _embedded_uri()


@contextlib.contextmanager
def open_store() -> Iterator[Store]:
    """Open the model store for the length of a ``with`` block.

    Inside the block MLflow's own functions use the same store; afterwards the environment is as before. Credentials,
    certificates and the workspace are read from the environment by MLflow itself, and so is MLFLOW_REGISTRY_URI.

    Yields:
        The store.

    Raises:
        InputError: The store cannot be reached, or refuses what the block asks of it: one sentence, no credentials.
    """
    uri = tracking_uri()
    root = home() / "mlartifacts" if uri == _embedded_uri() else None
    with environment({**_DEFAULTS, **os.environ, "MLFLOW_TRACKING_URI": uri}):
        _import_mlflow(uri)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            if uri.startswith(_SERVER):
                probe_server(uri)
            with _schema_lock(uri):
                client = MlflowClient(uri)
            yield Store(client, uri, root)
        except (MlflowException, RequestException) as error:
            raise explain_failure(error, uri) from None
        except OSError as error:
            # Only the store's own files: what a step reads elsewhere has its own messages.
            if root is None or not str(error.filename or "").startswith(str(root)):
                raise
            raise _unwritable(root, error) from None


def import_mlflow() -> None:
    """Import of MLflow what ``open_store`` needs where the environment points to, and open nothing.

    Raises:
        InputError: As for ``tracking_uri``.
    """
    uri = tracking_uri()
    with environment({**_DEFAULTS, **os.environ, "MLFLOW_TRACKING_URI": uri}):
        _import_mlflow(uri)


def ui_command() -> str:
    """Return the command that shows the registered models in a browser.

    Returns:
        A shell command line.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _embedded_uri()
    if uri.startswith(_SERVER):
        return f"python -m webbrowser {shlex.quote(without_credentials(uri))}"
    mlflow = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    return (
        f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {mlflow} server --port 5000 "
        f"--backend-store-uri {shlex.quote(without_credentials(uri))}"
    )


def _embedded_uri() -> str:
    return f"sqlite:///{home() / 'mlflow.db'}"


def _import_mlflow(uri: str) -> None:
    _import_modules("mlflow", *(_SQL_STORES if uri.startswith("sqlite:") else ()))


def _import_modules(*names: str) -> None:
    """Import modules without looking for garbage among the hundreds of thousands of objects they create.

    Looking again and again while they load, and once more when the process ends, takes a quarter to a half of a step's
    time. A step's process is short: there, what is loaded is kept out of the search for good. Anywhere else the search
    resumes as it was.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            # MLflow draws no progress bar here, so a notebook need not be told that it lacks the widgets for one.
            warnings.filterwarnings("ignore", message="IProgress not found")
            for name in names:
                importlib.import_module(name)
    finally:
        if enabled:
            gc.enable()
    if os.environ.get("_KFP_RUNTIME") == "true":
        gc.freeze()


@contextlib.contextmanager
def _schema_lock(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite store: the first creates the tables, and MLflow does not expect two."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///").split("?")[0])
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        file = open(database.with_name(database.name + ".lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(database, error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"The model store {path} cannot be written ({error.strerror}): set LOOPLINE_HOME to a folder of yours, or "
        "MLFLOW_TRACKING_URI to an MLflow server."
    )
