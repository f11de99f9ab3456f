"""The few scores a trainer reports on its validation rows."""

import numpy as np
import pyarrow as pa

from loopline.components.model.predictor import Predictor
from loopline.components.model.targets import class_positions


def validation_scores(predictor: Predictor, rows: pa.Table) -> dict[str, float]:
    """Score a model on validation rows.

    Args:
        predictor: The model.
        rows: Features and target, no target missing.

    Returns:
        ``log_loss`` and, for two classes, ``roc_auc``; for regression ``rmse`` and ``mae``. A score that the rows do
        not define, such as the area under the curve of a single class, is left out.
    """
    from sklearn import metrics

    manifest = predictor.manifest
    scores = predictor.predict(rows).astype(float)
    target = rows.column(manifest.target)
    if not manifest.is_classification:
        truth = np.asarray(target, float)
        return {
            "rmse": float(metrics.root_mean_squared_error(truth, scores)),
            "mae": float(metrics.mean_absolute_error(truth, scores)),
        }
    truth = class_positions(target, manifest.classes)
    scores /= scores.sum(axis=1, keepdims=True)  # single precision sums to one only to seven digits
    found = {"log_loss": float(metrics.log_loss(truth, scores, labels=range(len(manifest.classes))))}
    if manifest.task == "binary" and len(np.unique(truth)) == 2:
        found["roc_auc"] = float(metrics.roc_auc_score(truth, scores[:, 1]))
    return found
