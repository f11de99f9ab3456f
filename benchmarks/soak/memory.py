"""How the memory of the processes that live long grows: a line through what they held after their warm-up."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Seconds between two looks.
EVERY_S = 2.0
#: A process is judged when it was seen, after its warm-up, for this share of the soak.
_JUDGED_SHARE = 0.4
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Growth:
    """The memory of one process.

    Attributes:
        name: What it is.
        pid: Its process id.
        seconds: How long it was seen after its warm-up.
        start_mb: Its resident memory at the beginning of that, by the line.
        end_mb: At the end of it.
        judged: Whether that is long enough to be judged.
    """

    name: str
    pid: int
    seconds: float
    start_mb: float
    end_mb: float
    judged: bool

    @property
    def percent(self) -> float:
        """By how much it grew."""
        return 100 * (self.end_mb - self.start_mb) / self.start_mb


class MemoryWatch:
    """Looks at the processes again and again, for the length of a ``with`` block.

    Args:
        find: Returns the processes there are now: their ids by name.
    """

    def __init__(self, find: Callable[[], Mapping[str, int]]):
        self._find, self._ending = find, threading.Event()
        self._seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            for name, pid in self._find().items():
                if held := resident_mb(pid):
                    self._seen.setdefault((name, pid), []).append((time.monotonic(), held))
            self._ending.wait(EVERY_S)

    def growth(self, soak_s: float) -> list[Growth]:
        """Return the growth of every process that outlived its warm-up.

        Args:
            soak_s: How long the soak was.
        """
        warm_up_s = min(180.0, 0.2 * soak_s)
        found = [_fit(name, pid, seen, warm_up_s, soak_s) for (name, pid), seen in self._seen.items()]
        return sorted((one for one in found if one), key=lambda one: (not one.judged, one.name, one.pid))


def _fit(name: str, pid: int, seen: list[tuple[float, float]], warm_up_s: float, soak_s: float) -> Growth | None:
    times, held = np.array(seen).T
    warm = times >= times[0] + warm_up_s
    if warm.sum() < 3:
        return None
    times, held = times[warm] - times[warm][0], held[warm]
    slope, start = np.polyfit(times, held, 1)
    span = float(times[-1])
    return Growth(name, pid, span, float(start), float(start + slope * span), span >= _JUDGED_SHARE * soak_s)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (2**20 bytes); 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError):
        return 0.0
