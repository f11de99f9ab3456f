"""A real MLflow server."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from loopline.pipelines.sites.ports import free_port


@contextlib.contextmanager
def run_server(
    folder: Path, words: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run a server whose database ``mlflow.db``, artifacts and log are in a folder; yields its URL and its process.

    Args:
        folder: The folder.
        words: More words of its command line.
        variables: More of its environment.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"), *words,
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= variables or {}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, port, folder / "server.log")
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # it waits for connections that nobody closes
            process.kill()
            process.wait()


@contextlib.contextmanager
def run_guarded_server(folder: Path, admin: tuple[str, str], permission: str) -> Iterator[str]:
    """Run a server with MLflow's own basic authentication; yields its URL.

    Args:
        folder: The folder; the accounts are in ``auth.db`` there.
        admin: Name and password of the administrator.
        permission: What an account may do with what others made.
    """
    if find_spec("flask_wtf") is None:
        pytest.skip("there is no Flask-WTF here, which MLflow's basic authentication needs")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = {permission}\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {admin[0]}\nadmin_password = {admin[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-canary-of-the-server",
    }
    with run_server(folder, ("--app-name", "basic-auth"), variables) as (url, _):
        yield url


def _wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start: {log.read_text()[-2000:]}")
