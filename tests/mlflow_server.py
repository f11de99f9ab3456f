"""A real MLflow server."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from registry_models import free_port


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


def _wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start: {log.read_text()[-2000:]}")
