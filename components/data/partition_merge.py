"""Merge the profiles of all partitions: types, ranges and categories as if the table had been read in one piece."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from loopline.components.data.csv_types import EXACT, merge_types
from loopline.components.data.ingest_csv import NoRowsError, check_same_columns
from loopline.components.data.ingest_parquet import merge_type, text_for_null
from loopline.components.data.partition_profile import PartitionProfile, add_counts, check_formats, counted
from loopline.components.data.row_kinds import RowKinds
from loopline.components.data.schema import kind_of
from loopline.components.data.summary import ColumnSummary
from loopline.components.data.time_counts import TimeCounts
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

#: Reads columns of a partition again, as text.
ReadAgain = Callable[[PartitionProfile, Sequence[str]], PartitionProfile]


@dataclass(frozen=True)
class MergedTable:
    """What is known of the whole table.

    Attributes:
        rows: How many rows each partition has.
        is_csv: Whether its files are CSV.
        types: The columns kept, null where no partition has a value.
        columns: The summary of each.
        fractions: Columns of numbers in which some have decimals or are NaN.
        classes: How often each value occurs, for the columns whose values were counted.
        times: The instants of the column to split by time, in its final type.
        kinds: How often rows are repeated.
    """

    rows: list[int]
    is_csv: bool
    types: pa.Schema
    columns: list[ColumnSummary]
    fractions: set[str]
    classes: dict[str, pa.StructArray | None]
    times: TimeCounts
    kinds: RowKinds

    def summary(self, name: str) -> ColumnSummary:
        """Return the summary of a column."""
        return next(column for column in self.columns if column.name == name)


def merge_table(profiles: Sequence[PartitionProfile], read_again: ReadAgain, time_column: str = "") -> MergedTable:
    """Merge the profiles of all partitions.

    Args:
        profiles: The profile of every partition, in any order.
        read_again: Reads columns of a partition again, as text.
        time_column: The column whose instants were counted.

    Returns:
        What is known of the whole table.

    Raises:
        InputError: One is missing, the partitions differ in columns or in types that have nothing in common, or there
            are no rows.
    """
    parts = in_order(profiles, [profile.number for profile in profiles], profiles[0].count)
    check_formats({part.file: not part.is_csv for part in parts})
    filled = [part for part in parts if part.names]
    if not sum(part.rows for part in parts):
        raise NoRowsError(f"{parts[0].file} and {len(parts) - 1:,} other partition(s) have no rows: give a table with "
                          "at least one row.")  # fmt: skip
    for part in filled:
        check_same_columns(filled[0].names, part.names, filled[0].file, part.file)
    types = _csv_types(filled) if parts[0].is_csv else _parquet_types(filled)
    plain = text_for_null(types)
    filled = [_as_text(part, types, read_again) if part.is_csv else part for part in filled]
    columns = [_merged_summary(filled, column.name, kind_of(column.type)) for column in plain]
    classes = {}
    for part in filled:
        for name, found in part.classes.items():
            if found is not None:
                found = counted(found.field(0).cast(plain.field(name).type, safe=False), found.field(1))
            classes[name] = add_counts(classes[name], found) if name in classes else found
    times, kinds = TimeCounts.empty(), RowKinds.empty()
    for part in filled:
        kinds = kinds.merged(part.kinds)
        if time_column in types.names:
            found, wanted = part.schema.field(time_column).type, plain.field(time_column).type
            times = times.merged(part.times.of_type(found, wanted))
    return MergedTable(
        [part.rows for part in parts], parts[0].is_csv, types, columns,
        {name for part in filled for name in part.fractions}, classes, times, kinds,
    )  # fmt: skip


def in_order(parts: Sequence, numbers: Sequence[int], count: int) -> list:
    """Sort what the partitions left: an engine hands it over in any order.

    Args:
        parts: One thing a partition.
        numbers: The partition of each, from 1.
        count: How many partitions there are.

    Raises:
        InputError: One is missing, or is there twice.
    """
    if sorted(numbers) != list(range(1, count + 1)):
        raise InputError(
            f"There are results of the partitions {', '.join(map(str, sorted(numbers)))} where each of 1 to {count} "
            "is needed once: run the pipeline again."
        )
    return [part for _, part in sorted(zip(numbers, parts, strict=True), key=lambda pair: pair[0])]


def _csv_types(parts: Sequence[PartitionProfile]) -> pa.Schema:
    names = parts[0].schema.names
    types, exact = {name: pa.null() for name in names}, set()
    for part in parts:
        merged = merge_types(types, {name: part.schema.field(name).type for name in names})
        for name, type_ in merged.items():
            if pa.types.is_floating(type_) and (pa.types.is_integer(types[name]) or name in part.exact):
                exact.add(name)
        types = merged
    for name in exact:
        # As csv_types: no integer that was read as one may lose digits.
        ends = [end for part in parts for end in _ends(part, name)]
        if pa.types.is_floating(types[name]) and any(abs(end) >= EXACT for end in ends):
            types[name] = pa.string()
    return pa.schema(list(types.items()))


def _ends(part: PartitionProfile, name: str) -> list[float]:
    summary = _summary(part, name)
    return [end for end in (summary.minimum, summary.maximum) if end is not None]


def _parquet_types(parts: Sequence[PartitionProfile]) -> pa.Schema:
    unusable = {name: type_ for part in parts for name, type_ in part.unusable.items()}
    types: dict[str, pa.DataType] = {}
    for part in parts:
        for column in part.schema:
            if column.name not in unusable:
                types[column.name] = merge_type(
                    types.get(column.name, column.type), column.type, column.name, part.file
                )
    for name, type_ in unusable.items():
        logger.info("left out %s: no later step can use the type %s", name, type_)
    if not types:
        raise InputError(f"{parts[0].file} has no column of numbers, text, booleans or timestamps that all other files "
                         "have, too: write it with some.")  # fmt: skip
    return pa.schema([(name, types[name]) for name in parts[0].schema.names if name in types])


def _as_text(part: PartitionProfile, types: pa.Schema, read_again: ReadAgain) -> PartitionProfile:
    """Have columns that are text in other partitions as text in this one: what it counted were numbers."""
    names = [
        column.name
        for column in types
        if pa.types.is_string(column.type) and not pa.types.is_string(part.schema.field(column.name).type)
    ]
    if not names:
        return part
    logger.info("%s of partition %s is text elsewhere: reading it again", ", ".join(map(repr, names)), part.number)
    again = read_again(part, names)
    columns = [_summary(again if column.name in names else part, column.name) for column in part.columns]
    part.columns, part.classes = columns, {**part.classes, **again.classes}
    return part


def _summary(part: PartitionProfile, name: str) -> ColumnSummary:
    return next(column for column in part.columns if column.name == name)


def _merged_summary(parts: Sequence[PartitionProfile], name: str, kind: str) -> ColumnSummary:
    merged = None
    for part in parts:
        summary = _of_kind(_summary(part, name), kind)
        merged = merged.merged(summary) if merged else summary
    return merged


def _of_kind(summary: ColumnSummary, kind: str) -> ColumnSummary:
    """Return a summary as one of a wider kind: numbers hold integers, and anything may be missing everywhere."""
    if summary.kind == kind:
        return summary
    wider = dataclasses.replace(ColumnSummary.empty(summary.name, kind), rows=summary.rows, missing=summary.missing)
    if (summary.kind, kind) == ("integer", "number"):
        wider.total, wider.infinite = summary.total, summary.infinite
        if summary.minimum is not None:
            wider.minimum, wider.maximum = float(summary.minimum), float(summary.maximum)
    return wider
