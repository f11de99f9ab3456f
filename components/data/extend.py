"""Extend the data a model was trained on by what has happened since, in the order of time.

The history is read twice and written once, a batch at a time; of the recent rows the instants alone are held.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.casting import fit
from loopline.components.data.log_columns import PREFIX, TIME
from loopline.components.data.schema import kind_of
from loopline.components.data.tables import check_columns, open_parquet, read_batches
from loopline.components.data.writing import TableSink, writing_table
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

_INSTANT = pa.timestamp("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The predicted columns of the traffic log.
_PREDICTION, _PROBABILITY = "prediction", "probability_"
#: From this share of labeled rows on that do not fit the history, the tables do not belong together.
_MOST_ODD = 0.05


@dataclass(frozen=True)
class Extended:
    """What was written.

    Attributes:
        rows: All rows.
        added: Those that are recent; they stand last.
        left_out: Rows of the history that are not older than ``test_start``.
        odd: Labeled recent rows that were left out for a value that has no place in the history's type.
        test_start: ISO 8601: from here on are the newest of the added rows, to judge a model on.
    """

    rows: int
    added: int
    left_out: int
    odd: int
    test_start: str


def extend(
    history: str | Path,
    recent: str | Path,
    out: str | Path,
    target: str,
    time_column: str = "",
    test_share: float = 0.3,
) -> Extended:
    """Write the history with the labeled recent rows after it.

    An event that is in the history and in the traffic is there twice: nothing says that the two rows are one. With a
    ``time_column`` at least no row of the history is as new as the rows to judge on. Without one, the history's rows
    get the microseconds before the first recent row, in their order.

    Args:
        history: Parquet, as ``ingest_data`` writes it.
        recent: What ``collect_traffic`` wrote, in the order of time. Rows without a target are left out, and so are
            those with a value that has no place in the history's type, such as 7.5 among whole numbers.
        out: The Parquet file to write: ``loopline_time``, and those columns of the history that the recent rows have,
            in the history's types.
        target: The column to predict.
        time_column: The history's column of timestamps; none when empty.
        test_share: Share of the added rows, the newest, to judge on; rows of one instant stay together.

    Returns:
        What was written.

    Raises:
        InputError: No recent row has a target, a column is missing, more than one in twenty of the labeled rows has
            a value that does not fit the history's types, or the history has no row older than ``test_start``.
            Nothing is written then.
    """
    if not 0 < test_share < 1:
        raise InputError(f"test_share {test_share} must lie between 0 and 1, e.g. 0.3.")
    columns = _common_columns(history, recent, target, time_column)
    times, odd = _recent_times(recent, columns, target)
    test_us = int(times[len(times) - max(1, round(len(times) * test_share))])
    schema = pa.schema([*columns, pa.field(TIME, _INSTANT)])
    with writing_table(out, schema) as sink:
        older, newer = _write_history(sink, history, columns, time_column, int(times[0]), test_us)
        for rows, fits in _recent_rows(recent, columns, target):
            sink.write(rows.filter(fits))
    found = Extended(older + len(times), len(times), newer, odd, _instant(test_us).isoformat())
    logger.info(
        "%s rows of history, %s labeled ones since, to be judged on those from %s",
        f"{older:,}", f"{found.added:,}", found.test_start,
    )  # fmt: skip
    return found


def _common_columns(history: str | Path, recent: str | Path, target: str, time_column: str) -> list[pa.Field]:
    """Return the history's columns that the recent rows have: features and target."""
    with open_parquet(history) as file:
        old = file.schema_arrow
    with open_parquet(recent) as file:
        new = file.schema_arrow.names
    check_columns(old.names, [target, *([time_column] if time_column else [])], f"the history {history}")
    check_columns(new, [target, TIME], f"the traffic {recent}")
    if time_column and kind_of(old.field(time_column).type) != "timestamp":
        raise InputError(
            f"Column {time_column!r} of the history holds {old.field(time_column).type} and no timestamps: name "
            "another time column, or none."
        )
    columns = [_plain(field) for field in old if field.name in new and not field.name.startswith(PREFIX)]
    if len(columns) < 2:
        raise InputError(
            f"History and traffic have no feature in common: the history has {', '.join(map(repr, old.names))}, the "
            f"traffic {', '.join(map(repr, new))}; give the data that the model was trained on."
        )
    for name in _features(new, target):
        if name not in old.names:
            logger.warning("feature %r is not in the history: the new model does without it", name)
    return columns


def _features(names: Sequence[str], target: str) -> list[str]:
    return [
        name
        for name in names
        if name not in (target, _PREDICTION) and not name.startswith((PREFIX, _PROBABILITY))
    ]  # fmt: skip


def _plain(field: pa.Field) -> pa.Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_)


