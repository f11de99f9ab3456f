"""How many processors this process may use."""

import os
from pathlib import Path

_V2, _V1 = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu")


def processors() -> int:
    """Return how many processors this process has, at least 1: what a pod's limit allows, not what its node has.

    XGBoost, as Python itself, counts the processors of the node: a step limited to two of 64 would start 64 threads,
    which wait for each other most of the time.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return max(1, min(allowed, round(quota))) if quota else allowed


def _quota() -> float | None:
    """Return the processors that the control group grants, None where it sets no limit."""
    try:
        if _V2.is_file():
            quota, period = _V2.read_text().split()
        else:
            quota, period = ((_V1 / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no control group, or "max"
        return None
