"""Percentile bootstrap intervals with bounded work (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from loopline.components.errors import InputError

#: Rows times replicates times passes over the rows: some seconds on one core, whatever the table's size.
WORK = 50_000_000
#: Never fewer rows than this, so that many replicates do not make the sample meaningless.
FEWEST_ROWS = 5_000
#: An interval from fewer replicates has no stable ends.
FEWEST_REPLICATES = 50

#: From how often each row was drawn, shape (rows,), to the value of each metric; None where undefined.
Statistic = Callable[[np.ndarray], dict[str, float | None]]


@dataclass(frozen=True)
class Replicates:
    """What resampling gave.

    Attributes:
        values: By metric its value in each replicate, shape (replicates,), NaN where undefined.
        centers: By metric its value over the rows that were resampled.
        rows: How many rows were resampled.
        total: How many rows there are.
    """

    values: dict[str, np.ndarray]
    centers: dict[str, float | None]
    rows: int
    total: int

    def deviations(self, name: str, centered: bool = False) -> np.ndarray:
        """Return how far the replicates of a metric lie from its value, at the scale of all rows.

        A statistic over m of n rows varies as 1/sqrt(m) where one over all rows varies as 1/sqrt(n), so the deviations
        shrink by sqrt(m/n) (Bickel, Goetze and van Zwet, "Resampling fewer than n observations", Statistica Sinica
        1997).

        Args:
            name: The metric.
            centered: Take the mean deviation out, for a metric that every resampling raises.

        Returns:
            The deviations of the replicates that define it.
        """
        values = self.values[name]
        values = values[np.isfinite(values)]
        center = values.mean() if centered and len(values) else self.centers[name]
        return (values - center) * np.sqrt(self.rows / self.total)

    def interval(self, name: str, value: float | None, confidence: float = 0.95, centered: bool = False):
        """Return the percentile interval of a metric.

        Args:
            name: The metric.
            value: Its value over all rows.
            confidence: The share of the replicates inside, in (0, 1).
            centered: As for ``deviations``.

        Returns:
            The lower and the upper end; two None when more than half of the replicates do not define the metric.
        """
        if value is None or self.centers.get(name) is None:
            return None, None
        deviations = self.deviations(name, centered)
        if len(deviations) * 2 < len(self.values[name]) or not len(deviations):
            return None, None
        tail = (1 - confidence) / 2
        low, high = value + np.quantile(deviations, [tail, 1 - tail])
        return float(low), float(high)


def check_replicates(replicates: int, seed: int) -> None:
    """Refuse a number of replicates or a seed that cannot be used.

    Args:
        replicates: 0 for no intervals, or at least ``FEWEST_REPLICATES``.
        seed: Not negative.

    Raises:
        InputError: One of them is out of range.
    """
    if replicates != 0 and not FEWEST_REPLICATES <= replicates <= 100_000:
        raise InputError(f"bootstrap is {replicates}: use 0 for no intervals, or {FEWEST_REPLICATES} to 100,000.")
    if seed < 0:
        raise InputError(f"seed is {seed}: use 0 or a positive number.")


def choose_rows(total: int, replicates: int, passes: int, seed: int, work: int = WORK) -> np.ndarray:
    """Choose the rows to resample: all of them, or a random part that keeps the work bounded.

    Args:
        total: How many rows there are.
        replicates: How often they will be resampled.
        passes: How many times a replicate goes over the rows, e.g. once a class.
        seed: Of the random choice.
        work: The most rows times replicates times passes.

    Returns:
        Row positions, ascending.
    """
    most = max(work // max(replicates * passes, 1), FEWEST_ROWS)
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))


def draw_counts(rows: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Draw rows with replacement, as often as there are rows, again and again.

    Args:
        rows: How many rows there are.
        replicates: How many times to draw.
        seed: Of the random numbers.

    Yields:
        How often each row was drawn, float64 of shape (rows,), summing to ``rows``.
    """
    random = np.random.default_rng([seed, 1])
    for _ in range(replicates):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def resample(statistic: Statistic, rows: int, total: int, replicates: int, seed: int) -> Replicates:
    """Compute a statistic on resampled rows.

    Args:
        statistic: The metrics as a function of how often each row was drawn.
        rows: How many rows it is over.
        total: How many rows they were chosen from.
        replicates: How many times to resample.
        seed: Of the random numbers.

    Returns:
        The replicates.
    """
    centers = statistic(np.ones(rows))
    values = {name: np.full(replicates, np.nan) for name in centers}
    for position, counts in enumerate(draw_counts(rows, replicates, seed)):
        for name, value in statistic(counts).items():
            values[name][position] = np.nan if value is None else value
    return Replicates(values, centers, rows, total)
