"""A model's predictions for the labeled rows of a test table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.tables import BATCH_ROWS, check_columns, open_parquet, read_table
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest
from loopline.components.model.predictor import Predictor
from loopline.components.model.targets import class_positions, is_labeled

#: The smallest probability taken at its word: single precision cannot tell a smaller one from zero next to one.
SMALLEST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Labeled:
    """The rows of a test table that have a label.

    Attributes:
        table: Those rows.
        unlabeled: How many rows were left out.
    """

    table: pa.Table
    unlabeled: int


def read_labeled(path: str | Path, target: str, columns: Sequence[str]) -> Labeled:
    """Read a test table without the rows that have no label.

    Args:
        path: A Parquet file.
        target: The label's column.
        columns: The other columns wanted.

    Returns:
        The labeled rows.

    Raises:
        InputError: The table cannot be read, lacks a column, or has no labeled row.
    """
    with open_parquet(path) as file:
        check_columns(file.schema_arrow.names, [target, *columns], "the test table")
    table = read_table(path, list(dict.fromkeys([*columns, target])))
    if not table.num_rows:
        raise InputError("The test table has no rows: give the split more data or a larger test share.")
    keep = is_labeled(table.column(target))
    if not keep.any():
        raise InputError(f"Target {target!r} is missing in all {len(keep):,} test rows: wait for labels or join them.")
    if not keep.all():
        table = table.filter(pa.array(keep))
    return Labeled(table, int((~keep).sum()))


def read_truth(table: pa.Table, manifest: Manifest) -> np.ndarray:
    """Return the labels of a table the way a model counts them.

    Args:
        table: Labeled rows.
        manifest: The model's manifest.

    Returns:
        Class positions (int64) or values (float64), shape (rows,).

    Raises:
        InputError: A label is none of the model's classes, or is no finite number.
    """
    column = table.column(manifest.target)
    if manifest.is_classification:
        return class_positions(column, manifest.classes)
    try:
        values = np.asarray(column.cast(pa.float64(), safe=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"Target {manifest.target!r} holds {column.type} where numbers are predicted.") from None
    if not np.isfinite(values).all():
        raise InputError(f"Target {manifest.target!r} holds an infinite value: leave such rows out.")
    return values


def predict_rows(predictor: Predictor, table: pa.Table) -> np.ndarray:
    """Predict a table a batch at a time.

    Args:
        predictor: The model.
        table: Rows with its features.

    Returns:
        Double precision: probabilities that sum to one, shape (rows, classes), or values, shape (rows,).

    Raises:
        InputError: A feature is missing or the model gives something that is not a number.
    """
    parts = [predictor.predict(batch) for batch in table.to_batches(max_chunksize=BATCH_ROWS)]
    return as_scores(np.concatenate(parts) if parts else predictor.predict(table), predictor.manifest)


def as_scores(predictions: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Take a model's predictions for what can be scored.

    Args:
        predictions: What the model gave.
        manifest: The model's manifest.

    Returns:
        Double precision: probabilities that sum to one, shape (rows, classes), or values, shape (rows,).

    Raises:
        InputError: One is not a number.
    """
    scores = predictions.astype(np.float64)
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise InputError(f"The model {manifest.digest} gives {bad:,} values that are no number: retrain it.")
    return bound_probabilities(scores) if manifest.is_classification else scores


def bound_probabilities(scores: np.ndarray) -> np.ndarray:
    """Take probabilities of single precision for what they can say: none is zero, and a row's sum to one.

    Args:
        scores: Finite probabilities, shape (rows, classes).

    Returns:
        Double precision, the same shape.
    """
    scores = np.clip(scores.astype(np.float64), SMALLEST, 1.0)
    return scores / scores.sum(axis=1, keepdims=True)
