"""How far one column has moved, from counts alone: sizes that do not grow with the number of rows."""

from dataclasses import dataclass

import numpy as np

from loopline.components.data.profile import BINS
from loopline.components.monitoring.bins import OUTER
from loopline.components.monitoring.reference import Watched
from loopline.components.monitoring.tallies import CategoryTally, NumberTally

#: Groups of equal size in the reference that PSI and the Jensen-Shannon distance look at.
GROUPS = 10
#: Categories expected fewer times than this in the smaller of both tables count as one.
LEAST = 5


@dataclass(frozen=True)
class Effects:
    """How far a column has moved; None where one side has no values.

    Attributes:
        psi: Population stability index over deciles of the reference, or categories, less what chance alone gives.
        js: Jensen-Shannon distance over the same groups, 0 to 1 (base 2).
        wasserstein_sd: Wasserstein distance in standard deviations of the reference, to some percent, or a fifth where
            the reference has heavy tails; None for categories and booleans. Values farther outside the reference's
            range than it is wide count as if they were just that far.
        ks: Kolmogorov-Smirnov statistic; for categories the total variation distance: both are the largest difference
            of the shares of any interval, or of any set of categories.
        missing: Share of missing values.
        missing_reference: The same at training.
        unseen: Share of the present values that are categories never seen at training; 0 for numbers.
        outside: Share of the present values outside the range seen at training; 0 for categories.
        far: Share of them farther outside than that range is wide; 0 for categories.
    """

    psi: float | None
    js: float | None
    wasserstein_sd: float | None
    ks: float | None
    missing: float | None
    missing_reference: float | None
    unseen: float = 0.0
    outside: float = 0.0
    far: float = 0.0

    @property
    def missing_change(self) -> float:
        """By how much the share of missing values changed."""
        return abs((self.missing or 0.0) - (self.missing_reference or 0.0))


def measure_effects(column: Watched, tally: NumberTally | CategoryTally) -> Effects:
    """Compare what was counted of a column with the reference.

    Args:
        column: The column, with the reference's counts.
        tally: What was counted now, in the same bins.

    Returns:
        The effects.
    """
    before, now = column.counts, tally.counts
    shares = {
        "missing": _share(tally.missing, tally.present),
        "missing_reference": _share(column.entry["missing"], column.present),
    }
    if not before.sum() or not now.sum():
        return Effects(None, None, None, None, **shares)
    if column.is_text:
        groups = group_rare(before, now)
        distance, wasserstein = total_variation(before, now), None
        shares["unseen"] = tally.unseen / tally.present
    else:
        groups = group_deciles(before, now)
        distance, wasserstein = ks(before, now), _wasserstein_sd(column, tally)
        shares |= {"outside": tally.outside / tally.present, "far": tally.far / tally.present}
    chance = (len(groups[0]) - 1) * (1 / before.sum() + 1 / now.sum())
    return Effects(max(0.0, psi(*groups) - chance), js(*groups), wasserstein, distance, **shares)


def group_deciles(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the bins of a number to ``GROUPS`` groups that hold about as many values of the reference each."""
    below = np.cumsum(reference)[:-1]
    wanted = np.arange(1, GROUPS) * reference.sum() / GROUPS
    after = np.searchsorted(below, wanted).clip(1, len(below) - 1)
    nearest = after - (wanted - below[after - 1] < below[after] - wanted)
    starts = np.unique(np.append(0, nearest + 1))
    groups = np.add.reduceat(reference, starts), np.add.reduceat(current, starts)
    filled = (groups[0] + groups[1]) > 0
    return groups[0][filled], groups[1][filled]


def group_rare(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the rare categories, and with them those never seen, of which both tables together may expect too few."""
    smaller = min(reference.sum(), current.sum())
    rare = reference / reference.sum() * smaller < LEAST
    groups = [np.append(counts[~rare], counts[rare].sum()) for counts in (reference, current)]
    filled = (groups[0] + groups[1]) > 0
    return groups[0][filled], groups[1][filled]


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the population stability index of counts by group; an empty group counts as half a value."""
    p, q = (np.maximum(counts, 0.5) / counts.sum() for counts in (reference, current))
    return float(np.sum((q - p) * np.log(q / p)))


def js(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the Jensen-Shannon distance of counts by group: the root of the divergence in bits (Lin, 1991)."""
    p, q = reference / reference.sum(), current / current.sum()
    middle = (p + q) / 2
    parts = [np.sum(side[side > 0] * np.log2(side[side > 0] / middle[side > 0])) for side in (p, q)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def ks(reference: np.ndarray, current: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov statistic of counts by bin, at the edges of the bins."""
    return float(np.abs(_below(reference) - _below(current)).max(initial=0.0))


def total_variation(reference: np.ndarray, current: np.ndarray) -> float:
    """Return half the sum of the differences of the shares by category."""
    return float(np.abs(reference / reference.sum() - current / current.sum()).sum() / 2)


def wasserstein(edges: np.ndarray, reference: np.ndarray, current: np.ndarray, steps: bool) -> float:
    """Return the first Wasserstein distance: the area between the cumulative distributions.

    Args:
        edges: Of the bins, shape (bins - 1,). What lies beyond the outermost counts as lying there.
        reference: Counts by bin.
        current: Counts by bin.
        steps: Whether the values of a bin all lie at its lower edge, as with few different values; else they are
            spread over it.

    Returns:
        The distance in the column's unit.
    """
    widths = np.diff(edges)
    difference = _below(reference) - _below(current)
    start, end = np.abs(difference[:-1]), np.abs(difference[1:])
    both = start + end
    squares = np.divide(start**2 + end**2, both, out=np.zeros_like(both), where=both > 0)
    areas = np.where(difference[:-1] * difference[1:] < 0, squares, both) / 2
    if steps:
        # What lies outside the range seen at training is spread over its bin all the same.
        areas[1:-1] = end[1:-1]
    return float(np.sum(areas * widths))


def _wasserstein_sd(column: Watched, tally: NumberTally) -> float | None:
    sd = column.entry["sd"]
    if column.kind == "boolean" or not sd:
        return None
    edges = column.bins.edges.astype(float)
    # The outermost bins reach no farther than there are values.
    edges[0] = np.clip(tally.minimum, edges[0], edges[1])
    edges[-1] = np.clip(tally.maximum, edges[-2], edges[-1])
    steps = column.kind == "integer" or len(edges) - 2 * OUTER < BINS // 2
    return wasserstein(edges, column.counts, tally.counts, steps) / sd


def _below(counts: np.ndarray) -> np.ndarray:
    """Return the share below each edge."""
    return np.cumsum(counts)[:-1] / counts.sum()


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
