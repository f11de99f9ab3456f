"""Split a table into training, validation and test rows, a batch at a time.

A first pass gives each row its side from as little as the method needs: a hash of 8 bytes a row, or one column. A
second pass writes the three tables. No more than a batch of whole rows is in memory, and 10 to 25 bytes a row.

At random means by a hash of what is in the row, never by where it stands: a champion trained on an earlier state of the
table is then not tested on rows it was trained on, but for the few that lie close to a cut. Copies of a row go with it.
"""

import datetime
import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.hashing import row_hashes, seeded
from loopline.components.data.ranking import blocks, count_before, find_repeated, mark_lowest, value_at
from loopline.components.data.schema import kind_of
from loopline.components.data.tables import check_columns, open_parquet, read_batches, read_table
from loopline.components.data.writing import describe_file, writing_table
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

METHODS = ("random", "stratified", "time", "group")
SIDES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
#: A row that occurs more often is no copy by mistake.
MOST_COPIES = 10
#: An odd number with bits all over: its multiples are far apart.
_STEP = np.uint64(0x9E3779B97F4A7C15)


def split_table(
    data: str | Path,
    train: str | Path,
    validation: str | Path,
    test: str | Path,
    *,
    method: str = "random",
    column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    seed: int = 0,
) -> list[dict]:
    """Split a table in three.

    Args:
        data: The Parquet file to split.
        train: Where to write the rows to train on.
        validation: Where to write the rows to tune on.
        test: Where to write the rows to evaluate on.
        method: ``random``, ``stratified``, ``time`` or ``group``.
        column: The class, the timestamp or the group; unused for ``random``.
        test_size: Share of the rows for the test.
        validation_size: Share of the rows for validation; 0 for none.
        test_start: For ``time``: rows from this ISO 8601 timestamp on are the test, whatever their share.
        seed: Seed of the hash that places rows or groups.

    Returns:
        ``rows`` and ``digest`` of the training, validation and test table.

    Raises:
        InputError: A parameter is out of range, the column is missing or unfit, or a side would be empty.
    """
    check_split(method, column, test_size, validation_size, test_start)
    with open_parquet(data) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    check_columns(schema.names, [column] if column else [], data)
    if not rows:
        raise InputError(f"{Path(data).name} has no rows: give a table with rows to split.")
    if method == "random":
        sides = assign_random(hash_rows(data, rows, seed), test_size, validation_size)
    elif method == "stratified":
        classes = _read_encoded(data, column)
        sides = assign_stratified(classes, hash_rows(data, rows, seed), test_size, validation_size)
    elif method == "group":
        batches = (batch.column(0) for batch in read_batches(data, [column]))
        sides = np.concatenate([assign_groups(groups, test_size, validation_size, seed) for groups in batches])
    else:
        sides = assign_by_time(read_table(data, [column]).column(0), test_size, validation_size, test_start)
    # Not by bincount, which would make 8 bytes of each.
    counts = np.array([np.count_nonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)])
    check_sides(counts, method, validation_size)
    return _write(data, schema, sides, (train, validation, test))


def hash_rows(data: str | Path, rows: int, seed: int) -> np.ndarray:
    """Hash every row by its content and a seed, a batch at a time.

    Args:
        data: A Parquet file.
        rows: Its number of rows.
        seed: Any integer.

    Returns:
        A 64-bit hash of each row, uint64, shape (rows,): the same for up to ``MOST_COPIES`` equal rows.
    """
    hashes = np.empty(rows, np.uint64)
    done = 0
    for batch in read_batches(data):
        hashes[done : done + batch.num_rows] = seeded(row_hashes(batch), seed)
        done += batch.num_rows
    return _tell_apart(hashes, seed)


