"""The plan that every partition is prepared by: the schema of the whole table, and how its rows are split."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.infer import FEWEST_ROWS
from loopline.components.data.partition_merge import MergedTable, ReadAgain, merge_table
from loopline.components.data.partition_profile import (
    MOST_CLASSES,
    PartitionProfile,
    counted,
    decode_schema,
    encode_schema,
    profile_partition,
)
from loopline.components.data.partition_split import PartitionSplit
from loopline.components.data.partitions import find_partition
from loopline.components.data.rules import table_failures
from loopline.components.data.schema import Schema, kind_of
from loopline.components.data.split import MOST_COPIES, check_split, parse_start
from loopline.components.data.summary import ColumnSummary
from loopline.components.data.tables import check_columns
from loopline.components.data.time_counts import MOST as TIME_INTERVALS
from loopline.components.data.time_counts import instants_of
from loopline.components.data.validate import check_parameters, failed, plan_schema, training_failures
from loopline.components.documents import make, read_json, reading
from loopline.components.errors import InputError
from loopline.components.model.targets import MAX_INTEGER_CLASSES

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Plan:
    """What every partition is prepared by.

    Attributes:
        rows: How many rows each partition has.
        is_csv: Whether its files are CSV.
        form: How CSV is written.
        types: The columns to read, null where no partition has a value.
        schema: What the rows are checked against.
        on_error: ``fail`` or ``quarantine``.
        columns: The summary of each column of the whole table.
        split: How rows are split.
    """

    rows: list[int]
    is_csv: bool
    form: CsvFormat
    types: pa.Schema
    schema: Schema
    on_error: str
    columns: list[ColumnSummary]
    split: PartitionSplit

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        form, split = self.form, self.split
        values = {
            "rows": self.rows,
            "is_csv": self.is_csv,
            "form": {name: getattr(form, name) for name in _FORM},
            "types": encode_schema(self.types),
            "schema": self.schema.to_dict(),
            "on_error": self.on_error,
            "columns": [column.to_dict() for column in self.columns],
            # Keys of JSON objects are text, and classes need not be.
            "split": {**vars(split), "classes": list(split.classes.items()), "often": split.often.tolist()},
        }
        Path(path).write_text(json.dumps(values, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read what ``save`` wrote.

        Raises:
            InputError: There is no such file, or it is something else.
        """
        with reading(path, "the plan of a table's partitions", "run merge_profiles again"):
            return cls._from(read_json(path))

    @classmethod
    def _from(cls, values: dict) -> "Plan":
        types, split = decode_schema(values["types"]), values["split"]
        form = values["form"] | {"null_values": tuple(values["form"]["null_values"])}
        return make(
            cls,
            **{name: values[name] for name in ("rows", "is_csv", "on_error")},
            form=make(CsvFormat, **form, column_types={column.name: column.type for column in types}),
            types=types,
            schema=Schema.from_dict(values["schema"]),
            columns=[ColumnSummary.from_dict(column) for column in values["columns"]],
            split=make(
                PartitionSplit,
                **split
                | {
                    "classes": dict(split["classes"]),
                    "cuts": tuple(split["cuts"]),
                    "often": np.array(split["often"], np.uint64),
                },
            ),
        )


_FORM = ("delimiter", "decimal_point", "encoding", "null_values")


def merge_profiles(paths: Sequence[str | Path], uri: str, csv: str, **settings) -> Plan:
    """Make the plan from the profiles at some paths: what the component ``merge_profiles`` does.

    Args:
        paths: The profile of each partition.
        uri: The table.
        csv: How CSV is written.
        settings: What ``make_plan`` takes.
    """
    profiles = [PartitionProfile.load(path) for path in paths]
    form = CsvFormat.parse(csv)
    if profiles[0].is_csv:
        form = form.completed(find_partition(uri, profiles[0].partition).first)

    def read_again(profile: PartitionProfile, columns: Sequence[str]) -> PartitionProfile:
        text = dataclasses.replace(form, column_types=dict.fromkeys(columns, pa.string()))
        classes = {settings["target"], settings["split_column"]}.intersection(columns)
        return profile_partition(find_partition(uri, profile.partition), columns, text, sorted(classes))

    return make_plan(profiles, read_again, form, **settings)


