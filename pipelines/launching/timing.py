"""When a schedule fires: at the times of a cron expression, or each time a period is over."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise

from loopline.components.errors import InputError
from loopline.pipelines.launching.cron import Cron
from loopline.pipelines.launching.words import describe, describe_seconds

_PERIOD = re.compile(r"(?:(\d{1,15})d)?(?:(\d{1,15})h)?(?:(\d{1,15})m)?(?:(\d{1,15})s)?")
_SHORTEST_S = 60
#: A hundred of the longest are still within the years that Python counts.
_LONGEST_S = 366 * 86400
#: So many gaps between times are looked at for the longest.
_GAPS = 100


@dataclass(frozen=True)
class Timing:
    """When a schedule fires.

    Attributes:
        cron: The expression; None for a period.
        period_s: The period in seconds; 0 for an expression.
        begin: From when on; a period is counted from here.
    """

    cron: Cron | None
    period_s: int
    begin: datetime

    @classmethod
    def read(cls, cron: str = "", every: str = "") -> "Timing":
        """Read what somebody gave.

        Args:
            cron: A cron expression of six fields; empty for a period.
            every: A period like ``6h``, ``90m`` or ``1d12h``; empty for an expression.

        Returns:
            When it fires, beginning now.

        Raises:
            InputError: One of them cannot be read, or it is not exactly one.
        """
        if bool(cron.strip()) == bool(every.strip()):
            raise InputError(
                'A schedule needs its times: write either --cron "0 0 2 * * *" for every day at 02:00, or --every 6h.'
            )
        now = datetime.now(UTC).replace(microsecond=0)
        return cls(None, _read_period(every), now) if every.strip() else cls(Cron.parse(cron), 0, now)

    @classmethod
    def of_trigger(cls, trigger, created_at: datetime) -> "Timing | None":
        """Read what the server holds.

        Args:
            trigger: A recurring run's trigger.
            created_at: When the recurring run was made.

        Returns:
            When it fires; None when this cannot be read, as of what somebody else made.
        """
        schedule = trigger.cron_schedule or trigger.periodic_schedule if trigger else None
        if schedule is None:
            return None
        begin = schedule.start_time if schedule.start_time and schedule.start_time.year > 1970 else created_at
        try:
            if trigger.cron_schedule:
                return cls(Cron.parse(schedule.cron or ""), 0, begin)
            period_s = int(schedule.interval_second)
            return cls(None, period_s, begin) if 0 < period_s <= _LONGEST_S else None
        except (InputError, ValueError, TypeError):
            return None

    @property
    def words(self) -> str:
        """When it fires, in words."""
        return describe(self.cron) if self.cron else f"every {describe_seconds(self.period_s)}"

    def same(self, other: "Timing") -> bool:
        """Return whether both fire alike, whenever they began."""
        mine, theirs = (timing.cron.text if timing.cron else "" for timing in (self, other))
        return (mine, self.period_s) == (theirs, other.period_s)

    def times(self, after: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Yield the times after an instant at which it fires.

        Args:
            after: Any aware time.
            zone: The time zone in which a cron expression is read, and times are told.
        """
        after = max(after, self.begin)
        if self.cron is None:
            period = timedelta(seconds=self.period_s)
            moment = self.begin + period * ((after - self.begin) // period)
            while True:
                moment += period
                yield moment.astimezone(zone)
        while (found := self.cron.first_after(after, zone)) is not None:
            yield found
            after = found

    def last_before(self, instant: datetime, zone: tzinfo, within: timedelta) -> datetime | None:
        """Return the last time at which it fired.

        Args:
            instant: Not after this.
            zone: The time zone.
            within: How far to look back.

        Returns:
            The time; None when there is none.
        """
        last = None
        for moment in self.times(instant - within, zone):
            if moment > instant:
                break
            last = moment
        return last

    def longest_gap(self) -> timedelta:
        """Return the longest time between two times at which it fires, by clocks that are never changed."""
        times = list(islice(self.times(datetime.now(UTC), UTC), _GAPS))
        return max((later - earlier for earlier, later in pairwise(times)), default=timedelta())

    def trigger(self, begin: datetime | None = None):
        """Return it as the server takes it.

        Args:
            begin: From when on; when it is made when None.
        """
        import kfp_server_api

        if self.cron:
            return kfp_server_api.V2beta1Trigger(
                cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=self.cron.text, start_time=begin)
            )
        schedule = kfp_server_api.V2beta1PeriodicSchedule(interval_second=str(self.period_s), start_time=begin)
        return kfp_server_api.V2beta1Trigger(periodic_schedule=schedule)


def _read_period(text: str) -> int:
    found = _PERIOD.fullmatch("".join(text.lower().split()))
    units = (86400, 3600, 60, 1)
    total = sum(int(part or 0) * unit for part, unit in zip(found.groups(), units, strict=True)) if found else 0
    if not total:
        raise InputError(f"Period {text!r} cannot be read: write days, hours and minutes, like 6h, 90m or 1d12h.")
    if total < _SHORTEST_S:
        raise InputError(f"Period {text!r} is shorter than a minute: write at least 1m.")
    if total > _LONGEST_S:
        raise InputError(f"Period {text!r} is longer than a year: write at most 366d.")
    return total
