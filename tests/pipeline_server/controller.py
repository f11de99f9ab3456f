"""When recurring runs fire: what the scheduled-workflow controller does, with the parser that it uses.

The grammar is that of robfig/cron 1.2, which KFP pins: seconds first, and where there are five fields the day of the
week is what is left out. Written apart from ``loopline.pipelines.launching.cron`` and slowly, second by second, to hold
that against it.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_BOUNDS = ((0, 59, ()), (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}  # fmt: skip


class GoCron:
    """A cron expression as the server reads it; ValueError for what it refuses."""

    def __init__(self, text: str):
        fields = _DESCRIPTORS.get(text, text).split()
        if len(fields) == 5:
            fields.append("*")
        if len(fields) != 6:
            raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
        read = [_field(part, *bounds) for part, bounds in zip(fields, _BOUNDS, strict=True)]
        self.values, self.stars = [values for values, _ in read], [star for _, star in read]

    def matches(self, local: datetime) -> bool:
        """Return whether it fires at an instant, told by the clock on the wall."""
        second, minute, hour, dom, month, dow = self.values
        of_month, of_week = local.day in dom, local.isoweekday() % 7 in dow
        day = (of_month and of_week) if self.stars[3] or self.stars[5] else (of_month or of_week)
        return day and local.month in month and local.hour in hour and local.minute in minute and local.second in second

    def first_after(self, instant: datetime, zone: ZoneInfo, until: datetime) -> datetime | None:
        """Return the first instant after one, not after another; looks at every second of a day that may hold it."""
        candidate = instant.replace(microsecond=0) + timedelta(seconds=1)
        while candidate <= until:
            local = candidate.astimezone(zone)
            if self.matches(local):
                return candidate
            # Whole minutes are skipped where no second of them can match, and quarters where no minute can.
            fits = local.hour in self.values[2]
            quarter = timedelta(minutes=14 - local.minute % 15, seconds=60 - local.second)
            minute = timedelta(seconds=1 if local.minute in self.values[1] else 60 - local.second)
            candidate += minute if fits else quarter
        return None


def _field(text: str, low: int, high: int, names) -> tuple[set[int], bool]:
    values, star = set(), False
    for part in filter(None, text.split(",")):
        span, *step = part.split("/")
        ends = span.split("-")
        if len(step) > 1 or len(ends) > 2:
            raise ValueError(f"Too many hyphens or slashes: {part}")
        if ends[0] in ("*", "?"):
            first, last, star = low, high, True
        else:
            first, last = _number(ends[0], low, names), _number(ends[-1], low, names)
            if step and len(ends) == 1:
                last = high
        if first < low or last > high or first > last or (step and int(step[0]) < 1):
            raise ValueError(f"Out of bounds: {part}")
        values |= set(range(first, last + 1, int(step[0]) if step else 1))
    return values, star


def _number(text: str, low: int, names) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not text.isdigit():
        raise ValueError(f"Failed to parse int from {text}")
    return int(text)


def next_time(recurring: dict, last: datetime | None, now: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the time that a recurring run is to fire for, in the past when it is overdue; None when not until now."""
    cron, periodic = recurring["trigger"].get("cron_schedule"), recurring["trigger"].get("periodic_schedule")
    start = (cron or periodic).get("start_time")
    base = last or utc(start or recurring["created_at"])
    if start:
        base = max(base, utc(start))
    skip = recurring.get("no_catchup", False)
    if periodic:
        interval = timedelta(seconds=int(periodic["interval_second"]))
        due = base + interval
        if due > now:
            return None
        return now if skip and now >= due + interval else due
    expression = GoCron(cron["cron"])
    due = expression.first_after(base, zone, now)
    while due and skip and (later := expression.first_after(due, zone, now)):
        due = later
    return due


def utc(text: str) -> datetime:
    """Read an instant."""
    return datetime.fromisoformat(text).astimezone(UTC)
