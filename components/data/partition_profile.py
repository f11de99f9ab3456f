"""Profile a partition: what a schema for the whole table can be inferred from, in one pass over its rows."""

import base64
import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.hashing import row_hashes
from loopline.components.data.ingest_csv import NoRowsError, infer_csv
from loopline.components.data.ingest_parquet import common_schema, local_files, read_parquet, text_for_null
from loopline.components.data.partitions import Partition, find_partition
from loopline.components.data.row_kinds import RowKinds
from loopline.components.data.schema import kind_of
from loopline.components.data.streams import sniff
from loopline.components.data.summary import ColumnSummary, all_whole, new_summaries
from loopline.components.data.time_counts import TimeCounts, instants_of
from loopline.components.documents import make, read_json, reading
from loopline.components.errors import InputError
from loopline.components.parameters import split_names

logger = logging.getLogger("loopline")

#: A column with more distinct values than this is no target to classify by.
MOST_CLASSES = 100_000


@dataclass
class PartitionProfile:
    """What is known of a partition once it has been read.

    Attributes:
        partition: What ``divide_table`` calls it.
        number: Which partition, from 1.
        count: How many there are.
        file: Its first file.
        is_csv: Whether its files are CSV, rather than Parquet.
        names: All columns of its files, in order; none when it is CSV without rows.
        unusable: Columns of types that no later step can use, with the type.
        schema: The columns kept, null where no value was seen.
        exact: Columns of numbers that were integers at first, so that no integer in them may lose digits.
        columns: The summary of each column kept.
        fractions: Columns of numbers in which some have decimals or are NaN.
        classes: How often each value of the target and of the column to stratify by occurs, by column; None when there
            are more than ``MOST_CLASSES``.
        times: The instants of the column to split by time.
        kinds: How often rows are repeated, for a split that places copies together.
    """

    partition: str
    number: int
    count: int
    file: str
    is_csv: bool
    names: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    exact: list[str] = field(default_factory=list)
    columns: list[ColumnSummary] = field(default_factory=list)
    fractions: list[str] = field(default_factory=list)
    classes: dict[str, pa.StructArray | None] = field(default_factory=dict)
    times: TimeCounts = field(default_factory=TimeCounts.empty)
    kinds: RowKinds = field(default_factory=RowKinds.empty)

    @property
    def rows(self) -> int:
        """How many rows the partition has."""
        return self.columns[0].rows if self.columns else 0

    def save(self, path: str | Path) -> None:
        """Write the profile as compact JSON."""
        values = {
            **{name: getattr(self, name) for name in _PLAIN},
            "schema": encode_schema(self.schema),
            "columns": [column.to_dict() for column in self.columns],
            "classes": {
                name: None if found is None else [found.field(0).to_pylist(), found.field(1).to_pylist()]
                for name, found in self.classes.items()
            },
            "times": [self.times.instants.tolist(), self.times.counts.tolist(), self.times.width],
            "kinds": [self.kinds.hashes.tolist(), self.kinds.counts.tolist(), self.kinds.whole],
        }
        Path(path).write_text(json.dumps(values, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "PartitionProfile":
        """Read what ``save`` wrote.

        Raises:
            InputError: There is no such file, or it is something else.
        """
        with reading(path, "the profile of a partition", "run profile_partition again"):
            return cls._from(read_json(path))

    @classmethod
    def _from(cls, values: dict) -> "PartitionProfile":
        schema = decode_schema(values["schema"])
        types = {column.name: column.type for column in text_for_null(schema)}
        instants, counts, width = values["times"]
        hashes, repeats, whole = values["kinds"]
        return make(
            cls,
            **{name: values[name] for name in _PLAIN},
            schema=schema,
            columns=[ColumnSummary.from_dict(column) for column in values["columns"]],
            classes={
                name: None if found is None else counted(pa.array(found[0], types[name]), found[1])
                for name, found in values["classes"].items()
            },
            times=make(
                TimeCounts, instants=np.array(instants, np.int64), counts=np.array(counts, np.int64), width=width
            ),
            kinds=make(RowKinds, hashes=np.array(hashes, np.uint64), counts=np.array(repeats, np.int64), whole=whole),
        )


#: The attributes that JSON holds as they are.
_PLAIN = ("partition", "number", "count", "file", "is_csv", "names", "unusable", "exact", "fractions")


def write_profile(
    uri: str, partition: str, path: str | Path, columns: str, csv: str, target: str, split_method: str,
    split_column: str,
) -> None:  # fmt: skip
    """Profile a partition and write the profile to a path: what the component ``profile_partition`` does."""
    counted_columns = [target] if target else []
    if split_method == "stratified" and split_column:
        counted_columns.append(split_column)
    found = profile_partition(
        find_partition(uri, partition),
        split_names(columns),
        CsvFormat.parse(csv),
        list(dict.fromkeys(counted_columns)),
        split_column if split_method == "time" else "",
        split_method in ("random", "stratified"),
    )
    found.save(path)


def profile_partition(
    partition: Partition,
    columns: Sequence[str] = (),
    form: CsvFormat | None = None,
    counted_columns: Sequence[str] = (),
    time_column: str = "",
    count_kinds: bool = False,
) -> PartitionProfile:
    """Read a partition once and keep what the whole table's schema depends on.

    Args:
        partition: The files.
        columns: The columns to keep, in this order; all when empty.
        form: How CSV is written; the first lines of the table's first file say the rest.
        counted_columns: Columns whose values to count: the target, and the one to stratify by.
        time_column: The column to split by time; empty for none.
        count_kinds: Whether to count how often rows are repeated.

    Returns:
        The profile.

    Raises:
        InputError: A file cannot be reached or read, or differs from the others of the partition.
    """
    formats = {source.name: sniff(source) == "parquet" for source in partition.sources}
    check_formats(formats)
    profile = PartitionProfile(
        partition.name, partition.number, partition.count, partition.sources[0].name, not all(formats.values())
    )
    wanted = counted_columns, time_column, count_kinds
    if profile.is_csv:
        _profile_csv(profile, partition, columns, form or CsvFormat(), wanted)
    else:
        _profile_parquet(profile, partition, columns, wanted)
    logger.info("partition %s of %s: %s rows x %s columns", profile.number, profile.count, f"{profile.rows:,}",
                len(profile.columns))  # fmt: skip
    return profile


def check_formats(formats: dict[str, bool]) -> None:
    """Refuse Parquet and CSV side by side.

    Args:
        formats: Whether it is Parquet, by the name of each file.

    Raises:
        InputError: Some are and some are not.
    """
    if len(set(formats.values())) > 1:
        first, other = (next(name for name, flag in formats.items() if flag is kind) for kind in (True, False))
        raise InputError(f"{first} is Parquet and {other} is not: read them with two steps.")


def counted(values: pa.Array, counts: Sequence[int]) -> pa.StructArray:
    """Return counts by value as ``pyarrow.compute.value_counts`` does."""
    return pa.StructArray.from_arrays([values, pa.array(counts, pa.int64())], ["values", "counts"])


def _profile_csv(
    profile: PartitionProfile, partition: Partition, columns: Sequence[str], form: CsvFormat, wanted: tuple
) -> None:
    form = form.completed(partition.first)
    try:
        rows, layout = infer_csv(
            partition.sources, lambda layout: nullcontext(_Counting(layout.schema, *wanted)), columns, form
        )
    except NoRowsError:
        return
    profile.names = list(layout.names)
    profile.schema = pa.schema([(name, layout.types[name]) for name in layout.columns])
    profile.exact = sorted(layout.exact)
    rows.describe(profile)


def _profile_parquet(profile: PartitionProfile, partition: Partition, columns: Sequence[str], wanted: tuple) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="loopline-partition-") as folder,
        local_files(partition.sources, Path(folder)) as files,
    ):
        profile.schema, unusable = common_schema(files, columns)
        profile.unusable = {name: str(type_) for name, type_ in unusable.items()}
        profile.names = pq.read_schema(files[0][1]).names
        schema = text_for_null(profile.schema)
        rows = _Counting(schema, *wanted)
        for batch in read_parquet(files, schema):
            rows.write(pa.Table.from_batches([batch]))
    rows.describe(profile)