def _tell_apart(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Give rows that are repeated too often to be copies a hash each, so that every side gets its share of them.

    In a table of a few narrow columns most rows are repeated, with either target. All of one kind on one side would
    have a model judged on just what it was not shown. The occurrences are numbered, so their order does not matter.
    """
    often = find_repeated(hashes, MOST_COPIES)
    if not len(often):
        return hashes
    seen = np.zeros(len(often), np.int64)
    for block in blocks(hashes):
        slots = np.minimum(np.searchsorted(often, block), len(often) - 1)
        rows = np.flatnonzero(often[slots] == block)
        slots = slots[rows]
        occurrence = (seen[slots] + count_before(slots)).astype(np.uint64)
        block[rows] = seeded(block[rows] + occurrence * _STEP, seed)
        seen += np.bincount(slots, minlength=len(often))
    return hashes


def assign_random(hashes: np.ndarray, test_size: float, validation_size: float) -> np.ndarray:
    """Give each row a side by its hash, in the shares asked for.

    Rows are ranked by hash: the first are the test, the next validation, the others for training. So a row keeps its
    side when others come or go, unless it is close to a cut, and then it moves to or from validation when there is one.

    Args:
        hashes: The hash of each row, shape (rows,); see ``hash_rows``.
        test_size: Share of the test.
        validation_size: Share of validation.

    Returns:
        A side (0 train, 1 validation, 2 test) for each row, uint8, shape (rows,).
    """
    return _cut_by_rank(hashes, round(len(hashes) * test_size), round(len(hashes) * validation_size))


def assign_stratified(
    values: pa.ChunkedArray, hashes: np.ndarray, test_size: float, validation_size: float
) -> np.ndarray:
    """Give each row a side by its hash so that every class is shared out alike.

    Args:
        values: The class of each row; null is a class of its own.
        hashes: The hash of each row, shape (rows,); see ``hash_rows``.
        test_size: Share of the test.
        validation_size: Share of validation.

    Returns:
        A side for each row, uint8, shape (rows,).

    Raises:
        InputError: A class has too few rows to be on every side.
    """
    labels, codes = _encode(values)
    sides = np.full(len(codes), TRAIN, np.uint8)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(labels)))
    for label, members in zip(labels, np.split(order, ends[:-1]), strict=True):
        tests, validations = class_shares(label, len(members), test_size, validation_size)
        sides[members] = _cut_by_rank(hashes[members], tests, validations)
    return sides


def class_shares(label: object, rows: int, test_size: float, validation_size: float) -> tuple[int, int]:
    """Return how many rows of a class are for the test and for validation.

    Args:
        label: The class.
        rows: Its rows.
        test_size: Share of the test.
        validation_size: Share of validation.

    Raises:
        InputError: It has too few rows to be on every side.
    """
    wanted = 1 + (test_size > 0) + (validation_size > 0)
    if rows < wanted:
        raise InputError(
            f"Class {label!r} has {rows} row(s), too few for {wanted} sides: drop the class, merge it with "
            "another or split with method='random'."
        )
    # A class of few rows keeps one for the test and one for training.
    validations = min(max(1, round(rows * validation_size)), rows - 2) if validation_size else 0
    return min(max(1, round(rows * test_size)), rows - 1 - validations), validations


def _cut_by_rank(hashes: np.ndarray, tests: int, validations: int) -> np.ndarray:
    """Rank rows by hash and cut: test, then validation, then train.

    Equal rows stay together: a cut that would part them moves, by as many rows as the smallest side has at most and
    never so that a side is empty. Where that is not enough, because a row is repeated too often, they are parted.
    """
    rows = len(hashes)
    reach = min((side for side in (tests, validations, rows - tests - validations) if side), default=0)
    first = _cut_between(hashes, tests, reach, rows - 1 - bool(validations))
    second = first
    if validations:
        # Not behind the first cut, should that have moved by all there was.
        second = _cut_between(hashes, max(tests + validations, first + 1), reach, rows - 1, first + 1)
    sides = np.full(rows, TRAIN, np.uint8)
    sides[mark_lowest(hashes, second)] = VALIDATION
    sides[mark_lowest(hashes, first)] = TEST
    return sides


def _cut_between(hashes: np.ndarray, cut: int, reach: int, most: int, least: int = 1) -> int:
    """Return the nearest number of rows to a cut that parts no equal rows, or the cut itself if none is in reach."""
    if not 0 < cut < len(hashes):
        return cut
    tie = value_at(hashes, cut)
    ends = int(np.count_nonzero(hashes < tie)), int(np.count_nonzero(hashes <= tie))
    if ends[0] == cut:
        return cut
    nearest = sorted((end for end in ends if least <= end <= most), key=lambda end: abs(end - cut))
    return nearest[0] if nearest and abs(nearest[0] - cut) <= reach else cut


def assign_groups(values: pa.ChunkedArray, test_size: float, validation_size: float, seed: int) -> np.ndarray:
    """Place whole groups: a group's side depends on its value and the seed alone, so it is the same in every table.

    Args:
        values: The group of each row; null is a group of its own.
        test_size: Share of the groups for the test.
        validation_size: Share of the groups for validation.
        seed: Salt of the hash.

    Returns:
        A side for each row, uint8, shape (rows,).
    """
    groups, codes = _encode(values)
    labels = [repr(label) if label is None else str(label) for label in groups]
    salted = (hashlib.sha256(f"{seed}\0{label}".encode()).digest()[:8] for label in labels)
    places = np.array([int.from_bytes(digest, "big") / 2**64 for digest in salted])
    sides = np.full(len(labels), TRAIN, np.uint8)
    sides[places < test_size + validation_size] = VALIDATION
    sides[places < test_size] = TEST
    return sides[codes]


def _read_encoded(data: str | Path, column: str) -> pa.ChunkedArray:
    """Read a column as codes of its values, so that text takes no more memory than numbers."""
    chunks = [pc.dictionary_encode(_plain(batch.column(0))) for batch in read_batches(data, [column])]
    return pa.chunked_array(chunks)


def _encode(values: pa.Array | pa.ChunkedArray) -> tuple[list, np.ndarray]:
    """Return the distinct values of a column, None for null, and the position of each row's among them."""
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    values = values.unify_dictionaries()
    labels = values.chunk(0).dictionary.to_pylist() if values.num_chunks else []
    codes = [pc.fill_null(chunk.indices, len(labels)).to_numpy() for chunk in values.chunks]
    codes = np.concatenate(codes) if codes else np.empty(0, np.int32)
    return ([*labels, None] if values.null_count else labels), codes


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def assign_by_time(
    values: pa.ChunkedArray, test_size: float, validation_size: float, test_start: str = ""
) -> np.ndarray:
    """Cut along time: training rows before validation rows before test rows, rows of one instant on one side.

    Args:
        values: The timestamp of each row.
        test_size: Share of the latest rows for the test, unless ``test_start`` is given.
        validation_size: Share of the rows, just before the test, for validation.
        test_start: ISO 8601; rows from here on are the test.

    Returns:
        A side for each row, uint8, shape (rows,).

    Raises:
        InputError: The column holds no timestamps or some are null or NaN, or ``test_start`` cannot be read.
    """
    if kind_of(values.type) not in ("timestamp", "integer", "number"):
        raise InputError(f"Cannot split by time on a column of type {values.type}: name a column of timestamps.")
    missing = pc.sum(pc.is_null(values, nan_is_null=True)).as_py()
    if missing:
        raise InputError(f"The time column has {missing:,} null or NaN value(s): fill them in or drop those rows.")
    start = parse_start(test_start, values.type) if test_start else None
    times = _as_integers(values)
    rows = len(times)
    ordered = np.sort(times)
    if start is not None:
        test_from = _as_integers(pa.chunked_array([pa.array([start], values.type)]))[0]
    else:
        test_from = ordered[min(max(rows - round(rows * test_size), 0), rows - 1)]
    before = int(np.searchsorted(ordered, test_from, side="left"))
    validations = min(round(rows * validation_size), before)
    sides = np.full(rows, TRAIN, np.uint8)
    if validations:
        sides[times >= ordered[before - validations]] = VALIDATION
    sides[times >= test_from] = TEST
    return sides


def _as_integers(values: pa.ChunkedArray) -> np.ndarray:
    """Return timestamps as integers of their own unit; numbers as they are."""
    if pa.types.is_date(values.type):
        values = pc.cast(values, pa.timestamp("ms"))
    if pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.int64())
    return values.to_numpy()


