"""The window of time that one run of monitoring looks at."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loopline.components.errors import InputError


@dataclass(frozen=True)
class Window:
    """An interval of the traffic log's clock.

    Attributes:
        start: Its first instant, UTC.
        end: The first instant after it, UTC.
    """

    start: datetime
    end: datetime

    def to_dict(self) -> dict[str, str]:
        """Return both instants as ISO 8601 text."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}


def read_window(start: str, end: str, hours: float) -> Window:
    """Read a window from a component's parameters.

    Args:
        start: ISO 8601, e.g. ``2026-11-24T14:00:00+00:00``; without a zone it is UTC. ``hours`` before the end when
            empty.
        end: The same; now when empty.
        hours: The window's length when it has no start; not looked at when it has one.

    Returns:
        The window, in UTC.

    Raises:
        InputError: A text is no instant, the length is not positive, or the end is not after the start.
    """
    last = read_instant(end, "end") if end.strip() else datetime.now(UTC)
    if start.strip():
        first = read_instant(start, "start")
    else:
        try:
            first = last - timedelta(hours=hours) if math.isfinite(hours) and hours > 0 else last
        except OverflowError:
            first = last
        if first == last:
            raise InputError(f"hours is {hours!r}: give the window's length as a positive number of hours, e.g. 24.")
    if first >= last:
        raise InputError(
            f"The window ends at {last.isoformat()}, which is not after its start {first.isoformat()}: swap or correct "
            "start and end."
        )
    return Window(first, last)


def read_instant(text: str, what: str) -> datetime:
    """Read an instant.

    Args:
        text: ISO 8601; without a zone it is UTC.
        what: What gives it, for the message.

    Returns:
        The instant, in UTC.

    Raises:
        InputError: The text is none.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
        instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            f"{what} {text!r} is no instant: write it like 2026-11-24T14:00:00+00:00, or leave it empty."
        ) from None
