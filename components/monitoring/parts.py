"""Read one file of a traffic log as rows of the one form that monitoring works with.

Many versions of models, servers and sites write a log. What does not fit the model's schema is made null or left out,
and counted, so that nothing is lost in silence.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopline.components.data.casting import fit
from loopline.components.data.log_columns import DIGEST, ID, IMAGE, LATENCY, NAME, ROW, SITE, TIME, VERSION
from loopline.components.data.schema import Schema
from loopline.components.errors import InputError, TemporaryError
from loopline.components.model.directory import Manifest, read_manifest
from loopline.components.monitoring.traffic_log import Part
from loopline.components.monitoring.window import Window

#: The types of what every row of a log says of itself.
LOG_COLUMNS = {
    ID: pa.string(),
    ROW: pa.int32(),
    TIME: pa.timestamp("us", "UTC"),
    LATENCY: pa.float32(),
    NAME: pa.string(),
    VERSION: pa.string(),
    DIGEST: pa.string(),
    IMAGE: pa.string(),
    SITE: pa.string(),
}
#: Without these a file is no traffic log.
_REQUIRED = (ID, ROW, TIME, DIGEST, SITE)


class BrokenPart(Exception):
    """A file that is no Parquet, is damaged, or is no traffic log."""


@dataclass(frozen=True)
class Layout:
    """What the collected rows of a model look like.

    Attributes:
        manifest: The model's manifest.
        features: The schema of its features.
        schema: The Arrow schema of the rows, without the target.
    """

    manifest: Manifest
    features: Schema
    schema: pa.Schema

    @classmethod
    def of(cls, model: str | Path) -> "Layout":
        """Read the layout from a model directory.

        Raises:
            InputError: There is no model in it.
        """
        manifest = read_manifest(model)
        features = Schema.load(Path(model) / "schema.json").without(manifest.target)
        columns = LOG_COLUMNS | {column.name: column.feature_type for column in features.columns}
        columns |= dict.fromkeys(manifest.output_names, pa.float32())
        return cls(manifest, features, pa.schema(columns.items()))

    @property
    def target_type(self) -> pa.DataType:
        """The Arrow type of the target: that of the classes, or double precision."""
        return pa.array(self.manifest.classes).type if self.manifest.is_classification else pa.float64()

    @property
    def labeled_schema(self) -> pa.Schema:
        """The Arrow schema of the rows with the target."""
        return self.schema.append(pa.field(self.manifest.target, self.target_type))


@dataclass
class PartRows:
    """What came out of one file, or of several together.

    Attributes:
        table: The rows of the window, with the layout's schema.
        dropped: Rows that were left out, by reason.
        nulled: Values that did not fit their column's type, by column.
        incomplete: Rows of files that lack a column, by column.
        unknown: Columns that the model does not know.
    """

    table: pa.Table
    dropped: Counter = field(default_factory=Counter)
    nulled: Counter = field(default_factory=Counter)
    incomplete: Counter = field(default_factory=Counter)
    unknown: set = field(default_factory=set)


def read_part(part: Part, layout: Layout, window: Window, latest_us: int) -> PartRows:
    """Read the rows of one file that are in the window.

    Args:
        part: The file.
        layout: What they must look like.
        window: The window.
        latest_us: The latest instant that is not in the future, microseconds since 1970.

    Returns:
        The rows, and what did not fit.

    Raises:
        BrokenPart: The file cannot be used.
        InputError: It cannot be reached.
    """
    try:
        with pq.ParquetFile(_open(part)) as file:
            names = file.schema_arrow.names
            lacking = [name for name in _REQUIRED if name not in names]
            if lacking:
                raise BrokenPart(f"it has no column {lacking[0]!r}")
            twice = [name for name in layout.schema.names if names.count(name) > 1]
            if twice:
                raise BrokenPart(f"it has more than one column {twice[0]!r}")
            table = file.read([name for name in layout.schema.names if name in names], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise BrokenPart(str(error).partition("\n")[0][:200]) from None
    target = layout.manifest.target
    rows = PartRows(table, unknown=set(names) - set(layout.schema.names) - {target})
    rows.table = _fit_table(_select_window(rows, part, window, latest_us), rows, layout)
    return rows


def count_rows(part: Part) -> int:
    """Return how many rows a file holds, 0 when it is broken, from its footer alone."""
    try:
        with pq.ParquetFile(_open(part)) as file:
            return file.metadata.num_rows
    except (pa.ArrowException, OSError):
        return 0


def _open(part: Part):
    source = part.source
    if source.path:
        try:
            return pa.OSFile(str(source.path))
        except FileNotFoundError:
            raise TemporaryError(f"{source.name} has gone since the log was listed: run the step again.") from None
        except OSError as error:
            raise InputError(f"Cannot read {source.name} ({error.strerror}): check its permissions.") from None
    with source.open() as stream:
        return pa.BufferReader(stream.read())


def _select_window(rows: PartRows, part: Part, window: Window, latest_us: int) -> pa.Table:
    """Return the rows of the window, with their time in the layout's type; counts those that belong to no window."""
    table = rows.table
    times, _ = fit(table.column(TIME), LOG_COLUMNS[TIME])
    micros = np.asarray(times.cast(pa.int64()).fill_null(0))
    absent = np.asarray(times.is_null())
    hour = round(part.hour.timestamp() * 1e6)
    misplaced = ~absent & ((micros < hour) | (micros >= hour + 3_600_000_000))
    ahead = ~absent & ~misplaced & (micros > latest_us)
    inside = ~absent & ~misplaced & ~ahead
    inside &= (micros >= _micros(window.start)) & (micros < _micros(window.end))
    _count(rows.dropped, {"unidentified": absent.sum(), "misplaced": misplaced.sum(), "clock_ahead": ahead.sum()})
    table = table.set_column(table.schema.get_field_index(TIME), TIME, times)
    return table if inside.all() else table.filter(pa.array(inside))


def _micros(instant) -> int:
    return round(instant.timestamp() * 1e6)


def _fit_table(table: pa.Table, rows: PartRows, layout: Layout) -> pa.Table:
    """Return rows with the layout's schema, without those that cannot be joined or were never predicted."""
    columns = {}
    for name, wanted in zip(layout.schema.names, layout.schema.types, strict=True):
        if name in table.schema.names:
            columns[name], lost = fit(table.column(name), wanted)
            _count(rows.nulled, {name: lost})
        else:
            columns[name] = pa.nulls(table.num_rows, wanted)
            _count(rows.incomplete, {name: table.num_rows})
    table = pa.table(columns, schema=layout.schema)
    named = np.asarray(pc.and_(table.column(ID).is_valid(), table.column(ROW).is_valid()))
    own = np.asarray(pc.equal(table.column(DIGEST), layout.manifest.digest).fill_null(False))
    impossible = named & own & ~_is_predicted(table, layout)
    _count(rows.dropped, {"unidentified": (~named).sum(), "impossible_prediction": impossible.sum()})
    keep = named & ~impossible
    return table if keep.all() else table.filter(pa.array(keep))


def _is_predicted(table: pa.Table, layout: Layout) -> np.ndarray:
    """Say which rows have predictions that the model can have given."""
    possible = np.ones(table.num_rows, bool)
    for name in layout.manifest.output_names:
        values = table.column(name).to_numpy()
        possible &= np.isfinite(values)
        if layout.manifest.is_classification:
            with np.errstate(invalid="ignore"):
                possible &= (values >= -1e-6) & (values <= 1 + 1e-6)
    return possible


def _count(counter: Counter, counts: dict) -> None:
    for reason, count in counts.items():
        if count:
            counter[reason] += int(count)
