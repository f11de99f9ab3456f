"""Service level objectives: what a site has to hold, and how fast it burns what it may fail.

Beyer and others, "The Site Reliability Workbook" (O'Reilly 2018), chapter 5, "Alerting on SLOs": a budget burns too
fast when both a long window and a short one at its end spend it at a multiple of the rate that would just use it up.
"""

import math
from dataclasses import dataclass

import numpy as np

from loopline.components.errors import InputError

#: Chance of seeing as many failures in one window where the rate is still right. Low, since many windows are looked at.
_SURE = 0.001
#: A burn counts at the latest when this share of all requests is bad: a short look could not tell otherwise.
_MOST = 0.5
#: Two looks further apart than this multiple of a rule's long window say nothing about that window.
_COARSE = 1.5
_HOUR = 3600.0


@dataclass(frozen=True)
class Slo:
    """What a site has to hold.

    Attributes:
        availability: The share of requests that must not fail for a reason of the server's.
        p99_ms: What 99 of 100 answers may take at most, in milliseconds.
        capacity: Requests a second that sites can take, ``edge=300,cloud=1200``, or one number for all; empty when
            nobody knows. ``probe_capacity`` finds it.
        saturation: The highest share of the capacity that may be used.
        restarts: The most restarts in a window.
        period_h: Hours that the budget of failures is for.

    Raises:
        InputError: A value makes no sense.
    """

    availability: float = 0.999
    p99_ms: float = 250.0
    capacity: str = ""
    saturation: float = 0.8
    restarts: int = 3
    period_h: float = 720.0

    def __post_init__(self):
        if not 0 < self.availability < 1:
            raise InputError(f"availability is {self.availability}: write a share between 0 and 1, as 0.999.")
        for name in ("p99_ms", "saturation", "period_h"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}: write a number above 0.")
        if self.restarts < 0:
            raise InputError(f"restarts is {self.restarts}: write how many a window may have.")
        read_capacity(self.capacity)

    def capacity_of(self, site: str) -> float | None:
        """Return how many requests a second a site can take; None when nobody knows."""
        known = read_capacity(self.capacity)
        return known.get(site, known.get(""))


def read_capacity(text: str) -> dict[str, float]:
    """Read how many requests a second sites can take.

    Args:
        text: ``edge=300,cloud=1200``, or one number for all.

    Returns:
        The rate by site; under an empty name the one for all.

    Raises:
        InputError: It says something else.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        site, _, rate = part.rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"capacity has {part!r}: write requests a second by site, as edge=300,cloud=1200.")
        found[site.strip()] = value
    return found


@dataclass(frozen=True)
class Rule:
    """A rule of the workbook.

    Attributes:
        name: What it is called here.
        spent: The share of the period's budget that is too much in the long window.
        long_h: The long window in hours; the short one is a twelfth, and shows that it still goes on.
    """

    name: str
    spent: float
    long_h: float


#: Burn rates of 14.4, 6 and 1 where the period is 30 days.
RULES = (Rule("fast", 0.02, 1.0), Rule("slow", 0.05, 6.0), Rule("long", 0.10, 72.0))


@dataclass(frozen=True)
class Burn:
    """How fast a budget burned at worst, by one rule.

    Attributes:
        rule: The rule's name.
        rate: Times as fast as would use it up in the period: the lower of the long and the short window.
        limit: From where on it is too fast.
        at: When the worst window ended, in seconds since 1970.
        seconds: How long that window was.
        burning: Whether it was too fast, and surely so.
    """

    rule: str
    rate: float
    limit: float
    at: float
    seconds: float
    burning: bool


def worst_burn(rule: Rule, times: np.ndarray, total: np.ndarray, bad: np.ndarray, budget: float, period_h: float):
    """Find the windows in which a budget burned fastest by a rule.

    A rule's windows shrink with what was observed, and its limit grows: the same part of the budget is too much.

    Args:
        rule: The rule.
        times: The looks, in seconds since 1970, ascending: shape (n + 1,).
        total: Requests between two looks: shape (n,).
        bad: How many of them were bad: shape (n,).
        budget: The share that may be bad.
        period_h: Hours that the budget is for.

    Returns:
        A ``Burn``; None when there was no request, or the looks are too far apart for this rule.
    """
    from scipy.stats import binom

    ends = np.arange(1, len(times))
    observed = float(times[-1] - times[0]) if len(ends) else 0.0
    if not observed or not total.sum():
        return None
    long_s = min(rule.long_h * _HOUR, observed)
    seconds, requests, failures = _sums(times, total, bad, ends, long_s)
    usable = seconds <= _COARSE * rule.long_h * _HOUR
    # Failures of the first minutes after a start spent little of the budget, however large their share is.
    usable &= seconds >= 0.999 * long_s
    if not usable.any():
        return None
    _, short_requests, short_failures = _sums(times, total, bad, ends, long_s / 12)
    limit = np.minimum(rule.spent * period_h * _HOUR / seconds, _MOST / budget)
    rate = np.minimum(_share(failures, requests), _share(short_failures, short_requests)) / budget
    chance = binom.sf(np.floor(failures) - 1, np.ceil(requests), np.minimum(limit * budget, 1.0))
    burning = usable & (rate >= limit) & (chance < _SURE)
    ranked = np.where(usable, rate, -1.0) + np.where(burning, 1 / budget, 0.0)
    worst = int(ranked.argmax())
    return Burn(
        rule.name, float(rate[worst]), float(limit[worst]), float(times[worst + 1]), float(seconds[worst]),
        bool(burning[worst]),
    )  # fmt: skip


def surely_more(bad: float, total: float, share: float) -> bool:
    """Return whether more than a share of requests is bad, and not by chance."""
    from scipy.stats import binom

    return bad > share * total and bool(binom.sf(math.floor(bad) - 1, math.ceil(total), share) < _SURE)


def _sums(times: np.ndarray, total: np.ndarray, bad: np.ndarray, ends: np.ndarray, length_s: float):
    """Return for windows that end at some looks how long they are, their requests and their failures."""
    starts = np.searchsorted(times, times[ends] - length_s * 0.999, side="right") - 1
    starts = np.maximum(starts, 0)
    requests, failures = (np.concatenate([[0.0], np.cumsum(values)]) for values in (total, bad))
    return times[ends] - times[starts], requests[ends] - requests[starts], failures[ends] - failures[starts]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
