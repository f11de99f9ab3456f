"""One model server process of a site, on a socket that the agent holds."""

import contextlib
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components.delivery.child import Child, last_line
from loopline.components.delivery.model_server import reserve_ports
from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError
from loopline.pipelines.sites.plan import Plan

#: Seconds a server may take to load its model.
START_S = 120.0
#: Seconds after which a site on this machine writes what it logged: whoever watches it waits for that.
TRAFFIC_FLUSH_S = "2"
_LOCAL = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}
#: Log files of earlier servers that are kept.
_KEPT_LOGS = 4


class Server:
    """A model server: starting, serving or leaving.

    Attributes:
        plan: What it was started for.
        metrics: Where it shows its metrics.
        ready_at: When it became ready, of ``time.monotonic``; None before.
    """

    def __init__(self, plan: Plan, model: Path, listener: socket.socket, grpc_port: int, folder: Path):
        """Start the server; it accepts on the socket once its model is loaded.

        Args:
            plan: What to serve.
            model: The model directory.
            listener: The bound socket of the site's REST address; its owner keeps it.
            grpc_port: Where to answer gRPC, beside the server before.
            folder: Where its log goes.
        """
        self.plan = plan
        self.ready_at: float | None = None
        log = _new_log(folder, plan.version)
        self._ready_file = log.with_suffix(".ready")
        self._deadline = time.monotonic() + START_S
        self._ports = contextlib.ExitStack()
        [metrics_port] = self._ports.enter_context(reserve_ports(1))
        host = listener.getsockname()[0]
        self.metrics = f"http://{host}:{metrics_port}/metrics"
        command = [sys.executable, "-m", "loopline.components.serving", str(model), "--host", host]
        command += ["--http-fd", str(listener.fileno()), "--ready-file", str(self._ready_file)]
        command += ["--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)]
        variables = {
            "LOOPLINE_SITE": plan.site,
            "LOOPLINE_IMAGE_DIGEST": ImageReference.parse(plan.image).digest,
            "LOOPLINE_TRAFFIC_URI": plan.traffic_uri,
            "LOOPLINE_TRAFFIC_SAMPLE": plan.traffic_sample,
            "LOOPLINE_TRAFFIC_FLUSH_S": TRAFFIC_FLUSH_S,
        }
        if plan.traffic_uri.startswith("s3://"):
            variables |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self._child = Child(command, variables, log, pass_fds=[listener.fileno()])

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    def poll_ready(self) -> bool:
        """Return whether it serves.

        Raises:
            InputError: It ended while starting, or took too long and was killed.
        """
        if self.ready_at is not None:
            return True
        if end := self.end():
            self.kill()
            raise InputError(f"The model server {end}")
        if self._ready_file.exists():
            self._ready_file.unlink()
            self.ready_at = time.monotonic()
        elif time.monotonic() > self._deadline:
            self.kill()
            words = last_line(self._child.log)
            raise InputError(f"The model server was not ready in {START_S:g} s; its last words: {words}")
        return self.ready_at is not None

    def end(self) -> str:
        """Return how it ended and its last words; empty while it runs."""
        return self._child.end()

    def terminate(self) -> None:
        """Tell it to answer what is open and to end; ``poll_gone`` sees to it."""
        self._child.terminate()

    def poll_gone(self) -> bool:
        """Return whether it has ended; one that was told to and did not in time is killed."""
        gone = self._child.poll_gone()
        if gone:
            self._release()
        return gone

    def kill(self) -> None:
        """End it, and what it started, at once."""
        self._child.kill()
        self._release()

    def _release(self) -> None:
        self._ports.close()
        with contextlib.suppress(OSError):  # a disk that became read-only must not end the agent
            self._ready_file.unlink(missing_ok=True)


def bind(url: str, site: str) -> socket.socket:
    """Take the address of a site, without listening yet: until a server does, clients are refused.

    Args:
        url: The site's ``SERVICE_URL``.
        site: The site, for the message.

    Returns:
        The socket.

    Raises:
        InputError: It is not an address of this machine, or somebody else has it.
    """
    place = f"SERVICE_URL of sites/{site}/site.env"
    try:
        parts = urlsplit(url)
        host, port = _LOCAL.get(parts.hostname or "", ""), parts.port
    except ValueError:
        host, port = "", None
    if not (host and port and url.startswith("http://")):
        raise InputError(f"{place} is {url!r}: a site on this machine has an address such as http://127.0.0.1:20080.")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"{place} is {url}, and that port cannot be had ({error.strerror}): end what uses it or name another."
        ) from None
    return listener


def server_logs(folder: Path) -> list[Path]:
    """Return the log files of a site's servers or of the application, oldest first."""
    return sorted(folder.glob("server-*.log"))


def _new_log(folder: Path, version: str) -> Path:
    """Name a new log after all there are, and delete the oldest: also where the clock was set back in between."""
    logs = server_logs(folder)
    for old in logs[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    stamp = f"server-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    if logs and logs[-1].name > stamp:
        last, _, number = logs[-1].name.partition("-v")[0].partition("_")
        stamp = f"{last}_{int(number or 0) + 1:04}"
    return folder / f"{stamp}-v{version or '0'}.log"
