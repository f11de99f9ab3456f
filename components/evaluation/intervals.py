"""Metrics with their intervals, and what the best constant prediction would score."""

from dataclasses import dataclass

import numpy as np

from loopline.components.evaluation.bootstrap import choose_rows, resample
from loopline.components.evaluation.metrics import RAISED_BY_RESAMPLING, score
from loopline.components.evaluation.weighted import weighted_statistic


@dataclass(frozen=True)
class ScoredRows:
    """The metrics of some rows.

    Attributes:
        metrics: By name ``value``, ``low`` and ``high``; None where the rows do not define them.
        resampled: From how many rows each bootstrap replicate was drawn; 0 when there are no intervals.
    """

    metrics: dict[str, dict[str, float | None]]
    resampled: int


def score_with_intervals(
    task: str,
    truth: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.5,
    replicates: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
) -> ScoredRows:
    """Compute every metric of a task with a percentile bootstrap interval.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        truth: Class positions or values, shape (rows,), at least one row.
        scores: Probabilities that sum to one, shape (rows, classes), or predictions, shape (rows,).
        threshold: Binary only: the probability of the second class from which a row is called positive.
        replicates: How many times to resample; 0 for no intervals.
        seed: Of the random numbers.
        confidence: The share of the replicates inside an interval, in (0, 1).

    Returns:
        The metrics.
    """
    values = score(task, truth, scores, threshold)
    intervals = dict.fromkeys(values, (None, None))
    resampled = 0
    if replicates and len(truth) > 1:
        passes = scores.shape[1] if task == "multiclass" else 1
        chosen = choose_rows(len(truth), replicates, passes, seed)
        statistic = weighted_statistic(task, truth[chosen], scores[chosen], threshold, only=values.keys())
        found = resample(statistic, len(chosen), len(truth), replicates, seed)
        resampled = len(chosen)
        for name, value in values.items():
            # Resampling can only widen the gaps of a calibrated model, so its replicates all lie above the value.
            intervals[name] = found.interval(name, value, confidence, centered=name in RAISED_BY_RESAMPLING)
    metrics = {
        name: {"value": value, "low": intervals[name][0], "high": intervals[name][1]} for name, value in values.items()
    }
    return ScoredRows(metrics, resampled)


def score_constant(task: str, classes: int, truth: np.ndarray, threshold: float = 0.5) -> dict[str, float | None]:
    """Score the best constant: the classes' shares in these very rows, or their mean.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: How many classes there are; unused for regression.
        truth: Class positions or values, shape (rows,), at least one row.
        threshold: As for ``score``.

    Returns:
        The value by metric name; None where the rows do not define it.
    """
    if task == "regression":
        return score(task, truth, np.full(len(truth), truth.mean()), threshold)
    shares = np.bincount(truth, minlength=classes) / len(truth)
    shares = np.clip(shares, 1e-7, 1)
    values = score(task, truth, np.tile(shares / shares.sum(), (len(truth), 1)), threshold)
    # Rounding leaves a constant's calibration error at 1e-16 instead of 0.
    return {name: None if value is None else round(value, 12) for name, value in values.items()}
