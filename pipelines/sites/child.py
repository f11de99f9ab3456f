"""A process that the agent starts: it has a log, it dies with the agent, and nothing here waits for it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loopline.components.delivery.model_server import die_with, last_line

#: Seconds a process may take to end once it is told to: longer than a model server answers what is open.
STOP_S = 15.0
#: What belongs to the agent: secrets that what it starts has no use for, and what is set for each process.
_WITHHELD = ("AWS_", "COSIGN_", "DOCKER_", "GIT_", "LOOPLINE_", "MLFLOW_", "MLSERVER_", "REGISTRY_")


class Child:
    """A process with its log.

    Attributes:
        log: The file with what it prints.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], log: Path, pass_fds: Sequence[int] = ()):
        """Start it.

        Args:
            command: The program and its arguments.
            variables: Environment variables it gets beside the agent's own; secrets of the agent are left out.
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

    def end(self) -> str:
        """Return how it ended and its last words; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {last_line(self.log)}"

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


def backoff(limits: tuple[float, float], count: int) -> float:
    """Return how long to wait before the next try: twice as long each time.

    Args:
        limits: Seconds to wait the first time, and at most.
        count: How often it has failed, at least once.
    """
    first, most = limits
    return min(first * 2.0 ** min(count - 1, 30), most)
