"""The rows a model served, with what it predicted at the time and the truth where it has arrived."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.log_columns import DIGEST, SITE, TIME, VERSION
from loopline.components.data.tables import check_columns, open_parquet, read_batches
from loopline.components.evaluation.scored import bound_probabilities, read_truth
from loopline.components.model.directory import Manifest
from loopline.components.model.targets import is_labeled


@dataclass(frozen=True)
class Names:
    """A column of few distinct names.

    Attributes:
        codes: The position of each row's name, shape (rows,).
        names: The names.
    """

    codes: np.ndarray
    names: list[str]

    def groups(self, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Go through the names that some rows have.

        Args:
            rows: Row positions.

        Yields:
            A name and the positions of its rows, in the order of the names.
        """
        for code in sorted(range(len(self.names)), key=lambda code: self.names[code]):
            part = rows[self.codes[rows] == code]
            if len(part):
                yield self.names[code], part


@dataclass(frozen=True)
class ServedRows:
    """Rows with a prediction, in the order of the table.

    Attributes:
        positions: Of each row in the table, shape (rows,).
        scores: What was predicted: probabilities that sum to one, shape (rows, classes), or values, shape (rows,).
        truth: Class positions or values, shape (rows,); meaningless where there is no label.
        labeled: Which rows have a label, shape (rows,).
        own: Which rows this very model predicted, shape (rows,).
        time: When, ``datetime64[us]`` in UTC, shape (rows,).
        site: Where.
        version: By which version.
        notes: What a reader must know of these rows.
    """

    positions: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    labeled: np.ndarray
    own: np.ndarray
    time: np.ndarray
    site: Names
    version: Names
    notes: list[str]


def read_served(path: str | Path, manifest: Manifest) -> ServedRows:
    """Read what ``collect_traffic`` wrote.

    Args:
        path: The Parquet file.
        manifest: The model whose predictions count.

    Returns:
        The rows that have a prediction.

    Raises:
        InputError: The file is no such table, or a truth is not of the kind that the model predicts.
    """
    table = _read_table(path, manifest)
    scores = np.column_stack([_floats(table.column(name)) for name in manifest.output_names])
    target = table.column(manifest.target)
    known, unknown = _known_labels(target, manifest)
    predicted = np.isfinite(scores).all(axis=1)
    kept = np.flatnonzero(predicted)
    labeled = known[kept]
    truth = np.zeros(len(kept), np.int64 if manifest.is_classification else np.float64)
    if labeled.any():
        truth[labeled] = read_truth(table.select([manifest.target]).take(pa.array(kept[labeled])), manifest)
    scores = bound_probabilities(scores[kept]) if manifest.is_classification else scores[kept, 0]
    notes = []
    if lost := len(predicted) - len(kept):
        notes.append(f"{lost:,} rows without a prediction were left out.")
    if unknown:
        notes.append(f"{unknown:,} rows whose truth is none of the model's classes count as not labeled.")
    return ServedRows(
        positions=kept,
        scores=scores,
        truth=truth,
        labeled=labeled,
        own=np.asarray(table.column(DIGEST))[kept],
        time=np.asarray(table.column(TIME).cast(pa.int64()))[kept].astype("datetime64[us]"),
        site=_names(table.column(SITE), kept),
        version=_names(table.column(VERSION), kept),
        notes=notes,
    )


def read_features(path: str | Path, names: Sequence[str], positions: np.ndarray) -> pa.Table:
    """Read the features of some rows, a batch of the table at a time.

    Args:
        path: The Parquet file that ``collect_traffic`` wrote.
        names: The features.
        positions: The rows' positions in the table, ascending, shape (rows,).

    Returns:
        The rows, in the same order.

    Raises:
        InputError: The table lacks a feature.
    """
    with open_parquet(path) as file:
        check_columns(file.schema_arrow.names, names, "the collected traffic")
        schema = pa.schema([file.schema_arrow.field(name) for name in names])
    parts, start = [pa.RecordBatch.from_pylist([], schema)], 0
    for batch in read_batches(path, names):
        low, high = np.searchsorted(positions, [start, start + batch.num_rows])
        parts.append(batch.take(pa.array(positions[low:high] - start)))
        start += batch.num_rows
    return pa.Table.from_batches(parts)


def _read_table(path: str | Path, manifest: Manifest) -> pa.Table:
    """Read the columns wanted; the digest becomes whether it is this model's, and names are encoded."""
    wanted = [TIME, SITE, VERSION, DIGEST, *manifest.output_names, manifest.target]
    with open_parquet(path) as file:
        schema = file.schema_arrow
        check_columns(schema.names, wanted, "the collected traffic")
    nothing = pa.RecordBatch.from_pylist([], pa.schema([schema.field(name) for name in wanted]))
    batches = [nothing, *read_batches(path, wanted)]
    return pa.Table.from_batches([_encode(batch, manifest.digest) for batch in batches])


def _encode(batch: pa.RecordBatch, digest: str) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns[TIME] = columns[TIME].cast(pa.timestamp("us", "UTC"))
    columns[DIGEST] = pc.fill_null(pc.equal(columns[DIGEST].cast(pa.string()), digest), False)
    for name in (SITE, VERSION):
        columns[name] = pc.fill_null(columns[name].cast(pa.string()), "").dictionary_encode()
    return pa.RecordBatch.from_pydict(columns)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()


def _known_labels(target: pa.ChunkedArray, manifest: Manifest) -> tuple[np.ndarray, int]:
    """Say which rows have a label that the model knows, and how many have another one."""
    labeled = is_labeled(target)
    classes = pa.array(manifest.classes)
    if not manifest.is_classification or target.type != classes.type:
        return labeled, 0
    known = labeled & np.asarray(pc.is_in(target, value_set=classes))
    return known, int(labeled.sum() - known.sum())


def _names(column: pa.ChunkedArray, rows: np.ndarray) -> Names:
    array = column.unify_dictionaries().combine_chunks()
    array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    return Names(np.asarray(array.indices)[rows], array.dictionary.to_pylist())
