"""The metrics once more, as functions of how often each row was drawn.

A bootstrap asks for the same metrics hundreds of times. Here the scores are sorted once and a replicate is a handful of
sums over the rows. Every value equals scikit-learn's on the rows repeated as often as they were drawn.
"""

from collections.abc import Collection

import numpy as np

from loopline.components.evaluation.bootstrap import Statistic
from loopline.components.evaluation.metrics import calibration_bins, relative_errors_make_sense


def weighted_statistic(
    task: str, truth: np.ndarray, scores: np.ndarray, threshold: float = 0.5, only: Collection[str] = ()
) -> Statistic:
    """Prepare the metrics of a task for resampling.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        truth: Class positions or values, shape (rows,).
        scores: Probabilities that sum to one, shape (rows, classes), or predictions, shape (rows,).
        threshold: Binary only: the probability from which a row is called positive.
        only: The metrics wanted; all when empty.

    Returns:
        A function from counts of shape (rows,) to values by metric name.
    """
    if task == "binary":
        parts = _binary_parts(truth.astype(np.float64), scores[:, 1], threshold)
    elif task == "multiclass":
        parts = _multiclass_parts(truth, scores)
    else:
        parts = _regression_parts(truth, scores)
    wanted = [part for names, part in parts if not only or set(names) & set(only)]

    def statistic(counts: np.ndarray) -> dict[str, float | None]:
        values = {}
        for part in wanted:
            values.update(part(counts))
        return {name: value for name, value in values.items() if not only or name in only}

    return statistic


def _mean(values: np.ndarray):
    return lambda counts: float(counts @ values / counts.sum())


def _binary_parts(truth: np.ndarray, probability: np.ndarray, threshold: float) -> list:
    loss = _mean(-np.log(np.where(truth == 1, probability, 1 - probability)))
    brier = _mean((probability - truth) ** 2)
    cell = (2 * truth + (probability >= threshold)).astype(np.int64)
    bins = calibration_bins(probability)
    gap = probability - truth

    def called(counts: np.ndarray) -> dict[str, float | None]:
        tn, fp, fn, tp = np.bincount(cell, weights=counts, minlength=4)
        recall = tp / (tp + fn) if tp + fn else None
        specificity = tn / (tn + fp) if tn + fp else None
        return {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
            "precision": tp / (tp + fp) if tp + fp else 0.0,
            "recall": recall,
            "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
        }

    def calibration(counts: np.ndarray) -> dict[str, float | None]:
        return {"calibration_error": float(np.abs(np.bincount(bins, weights=counts * gap)).sum() / counts.sum())}

    return [
        (("roc_auc", "average_precision"), _ranking(truth, probability)),
        (("log_loss",), lambda counts: {"log_loss": loss(counts)}),
        (("brier",), lambda counts: {"brier": brier(counts)}),
        (("accuracy", "balanced_accuracy", "precision", "recall", "f1"), called),
        (("calibration_error",), calibration),
    ]


def _ranking(truth: np.ndarray, probability: np.ndarray, precision: bool = True):
    """Return ROC AUC and average precision as a function of counts, from scores sorted once."""
    order = np.argsort(-probability, kind="stable")
    ranked, positive = probability[order], truth[order]
    # Rows of one score are called positive together: only the last of them is a point of the curve.
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def ranking(counts: np.ndarray) -> dict[str, float | None]:
        drawn = counts[order]
        hits = np.cumsum(drawn * positive)[ends]
        called = np.cumsum(drawn)[ends]
        total_hits, total_misses = hits[-1], called[-1] - hits[-1]
        gained = np.diff(hits, prepend=0.0)
        values: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
        if total_hits and total_misses:
            misses = called - hits
            area = np.diff(misses, prepend=0.0) @ (hits - gained / 2)
            values["roc_auc"] = float(area / (total_hits * total_misses))
        if total_hits and precision:
            values["average_precision"] = float(gained @ (hits / np.maximum(called, 1.0)) / total_hits)
        return values

    return ranking


def _multiclass_parts(truth: np.ndarray, scores: np.ndarray) -> list:
    classes = scores.shape[1]
    loss = _mean(-np.log(scores[np.arange(len(truth)), truth]))
    cell = truth * classes + scores.argmax(axis=1)
    present = np.unique(truth)
    rankings = [_ranking((truth == k).astype(np.float64), scores[:, k], precision=False) for k in present]

    def called(counts: np.ndarray) -> dict[str, float | None]:
        matrix = np.bincount(cell, weights=counts, minlength=classes**2).reshape(classes, classes)
        hits, true, guessed = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        seen = true > 0
        f1 = np.divide(2 * hits, true + guessed, out=np.zeros(classes), where=true + guessed > 0)
        return {
            "accuracy": float(hits.sum() / matrix.sum()),
            "balanced_accuracy": float(np.mean(hits[seen] / true[seen])) if seen.sum() > 1 else None,
            "macro_f1": float(f1.mean()),
        }

    def areas(counts: np.ndarray) -> dict[str, float | None]:
        values = [ranking(counts)["roc_auc"] for ranking in rankings]
        defined = len(present) > 1 and all(value is not None for value in values)
        return {"macro_roc_auc": float(np.mean(values)) if defined else None}

    return [
        (("log_loss",), lambda counts: {"log_loss": loss(counts)}),
        (("accuracy", "balanced_accuracy", "macro_f1"), called),
        (("macro_roc_auc",), areas),
    ]


def _regression_parts(truth: np.ndarray, scores: np.ndarray) -> list:
    error = np.abs(scores - truth)
    square, absolute = _mean(error**2), _mean(error)
    # Around the mean, so that the variance keeps its digits when the values are large.
    centered = truth - truth.mean()
    first, second = _mean(centered), _mean(centered**2)
    order = np.argsort(error, kind="stable")
    ranked = error[order]

    def explained(counts: np.ndarray) -> dict[str, float | None]:
        variance = second(counts) - first(counts) ** 2
        return {"r2": 1 - square(counts) / variance if variance > 0 else None}

    def median(counts: np.ndarray) -> dict[str, float | None]:
        drawn = np.cumsum(counts[order])
        middle = drawn[-1] / 2
        low = np.searchsorted(drawn, middle, side="left")
        high = np.searchsorted(drawn, middle, side="right")
        return {"median_absolute_error": float((ranked[low] + ranked[high]) / 2)}

    parts = [
        (("rmse",), lambda counts: {"rmse": float(np.sqrt(square(counts)))}),
        (("mae",), lambda counts: {"mae": absolute(counts)}),
        (("r2",), explained),
        (("median_absolute_error",), median),
    ]
    if relative_errors_make_sense(truth):
        relative = _mean(error / truth)
        parts.append((("mape",), lambda counts: {"mape": relative(counts)}))
    return parts
