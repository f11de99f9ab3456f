"""How many processors this process may use."""

import os
from pathlib import Path

from loopline.components.control_group import control_group_files, read_setting


def processors(root: str | Path = "/") -> int:
    """Return how many processors this process has, at least 1: what a pod's limit allows, not what its node has.

    XGBoost, as Python itself, counts the processors of the node: a step limited to two of 64 would start 64 threads,
    which wait for each other most of the time.

    Args:
        root: Where ``sys/fs/cgroup`` and ``proc`` are.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *map(round, _quotas(root))]))


def _quotas(root: str | Path) -> list[float]:
    """Return the processors that the control groups grant, one number for each that sets a limit."""
    quotas = []
    for version, folder in control_group_files("cpu", root):
        if version == 2:
            words = read_setting(folder / "cpu.max").split()
        else:
            words = [read_setting(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        # No limit is "max" in version 2, -1 in version 1, and no file at all in the root.
        if len(words) == 2 and all(map(str.isdecimal, words)):
            quotas.append(int(words[0]) / int(words[1]))
    return quotas
