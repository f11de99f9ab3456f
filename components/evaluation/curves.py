"""Curves thinned to what a chart can show."""

import numpy as np
from sklearn.metrics import roc_curve

from loopline.components.evaluation.evaluate import Evaluation


def thin_roc(truth: np.ndarray, probability: np.ndarray, points: int = 200) -> tuple[list, list, list]:
    """Compute a ROC curve of a bounded number of points.

    Args:
        truth: 0 or 1, both present, shape (rows,).
        probability: Of the second class, shape (rows,).
        points: The most points.

    Returns:
        False positive rates, true positive rates and finite thresholds, as plain floats; the corners included.
    """
    false, true, thresholds = roc_curve(truth, probability)
    # The first threshold is infinite: nothing is called positive.
    thresholds[0] = 1.0
    if len(false) > points:
        # Even steps along the curve's length, not along the rows: a chart shows length.
        length = np.append(0.0, np.cumsum(np.abs(np.diff(false)) + np.abs(np.diff(true))))
        wanted = np.searchsorted(length, np.linspace(0, length[-1], points))
        keep = np.unique(np.clip(wanted, 0, len(false) - 1))
        keep[-1] = len(false) - 1
        false, true, thresholds = false[keep], true[keep], thresholds[keep]
    return false.tolist(), true.tolist(), thresholds.tolist()


def log_classification(evaluation: Evaluation, classification) -> None:
    """Hand curve and matrix to the artifact that the pipelines' user interface draws.

    Args:
        evaluation: The evaluation; nothing is logged for regression.
        classification: A ``kfp.dsl.ClassificationMetrics``.
    """
    manifest, truth = evaluation.manifest, evaluation.truth
    if manifest.task == "binary" and 0 < truth.sum() < len(truth):
        classification.log_roc_curve(*thin_roc(truth, evaluation.scores[:, 1]))
    if manifest.is_classification:
        classification.log_confusion_matrix([str(one) for one in manifest.classes], evaluation.confusion)
