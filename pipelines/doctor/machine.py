"""What any run needs of this machine: git, room, memory."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loopline.components.environment import home
from loopline.pipelines.doctor.findings import Finding, ok, problem, warning
from loopline.pipelines.doctor.settings import Settings

_GIB = 2**30
#: Room under LOOPLINE_HOME: a run of the demo writes about 1 GiB.
_LITTLE_ROOM, _NO_ROOM = 2 * _GIB, 200 * 2**20
#: What the largest step may take; see ``pipelines.settings.configure``.
_LITTLE_MEMORY = 2 * _GIB
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check(settings: Settings) -> Iterator[Finding]:
    """Check git, the room and the rights under LOOPLINE_HOME, and the memory."""
    yield _git()
    yield from _home(settings.read_only)
    yield _memory()


def _git() -> Finding:
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return problem("git", f"it does not run ({type(error).__name__})", "Install git, which delivers to sites.")
    return ok("git", done.stdout.strip().removeprefix("git version "))


def _home(read_only: bool) -> Iterator[Finding]:
    folder = home()
    # What does not exist yet is made by the first run.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not _writable(there, read_only):
        yield problem(
            "LOOPLINE_HOME", f"{folder} cannot be written",
            "Set LOOPLINE_HOME to a folder that you may write.",
        )  # fmt: skip
        return
    yield ok("LOOPLINE_HOME", f"{folder} can be written" + ("" if there == folder else "; the first run makes it"))
    free = shutil.disk_usage(there).free
    seen = f"{free / _GIB:.1f} GiB free in {there}"
    if free >= _LITTLE_ROOM:
        yield ok("disk", seen)
    else:
        found = problem if free < _NO_ROOM else warning
        yield found("disk", seen, f"Free room there, or set LOOPLINE_HOME to a folder with {_LITTLE_ROOM // _GIB} GiB.")


def _writable(folder: Path, read_only: bool) -> bool:
    if read_only:
        return os.access(folder, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [int(text) for path in _LIMITS if path.is_file() and (text := path.read_text().strip()).isdigit()]
    allowed = min([total, *limits])
    seen = f"{allowed / _GIB:.1f} GiB"
    if allowed >= _LITTLE_MEMORY:
        return ok("memory", seen)
    return warning("memory", seen, f"Give this machine or pod {_LITTLE_MEMORY // _GIB} GiB, which a step may take.")
