"""Model directories to serve, requests for them, and servers on a socket that several share."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa

from loopline.components.delivery.golden import Golden, read_golden
from loopline.components.delivery.inference import build_request
from loopline.components.model.directory import read_manifest
from loopline.pipelines.sites.ports import free_port

#: The image that a shared server is told it comes from.
IMAGE = "sha256:" + "1" * 64


def release(model: Path, folder: Path, version: int) -> Path:
    """Copy a model directory and lay a release beside the model, as in a model image."""
    shutil.copytree(model, folder)
    manifest = read_manifest(model)
    values = {"name": manifest.name, "version": version, "model_digest": manifest.digest}
    (folder / "release.json").write_text(json.dumps(values))
    return folder


def golden_request(model: Path, rows: int = 1) -> tuple[Golden, dict]:
    """Return the first golden rows of a model and the request for them."""
    golden = read_golden(model).slice(0, rows)
    return golden, build_request(golden.rows, golden.features)


def many_rows(golden: Golden, rows: int) -> pa.Table:
    """Return the golden rows again and again."""
    return pa.concat_tables([golden.rows] * (rows // golden.rows.num_rows + 1)).slice(0, rows)


def listening() -> socket.socket:
    """Return a socket that listens on a free port, as the agent of a site holds one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


@contextlib.contextmanager
def launched(model: Path, listener: socket.socket, grpc_port: int, ready: Path, **variables: str):
    """Run the launcher on an inherited socket; yields its process once the ready file is there."""
    command = [sys.executable, "-m", "loopline.components.serving", str(model), "--http-fd", str(listener.fileno())]
    command += ["--grpc-port", str(grpc_port), "--metrics-port", str(free_port()), "--ready-file", str(ready)]
    with ready.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command, pass_fds=[listener.fileno()], stdout=log, stderr=log, env={**os.environ, **variables}
        )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, ready.with_suffix(".log").read_text()
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