def _recent_times(recent: str | Path, columns: list[pa.Field], target: str) -> tuple[np.ndarray, int]:
    """Return the instants of the recent rows to learn from, ascending, in microseconds since 1970, and the odd rows."""
    times = [np.zeros(0, np.int64)]
    labeled = 0
    for rows, fits in _recent_rows(recent, columns, target):
        labeled += rows.num_rows
        known = rows.column(TIME).filter(fits)
        times.append(known.cast(pa.int64()).to_numpy(zero_copy_only=False))
    if not labeled:
        with open_parquet(recent) as file:
            raise InputError(
                f"None of the {file.metadata.num_rows:,} rows of traffic has a value of {target!r}, so there is "
                "nothing to learn from: bring the truth, or look further back."
            )
    times = np.sort(np.concatenate(times))
    odd = labeled - len(times)
    if odd > _MOST_ODD * labeled:
        _refuse_odd(recent, columns, target, odd, labeled)
    if odd:
        logger.warning("%s of %s labeled rows have a value that is odd and are left out", f"{odd:,}", f"{labeled:,}")
    return times, odd


def _recent_rows(
    recent: str | Path, columns: list[pa.Field], target: str
) -> Iterator[tuple[pa.RecordBatch, pa.BooleanArray]]:
    """Yield the labeled rows in the history's types, and which of them fit."""
    for batch in read_batches(recent, [*(column.name for column in columns), TIME]):
        rows = batch.filter(_is_known(batch.column(target)))
        fitted = [_fit(rows.column(column.name), column.type) for column in columns]
        fits = pa.array(np.ones(rows.num_rows, bool))
        for column, values in zip(columns, fitted, strict=True):
            fits = pc.and_(fits, _has_place(rows.column(column.name), values))
        yield _batch(fitted, columns, rows.column(TIME).cast(_INSTANT)), fits


def _refuse_odd(recent: str | Path, columns: list[pa.Field], target: str, odd: int, labeled: int):
    """Refuse traffic of which too much does not fit, with the first value that does not."""
    for batch in read_batches(recent, [column.name for column in columns]):
        rows = batch.filter(_is_known(batch.column(target)))
        for column in columns:
            values = rows.column(column.name)
            strange = values.filter(pc.invert(_has_place(values, _fit(values, column.type))))
            if len(strange):
                raise InputError(
                    f"Column {column.name!r} is {column.type} in the history, and {strange[0].as_py()!r} in the "
                    f"traffic cannot be that; {odd:,} of {labeled:,} labeled rows do not fit: bring the history in "
                    "with the same types as when the model was trained."
                )


def _write_history(
    sink: TableSink, history: str | Path, columns: list[pa.Field], time_column: str, first_us: int, test_us: int
) -> tuple[int, int]:
    """Write the rows of the history that are older than the test; returns how many, and how many are not."""
    names = [column.name for column in columns]
    with open_parquet(history) as file:
        rows = file.metadata.num_rows
    older = newer = 0
    for batch in read_batches(history, list(dict.fromkeys([*names, *([time_column] if time_column else [])]))):
        if time_column:
            times = _instants(batch.column(time_column))
            before = pc.less(times, pa.scalar(test_us, pa.int64()).cast(_INSTANT))
            newer += batch.num_rows - before.true_count
            batch, times = batch.filter(before), times.filter(before)
        else:
            start = first_us - rows + older
            times = pa.array(np.arange(start, start + batch.num_rows)).cast(_INSTANT)
        older += batch.num_rows
        if batch.num_rows:
            # The plain types of the history's own columns: every value has a place.
            fitted = [_fit(batch.column(column.name), column.type) for column in columns]
            sink.write(_batch(fitted, columns, times))
    if not older:
        raise InputError(
            f"All {rows:,} rows of the history are at or after {_instant(test_us).isoformat()}, where the rows to "
            f"judge on begin: check the column {time_column!r} and its time zone."
        )
    if newer:
        logger.warning("%s rows of the history are as new as the rows to judge on and are left out", f"{newer:,}")
    return older, newer


def _instants(values: pa.Array) -> pa.Array:
    """Return timestamps as instants; one without a zone is UTC, and a row without any is older than all others."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if not values.type.tz:
        values = pc.assume_timezone(values, "UTC")
    return values.cast(_INSTANT, safe=False).fill_null(_EPOCH)


def _batch(values: list[pa.Array], columns: list[pa.Field], times: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([*values, times], schema=pa.schema([*columns, pa.field(TIME, _INSTANT)]))


def _fit(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Turn values into the history's type, those that have no place in it into null.

    The log keeps numbers in single precision: nothing is lost here that the model saw.
    """
    return fit(values, wanted)[0]


def _has_place(values: pa.Array, fitted: pa.Array) -> pa.BooleanArray:
    """Return which values are missing or kept their place when they were fitted; a missing number may be NaN."""
    return pc.or_(pc.is_null(values, nan_is_null=True), fitted.is_valid())


def _is_known(values: pa.Array) -> pa.Array:
    return pc.invert(pc.is_null(values, nan_is_null=True))


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