def make_plan(
    profiles: Sequence[PartitionProfile],
    read_again: ReadAgain,
    form: CsvFormat,
    *,
    target: str,
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    split_method: str = "random",
    split_column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    seed: int = 0,
) -> Plan:
    """Merge profiles, infer the schema and settle the split.

    Args:
        profiles: The profile of every partition, in any order.
        read_again: Reads columns of a partition again, as text.
        form: How CSV is written, completed from the table's first file.
        target: The column to predict; empty for none.
        task: ``binary``, ``multiclass``, ``regression`` or ``auto``.
        expectations: JSON that replaces parts of the schema by column.
        on_error: ``fail`` or ``quarantine``.
        split_method: ``random``, ``stratified``, ``time`` or ``group``.
        split_column: The class, timestamp or group.
        test_size: Share of the test.
        validation_size: Share of validation.
        test_start: For ``time``: the ISO 8601 timestamp at which the test begins.
        seed: Seed of the split.

    Returns:
        The plan.

    Raises:
        InputError: A parameter is wrong, the partitions do not fit each other, or the table is unfit to train on.
    """
    check_parameters(task, on_error)
    check_split(split_method, split_column, test_size, validation_size, test_start)
    table = merge_table(profiles, read_again, split_column if split_method == "time" else "")
    schema = plan_schema(None, table.columns, target, expectations)
    failures = table_failures(table.columns, schema, FEWEST_ROWS, lambda name: name not in table.fractions)
    failures += training_failures(table.columns, schema, task, expectations, lambda: _classes(table, target))
    if failures:
        raise failed(failures)
    logger.info("%s partitions, %s rows x %s columns", len(table.rows), f"{sum(table.rows):,}", len(table.columns))
    check_columns(schema.names, [split_column] if split_column else [], "the table")
    split = PartitionSplit(
        split_method,
        split_column,
        test_size,
        validation_size,
        seed,
        sum(table.rows),
        _class_rows(table, split_column) if split_method == "stratified" else {},
        _time_cuts(table, split_column, test_size, validation_size, test_start) if split_method == "time" else (0, 0),
        table.kinds.often(MOST_COPIES),
    )
    return Plan(table.rows, table.is_csv, form, table.types, schema, on_error, table.columns, split)


def _classes(table: MergedTable, target: str) -> pa.StructArray:
    found = table.classes[target]
    if found is not None:
        return found
    if table.summary(target).kind != "integer":
        raise InputError(
            f"The target {target!r} has more than {MOST_CLASSES:,} different values: choose another column."
        )
    # A quantity, and some of its values stand for all.
    first = table.summary(target).minimum
    return counted(pa.array(range(first, first + 2 * MAX_INTEGER_CLASSES)), [2] * 2 * MAX_INTEGER_CLASSES)


def _class_rows(table: MergedTable, column: str) -> dict:
    """Return how many rows each class has to be stratified by, null being one."""
    found = table.classes.get(column)
    if found is None:
        raise InputError(f"Column {column!r} has too many different values to stratify by, or holds timestamps: split "
                         "with method='random'.")  # fmt: skip
    rows = dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
    missing = sum(table.rows) - sum(rows.values())
    return rows | {None: missing} if missing else rows


def _time_cuts(
    table: MergedTable, column: str, test_size: float, validation_size: float, test_start: str
) -> tuple[int, int]:
    """Return where validation and test begin, or refuse a column that cannot be cut by time."""
    type_ = table.types.field(column).type
    if kind_of(type_) not in ("timestamp", "integer", "number"):
        raise InputError(f"Cannot split by time on a column of type {type_}: name a column of timestamps.")
    missing = table.summary(column).missing
    if missing:
        raise InputError(f"The time column has {missing:,} null or NaN value(s): fill them in or drop those rows.")
    start = None
    if test_start:
        start = int(instants_of(pa.array([parse_start(test_start, type_)], type_))[0])
    if table.times.width > 1:
        logger.info("%s has more than %s instants: cut at intervals of them", column, f"{TIME_INTERVALS:,}")
    return table.times.cuts(test_size, validation_size, start)
