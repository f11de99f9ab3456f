"""Cron expressions as KFP's server reads them: six fields, seconds first, in the cluster's time zone.

The grammar is that of the parser in the server, robfig/cron 1.2. It also takes five fields, and then reads the first as
seconds; that and what it silently reads otherwise than anybody means is refused here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from loopline.components.errors import InputError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}  # fmt: skip
_ORDER = "second, minute, hour, day of the month, month, weekday"
#: The server itself looks no further ahead.
_HORIZON = timedelta(days=5 * 366)


@dataclass(frozen=True)
class Field:
    """One field of an expression.

    Attributes:
        values: The values at which it fires.
        star: Whether it was written with a star or a question mark, which decides how the two fields for days combine.
        bounds: Its lowest and its highest value.
    """

    values: frozenset[int]
    star: bool
    bounds: tuple[int, int]

    @property
    def all(self) -> bool:
        """Whether it holds every value."""
        return len(self.values) == self.bounds[1] - self.bounds[0] + 1


@dataclass(frozen=True)
class Cron:
    """A cron expression.

    Attributes:
        text: The six fields.
        second: Always a single value.
        minute: Minutes.
        hour: Hours.
        day: Days of the month.
        month: Months, January is 1.
        weekday: Days of the week, Sunday is 0.
    """

    text: str
    second: Field
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Read an expression.

        Args:
            text: Six fields, or a shorthand like ``@daily``.

        Returns:
            The expression.

        Raises:
            InputError: It cannot be read, or would not be read as it is meant.
        """
        given = " ".join(text.split())
        fields = _SHORTHANDS.get(given, given).split()
        if given.startswith("@") and given not in _SHORTHANDS:
            hint = "write --every 6h" if given.startswith("@every") else f"write six fields: {_ORDER}"
            raise InputError(f"Cron {given!r} is not known: {hint}.")
        if "TZ=" in given:
            raise InputError(f"Cron {given!r} names a time zone, and the server knows its own alone: leave it out.")
        if len(fields) == 5:
            raise InputError(_five_fields(given))
        if len(fields) != 6:
            year = " without the year" if len(fields) == 7 else ""
            raise InputError(f"Cron {given!r} has {len(fields)} fields: write six{year}: {_ORDER}.")
        cron = cls._read(fields)
        if len(cron.second.values) != 1:
            raise InputError(
                f"Cron {given!r} would run more than once a minute: write one second, like 0, in the first field."
            )
        if cron.first_after(datetime.now(UTC), UTC) is None:
            raise InputError(f"Cron {given!r} never comes about: no month it names has such a day.")
        return cron

    @classmethod
    def _read(cls, fields: list[str]) -> "Cron":
        return cls(
            " ".join(fields),
            _field("second", fields[0], 0, 59),
            _field("minute", fields[1], 0, 59),
            _field("hour", fields[2], 0, 23),
            _field("day of the month", fields[3], 1, 31),
            _field("month", fields[4], 1, 12, _MONTHS),
            _field("weekday", fields[5], 0, 6, _WEEKDAYS),
        )

    def first_after(self, instant: datetime, zone: tzinfo) -> datetime | None:
        """Return the first time after an instant at which it fires.

        It fires whenever the clock on the wall shows its time: not at all on the day that leaves out that hour, and
        twice on the day that repeats it.

        Args:
            instant: Any aware time.
            zone: The time zone in which the fields are read.

        Returns:
            The time in that zone; None when there is none within five years.
        """
        # Steps are taken in UTC, where no hour is left out or repeated.
        moment = instant.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        end = moment + _HORIZON
        while moment < end:
            local = moment.astimezone(zone)
            if local.month not in self.month.values or not self._day_fits(local):
                moment = datetime.combine(local.date() + timedelta(days=1), time(), zone).astimezone(UTC)
            elif local.hour not in self.hour.values:
                # Clocks are set forward and back on a quarter of an hour.
                moment += timedelta(minutes=15 - local.minute % 15, seconds=-local.second)
            elif local.minute not in self.minute.values:
                moment += timedelta(seconds=60 - local.second)
            elif local.second not in self.second.values:
                moment += timedelta(seconds=1)
            else:
                return local
        return None

    def _day_fits(self, local: datetime) -> bool:
        of_month = local.day in self.day.values
        of_week = local.isoweekday() % 7 in self.weekday.values
        if self.day.star or self.weekday.star:
            return of_month and of_week
        return of_month or of_week


def _field(name: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> Field:
    values: set[int] = set()
    star = False
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise InputError(f"Cron: the step {step!r} of the {name} {part!r} must be a whole number from 1 on.")
        width = int(step) if slash else 1
        if span in ("*", "?"):
            star, begin, end = True, low, high
        else:
            begin = _number(name, first, low, high, part, names)
            # A number with a step goes on to the end of the range.
            end = _number(name, last, low, high, part, names) if dash else high if slash else begin
        if begin > end:
            raise InputError(f"Cron: the {name} {part!r} ends before it begins: write the smaller value first.")
        values.update(range(begin, end + 1, width))
    return Field(frozenset(values), star, (low, high))


def _number(name: str, text: str, low: int, high: int, part: str, names: tuple[str, ...] = ()) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    if name == "weekday" and text == "7":
        raise InputError(f"Cron: the weekday {part!r} is not known to the server: Sunday is 0 or sun.")
    also = f", or {names[0]} to {names[-1]}" if names else ""
    inside = f" in {part!r}" if part != text else ""
    raise InputError(f"Cron: the {name} is {text!r}{inside} but must be {low} to {high}{also}, * or a range of them.")


def _five_fields(given: str) -> str:
    """Say what five fields would do, and which six were meant."""
    from loopline.pipelines.launching.words import describe

    problem = f"Cron {given!r} has five fields, and the server reads seconds first"
    try:
        meant = describe(Cron.parse(f"0 {given}"))
    except InputError:
        return f"{problem}: write six: {_ORDER}."
    try:
        read = f": it would run {describe(Cron._read([*given.split(), '*']))}"
    except InputError:
        read = ""
    return f'{problem}{read}. To run {meant} write "0 {given}".'
