"""Join predictions with the truth, which arrives late, in files of its own, sometimes twice and sometimes never."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.casting import fit
from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.hashing import row_hashes
from loopline.components.data.ingest import as_parquet
from loopline.components.data.log_columns import ID, PREFIX
from loopline.components.data.sources import Source, find_sources
from loopline.components.data.tables import check_columns, naming_damage, open_parquet, read_batches
from loopline.components.errors import AbsentError, InputError
from loopline.components.monitoring.parts import Layout
from loopline.components.parameters import split_names


@dataclass
class TruthCounts:
    """What became of the rows of truth; ``rows`` is the sum of the others.

    Attributes:
        rows: All rows read.
        matched: Keys that predictions of the window were joined with.
        duplicate: Rows that say again what another row says.
        contradictory: Rows that a later row, in the order of files and rows, says otherwise; the later row counts.
        ambiguous: Keys that different predictions share, so that none was joined.
        without_prediction: Rows of no prediction in the window.
        unlabeled: Rows without a value.
        unknown: Rows of predictions in the window whose value is none of the model's classes, or no number.
    """

    rows: int = 0
    matched: int = 0
    duplicate: int = 0
    contradictory: int = 0
    ambiguous: int = 0
    without_prediction: int = 0
    unlabeled: int = 0
    unknown: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Key:
    """The columns that truth and predictions are joined by.

    Attributes:
        names: What they are called in the truth's files.
        columns: What they are called in the predictions.
        schema: The Arrow schema of the predictions' columns, under the names of the truth's.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    schema: pa.Schema

    @classmethod
    def read(cls, text: str, layout: Layout) -> "Key":
        """Read a key from a parameter.

        Args:
            text: Comma-separated names: columns of the log, with or without ``loopline_``, or features.
            layout: What the predictions look like.

        Raises:
            InputError: The predictions have no such column.
        """
        names = split_names(text)
        known = layout.schema.names
        columns = [name if name in known else PREFIX + name for name in names]
        wrong = [name for name, column in zip(names, columns, strict=True) if column not in known]
        if wrong or not names:
            raise InputError(
                f"truth_key {text!r} names no column of the predictions{f': {wrong[0]!r}' if wrong else ''}; they have "
                f"{', '.join(name.removeprefix(PREFIX) for name in known)}."
            )
        types = [layout.schema.field(column).type for column in columns]
        return cls(tuple(names), tuple(columns), pa.schema(list(zip(names, types, strict=True))))

    def hashes(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """Hash the keys of predictions: 64 bits a row, so that two keys of ten million are alike once in 10**5 runs."""
        return self._hash([table.column(name) for name in self.columns])

    def truth_hashes(self, table: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Hash the keys of truth, as in the predictions' types; returns also which rows have a whole key."""
        columns = [fit(table.column(name), self.schema.field(name).type)[0] for name in self.names]
        whole = np.logical_and.reduce([np.asarray(column.is_valid()) for column in columns])
        return self._hash(columns), whole

    def _hash(self, columns: Sequence) -> np.ndarray:
        plain = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
        plain = [pa.concat_arrays(c.chunks) if isinstance(c, pa.ChunkedArray) else c for c in plain]
        return row_hashes(pa.record_batch(plain, schema=self.schema))


@dataclass(frozen=True)
class Labels:
    """The truth of a window: the last value of each key.

    Attributes:
        hashes: The keys' hashes, ascending, shape (keys,).
        values: For each its class's position or its number, float64.
    """

    hashes: np.ndarray
    values: np.ndarray

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up predictions.

        Args:
            hashes: The hashes of their keys, shape (rows,).

        Returns:
            The position of each in ``values``, and whether it has one.
        """
        return _locate(self.hashes, hashes)


def _locate(ordered: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each hash is among others in ascending order, and whether it is there."""
    if not len(ordered):
        return np.zeros(len(hashes), int), np.zeros(len(hashes), bool)
    at = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    return at, ordered[at] == hashes


def read_labels(
    uri: str, key: Key, layout: Layout, wanted: np.ndarray, counts: TruthCounts, form: CsvFormat | None = None
) -> Labels:
    """Read the truth of the predictions of a window, in a stream.

    Args:
        uri: CSV or Parquet files: path, glob, folder or ``s3://``. There may be none yet.
        key: What they are joined by.
        layout: What the predictions look like.
        wanted: The hashes of the predictions' keys, shape (rows,).
        counts: Filled in.
        form: How CSV is written, where its first lines do not tell.

    Returns:
        The labels.

    Raises:
        InputError: A file cannot be read, lacks a column, or no row at all holds what the model predicts.
    """
    wanted = np.unique(wanted)
    hashes, values = [np.zeros(0, np.uint64)], [np.zeros(0)]
    wrong, junk = 0, None
    for batch in _batches(uri, key, layout, form):
        numbers, missing, unknown = read_target(batch.column(layout.manifest.target), layout)
        found, whole = key.truth_hashes(batch)
        ours = ~missing & whole & _locate(wanted, found)[1]
        counts.rows += batch.num_rows
        counts.unlabeled += int(missing.sum())
        counts.without_prediction += int((~missing & ~ours).sum())
        # What other windows' truth holds says nothing about this one.
        counts.unknown += int((unknown & ours).sum())
        wrong += int(unknown.sum())
        junk = batch.column(layout.manifest.target)[int(unknown.argmax())].as_py() if unknown.any() else junk
        hashes.append(found[ours & ~unknown])
        values.append(numbers[ours & ~unknown])
    if wrong and wrong == counts.rows - counts.unlabeled:
        classes = ", ".join(map(repr, layout.manifest.classes))
        expected = f"one of {classes}" if classes else "a number"
        raise InputError(
            f"The truth in {uri} never holds what the model predicts: {layout.manifest.target!r} is {junk!r} where it "
            f"should be {expected}; name the files with the true values."
        )
    return _last_of_each(np.concatenate(hashes), np.concatenate(values), counts)


def _last_of_each(hashes: np.ndarray, values: np.ndarray, counts: TruthCounts) -> Labels:
    order = np.argsort(hashes, kind="stable")
    hashes, values = hashes[order], values[order]
    last = np.append(hashes[1:] != hashes[:-1], True) if len(hashes) else np.zeros(0, bool)
    # Of each row the value that counts in the end: that of the last row with its key.
    final = values[np.flatnonzero(last)][np.cumsum(last) - last]
    counts.contradictory += int((final != values).sum())
    counts.duplicate += int(((final == values) & ~last).sum())
    return Labels(hashes[last], values[last])


def label_rows(
    path: Path, labels: Labels, hashes: np.ndarray, layout: Layout, key: Key, counts: TruthCounts
) -> Iterator[pa.Table]:
    """Yield collected rows with their target.

    Args:
        path: The rows without target, as Parquet.
        labels: The truth.
        hashes: The hash of each row's key, shape (rows,).
        layout: What the rows look like.
        key: What truth and rows are joined by.
        counts: Filled in.

    Yields:
        Tables with ``layout.labeled_schema``.
    """
    # Ids are the clients': one that gives the same to different requests must not get the truth of one for another.
    shared = _ambiguous(path, labels, hashes, layout) if ID in key.columns else np.zeros(0, np.uint64)
    matched = np.intersect1d(labels.hashes, hashes)
    counts.ambiguous = len(shared)
    counts.matched = len(matched) - len(shared)
    start = 0
    for batch in read_batches(path):
        found = hashes[start : start + batch.num_rows]
        start += batch.num_rows
        at, known = labels.find(found)
        known &= ~np.isin(found, shared)
        numbers = labels.values[at] if len(labels.values) else np.zeros(len(at))
        yield pa.table([*batch.columns, _target(numbers, known, layout)], schema=layout.labeled_schema)


def _ambiguous(path: Path, labels: Labels, hashes: np.ndarray, layout: Layout) -> np.ndarray:
    """Find the keys with a label that several rows share whose features differ."""
    ordered = np.sort(hashes)
    repeated = np.intersect1d(ordered[1:][ordered[1:] == ordered[:-1]], labels.hashes)
    if not len(repeated):
        return repeated
    pieces, start = [], 0
    for batch in read_batches(path):
        found = hashes[start : start + batch.num_rows]
        start += batch.num_rows
        mask = np.isin(found, repeated)
        rows = batch.select(layout.features.names).filter(pa.array(mask))
        if rows.num_rows:
            pieces.append(pd.DataFrame({"key": found[mask], "features": row_hashes(rows)}))
    distinct = pd.concat(pieces).groupby("key")["features"].nunique()
    return distinct.index[distinct > 1].to_numpy()


def read_target(values, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read true values as the model predicts them.

    A class may be spelled otherwise than at training, as CSV and Parquet do: ``1``, ``1.0``, ``"1"`` and ``True``.

    Args:
        values: An Arrow column of any type.
        layout: What the model predicts.

    Returns:
        The positions of the classes or the numbers, float64; which values are missing; which are none of the classes
        or no finite number. Each of shape (rows,).
    """
    if not layout.manifest.is_classification:
        fitted, _ = fit(values, pa.float64())
        numbers = np.asarray(fitted.cast(pa.float64()).fill_null(np.nan))
        missing = np.asarray(pc.is_null(values, nan_is_null=True))
        return numbers, missing, ~missing & ~np.isfinite(numbers)
    spellings = {_spelling(value): position for position, value in enumerate(layout.manifest.classes)}
    encoded = values.dictionary_encode() if not pa.types.is_dictionary(values.type) else values
    is_bool = isinstance(layout.manifest.classes[0], bool)
    known = [_position(value, spellings, is_bool) for value in encoded.dictionary.to_pylist()]
    positions = np.array([*known, np.nan])[np.asarray(encoded.indices.fill_null(len(known)))]
    missing = np.isnan(positions)
    return positions, missing, ~missing & (positions < 0)


def _position(value, spellings: dict[str, int], is_bool: bool) -> float:
    """Return a class's position, -1 when it is none, NaN when there is no value."""
    if value is None or value != value:
        return np.nan
    text = _spelling(value)
    if is_bool:
        text = {"1": "true", "0": "false"}.get(text, text.lower())
    elif isinstance(value, bool) and text not in spellings:
        text = str(int(value))
    return spellings.get(text, -1)


def _spelling(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _target(numbers: np.ndarray, known: np.ndarray, layout: Layout) -> pa.Array:
    if not layout.manifest.is_classification:
        return pa.array(numbers, pa.float64(), mask=~known)
    positions = pa.array(np.where(known, numbers, 0).astype(np.int64), mask=~known)
    return pa.array(layout.manifest.classes).take(positions)


def _batches(uri: str, key: Key, layout: Layout, form: CsvFormat | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each file of truth: its key and target; none while there is no file."""
    columns = [*key.names, *([] if layout.manifest.target in key.names else [layout.manifest.target])]
    try:
        sources = find_sources(uri.strip())
    except AbsentError:
        return
    for source in sources:
        try:
            yield from _file_batches(source, columns, key, form)
        except AbsentError:
            continue


def _file_batches(source: Source, columns: list[str], key: Key, form: CsvFormat | None) -> Iterator[pa.RecordBatch]:
    with tempfile.TemporaryDirectory(prefix="loopline-truth-") as folder:
        # Text stays text: an id of digits is no number.
        declared = {field.name: field.type for field in key.schema if pa.types.is_string(field.type)}
        path = as_parquet(source, Path(folder), columns, declared, form)
        with naming_damage(source.name):
            with open_parquet(path) as file:
                check_columns(file.schema_arrow.names, columns, source.name)
            yield from read_batches(path, columns)
