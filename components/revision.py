"""Which code of Loopline runs here: its version and, where that can be known, the commit."""

import functools
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loopline.components.image import VERSION


@dataclass(frozen=True)
class Revision:
    """The code that runs.

    Attributes:
        version: Loopline's version.
        commit: The Git commit; empty when it is unknown.
        changed: Whether files differ from that commit.
    """

    version: str = VERSION
    commit: str = ""
    changed: bool = False


@functools.cache
def find_revision() -> Revision:
    """Return which code runs: what the step image was built of (``LOOPLINE_CODE_VERSION``), else the checkout's commit.

    Returns:
        The revision.
    """
    told = os.environ.get("LOOPLINE_CODE_VERSION", "")
    if told:
        return Revision(commit=told if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", told) else "")
    root = Path(__file__).resolve().parents[1]
    if not (root / "setup.cfg").is_file() or not (root / ".git").exists():
        return Revision()
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return Revision(commit=commit, changed=bool(_git(root, "status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return Revision()


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), "--no-optional-locks", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
