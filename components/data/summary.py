"""What each column of a table looks like, gathered in one pass over its batches."""

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import kind_of
from loopline.components.data.tables import BATCH_ROWS, open_parquet
from loopline.components.documents import make
from loopline.components.errors import InputError

#: Text with more distinct values than this is open: no list of categories is kept.
MOST_CATEGORIES = 1000


@dataclass
class ColumnSummary:
    """One column.

    Attributes:
        name: The column's name.
        kind: One of ``schema.KINDS``.
        rows: Rows of the table.
        missing: Values that are null or NaN.
        infinite: Infinite values.
        minimum: The smallest finite value (numbers) or the earliest instant (timestamps); None without values.
        maximum: The largest, alike.
        total: Sum of the finite values (numbers).
        counts: How often each value occurs (text and booleans); None when there are more than ``MOST_CATEGORIES``.
    """

    name: str
    kind: str
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    minimum: int | float | datetime.datetime | None = None
    maximum: int | float | datetime.datetime | None = None
    total: float = 0.0
    counts: Counter | None = None

    @classmethod
    def empty(cls, name: str, kind: str) -> "ColumnSummary":
        """Return the summary of a column of which no value has been seen."""
        return cls(name, kind, counts=Counter() if kind in ("category", "boolean") else None)

    @property
    def mean(self) -> float | None:
        """The mean of the finite values of a column of numbers; None for other kinds or without values."""
        present = self.rows - self.missing - self.infinite
        return self.total / present if present and self.kind in ("integer", "number") else None

    def add(self, values: pa.Array) -> None:
        """Count in more values.

        Args:
            values: Part of the column.
        """
        rows = len(values)
        values = values.drop_null()
        if self.kind == "number":
            values = _as_doubles(values)
            values = values.filter(pc.invert(pc.is_nan(values)))
        self.rows += rows
        self.missing += rows - len(values)
        if self.kind in ("category", "boolean"):
            self._count(values)
            return
        if self.kind == "number":
            finite = values.filter(pc.is_finite(values))
            self.infinite += len(values) - len(finite)
            values = finite
        if not len(values):
            return
        low, high = pc.min_max(values).as_py().values()
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        if self.kind != "timestamp":
            self.total += pc.sum(_as_doubles(values)).as_py()

    def merged(self, other: "ColumnSummary") -> "ColumnSummary":
        """Return the summary of both together.

        Args:
            other: The same column of other rows, of the same kind.
        """
        counts = None if self.counts is None or other.counts is None else self.counts + other.counts
        return ColumnSummary(
            self.name,
            self.kind,
            self.rows + other.rows,
            self.missing + other.missing,
            self.infinite + other.infinite,
            min((one.minimum for one in (self, other) if one.minimum is not None), default=None),
            max((one.maximum for one in (self, other) if one.maximum is not None), default=None),
            self.total + other.total,
            None if counts is None or len(counts) > MOST_CATEGORIES else counts,
        )

    def to_dict(self) -> dict:
        """Return the summary as plain JSON values."""
        values = dataclasses.asdict(self)
        if self.kind == "timestamp":
            values |= {end: str(values[end]) for end in ("minimum", "maximum") if values[end] is not None}
        # Keys of JSON objects are text, and booleans are counted, too.
        return values | {"counts": None if self.counts is None else list(map(list, self.counts.items()))}

    @classmethod
    def from_dict(cls, values: dict) -> "ColumnSummary":
        """Make a summary from what ``to_dict`` gave; instants are kept to the microsecond."""
        values = dict(values)
        if values["kind"] == "timestamp":
            ends = {end: values[end] for end in ("minimum", "maximum") if values[end] is not None}
            values |= {end: datetime.datetime.fromisoformat(text) for end, text in ends.items()}
        return make(cls, **values | {"counts": None if values["counts"] is None else Counter(dict(values["counts"]))})

    def _count(self, values: pa.Array) -> None:
        if self.counts is None:
            return
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        for entry in pc.value_counts(values):
            self.counts[entry["values"].as_py()] += entry["counts"].as_py()
        if len(self.counts) > MOST_CATEGORIES:
            self.counts = None


def summarize(path: str | Path) -> list[ColumnSummary]:
    """Look at every column of a table.

    Args:
        path: A Parquet file of any size.

    Returns:
        A summary a column, in the table's order.

    Raises:
        InputError: A column holds lists, structs or bytes, or two columns have one name.
    """
    with open_parquet(path) as file:
        schema = file.schema_arrow
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise InputError(f"The table has more than one column named {twice[0]!r}: rename one of them.")
        found = new_summaries(schema)
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for column, values in zip(found, batch.columns, strict=True):
                column.add(values)
    return found


def new_summaries(schema: pa.Schema) -> list[ColumnSummary]:
    """Return the summary of each column of a table of which no row has been seen.

    Args:
        schema: The table's Arrow schema.

    Raises:
        InputError: A column holds lists, structs or bytes.
    """
    kinds = {field.name: kind_of(field.type) for field in schema}
    return [ColumnSummary.empty(name, kind) for name, kind in kinds.items()]


def all_whole(batches: Iterable[pa.Array]) -> bool:
    """Return whether none of a column's numbers has decimals; nulls have none."""
    return all(pc.all(pc.equal(pc.floor(values), values)).as_py() is not False for values in batches)


def _as_doubles(values: pa.Array) -> pa.Array:
    return values if pa.types.is_float64(values.type) else values.cast(pa.float64(), safe=False)
