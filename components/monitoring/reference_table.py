"""Make a reference of any table, so that two tables can be compared without a model."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.profile import as_floats, profile_numbers
from loopline.components.data.schema import Schema
from loopline.components.data.table_folder import ParquetFolder
from loopline.components.data.tables import check_columns, open_parquet
from loopline.components.monitoring.reference import Reference, Watched
from loopline.components.monitoring.summary import SAMPLE, open_stream, summarize_traffic

#: Rows that the bins are made of, and from how many places of the file; all rows are counted into the bins.
_EDGE_ROWS, _PLACES = 65_536, 4


def reference_of_table(
    path: str | Path, schema: Schema, name: str = "reference", sample: int = SAMPLE, seed: int = 0
) -> Reference:
    """Profile a whole table and draw rows of it, in memory that does not grow with it.

    Args:
        path: A Parquet file.
        schema: The columns to compare. Timestamps are left out.
        name: What to call the reference.
        sample: The most rows to keep.
        seed: The sample's random seed.

    Returns:
        A reference of inputs alone.

    Raises:
        InputError: The file cannot be read or lacks a column.
    """
    features = schema.select([column.name for column in schema.columns if column.kind != "timestamp"])
    draft = Reference(name, "", features, _draft(path, features), 0, {})
    summary = summarize_traffic([path], draft, sample, seed)
    profile = summary.profile(draft)["columns"]
    columns = []
    for column in draft.columns:
        entry = profile[column.name]
        if not column.is_text:
            counts = summary.tallies[column.name].counts
            inner = [int(counts[:3].sum()), *counts[3:-3].tolist(), int(counts[-3:].sum())]
            entry = {**entry, "edges": column.bins.edges[2:-2].tolist(), "counts": inner}
        columns.append(Watched(column.name, "input", column.kind, entry))
    rows = {column.name: summary.sample.columns[column.name] for column in draft.columns}
    # Positions of categories in the draft are not those in the reference, which knows all of them.
    for before, after in zip(draft.columns, columns, strict=True):
        if before.is_text:
            rows[after.name] = _recode(rows[after.name], before, after)
    return Reference(name, "", features, tuple(columns), summary.rows, rows)


def _draft(path: str | Path, features: Schema) -> tuple[Watched, ...]:
    """Make bins and categories of row groups spread evenly over the file."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        check_columns(schema.names, features.names, path)
    with open_stream(path, schema) as file:
        rows = _some_rows(file, features.names)
    columns = []
    for column in features.columns:
        values = rows.column(column.name)
        if column.kind == "category":
            names = sorted(value for value in values.unique().to_pylist() if value is not None)
            entry = {"missing": 0, "counts": dict.fromkeys(names, 0)}
        else:
            numbers = as_floats(values, np.float32).astype(float)
            entry = profile_numbers(numbers)
        columns.append(Watched(column.name, "input", column.kind, entry))
    return tuple(columns)


def _some_rows(file: pq.ParquetFile | ParquetFolder, names: list[str]) -> pa.Table:
    """Read the first rows of up to ``_PLACES`` row groups spread evenly over the file."""
    groups = sorted({int(i) for i in np.linspace(0, file.num_row_groups - 1, _PLACES)}) if file.num_row_groups else []
    parts = []
    for group in groups:
        batches = file.iter_batches(_EDGE_ROWS // len(groups), row_groups=[group], columns=names, use_threads=False)
        parts.extend(itertools.islice(batches, 1))
    return pa.Table.from_batches(parts, file.schema_arrow.empty_table().select(names).schema)


def _recode(codes: np.ndarray, before: Watched, after: Watched) -> np.ndarray:
    positions = {name: position for position, name in enumerate(after.levels)}
    # A level of which no value was counted is none of the reference's.
    table = [positions.get(name, len(positions)) for name in before.levels]
    return np.array([*table, len(positions), -1], np.int32)[codes]
