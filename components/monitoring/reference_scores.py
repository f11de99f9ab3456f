"""The reference rows that travel with a model, scored by it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.schema import Schema
from loopline.components.evaluation.scored import predict_rows, read_labeled, read_truth
from loopline.components.model.directory import HELD_OUT
from loopline.components.model.predictor import load_predictor


@dataclass(frozen=True)
class ReferenceScores:
    """Reference rows with their truth and what the model predicts for them.

    Attributes:
        task: ``binary``, ``multiclass`` or ``regression``.
        features: The schema of the model's features.
        table: The rows.
        truth: Class positions or values, shape (rows,).
        scores: Probabilities that sum to one, shape (rows, classes), or values, shape (rows,).
        held_out: Whether the model was not trained on them.
    """

    task: str
    features: Schema
    table: pa.Table
    truth: np.ndarray
    scores: np.ndarray
    held_out: bool


def score_reference(model: str | Path) -> ReferenceScores:
    """Score the reference rows of a model directory.

    Args:
        model: The directory.

    Returns:
        The rows that have a label.

    Raises:
        InputError: The directory has no such rows, or they do not fit the model.
    """
    model = Path(model)
    predictor = load_predictor(model)
    manifest = predictor.manifest
    held_out = (model / HELD_OUT).is_file()
    rows = model / (HELD_OUT if held_out else "reference-rows.parquet")
    labeled = read_labeled(rows, manifest.target, predictor.features.names)
    return ReferenceScores(
        task=manifest.task,
        features=predictor.features,
        table=labeled.table,
        truth=read_truth(labeled.table, manifest),
        scores=predict_rows(predictor, labeled.table),
        held_out=held_out,
    )
