"""Do columns hang together as before? Spearman's correlation of every pair of numbers, in the reference and now.

Ranks are taken inside each sample, so that a column that moves as a whole changes no pair. The variance of a
correlation comes from its influence function, ranks included, for Fisher's 1 / (n - 3) holds for normal data alone and
cries wolf on dependence with heavy tails.
"""

import numpy as np
from scipy import stats

from loopline.components.monitoring.engines import PairTest

#: Rows of each sample that the variances are estimated from.
VARIANCE_ROWS = 4_000
#: Rows with both values present that a pair must have in each sample.
LEAST_ROWS = 30
#: Correlations beyond count as this one, where Fisher's transformation is still finite.
STRONGEST = 0.999


def pair_tests(reference: np.ndarray, current: np.ndarray, names: list[str]) -> list[PairTest]:
    """Test every pair of numbers for a change of their correlation.

    Args:
        reference: Numbers (rows x columns) with NaN for missing, in random order.
        current: The same columns now.
        names: The columns' names.

    Returns:
        A test for every pair that both samples hold often enough.
    """
    first, second = np.triu_indices(len(names), k=1)
    before, variance_before, rows_before = _correlations(reference)
    now, variance_now, rows_now = _correlations(current)
    enough = (rows_before >= LEAST_ROWS) & (rows_now >= LEAST_ROWS) & ~np.isnan(before) & ~np.isnan(now)
    n, m = rows_before[enough], rows_now[enough]
    both = np.clip((n * before[enough] + m * now[enough]) / (n + m), -STRONGEST, STRONGEST)
    # When nothing has changed both samples share one variance; no less than Fisher's, for the rows may be few.
    variance = (n * variance_before[enough] + m * variance_now[enough]) / (n + m) / (1 - both**2) ** 2
    error = np.sqrt(np.maximum(variance, 1.0) * (1 / (n - 3) + 1 / (m - 3)))
    moved = [np.arctanh(np.clip(side[enough], -STRONGEST, STRONGEST)) for side in (before, now)]
    p_values = 2 * stats.norm.sf(np.abs(moved[1] - moved[0]) / error)
    found = zip(first[enough], second[enough], before[enough], now[enough], p_values, strict=True)
    return [PairTest(names[i], names[j], float(a), float(b), float(p)) for i, j, a, b, p in found]


def _correlations(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correlation, variance of its influence function and rows of every pair (upper triangle, row by row)."""
    present = ~np.isnan(values)
    scores = np.where(present, _rank_scores(values), 0.0)
    counts, products = present.T.astype(float) @ present, scores.T @ scores
    sums, squares = scores.T @ present, (scores**2).T @ present  # Of the row's column where the other is present.
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / counts
        spread = squares / counts - means**2
        spreads = spread * spread.T
        correlations = (products / counts - means * means.T) / np.sqrt(spreads)
        # Ties and what is missing beside the other make the scores vary by less than 1.
        variances = _influence_variances(scores[:VARIANCE_ROWS], present[:VARIANCE_ROWS]) / spreads
    upper = np.triu_indices(values.shape[1], k=1)
    return correlations[upper], variances[upper], counts[upper]


def _rank_scores(values: np.ndarray) -> np.ndarray:
    """Return middle ranks of what is present, with mean 0 and, ties aside, variance 1; NaN stays."""
    counts = (~np.isnan(values)).sum(axis=0)
    ranks = stats.rankdata(values, axis=0, nan_policy="omit")
    return np.sqrt(12.0) * ((ranks - 0.5) / np.maximum(counts, 1) - 0.5)


def _influence_variances(scores: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the variance of the influence function of every correlation, for Spearman's as the mean of a * b.

    A row counts by its own a * b, and by what its value does to the ranks of the others: the mean of b over the rows
    whose a is no smaller, and the same the other way round.
    """
    columns = scores.shape[1]
    order = np.argsort(scores, axis=0, kind="stable")
    variances = np.full((columns, columns), np.nan)
    for i in range(columns - 1):
        others = scores[:, i + 1 :]
        both = present[:, [i]] & present[:, i + 1 :]
        counts = np.maximum(both.sum(axis=0), 1)
        by_first = np.empty_like(others)
        by_first[order[:, i]] = _sums_above(np.where(both, others, 0.0)[order[:, i]])
        by_second = np.empty_like(others)
        sorted_first = np.take_along_axis(np.where(both, scores[:, [i]], 0.0), order[:, i + 1 :], axis=0)
        np.put_along_axis(by_second, order[:, i + 1 :], _sums_above(sorted_first), axis=0)
        influence = scores[:, [i]] * others + np.sqrt(12.0) * (by_first + by_second) / counts
        mean = np.where(both, influence, 0.0).sum(axis=0) / counts
        variances[i, i + 1 :] = np.where(both, (influence - mean) ** 2, 0.0).sum(axis=0) / counts
    return variances


def _sums_above(values: np.ndarray) -> np.ndarray:
    """Return for every row the sum of it and all below it in the array, column by column."""
    return np.cumsum(values[::-1], axis=0)[::-1]
