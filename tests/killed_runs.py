"""``loopline run`` as a user starts it, killed in the middle of a step, and what is left of it then."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopline.components.environment import home
from loopline.pipelines.sites.process import find_agent

#: Seconds until nothing of a killed run is left: longer than its steps may take to clean up.
_GONE_S = 15.0


@dataclass(frozen=True)
class Death:
    """How a run is killed.

    Attributes:
        step: It has begun.
        after_s: Seconds after that.
        whole_group: Whether its whole process group is killed, as when a terminal or a container goes; else the
            process alone that the user started, as by the kernel for want of memory.
    """

    step: str
    after_s: float
    whole_group: bool


def start_run(*words: str) -> subprocess.Popen:
    """Start ``loopline run`` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "loopline.pipelines.cli", "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_run(words: Sequence[str], death: Death) -> None:
    """Run and kill; fails when the step is never reached, or when something of the run is left.

    Args:
        words: What follows ``loopline run``.
        death: When and how.
    """
    spared = running()
    with start_run(*words) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.rstrip().endswith(f"  {death.step} ..."):
                break
        else:
            raise AssertionError(f"{death.step} never began: {''.join(said)}")
        time.sleep(death.after_s)
        assert process.poll() is None, f"it was over {death.after_s} s after {death.step} began"
        if death.whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        deadline = time.monotonic() + _GONE_S
        while left := running() - spared - serving():
            assert time.monotonic() < deadline, f"left of {death}: {[_command(pid) for pid in left]}"
            time.sleep(0.05)


def complete(words: Sequence[str], at_once: int = 1) -> list[str]:
    """Run to the end, which has to be a good one.

    Args:
        words: What follows ``loopline run``.
        at_once: How many runs of the same, side by side.

    Returns:
        What each printed.
    """
    processes = [start_run(*words) for _ in range(at_once)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * at_once, said
    return said


def running() -> set[int]:
    """Return the processes that were started with this test's ``LOOPLINE_HOME``."""
    found, mark = set(), str(home()).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes() or mark in (process / "cmdline").read_bytes():
                found.add(int(process.name))
    return found - {os.getpid()}


def expect_running(*expected: int) -> None:
    """Fail when others than these processes keep running; the agent starts git for a moment again and again."""
    deadline = time.monotonic() + _GONE_S
    while (found := running()) != set(expected):
        assert time.monotonic() < deadline, [_command(pid) for pid in found.symmetric_difference(expected)]
        time.sleep(0.05)


def serving() -> set[int]:
    """Return the agent, where one runs, and what it has started: no run has."""
    agent = find_agent()
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split() if agent else []
    return {agent.pid, *map(int, children)} if agent else set()


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return str(pid)
