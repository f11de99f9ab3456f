"""A process that serves: it has a log, it dies with the one that started it, and it gets none of its secrets."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Seconds a process may take to end once it is told to: longer than a model server answers what is open.
STOP_S = 15.0
#: What belongs to the one that starts it: secrets it has no use for, the site it is not, and what would make it another
#: server than the one that is asked for.
_WITHHELD = ("AWS_", "COSIGN_", "DOCKER_", "GIT_", "LOOPLINE_", "MLFLOW_", "MLSERVER_", "REGISTRY_")
#: From ``sys/prctl.h``: the signal a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1


class Child:
    """A process with its log.

    Attributes:
        log: The file with what it prints.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], log: Path, pass_fds: Sequence[int] = ()):
        """Start it.

        Args:
            command: The program and its arguments.
            variables: Environment variables it gets beside those of this process, whose secrets are left out.
            log: The file to append to.
            pass_fds: File descriptors it inherits.
        """
        self.log = log
        self._deadline = float("inf")
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=kept | variables,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for the signal that killed it; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; returns whether it came."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> str:
        """Return how it ended and its last words; empty while it runs."""
        code = self.exit_code
        return "" if code is None else f"{describe_end(code)}: {last_line(self.log)}"

    def terminate(self) -> None:
        """Tell it to end; ``poll_gone`` sees to it."""
        self._deadline = time.monotonic() + STOP_S
        if self._process.poll() is None:
            self._process.terminate()

    def poll_gone(self) -> bool:
        """Return whether it has ended; one that was told to and did not in time is killed."""
        if self._process.poll() is None and time.monotonic() > self._deadline:
            self.kill()
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it, and what it started, at once."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


def describe_end(exit_code: int) -> str:
    """Say how a process ended.

    Args:
        exit_code: Its exit code, negative for the signal that killed it.
    """
    return f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"


def last_line(log: Path) -> str:
    """Return the last line of a server's log that says something."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:  # somebody cleared logs away
        return f"its log {log} cannot be read ({error.strerror})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it printed nothing"


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
