"""A model server as a process of its own, started on free ports and stopped whatever happens."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from loopline.components.delivery.inference import is_ready
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest

#: Seconds a server may take to load its model, and to answer what is open once it is told to stop.
START_S, STOP_S = 120.0, 15.0
_HOST = "127.0.0.1"
#: What belongs to the process that starts the server: secrets it has no use for, the site it is not, and settings that
#: would make it another server than the one that is asked for.
_WITHHELD = ("AWS_", "COSIGN_", "GIT_", "MLFLOW_", "MLSERVER_", "LOOPLINE_TRAFFIC_", "LOOPLINE_SITE", "LOOPLINE_IMAGE_")
#: From ``sys/prctl.h``: the signal a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1


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
    log: Path
    _process: subprocess.Popen

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def end(self, wait_s: float = 0.0) -> str:
        """Return how the server ended, with its last words if it had any to say; empty while it runs.

        Args:
            wait_s: Seconds to wait for its end, where its silence says that it is near.
        """
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return ""
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}: {last_line(self.log)}"

    def stop(self) -> str:
        """Tell the server to end and wait for it; returns what went wrong, empty when it ended as it should."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                return f"did not end in {STOP_S:g} s: {last_line(self.log)}"
        return "" if self._process.returncode == 0 else self.end()

    def kill(self) -> None:
        """End the server, and whatever it started, at once; nothing is done when it has ended."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


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
        log = Path(folder) / "log.txt"
        rest, grpc, metrics = (str(port) for port in ports)
        command = [sys.executable, "-m", "loopline.components.serving", str(Path(model).absolute())]
        command += ["--http-port", rest, "--grpc-port", grpc, "--metrics-port", metrics]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_inherited() | variables,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        server = ModelServer(f"http://{_HOST}:{rest}", f"{_HOST}:{grpc}", f"http://{_HOST}:{metrics}", log, process)
        try:
            _wait_ready(server, name, start_s)
            yield server
        finally:
            server.stop()
            server.kill()


def last_line(log: Path) -> str:
    """Return the last line of a server's log that says something."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it printed nothing"


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


def die_with(parent: int) -> Callable[[], None] | None:
    """Return a ``preexec_fn`` for a process that should end with the one that starts it, even by ``kill -9``.

    Args:
        parent: The process that starts it. On Linux it is the thread that counts; elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before it was asked for
            os._exit(1)

    return bind


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}


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
