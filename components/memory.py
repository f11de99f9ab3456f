"""How much memory a step may use: what somebody said, else the container's limit, else what the machine has free."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from loopline.components.control_group import control_group_files, read_setting
from loopline.components.errors import InputError

#: Overrides what is found out.
VARIABLE = "LOOPLINE_MEMORY_LIMIT"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class MemoryLimit:
    """The most memory a step should use.

    Attributes:
        bytes: How much.
        source: What says so.
    """

    bytes: int
    source: str

    def __str__(self) -> str:
        return f"{self.bytes / 2**30:.1f} GiB ({self.source})"


def memory_limit(root: str | Path = "/") -> MemoryLimit:
    """Find out how much memory this process may use.

    Args:
        root: Where ``sys/fs/cgroup`` and ``proc`` are.

    Returns:
        ``LOOPLINE_MEMORY_LIMIT`` when it is set, else the least of the limits of this process's control groups (version
        2 or 1) and the machine's available memory.

    Raises:
        InputError: ``LOOPLINE_MEMORY_LIMIT`` is no amount of memory.
    """
    given = os.environ.get(VARIABLE, "")
    if given:
        return MemoryLimit(_parse(given), VARIABLE)
    root = Path(root)
    found = [MemoryLimit(limit, "the container's limit") for limit in _group_limits(root)]
    found += [MemoryLimit(_available(root), "available memory")]
    return min(found, key=lambda limit: limit.bytes)


def _parse(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kMGT]|[KMGT]i)?", text.strip())
    amount = float(match[1]) * _UNITS[match[2] or ""] if match else 0
    if amount < 1:
        raise InputError(f"{VARIABLE} is {text!r}: write an amount of memory such as 4Gi or 500M.")
    return int(amount)


def _group_limits(root: Path) -> list[int]:
    files = {2: "memory.max", 1: "memory.limit_in_bytes"}
    texts = (read_setting(folder / files[version]) for version, folder in control_group_files("memory", root))
    return [int(text) for text in texts if text.isdecimal()]


def _available(root: Path) -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", read_setting(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
