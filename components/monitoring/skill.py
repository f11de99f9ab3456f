"""Skill: how much of the best constant's loss a model avoids, so that windows of different base rates compare.

With a base rate of 10 percent every model has a small log loss, and with 50 percent every model has a large one. The
skill score takes that out: 1 is a perfect model, 0 one no better than the best constant prediction for these very rows,
below 0 one that is worse (Murphy, "Skill Scores Based on the Mean Square Error", Monthly Weather Review 116, 1988).
"""

from collections.abc import Callable

import numpy as np

from loopline.components.evaluation.bootstrap import Statistic
from loopline.components.evaluation.intervals import score_constant
from loopline.components.evaluation.metrics import Metric
from loopline.components.evaluation.weighted import weighted_statistic


def skill_score(metric: Metric, value: float | None, constant: float | None) -> float | None:
    """Compute a skill score.

    Args:
        metric: The metric.
        value: What the model scores.
        constant: What the best constant prediction scores on the same rows.

    Returns:
        At most 1; None where one of them is undefined, or the constant is perfect.
    """
    if value is None or constant is None:
        return None
    perfect = 0.0 if metric.lower_is_better else 1.0
    # Where all rows are of one class the constant is nearly perfect by hindsight.
    if abs(perfect - constant) < 1e-6:
        return None
    return (value - constant) / (perfect - constant)


def skill_statistic(task: str, metric: Metric, truth: np.ndarray, scores: np.ndarray, only=()) -> Statistic:
    """Prepare metrics and skill for resampling.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        metric: The metric whose skill is wanted.
        truth: Class positions or values, shape (rows,).
        scores: Probabilities that sum to one, shape (rows, classes), or predictions, shape (rows,).
        only: The metrics wanted beside ``metric``; all when empty.

    Returns:
        A function from counts of shape (rows,) to values by metric name, and ``skill``.
    """
    measured = weighted_statistic(task, truth, scores, only={*only, metric.name} if only else ())
    classes = scores.shape[1] if scores.ndim > 1 else 0
    constant = _constant(task, metric.name, truth, classes)

    def statistic(counts: np.ndarray) -> dict[str, float | None]:
        values = measured(counts)
        return {**values, "skill": skill_score(metric, values.get(metric.name), constant(counts))}

    return statistic


def _constant(task: str, name: str, truth: np.ndarray, classes: int) -> Callable[[np.ndarray], float | None]:
    """Return the best constant's value as a function of how often each row was drawn."""
    if task == "regression":
        errors = truth - truth.mean()
        if name == "rmse":
            return lambda counts: _deviation(counts, errors)
        fixed = score_constant(task, classes, truth)[name]
        return lambda counts: fixed

    shares = _shares(truth, classes)
    if name == "log_loss":
        return lambda counts: _entropy(shares(counts))
    if name == "brier":
        return lambda counts: float(shares(counts).prod())
    if name == "accuracy":
        return lambda counts: float(shares(counts).max())
    fixed = score_constant(task, classes, truth).get(name)
    return lambda counts: fixed


def _shares(truth: np.ndarray, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda counts: np.bincount(truth, weights=counts, minlength=classes) / counts.sum()


def _entropy(shares: np.ndarray) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())


def _deviation(counts: np.ndarray, errors: np.ndarray) -> float:
    mean = counts @ errors / counts.sum()
    return float(np.sqrt(max(counts @ errors**2 / counts.sum() - mean**2, 0.0)))
