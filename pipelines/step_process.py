"""The process of a step: forked from a server that has loaded the libraries already, or started by itself.

On Linux a run's steps are forked from one ``step_server.py``. Everywhere else, where ``LOOPLINE_FRESH_STEPS`` is set
and where a command is not what kfp compiles, it is run as it stands in the YAML. What the step does is the same.

For each step the server gets one byte with two descriptors: where the output goes, and a socket. On the socket it reads
the order, a JSON object (program, words, environment, folder), and answers with the process's number and, when that has
ended, its exit code, each on a line. When the engine ends or is killed, the server ends the steps that are left.
"""

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TextIO

from loopline.components.environment import QUIET_THREADS
from loopline.pipelines.step_server import GOODBYE

#: The shell line that kfp compiles for a step that installs nothing, apart from blanks.
_SHELL = (
    'program_path=$(mktemp -d) printf "%s" "$0" > "$program_path/ephemeral_component.py" _KFP_RUNTIME=true python3 -m '
    'kfp.dsl.executor_main --component_module_path "$program_path/ephemeral_component.py" "$@"'
)


class ForkedStep:
    """A step that was forked from the server; used as ``subprocess.Popen`` is.

    Attributes:
        stdout: Its output and its errors, text.
        returncode: How it ended; None until the ``with`` block is left.
    """

    def __init__(self, output: int, answers: TextIO):
        self.stdout = open(output, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.returncode: int | None = None
        self._answers = answers

    def __enter__(self) -> "ForkedStep":
        return self

    def __exit__(self, *_error) -> None:
        self.stdout.close()
        # Nothing comes where the server itself was killed, and the system kills for want of memory.
        self.returncode = int(self._answers.readline() or -9)
        self._answers.close()


class _FreshStep(subprocess.Popen):
    """A step that is started by itself, with a folder for temporary files that goes when it has ended.

    The shell line that kfp compiles makes one for the component's source and leaves it there: in a pod nobody minds.
    """

    def __init__(self, command: list[str], environment: dict[str, str]):
        self._scratch = ""
        with contextlib.suppress(OSError):  # the step says what is wrong with the folder that there is
            self._scratch = tempfile.mkdtemp(prefix="loopline-step-", dir=environment.get("TMPDIR") or None)
            environment = {**environment, "TMPDIR": self._scratch}
        try:
            super().__init__(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
            )
        except OSError:
            self._clear()
            raise

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._clear()

    def _clear(self) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


class _Server:
    """The server of this process, for as long as the environment stays what it was when it was started."""

    def __init__(self):
        self.lock = threading.Lock()
        self.environment: dict | None = None
        self.owner = 0
        self.control: socket.socket | None = None
        self.process: subprocess.Popen | None = None

    def start(self) -> socket.socket:
        """Return the socket for orders to a server that has this process's environment."""
        present = dict(os.environ)
        # A fork of this process must not share the socket: answers would go astray.
        if self.environment != present or self.owner != os.getpid() or self.process.poll() is not None:
            self.stop(steps_go_on=True)
            self.control, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-u", "-m", "loopline.pipelines.step_server", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**QUIET_THREADS, **present},
                )
            self.environment, self.owner = present, os.getpid()
        return self.control

    def stop(self, steps_go_on: bool) -> None:
        """Let the server end: when the steps that it has forked have, or with them."""
        if self.control is not None:
            if steps_go_on:
                with contextlib.suppress(OSError):  # it has ended
                    self.control.sendall(GOODBYE)
            self.control.close()
        self.control = self.environment = None


_server = _Server()


@atexit.register
def _end() -> None:
    """Let the server end with this process, which waits for it as it would have waited for a step."""
    _server.stop(steps_go_on=False)
    if _server.owner == os.getpid():
        with contextlib.suppress(subprocess.TimeoutExpired):
            _server.process.wait(5)


def warm_up() -> None:
    """Let the server start, so that it loads kfp's executor while this process prepares the run."""
    if _can_fork():
        with _server.lock, contextlib.suppress(OSError):
            _server.start()


def start_step(command: list[str], variables: dict[str, str]) -> ForkedStep | subprocess.Popen:
    """Start a step.

    Args:
        command: The command of the compiled YAML with the arguments filled in.
        variables: Further environment variables.

    Returns:
        The process, to be used in a ``with`` block: ``stdout`` to read and, after the block, ``returncode``.
    """
    environment = {**QUIET_THREADS, **os.environ, **variables, "PYTHONUNBUFFERED": "1"}
    if _can_fork() and _is_plain(command):
        order = {"program": command[3], "words": command[4:], "environment": environment, "folder": str(Path.cwd())}
        if step := _fork(order):
            return step
    return _FreshStep(_with_this_python(command), environment)


def _can_fork() -> bool:
    # Apple's libraries do not survive a fork.
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and not os.environ.get("LOOPLINE_FRESH_STEPS")


def _is_plain(command: list[str]) -> bool:
    """Return whether a command is what kfp compiles for a Python step that installs nothing."""
    return len(command) > 4 and command[:2] == ["sh", "-ec"] and " ".join(command[2].split()) == _SHELL


def _fork(order: dict) -> ForkedStep | None:
    """Let the server fork a step; None when it does not: the step is then to be started by itself."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours:
        try:
            with theirs, _server.lock:
                socket.send_fds(_server.start(), [b"1"], [writing, theirs.fileno()])
            ours.sendall(json.dumps(order).encode())
            ours.shutdown(socket.SHUT_WR)
            answers = ours.makefile("r")
            if answers.readline():
                return ForkedStep(reading, answers)
        except OSError:
            pass  # it has just ended
        finally:
            os.close(writing)
    os.close(reading)
    return None


def _with_this_python(command: list[str]) -> list[str]:
    from kfp.local.subprocess_task_handler import replace_python_executable

    replaced = replace_python_executable(command, sys.executable)
    # kfp replaces python3 in the parameters, too: in a path such as lib/python3.11/data.csv.
    given = command.index("--executor_input") + 1
    replaced[given] = command[given]
    return replaced
