"""Show a run's steps as they happen, and say what went wrong in the step's own words."""

import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

#: kfp's executor prints every log record this way.
_LOG_LINE = re.compile(r"^\[KFP Executor [^\]]*\]: loopline: (?P<message>.*)$")
#: An exception that a user is meant to read, as Python prints it: it bears the name of its module.
_ERROR = re.compile(r"^loopline\.components\.(?:\w+\.)+(?P<kind>\w+Error): (?P<message>.*)$")
#: Of these, those with ``temporary`` set: the same may work in a moment. A test compares.
PASSING = frozenset({"TemporaryError", "AwayError", "OvertakenError"})
#: How the system and SQLite say that there is no room.
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")
DISK_FULL = "The disk is full: free space where LOOPLINE_HOME and TMPDIR point to, then run it again."
_TRACEBACK = "Traceback (most recent call last):\n"


class StepFailed(RuntimeError):
    """A step of a pipeline failed.

    Attributes:
        step: The step's name.
        message: The last line of what went wrong.
        traceback: The step's own traceback; empty when the step said in a sentence what is wrong.
        refused: Whether the step refused what it was given, so that trying again cannot help.
    """

    def __init__(self, step: str, message: str, traceback: str, refused: bool = False):
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message
        self.traceback = traceback
        self.refused = refused

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the step's own traceback, not that of the machinery that ran it."""
        return [*filter(None, [self.traceback]), f"{type(self).__name__}: {self}"]


def failure_of(step: str, output: list[str], returncode: int) -> StepFailed:
    """Find out why a step failed.

    Args:
        step: The step's name.
        output: Its output, line by line.
        returncode: How its process ended.

    Returns:
        The error to raise or show.
    """
    starts = [position for position, line in enumerate(output) if line == _TRACEBACK]
    lines = output[starts[-1] :] if starts else output[-20:]
    # What a library prints while the process ends would hide the error under it.
    last = max(
        (i for i, line in enumerate(lines) if re.match(r"^[\w.]+(Error|Exception|Exit|Interrupt)\b", line)),
        default=None,
    )
    if any(sign in line for line in output for sign in _DISK_FULL):
        return StepFailed(step, DISK_FULL, "", refused=True)
    message = "".join(lines[last:]).strip() if last is not None else _how_it_ended(returncode)
    said = _ERROR.match(message.splitlines()[0]) if message else None
    if said:
        return StepFailed(step, said["message"].strip(), "", refused=said["kind"] not in PASSING)
    return StepFailed(step, message, _own_frames(lines))


def _how_it_ended(returncode: int) -> str:
    # The system's out-of-memory killer leaves no other trace than this signal, which a shell adds to 128.
    hint = ", perhaps for want of memory" if returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) else ""
    return f"its process ended with status {returncode}{hint}."


def _own_frames(lines: list[str]) -> str:
    """Return a traceback without the frames of the runner that called the step."""
    kept, skipping = [], False
    for line in lines:
        if line.startswith('  File "'):
            skipping = "/kfp/dsl/executor" in line or "<frozen runpy>" in line
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            kept.append(line)
    return "".join(kept).rstrip()


def own_words(line: str) -> str:
    """Return what Loopline itself says in a line of a step's output; empty when it is not Loopline's."""
    found = _LOG_LINE.match(line)
    return found["message"] if found else ""


def shown_path(path: str | Path) -> str:
    """Return a path the way a person would type it here: relative when it is below the working directory."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class Progress:
    """A live view of a run, one block of lines a step.

    Args:
        stream: Where to show it; None shows nothing.
        live: Whether to show a running clock, which needs a terminal; found out from the stream when None.
    """

    def __init__(self, stream: TextIO | None, live: bool | None = None):
        self._stream = stream
        self._live = stream is not None and stream.isatty() if live is None else live
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._running: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._stop = threading.Event()
        self.failure: StepFailed | None = None
        if self._live:
            threading.Thread(target=self._tick, daemon=True).start()

    @classmethod
    def silent(cls) -> "Progress":
        """Return a view that shows nothing."""
        return cls(None)

    @classmethod
    def terminal(cls) -> "Progress":
        """Return a view on standard output."""
        return cls(sys.stdout)

    def begin(self) -> None:
        """Note that a run begins: steps are numbered within a run."""
        with self._lock:
            self._seen.clear()

    def start(self, step: str) -> str:
        """Note that a step starts.

        Args:
            step: The step's name.

        Returns:
            The name under which the step is shown from here on: numbered when it runs more than once.
        """
        with self._lock:
            self._seen[step] = self._seen.get(step, 0) + 1
            name = step if self._seen[step] == 1 else f"{step}-{self._seen[step]}"
            self._running[name] = time.monotonic()
            self._show(f"{self._clock()}  {name} ...")
        return name

    def note(self, text: str) -> None:
        """Show a line of its own."""
        with self._lock:
            self._show(f"{self._clock()}  {text}")

    def line(self, step: str, line: str) -> None:
        """Show a line a step printed, if it is one of Loopline's own."""
        if words := own_words(line):
            with self._lock:
                prefix = f"{step}: " if len(self._running) > 1 else ""
                self._show(f"             {prefix}{words}")

    def done(self, step: str, seconds: float | None = None) -> None:
        """Note that a step succeeded.

        Args:
            step: The name under which it is shown.
            seconds: How long it took; since it was shown to start when None.
        """
        with self._lock:
            seconds = self._taken(step, seconds)
            self._show(f"{self._clock()}  {step} {self._tone('done', 32)} in {seconds:.1f} s")

    def fail(self, step: str, failure: StepFailed, seconds: float | None = None) -> None:
        """Note that a step failed; what went wrong is kept in ``failure``.

        Args:
            step: The name under which it is shown.
            failure: What went wrong.
            seconds: How long it took; since it was shown to start when None.
        """
        with self._lock:
            seconds = self._taken(step, seconds)
            self.failure = failure
            self._show(f"{self._clock()}  {step} {self._tone('failed', 31)} after {seconds:.1f} s")

    def close(self) -> None:
        """Stop the clock."""
        self._stop.set()
        with self._lock:
            self._show(None)

    def _taken(self, step: str, seconds: float | None) -> float:
        since = time.monotonic() - self._running.pop(step)
        return since if seconds is None else seconds

    def _clock(self) -> str:
        return f"[{time.monotonic() - self._begin:7.1f} s]"

    def _tone(self, text: str, color: int) -> str:
        return f"\033[{color}m{text}\033[0m" if self._live else text

    def _show(self, text: str | None) -> None:
        if self._stream is None:
            return
        if self._live:
            self._stream.write("\r\033[K")
        if text is not None:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _tick(self) -> None:
        while not self._stop.wait(0.5):
            with self._lock:
                if self._running:
                    now = time.monotonic()
                    names = ", ".join(f"{name} {now - start:.0f} s" for name, start in self._running.items())
                    self._stream.write(f"\r\033[K{self._clock()}  {names}")
                    self._stream.flush()
