"""A model server as a process of its own, started on free ports and stopped whatever happens."""

import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loopline.components.delivery.child import STOP_S, Child, describe_end, last_line
from loopline.components.delivery.inference import is_ready
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest

#: Seconds a server may take to load its model.
START_S = 120.0
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class ModelServer:
    """A running model server.

    Attributes:
        url: Where it answers REST: ``http://127.0.0.1:port``.
        grpc: Where it answers gRPC: ``127.0.0.1:port``.
        metrics: Where it shows its metrics.
        pid: Its process.
        log: The file with what it prints.
    """

    url: str
    grpc: str
    metrics: str
    _child: Child

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._child.pid

    @property
    def log(self) -> Path:
        """The file with what it prints."""
        return self._child.log

    def end(self, wait_s: float = 0.0) -> str:
        """Return how the server ended, with its last words if it had any to say; empty while it runs.

        Args:
            wait_s: Seconds to wait for its end, where its silence says that it is near.
        """
        if not self._child.wait(wait_s):
            return ""
        code = self._child.exit_code
        return describe_end(code) if code < 0 else self._child.end()

    def stop(self) -> str:
        """Tell the server to end and wait for it; returns what went wrong, empty when it ended as it should."""
        self._child.terminate()
        if not self._child.wait(STOP_S):
            return f"did not end in {STOP_S:g} s: {last_line(self.log)}"
        return "" if self._child.exit_code == 0 else self.end()

    def kill(self) -> None:
        """End the server, and whatever it started, at once; nothing is done when it has ended."""
        self._child.kill()


@contextlib.contextmanager
def serve(model: str | Path, *, start_s: float = START_S, **variables: str) -> Iterator[ModelServer]:
    """Serve a model directory for the length of a ``with`` block.

    The server dies with the thread that started it, even by ``kill -9`` (on Linux, where the kernel sees to it). It
    does not inherit keys, credentials or the traffic log of a site; nothing it writes outlives it.

    Args:
        model: The model directory.
        start_s: Seconds until it must be ready.
        variables: Environment variables to give it, such as ``LOOPLINE_IMAGE_DIGEST``.

    Yields:
        The server, ready to answer.

    Raises:
        InputError: There is no model, or the server ended while starting or was not ready in time.
    """
    name = read_manifest(model).name
    with tempfile.TemporaryDirectory(prefix="loopline-server-") as folder, reserve_ports(3) as ports:
        rest, grpc, metrics = (str(port) for port in ports)
        command = [sys.executable, "-m", "loopline.components.serving", str(Path(model).absolute())]
        command += ["--http-port", rest, "--grpc-port", grpc, "--metrics-port", metrics]
        child = Child(command, variables, Path(folder) / "log.txt")
        server = ModelServer(f"http://{_HOST}:{rest}", f"{_HOST}:{grpc}", f"http://{_HOST}:{metrics}", child)
        try:
            _wait_ready(server, name, start_s)
            yield server
        finally:
            server.stop()
            server.kill()


@contextlib.contextmanager
def reserve_ports(count: int) -> Iterator[list[int]]:
    """Hold free ports of this machine for a server to come.

    A socket that is bound and does not listen keeps the port from everyone who does not set the same options; servers
    set them, so the port can be taken and not lost in between.

    Args:
        count: How many.

    Yields:
        The ports.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((_HOST, 0))
        yield [one.getsockname()[1] for one in sockets]


def _wait_ready(server: ModelServer, model: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready(server.url, model):
        if ended := server.end():
            raise InputError(f"The model server {ended}")
        if time.monotonic() > deadline:
            raise InputError(
                f"The model server was not ready in {seconds:g} s; its last words: {last_line(server.log)}"
            )
        time.sleep(0.05)
