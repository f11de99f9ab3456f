"""What a site's counters say it did: looks at them, and the difference between looks."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

#: Seconds by which the start of one process may be told differently.
_SAME_START_S = 1.0


@dataclass(frozen=True)
class Look:
    """What the counters of one process stood at.

    Attributes:
        time: When, in seconds since 1970.
        started: When the process started; None when it does not say.
        answered: Requests answered.
        refused: Requests refused because of what was sent.
        failed: Requests that failed for another reason.
        buckets: Requests answered within so many seconds, by the seconds as text (``+Inf`` for all).
        open: Requests being answered at the moment; None when unknown.
        release: What is served, in words that change with it; empty when unknown.
    """

    time: float
    started: float | None
    answered: float
    refused: float
    failed: float
    buckets: Mapping[str, float]
    open: float | None = None
    release: str = ""

    def as_dict(self) -> dict:
        """Return it as JSON holds it."""
        return asdict(self)

    @property
    def counts(self) -> np.ndarray:
        """Answered, refused and failed."""
        return np.array([self.answered, self.refused, self.failed])


@dataclass
class Activity:
    """What a site did between looks at its counters.

    Attributes:
        times: The looks, in seconds since 1970, ascending: shape (n + 1,).
        counts: Requests answered, refused and failed between two looks: shape (n, 3).
        bounds: The upper bounds of the latency's buckets in seconds, ascending, the last infinite.
        buckets: Requests answered within each bound between two looks: shape (n, bounds).
        restarts: How often a process began anew.
        open: The most requests seen open at once; None when unknown.
        problem: Why this is not all, one sentence; empty when it is.
    """

    times: np.ndarray
    counts: np.ndarray
    bounds: np.ndarray
    buckets: np.ndarray
    restarts: int = 0
    open: float | None = None
    problem: str = ""

    @property
    def seconds(self) -> float:
        """How long the site was watched."""
        return float(self.times[-1] - self.times[0]) if len(self.times) else 0.0

    @property
    def requests(self) -> np.ndarray:
        """All requests between two looks: shape (n,)."""
        return self.counts.sum(axis=1)

    @property
    def timed(self) -> np.ndarray:
        """Answers whose latency was counted between two looks: some servers time those that failed, too. Shape (n,)."""
        return self.buckets[:, -1] if self.buckets.size else np.zeros(len(self.counts))

    def slower_than(self, seconds: float) -> np.ndarray:
        """Return how many answers took longer between two looks, as if spread evenly within a bucket: shape (n,)."""
        if not self.buckets.size:
            return np.zeros(len(self.counts))
        edges = np.concatenate([[0.0], self.bounds])
        place = min(int(np.searchsorted(self.bounds, seconds)), len(self.bounds) - 1)
        before = self.buckets[:, place - 1] if place else np.zeros(len(self.buckets))
        within = self.buckets[:, place] - before
        # Zero beyond the last finite bound, where nobody knows: those may all be slower.
        part = (seconds - edges[place]) / (edges[place + 1] - edges[place])
        return np.maximum(self.buckets[:, -1] - before - part * within, 0.0)

    def percentile_ms(self, percent: float) -> float | None:
        """Return the latency that a share of all answers did not exceed, in milliseconds; None without answers.

        As ``histogram_quantile`` of Prometheus: evenly spread within a bucket, and the last finite bound at most.
        """
        merged = self.buckets.sum(axis=0) if self.buckets.size else np.zeros(0)
        if not merged.size or merged[-1] <= 0:
            return None
        wanted = merged[-1] * percent / 100
        place = int(np.searchsorted(merged, wanted))
        low = self.bounds[place - 1] if place else 0.0
        if np.isinf(self.bounds[place]):
            return float(low) * 1e3
        before = merged[place - 1] if place else 0.0
        return float(low + (self.bounds[place] - low) * (wanted - before) / max(merged[place] - before, 1e-9)) * 1e3

    def peak_rate(self, seconds: float) -> float:
        """Return the most requests a second over a window of so many seconds, or as few more as the looks allow."""
        ends = np.arange(1, len(self.times))
        if not len(ends):
            return 0.0
        whole = np.concatenate([[0.0], np.cumsum(self.requests)])
        starts = np.maximum(np.searchsorted(self.times, self.times[ends] - seconds * 0.999, side="right") - 1, 0)
        lengths = self.times[ends] - self.times[starts]
        usable = lengths >= min(seconds, self.seconds) * 0.999
        return float(((whole[ends] - whole[starts])[usable] / lengths[usable]).max())


def grow(
    looks: Sequence[Look], zero_at: float | None = None, at_resets: Mapping[float, Look] | None = None
) -> Activity:
    """Return what one address did between looks.

    Args:
        looks: By time; at least one.
        zero_at: When its counters stood at zero before the first look, in seconds since 1970; None when they did not.
        at_resets: By the time of a look how much was counted since the look before, where somebody looked more often;
            for looks before which the counters began anew.

    Returns:
        The growth. What a process did after its last look and before it ended is in no counter.
    """
    bounds = _common_bounds(looks)
    times = [look.time for look in looks]
    rows = np.array([_row(look, bounds) for look in looks])
    restarts, problem = 0, ""
    if zero_at is not None and zero_at < times[0]:
        times, rows = [zero_at, *times], np.vstack([np.zeros((1, rows.shape[1])), rows])
        looks = [looks[0], *looks]
    growth = np.diff(rows, axis=0)
    for place, (before, after) in enumerate(itertools.pairwise(looks)):
        if _is_older(before, after):
            growth[place] = 0.0
            problem = "Several processes answer at this address: set PROMETHEUS_URL, which watches each of them."
        elif before is after or is_reset(before, after):
            seen = (at_resets or {}).get(after.time)
            growth[place] = rows[place + 1] if seen is None else np.maximum(rows[place + 1], _row(seen, bounds))
            replaced = before.release and after.release and before.release != after.release
            restarts += not (before is after or replaced)
    known = [look.open for look in looks if look.open is not None]
    return Activity(
        np.array(times),
        growth[:, :3],
        np.array([float(bound) for bound in bounds]),
        growth[:, 3:],
        restarts,
        max(known, default=None),
        problem,
    )


def is_reset(before: Look, after: Look) -> bool:
    """Return whether the counters began anew between two looks."""
    younger = None not in (before.started, after.started) and after.started > before.started + _SAME_START_S
    return younger or bool((after.counts < before.counts).any())


def add(parts: Sequence[tuple[Sequence[int], Activity]], times: np.ndarray) -> Activity:
    """Add up what several processes did.

    Args:
        parts: For each the place of each of its looks among ``times``, and what it did.
        times: All looks, in seconds since 1970.

    Returns:
        What they did together.
    """
    bounds = sorted(set.intersection(*(set(part.bounds) for _, part in parts)))
    counts, buckets = np.zeros((len(times) - 1, 3)), np.zeros((len(times) - 1, len(bounds)))
    for places, part in parts:
        chosen = np.searchsorted(part.bounds, bounds)
        # What grew between two looks stands at the later one.
        ends = np.asarray(places[1:], int) - 1
        np.add.at(counts, ends, part.counts)
        np.add.at(buckets, ends, part.buckets[:, chosen])
    known = [part.open for _, part in parts if part.open is not None]
    return Activity(
        times, counts, np.array(bounds), buckets, sum(part.restarts for _, part in parts), max(known, default=None)
    )


def _common_bounds(looks: Sequence[Look]) -> list[str]:
    common = set.intersection(*(set(look.buckets) for look in looks))
    return sorted(common, key=float)


def _row(look: Look, bounds: Sequence[str]) -> np.ndarray:
    return np.array([*look.counts, *(look.buckets.get(bound, 0.0) for bound in bounds)])


def _is_older(before: Look, after: Look) -> bool:
    """Return whether the later look shows a process that began before the other: there are two of them."""
    return None not in (before.started, after.started) and after.started < before.started - _SAME_START_S
