"""Decide before any work what will be learned from which columns, and refuse what cannot work."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import Schema, kind_of
from loopline.components.data.tables import open_parquet, read_batches
from loopline.components.errors import InputError
from loopline.components.model.directory import output_names
from loopline.components.model.targets import class_positions, find_classes, infer_task, is_labeled
from loopline.components.parameters import split_names

TASKS = ("binary", "multiclass", "regression")
#: A column of numbers that has shown more distinct values is a quantity: the others need not be looked at.
MOST_DISTINCT = 1000


@dataclass(frozen=True)
class Plan:
    """What will be learned.

    Attributes:
        target: The column to predict.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: The labels in the order of the probabilities; empty for regression.
        features: The schema of the columns to learn from, in order.
        left_out: Columns that are not learned from, with the reason.
        rows: Training rows.
    """

    target: str
    task: str
    classes: list
    features: Schema
    left_out: dict[str, str]
    rows: int

    @property
    def is_classification(self) -> bool:
        """Whether classes are predicted."""
        return self.task != "regression"

    def encode_target(self, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Return a target column as numbers: class positions, or the values themselves.

        Args:
            column: The target column of some rows.

        Returns:
            An array of shape (rows,): int64 positions, or float32 values.

        Raises:
            InputError: A value is missing or is no class seen in training.
        """
        if self.is_classification:
            return class_positions(column, self.classes)
        labeled = is_labeled(column)
        if not labeled.all():
            raise InputError(
                f"Target {self.target!r} is missing in {int((~labeled).sum()):,} row(s): leave out rows without one."
            )
        return np.asarray(column.cast(pa.float32(), safe=False))


def plan_training(
    train: str | Path, schema: Schema, target: str = "", task: str = "auto", features: str = "", exclude: str = ""
) -> Plan:
    """Decide what to learn from a training table.

    Args:
        train: The training table.
        schema: The schema of the data, as ``validate_data`` wrote it.
        target: The column to predict; the schema's own when empty.
        task: ``binary``, ``multiclass``, ``regression``, or ``auto`` to go by the target.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.

    Returns:
        The plan.

    Raises:
        InputError: A column is unknown or unusable, the task does not fit the target, or nothing is left to learn from.
    """
    target = target or schema.target
    if not target:
        raise InputError("No target is named: say which column to predict with `target`.")
    schema[target]
    if task not in (*TASKS, "auto"):
        raise InputError(f"Task {task!r} is unknown: use one of {', '.join(TASKS)} or auto.")
    with open_parquet(train) as file:
        rows, present = file.metadata.num_rows, file.schema_arrow.names
    if not rows:
        raise InputError(f"The training table {Path(train).name!r} has no rows: give the split more data.")
    column = read_distinct(train, target, MOST_DISTINCT if task in ("auto", "regression") else 0)
    task = _settle_task(column, target, task)
    classes = find_classes(column) if task != "regression" else []
    wanted = split_names(features)
    chosen, left_out = choose_features(schema, target, wanted, split_names(exclude))
    _check_names(chosen, task, classes)
    missing = [name for name in chosen if name not in present]
    if missing:
        raise InputError(f"Feature {missing[0]!r} is in the schema but not in the training table: validate it again.")
    return Plan(target, task, classes, _close_categories(schema.select(chosen)), left_out, rows)


def read_distinct(path: str | Path, name: str, most: int = 0) -> pa.Array:
    """Read the distinct values of a column a batch at a time.

    Args:
        path: A Parquet file.
        name: The column.
        most: Stop when a column of numbers has shown so many; 0 for all of them.

    Returns:
        The values, null among them where there is one.

    Raises:
        InputError: The file lacks the column.
    """
    found = None
    for batch in read_batches(path, [name]):
        values = batch.column(0)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        found = pc.unique(values if found is None else pa.concat_arrays([found, values]))
        if most and len(found) > most and kind_of(found.type) in ("integer", "number"):
            break
    return found


def _check_names(features: Sequence[str], task: str, classes: Sequence) -> None:
    """Refuse features named like a prediction: golden rows, traffic and answers hold both side by side."""
    for name in output_names(task, classes):
        if name in features:
            raise InputError(f"Feature {name!r} is named like a prediction of this model: rename the column.")


def _close_categories(features: Schema) -> Schema:
    """Drop the empty text from the categories: it stands for a missing value everywhere in a model."""
    columns = []
    for column in features.columns:
        if column.categories is not None:
            column = dataclasses.replace(column, categories=tuple(value for value in column.categories if value))
        columns.append(column)
    return dataclasses.replace(features, columns=tuple(columns))


def _settle_task(column: pa.ChunkedArray, target: str, task: str) -> str:
    inferred = infer_task(column)
    if task == "auto":
        return inferred
    if task == "regression":
        if inferred != "regression" and not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise InputError(f"Target {target!r} holds {column.type} values, which regression cannot predict.")
        return task
    count = len(find_classes(column))
    if (task == "binary") != (count == 2):
        raise InputError(f"Task {task} does not fit target {target!r}, which has {count} classes: use task auto.")
    return task


def choose_features(
    schema: Schema, target: str, wanted: Sequence[str], exclude: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Choose the columns to learn from.

    Args:
        schema: The schema of the data.
        target: The column to predict.
        wanted: The columns asked for; all when empty.
        exclude: The columns ruled out.

    Returns:
        The chosen names in the schema's order, and the columns left out with the reason.

    Raises:
        InputError: A name is unknown, the target is among the features, an asked-for column cannot be learned from, or
            nothing is left.
    """
    for name in [*wanted, *exclude]:
        schema[name]
    if target in wanted:
        raise InputError(f"Target {target!r} is listed as a feature: take it off the list.")
    chosen, left_out = [], {}
    for column in schema.columns:
        if column.name == target:
            continue
        reason = ""
        if column.kind == "timestamp":
            reason = "a timestamp is not a feature: derive the hour, weekday or age from it"
        elif column.kind == "category" and column.categories is None:
            reason = "too many distinct values to learn from"
        if column.name in exclude:
            left_out[column.name] = "excluded by parameter"
        elif wanted and column.name not in wanted:
            left_out[column.name] = "not among the features asked for"
        elif reason and column.name in wanted:
            raise InputError(f"Column {column.name!r} cannot be a feature: {reason}.")
        elif reason:
            left_out[column.name] = reason
        else:
            chosen.append(column.name)
    if not chosen:
        raise InputError(f"No feature is left to predict {target!r} from: exclude fewer columns.")
    return chosen, left_out