class _Counting:
    """Takes rows and keeps what a profile says of them."""

    def __init__(self, schema: pa.Schema, counted_columns: Sequence[str], time_column: str, count_kinds: bool):
        self._columns = new_summaries(schema)
        self._fractions: set[str] = set()
        # What the columns should be is looked at when the whole table is known.
        kinds = {field.name: kind_of(field.type) for field in schema}
        self._classes = {
            name: counted(pa.array([], schema.field(name).type), [])
            for name in counted_columns
            if kinds.get(name, "timestamp") != "timestamp"
        }
        self._time_column = time_column if kinds.get(time_column) in ("timestamp", "integer", "number") else ""
        self._times = TimeCounts.empty()
        self._count_kinds, self._kinds = count_kinds, RowKinds.empty()

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches():
            for column, values in zip(self._columns, batch.columns, strict=True):
                column.add(values)
                if column.kind == "number" and column.name not in self._fractions and not all_whole([values]):
                    self._fractions.add(column.name)
            for name, found in self._classes.items():
                self._classes[name] = add_counts(found, pc.value_counts(batch.column(name).drop_null()))
            if self._time_column:
                values = batch.column(self._time_column)
                values = values.filter(pc.invert(pc.is_null(values, nan_is_null=True)))
                self._times = self._times.add(instants_of(values))
            if self._count_kinds:
                self._kinds = self._kinds.add(row_hashes(batch))

    def describe(self, profile: PartitionProfile) -> None:
        profile.columns, profile.fractions = self._columns, sorted(self._fractions)
        profile.classes, profile.times, profile.kinds = self._classes, self._times, self._kinds.most_frequent()


def add_counts(first: pa.StructArray | None, second: pa.StructArray | None) -> pa.StructArray | None:
    """Add counts by value of the same type; None, for too many values, stays None."""
    if first is None or second is None:
        return None
    both = pa.table({"values": pa.chunked_array([first.field(0), second.field(0)]),
                     "counts": pa.chunked_array([first.field(1), second.field(1)])})  # fmt: skip
    added = both.group_by("values", use_threads=False).aggregate([("counts", "sum")])
    if added.num_rows > MOST_CLASSES:
        return None
    return counted(added["values"].combine_chunks(), added["counts_sum"].combine_chunks())


def encode_schema(schema: pa.Schema) -> str:
    """Return an Arrow schema as text."""
    return base64.b64encode(schema.serialize()).decode()


def decode_schema(text: str) -> pa.Schema:
    """Return the Arrow schema that ``encode_schema`` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
