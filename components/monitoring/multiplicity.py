"""Many tests, one promise: combining the tests of one column, and holding the share of false alarms of all together."""

from collections.abc import Sequence

import numpy as np

#: p-values above count as this one: at 1, which exact tests do give, one test would outweigh any signal of others.
NEARLY_ONE = 0.99


def combine(p_values: Sequence[float], weights: Sequence[float]) -> float:
    """Combine dependent p-values into one (Cauchy combination: Liu and Xie, JASA 2020).

    Tests that agree hardly dilute each other, and a small p-value of one test alone costs about its weight.

    Args:
        p_values: At least one.
        weights: How much each counts; they need not sum to one.
    """
    p_values, weights = np.asarray(p_values, dtype=float), np.asarray(weights, dtype=float)
    weights = weights / weights.sum()
    p_values = np.minimum(p_values, NEARLY_ONE)
    if (p_values < 1e-15).any():  # The tangent is too steep for floating point: here it is the harmonic mean.
        with np.errstate(divide="ignore"):
            return float(1 / (weights / p_values).sum())
    statistic = float((weights * np.tan((0.5 - p_values) * np.pi)).sum())
    # The tail for large statistics, where 0.5 - arctan(t) / pi would lose its digits.
    return float(np.arctan2(1.0, statistic) / np.pi)


def weighted_holm(p_values: Sequence[float], weights: Sequence[float]) -> np.ndarray:
    """Adjust p-values so that those below alpha are wrong at most a share alpha of the time, taken together.

    Holm's method with weights (Holm 1979; Benjamini and Hochberg 1997); any dependence is allowed.

    Args:
        p_values: One a hypothesis.
        weights: The share of alpha each is given; they need not sum to one.

    Returns:
        Adjusted p-values in the same order.
    """
    p_values, weights = np.asarray(p_values, dtype=float), np.asarray(weights, dtype=float)
    order = np.argsort(p_values / weights, kind="stable")
    remaining = np.cumsum(weights[order][::-1])[::-1]
    stepped = np.maximum.accumulate(p_values[order] / weights[order] * remaining)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