def parse_start(text: str, type_: pa.DataType) -> datetime.datetime:
    """Read ``test_start`` for a column of timestamps.

    Args:
        text: An ISO 8601 timestamp.
        type_: The column's type.

    Returns:
        The instant, with a time zone where the column has one.

    Raises:
        InputError: The text is no timestamp, or the column has none.
    """
    if not (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
        raise InputError(f"test_start {text!r} needs a column of timestamps, and this one is of type {type_}.")
    try:
        start = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"test_start {text!r} is not an ISO 8601 timestamp: write it like 2024-05-01T00:00:00."
        ) from None
    if getattr(type_, "tz", None):
        return start if start.tzinfo else start.replace(tzinfo=datetime.UTC)
    return start.astimezone(datetime.UTC).replace(tzinfo=None) if start.tzinfo else start


def check_split(method: str, column: str, test_size: float, validation_size: float, test_start: str) -> None:
    """Refuse parameters of a split that are out of range or do not go together; see ``split_table``."""
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}.")
    if method != "random" and not column:
        raise InputError(f"method {method!r} needs a column: name it in the parameter column.")
    if test_start and method != "time":
        raise InputError(f"test_start {test_start!r} goes with method 'time', not {method!r}.")
    if not 0 < test_size < 1:
        raise InputError(f"test_size {test_size} must lie between 0 and 1, e.g. 0.2.")
    if not 0 <= validation_size < 1:
        raise InputError(f"validation_size {validation_size} must be 0 or lie between 0 and 1, e.g. 0.1.")
    if test_size + validation_size >= 1:
        raise InputError(
            f"test_size {test_size} and validation_size {validation_size} leave no row to train on: "
            "their sum must be below 1."
        )


