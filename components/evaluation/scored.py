"""A model's predictions for the labeled rows of a test table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.tables import BATCH_ROWS, check_columns, open_parquet, read_batches, read_table
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


@dataclass(frozen=True)
class TestRows:
    """A test table that is read a batch at a time, without the rows that have no label.

    Attributes:
        path: The Parquet file.
        target: The label's column.
        rows: How many rows have a label.
        unlabeled: How many have none.
    """

    __test__ = False  # no test of pytest's

    path: str | Path
    target: str
    rows: int
    unlabeled: int

    @classmethod
    def find(cls, path: str | Path, target: str, columns: Sequence[str]) -> "TestRows":
        """Count the labels of a test table.

        Args:
            path: A Parquet file.
            target: The label's column.
            columns: The other columns that will be wanted.

        Returns:
            The labeled rows, not yet read.

        Raises:
            InputError: The table cannot be read, lacks a column, or has no labeled row.
        """
        with open_parquet(path) as file:
            check_columns(file.schema_arrow.names, [target, *columns], "the test table")
            total = file.metadata.num_rows
        rows = sum(int(is_labeled(batch.column(0)).sum()) for batch in read_batches(path, [target]))
        _check_labels(target, total, rows)
        return cls(path, target, rows, total - rows)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read the labeled rows.

        Args:
            columns: The columns wanted beside the target.

        Yields:
            Record batches in the order of the file.
        """
        for batch in read_batches(self.path, list(dict.fromkeys([*columns, self.target]))):
            keep = is_labeled(batch.column(self.target))
            yield batch if keep.all() else batch.filter(pa.array(keep))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read columns of all labeled rows.

        Args:
            columns: The columns wanted.

        Returns:
            The columns, text as codes.
        """
        parts = [_encode_text(batch.select(list(columns))) for batch in self.batches(columns)] if columns else []
        return pa.Table.from_batches(parts).unify_dictionaries() if parts else pa.table({})

    def take(self, columns: Sequence[str], positions: np.ndarray) -> pa.Table:
        """Read some of the labeled rows.

        Args:
            columns: The columns wanted beside the target.
            positions: Which rows, ascending.

        Returns:
            The rows.
        """
        parts, start = [], 0
        for batch in self.batches(columns):
            low, high = np.searchsorted(positions, [start, start + batch.num_rows])
            parts.append(pa.Table.from_batches([batch]).take(pa.array(positions[low:high] - start)))
            start += batch.num_rows
        return pa.concat_tables(parts)


def _encode_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [column.dictionary_encode() if pa.types.is_string(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def score_rows(
    rows: TestRows, predictors: Mapping[str, Predictor], columns: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predict a test table a batch at a time, so that it never is in memory whole.

    Nothing else is kept meanwhile: small things between the large ones that a prediction takes and gives back would
    leave holes in memory, a gigabyte for 20 million rows.

    Args:
        rows: The labeled rows.
        predictors: Models of one task, target and classes, by name.
        columns: The features of all of them.

    Returns:
        The truth, class positions or values of shape (rows,), and by the models' names their scores in double
        precision: probabilities that sum to one, shape (rows, classes), or values, shape (rows,).

    Raises:
        InputError: The rows do not fit a model, or a model gives something that is not a number.
    """
    manifest = next(iter(predictors.values())).manifest
    truth = np.empty(rows.rows, np.int64 if manifest.is_classification else np.float64)
    shape = (rows.rows, len(manifest.classes)) if manifest.is_classification else (rows.rows,)
    scores = {name: np.empty(shape) for name in predictors}
    start = 0
    for batch in rows.batches(columns):
        end = start + batch.num_rows
        truth[start:end] = read_truth(batch, manifest)
        for name, predictor in predictors.items():
            scores[name][start:end] = as_scores(predictor.predict(batch), predictor.manifest)
        start = end
    return truth, scores


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
    keep = is_labeled(table.column(target))
    _check_labels(target, len(keep), int(keep.sum()))
    if not keep.all():
        table = table.filter(pa.array(keep))
    return Labeled(table, int((~keep).sum()))


def _check_labels(target: str, total: int, labeled: int) -> None:
    if not total:
        raise InputError("The test table has no rows: give the split more data or a larger test share.")
    if not labeled:
        raise InputError(f"Target {target!r} is missing in all {total:,} test rows: wait for labels or join them.")


def read_truth(table: pa.Table | pa.RecordBatch, manifest: Manifest) -> np.ndarray:
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
