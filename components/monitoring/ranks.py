"""Linear rank tests: has a number's middle moved, has its spread, have all numbers moved a little?

Values are replaced by the scores of their ranks in both samples pooled, so that outliers, units and transformations do
not matter; when nothing has changed, the current rows are a random draw from the pooled ones, whose moments are known
exactly. With normal scores the location test is as powerful as the t-test on normal data and more so elsewhere
(Chernoff and Savage, 1958); the squared normal scores test the spread (Klotz, 1962).
"""

import numpy as np
from scipy import stats


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Replace values by the normal quantiles of their ranks; ties share their middle rank.

    Args:
        values: Numbers, none missing.
    """
    return stats.norm.ppf(stats.rankdata(values) / (len(values) + 1))


def linear_rank_test(scores: np.ndarray, current: int) -> tuple[float, float]:
    """Test whether the last rows have other scores than a random draw of as many rows would.

    The null distribution is Pearson's type III with the permutation distribution's first three moments (Mielke and
    Berry, 2007): the normal one would cry wolf in the tails of skewed scores when one sample is much smaller.

    Args:
        scores: Scores of both samples.
        current: How many of the last scores are the current sample's; at least one and not all.

    Returns:
        The standardized statistic (positive: scores have grown) and the two-sided p-value.
    """
    total = len(scores)
    centered = scores - scores.mean()
    spread = centered.std()
    if total < 3 or spread < 1e-12:
        return 0.0, 1.0
    reference = total - current
    statistic = centered[-current:].sum() / (spread * np.sqrt(current * reference / (total - 1)))
    skew = (centered**3).mean() / spread**3
    skew *= (total - 2 * current) / (total - 2) * np.sqrt((total - 1) / (current * reference))
    tail = min(_upper_tail(statistic, skew), _upper_tail(-statistic, -skew))
    return float(statistic), min(2 * tail, 1.0)


def _upper_tail(statistic: float, skew: float) -> float:
    return float(stats.norm.sf(statistic) if abs(skew) < 1e-6 else stats.pearson3.sf(statistic, skew))


def joint_location_test(scores: np.ndarray, current: int) -> tuple[float, float]:
    """Test whether the middles of all columns together have moved (Puri and Sen, 1971).

    Args:
        scores: Matrix rows x columns, every column centered, missing values as zero.
        current: How many of the last rows are the current sample's.

    Returns:
        The debiased root mean square shift of a column in standard deviations, and the p-value (Pillai's trace, whose
        distribution is that of a beta variable).
    """
    total, reference = len(scores), len(scores) - current
    sums = scores[-current:].sum(axis=0)
    values, vectors = np.linalg.eigh(scores.T @ scores)
    kept = values > values[-1] * 1e-9
    rank = int(kept.sum())
    if not rank or total - 1 - rank < 10:
        return 0.0, 1.0
    # d' S^-1 d with S the total sum of squares: the share of the variance that the two samples explain.
    trace = float((((sums @ vectors[:, kept]) ** 2) / values[kept]).sum()) * total / (reference * current)
    variances = np.maximum((scores**2).mean(axis=0), 1e-12)
    shifts = sums / current - scores[:-current].sum(axis=0) / reference
    square = (shifts**2 / variances).mean() - (1 / reference + 1 / current)
    return float(np.sqrt(max(square, 0.0))), float(stats.beta.sf(min(trace, 1.0), rank / 2, (total - 1 - rank) / 2))
