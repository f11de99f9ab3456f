"""The agent as a background process: find it, start it, stop it."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites.state import make_sites_home, read_json, sites_home, write_json

#: Seconds that sites may take to become ready.
UP_S = 180.0
#: Seconds until an agent that was told to end is killed: longer than its servers may take to answer what is open.
STOP_S = 25.0
#: Bytes of a log file that make the next start begin a new one.
_LOG_BYTES = 5_000_000
_FOLLOWED = "followed.json"


@dataclass(frozen=True)
class Followed:
    """What the agent knows of the configuration repository.

    Attributes:
        commit: The commit it follows; empty before the first look.
        problem: Why it cannot read the repository now; empty when it can.
    """

    commit: str
    problem: str


@dataclass(frozen=True)
class Agent:
    """A running agent.

    Attributes:
        pid: Its process.
        started: When that process started, as the system counts: another process of the same id differs.
        repository: The configuration repository it follows.
        branch: The branch of it.
    """

    pid: int
    started: str
    repository: str
    branch: str


def find_agent() -> Agent | None:
    """Return the agent that runs, None when there is none."""
    agent = read_json(sites_home() / "agent.json", lambda found: Agent(**found))
    return agent if agent and agent.started and start_time(agent.pid) == agent.started else None


def enter_agent(repository: str, branch: str) -> int:
    """Make this process the agent of ``LOOPLINE_HOME``.

    Args:
        repository: The configuration repository it follows.
        branch: The branch of it.

    Returns:
        The lock it holds as long as it lives.

    Raises:
        InputError: There is one already.
    """
    folder = make_sites_home()
    lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InputError(f"An agent already runs the sites of {home()}: see `loopline sites status`.") from None
    (folder / _FOLLOWED).unlink(missing_ok=True)
    write_json(folder / "agent.json", asdict(Agent(os.getpid(), start_time(os.getpid()), repository, branch)))
    return lock


def read_followed() -> Followed | None:
    """Return what the agent knows of the configuration repository, None before it has looked."""
    return read_json(sites_home() / _FOLLOWED, lambda found: Followed(**found))


def write_followed(commit: str, problem: str) -> None:
    """Write down what the agent knows of the configuration repository."""
    write_json(sites_home() / _FOLLOWED, asdict(Followed(commit, problem)))


def start_agent(arguments: Sequence[str]) -> subprocess.Popen:
    """Start an agent in the background, in a session of its own, so that it outlives this terminal.

    Args:
        arguments: Command-line arguments of ``loopline.pipelines.sites.agent``.

    Returns:
        Its process.
    """
    folder = make_sites_home()
    log = folder / "agent.log"
    rotate_log(log)
    with log.open("ab") as stream:
        # In this folder, since a path in the environment may be relative, and -P so that nothing is imported from it.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "loopline.pipelines.sites.agent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"LOOPLINE_HOME": str(home())},
            start_new_session=True,
        )


def stop_agent() -> bool:
    """Stop the agent and all it started, and forget what the sites did. The configuration repository stays.

    Returns:
        Whether there was an agent.
    """
    agent = find_agent()
    if agent:
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while (alive := start_time(agent.pid) == agent.started) and time.monotonic() < deadline:
            time.sleep(0.05)
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent.pid, signal.SIGKILL)
    folder = sites_home()
    for file in folder.glob("*/state.json"):
        file.unlink()
    for name in ("agent.json", "app.json", _FOLLOWED):
        (folder / name).unlink(missing_ok=True)
    for name in ("config.git", "images"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return agent is not None


def start_time(pid: int) -> str:
    """Return when a process started, as text that differs for another process of the same id.

    Args:
        pid: The process.

    Returns:
        The time as the system counts; empty when the process does not run.
    """
    if sys.platform.startswith("linux"):
        try:
            # Behind the name, which may hold spaces and parentheses: the state is field 3, the start time field 22.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()


def rotate_log(log: Path) -> None:
    """Put a long log aside; the one put aside before goes."""
    if log.is_file() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