def check_sides(counts: np.ndarray, method: str, validation_size: float) -> None:
    """Refuse a split with a side that has no rows, of those that should.

    Args:
        counts: The rows of each side, shape (3,).
        method: How the table was split.
        validation_size: The share of validation that was asked for.

    Raises:
        InputError: A side would be empty.
    """
    needed = SIDES if validation_size else ("train", "test")
    for name in needed:
        if not counts[SIDES.index(name)]:
            raise InputError(
                f"The {name} side would be empty: {counts.sum():,} rows split with method {method!r} give "
                f"{counts[TRAIN]:,} train, {counts[VALIDATION]:,} validation and {counts[TEST]:,} test rows; "
                "change the sizes, the column or test_start."
            )


def _write(data: str | Path, schema: pa.Schema, sides: np.ndarray, paths: Sequence[str | Path]) -> list[dict]:
    """Write each row to its side, in the order of the table."""
    done = 0
    with ExitStack() as stack:
        sinks = [stack.enter_context(writing_table(path, schema)) for path in paths]
        for batch in read_batches(data):
            part = sides[done : done + batch.num_rows]
            done += batch.num_rows
            for side, sink in enumerate(sinks):
                chosen = batch.filter(pa.array(part == side))
                if chosen.num_rows:
                    sink.write(chosen)
    logger.info("%s train, %s validation and %s test rows", *(f"{sink.rows:,}" for sink in sinks))
    return [describe_file(path, sink.rows) for path, sink in zip(paths, sinks, strict=True)]
