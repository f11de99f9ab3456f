"""What happened during a soak, and when: what was done, and which faults were injected."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

OPERATION, FAULT = "operation", "fault"


@dataclass
class Event:
    """Something that was done.

    Attributes:
        kind: ``operation`` for what a user does, ``fault`` for what was injected.
        name: What it was.
        sites: The sites it was done to; empty for none of them.
        outage: Whether these sites may leave requests unanswered meanwhile.
        start: When it began, of ``time.monotonic``.
        end: When it was over: for a fault, when what it broke worked again. Infinite until then.
        note: What came of it.
        problem: What should not have happened; empty when nothing.
    """

    kind: str
    name: str
    sites: tuple[str, ...] = ()
    outage: bool = False
    start: float = 0.0
    end: float = float("inf")
    note: str = ""
    problem: str = ""

    def overlaps(self, start: float, end: float) -> bool:
        """Return whether it was under way at some moment of a span."""
        return self.start <= end and start <= self.end


class Journal:
    """The events of a soak; several threads write to it.

    Attributes:
        events: The events in the order in which they began.
    """

    def __init__(self):
        self.events: list[Event] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def record(self, kind: str, name: str, sites: tuple[str, ...] = (), outage: bool = False) -> Iterator[Event]:
        """Record an event that lasts for the length of a ``with`` block; what it raises is its problem."""
        event = Event(kind, name, sites, outage, time.monotonic())
        with self._lock:
            self.events.append(event)
        try:
            yield event
        except Exception as error:
            event.problem = f"{type(error).__name__}: {error}"
        finally:
            event.end = time.monotonic()

    def disturbed(self, start: float, end: float) -> bool:
        """Return whether a fault was under way at some moment of a span."""
        with self._lock:
            return any(event.kind == FAULT and event.overlaps(start, end) for event in self.events)
