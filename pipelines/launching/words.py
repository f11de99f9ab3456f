"""Schedules in words."""

from collections.abc import Iterable

from loopline.pipelines.launching.cron import Cron, Field

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
#: So many times of a day are listed one by one.
_LISTED = 6


def describe(cron: Cron) -> str:
    """Say when an expression fires, e.g. ``every day at 02:00``.

    Args:
        cron: The expression.

    Returns:
        The words.
    """
    days, times = _days(cron), _times(cron)
    if times.startswith("at "):
        return f"{days} {times}"
    return times if days == "every day" else f"{times}, {days}"


def describe_seconds(seconds: int) -> str:
    """Say how long a period is, as behind ``every``: ``6 hours``, ``hour``.

    Args:
        seconds: The period.

    Returns:
        The words.
    """
    parts = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return join(parts).removeprefix("1 ") if len(parts) == 1 else join(parts)


def join(words: Iterable[str], last: str = "and") -> str:
    """Return words as a list in a sentence."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def _days(cron: Cron) -> str:
    months = "" if cron.month.all else _spans(sorted(cron.month.values), (*_MONTHS[-1:], *_MONTHS))
    if cron.day.all and cron.weekday.all:
        return f"every day in {months}" if months else "every day"
    weekdays = _spans(sorted(cron.weekday.values), _WEEKDAYS, every="every ")
    of_month = f"of {months or 'every month'}"
    numbers = _ordinals(sorted(cron.day.values))
    if cron.weekday.all:
        return f"on the {numbers} {of_month}"
    if cron.day.all:
        return f"{weekdays} in {months}" if months else weekdays
    if cron.day.star or cron.weekday.star:
        names = join((_WEEKDAYS[day] for day in sorted(cron.weekday.values)), "or")
        return f"on the {numbers} {of_month} where it is a {names}"
    return f"on the {numbers} {of_month} and {weekdays}{f' in {months}' if months else ''}"


def _times(cron: Cron) -> str:
    hours, minutes, seconds = sorted(cron.hour.values), sorted(cron.minute.values), sorted(cron.second.values)
    if len(seconds) > 1:  # read so by the server, and refused
        whole = cron.hour.all and cron.minute.all
        return f"{len(seconds)} times {'a minute' if whole else 'in each minute that it names'}"
    if len(hours) * len(minutes) <= _LISTED:
        return f"at {join(_clock(hour, minute, seconds[0]) for hour in hours for minute in minutes)}"
    often = _often(cron.minute, minutes, seconds[0])
    if cron.hour.all:
        return often
    if len(minutes) == 1 and (step := _step(hours, cron.hour)):
        return f"every {step} hours from {_clock(hours[0], minutes[0], seconds[0])}"
    if hours == list(range(hours[0], hours[-1] + 1)):
        return f"{often} from {hours[0]:02}:00 to {hours[-1]:02}:59"
    return f"{often} in the hours {join(map(str, hours))}"


def _often(field: Field, minutes: list[int], second: int) -> str:
    at = f" at second {second}" if second else ""
    if field.all:
        return f"every minute{at}"
    if minutes == [0]:
        return f"every hour{at}"
    if minutes[0] == 0 and (step := _step(minutes, field)):
        return f"every {step} minutes{at}"
    return f"every hour at minute {join(map(str, minutes))}{at}"


def _step(values: list[int], field: Field) -> int:
    """Return the step between values that go round the field evenly; 0 when they do not."""
    size = field.bounds[1] + 1
    steps = {later - earlier for earlier, later in zip(values, [*values[1:], values[0] + size], strict=True)}
    return steps.pop() if len(steps) == 1 and len(values) > 1 else 0


def _spans(values: list[int], names: tuple[str, ...], every: str = "") -> str:
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{names[values[0]]} to {names[values[-1]]}"
    return every + join(names[value] for value in values)


def _ordinals(days: list[int]) -> str:
    if len(days) <= _LISTED:
        return join(map(_ordinal, days))
    return f"{_ordinal(days[0])}, {_ordinal(days[1])}, ... and {_ordinal(days[-1])}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
