"""The figures a model is judged by, each computed by scikit-learn.

It is imported where it computes: who only asks what there is to compare by need not wait for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loopline.components.errors import InputError

#: Equal-mass bins of the calibration error and the calibration curve.
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Metric:
    """What a reader and a comparison must know of a metric.

    Attributes:
        name: Its name in artifacts and parameters.
        label: Its name in reports.
        lower_is_better: Its direction.
        meaning: One line for somebody who does not know it.
    """

    name: str
    label: str
    lower_is_better: bool
    meaning: str


_LOG_LOSS = Metric("log_loss", "Log loss", True, "mean surprise at the true class, in nats; punishes false certainty")
_ACCURACY = Metric("accuracy", "Accuracy", False, "share of rows with the right class")
_BALANCED = Metric("balanced_accuracy", "Balanced accuracy", False, "mean of the recall of each class")

#: By task its metrics, in the order of the reports.
METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        Metric("roc_auc", "ROC AUC", False, "chance that a positive row is scored above a negative one"),
        Metric("average_precision", "Average precision", False, "area under the precision-recall curve"),
        _LOG_LOSS,
        Metric("brier", "Brier score", True, "mean squared error of the probability"),
        Metric("calibration_error", "Calibration error", True, "mean gap between stated and observed probability"),
        _ACCURACY,
        _BALANCED,
        Metric("precision", "Precision", False, "share of the rows called positive that are"),
        Metric("recall", "Recall", False, "share of the positive rows that are found"),
        Metric("f1", "F1", False, "harmonic mean of precision and recall"),
    ),
    "multiclass": (
        _LOG_LOSS,
        _ACCURACY,
        _BALANCED,
        Metric("macro_f1", "Macro F1", False, "mean of the F1 of each class"),
        Metric("macro_roc_auc", "Macro ROC AUC", False, "mean of the ROC AUC of each class against the rest"),
    ),
    "regression": (
        Metric("rmse", "RMSE", True, "root of the mean squared error, in the unit of the target"),
        Metric("mae", "MAE", True, "mean absolute error, in the unit of the target"),
        Metric("r2", "R\u00b2", False, "share of the target's variance that is explained"),
        Metric("median_absolute_error", "Median absolute error", True, "half of the errors are smaller"),
        Metric("mape", "MAPE", True, "mean absolute error relative to the true value"),
    ),
}

#: What one number stands for a model when nobody says otherwise.
MAIN_METRIC = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}

#: Metrics that noise alone raises, so that the replicates of a bootstrap lie to one side of the value.
RAISED_BY_RESAMPLING = ("calibration_error",)


def find_metric(task: str, name: str = "") -> Metric:
    """Return a metric of a task.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        name: The metric; the task's main one when empty.

    Returns:
        The metric.

    Raises:
        InputError: The task has no such metric.
    """
    name = name or MAIN_METRIC[task]
    for metric in METRICS[task]:
        if metric.name == name:
            return metric
    known = ", ".join(metric.name for metric in METRICS[task])
    raise InputError(f"Metric {name!r} is unknown for a {task} model: use one of {known}.")


def resolve_direction(metric: Metric, lower_is_better: str = "auto") -> bool:
    """Say whether lower values of a metric are better.

    Args:
        metric: The metric.
        lower_is_better: ``auto``, or what the caller believes: ``true`` or ``false``.

    Returns:
        Whether lower is better.

    Raises:
        InputError: The caller's belief contradicts the metric, or is neither.
    """
    belief = str(lower_is_better).strip().lower() or "auto"
    if belief not in ("auto", "true", "false"):
        raise InputError(f"lower_is_better is {lower_is_better!r}: use auto, true or false.")
    if belief != "auto" and (belief == "true") != metric.lower_is_better:
        word = "lower" if metric.lower_is_better else "higher"
        raise InputError(f"lower_is_better is {belief} but a {word} {metric.name} is better: leave it at auto.")
    return metric.lower_is_better


def score(task: str, truth: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, float | None]:
    """Compute every metric of a task.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        truth: Class positions or values, shape (rows,), at least one row.
        scores: Probabilities, shape (rows, classes), or predictions, shape (rows,).
        threshold: Binary only: the probability of the second class from which a row is called positive.

    Returns:
        The value by metric name; None where the rows do not define it. ``mape`` is left out unless every true value
        stays clear of zero.
    """
    if task == "binary":
        return _score_binary(truth, scores[:, 1], threshold)
    return _score_multiclass(truth, scores) if task == "multiclass" else _score_regression(truth, scores)


def _score_binary(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float | None]:
    from sklearn import metrics as sk

    called = probability >= threshold
    both = 0 < truth.sum() < len(truth)
    return {
        "roc_auc": float(sk.roc_auc_score(truth, probability)) if both else None,
        "average_precision": float(sk.average_precision_score(truth, probability)) if truth.any() else None,
        "log_loss": float(sk.log_loss(truth, probability, labels=[0, 1])),
        "brier": float(np.mean((probability - truth) ** 2)),
        "calibration_error": calibration_error(truth, probability),
        "accuracy": float(sk.accuracy_score(truth, called)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(truth, called)) if both else None,
        "precision": float(sk.precision_score(truth, called, zero_division=0)),
        "recall": float(sk.recall_score(truth, called)) if truth.any() else None,
        "f1": float(sk.f1_score(truth, called, zero_division=0)),
    }


def _score_multiclass(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    from sklearn import metrics as sk

    called = scores.argmax(axis=1)
    classes = range(scores.shape[1])
    present = np.unique(truth)
    # Over the classes that occur in the truth: a class nobody can get right says nothing about the model.
    recalls = sk.recall_score(truth, called, labels=present, average=None, zero_division=0)
    areas = [sk.roc_auc_score(truth == k, scores[:, k]) for k in present] if len(present) > 1 else []
    return {
        "log_loss": float(sk.log_loss(truth, scores, labels=list(classes))),
        "accuracy": float(sk.accuracy_score(truth, called)),
        "balanced_accuracy": float(np.mean(recalls)) if len(present) > 1 else None,
        "macro_f1": float(sk.f1_score(truth, called, labels=list(classes), average="macro", zero_division=0)),
        "macro_roc_auc": float(np.mean(areas)) if areas else None,
    }


def _score_regression(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    from sklearn import metrics as sk

    values = {
        "rmse": float(sk.root_mean_squared_error(truth, scores)),
        "mae": float(sk.mean_absolute_error(truth, scores)),
        "r2": float(sk.r2_score(truth, scores)) if np.ptp(truth) > 0 else None,
        "median_absolute_error": float(sk.median_absolute_error(truth, scores)),
    }
    if relative_errors_make_sense(truth):
        values["mape"] = float(sk.mean_absolute_percentage_error(truth, scores))
    return values


def relative_errors_make_sense(truth: np.ndarray) -> bool:
    """Say whether all true values are positive and none is below a hundredth of their median."""
    return bool(truth.min() > 0 and truth.min() >= 0.01 * np.median(truth))


def calibration_bins(probability: np.ndarray, bins: int = CALIBRATION_BINS) -> np.ndarray:
    """Put rows into bins of about equal size by their probability; equal probabilities stay together.

    Args:
        probability: Shape (rows,), in [0, 1].
        bins: The most bins.

    Returns:
        The bin of each row, shape (rows,), from 0.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    return np.searchsorted(edges, probability, side="left")


def calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Compute the expected calibration error with equal-mass bins.

    Bins of equal size rather than equal width: with rare positives nearly all rows fall into the first bin of equal
    width and the error says nothing (Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019;
    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015).

    Args:
        truth: 0 or 1, shape (rows,).
        probability: Of the second class, shape (rows,).
        bins: The most bins.

    Returns:
        The mean over rows of the gap between a bin's mean probability and its share of positives, in [0, 1].
    """
    gaps = np.bincount(calibration_bins(probability, bins), weights=probability - truth)
    return float(np.abs(gaps).sum() / len(truth))


def best_position(metric: Metric, values: Sequence[float]) -> int:
    """Return the position of the best value; the first among equals."""
    return int(np.argmin(values) if metric.lower_is_better else np.argmax(values))
