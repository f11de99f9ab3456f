"""Which of all faults are tried: all, or a part in which each fault and each component occurs.

The whole matrix takes long. ``python3 make.py faults`` tries all of it; other runs of the tests a quarter of what needs
a service, and nothing of disks and clocks.
"""

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator

ALL = os.environ.get("LOOPLINE_ALL_FAULTS") == "1"
#: Out of so many components one is tried with each fault.
_PART = 4


def chosen(fault: str, components: Iterable[str], part: int = _PART, always: str = "") -> list[str]:
    """Return the components that are tried with a fault.

    Args:
        fault: A name of the fault, which shifts the choice.
        components: All that could be.
        part: Out of how many one is chosen where not all are tried.
        always: One that is chosen in any case.
    """
    names = list(components)
    shift = zlib.crc32(fault.encode())
    return names if ALL else [n for place, n in enumerate(names) if (place + shift) % part == 0 or n == always]


def deaths() -> Iterator[int]:
    """Yield the calls at which a step is killed, one run each: every one, or every fourth."""
    return itertools.count(1, 1 if ALL else 4)
