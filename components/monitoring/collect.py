"""Collect what the sites predicted in a window of time, joined with the truth where it has arrived."""

import itertools
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.log_columns import DIGEST, ID, ROW, SITE, TIME, VERSION
from loopline.components.data.writing import TableSink, writing_table
from loopline.components.errors import InputError
from loopline.components.monitoring.collected import Collected
from loopline.components.monitoring.parts import BrokenPart, Layout, PartRows, count_rows, read_part
from loopline.components.monitoring.traffic_log import Log, Part, find_models, find_parts, find_sites, open_log
from loopline.components.monitoring.truth import Key, label_rows, read_labels
from loopline.components.monitoring.window import Window
from loopline.components.parameters import split_names

logger = logging.getLogger("loopline")

#: How far a site's clock may be ahead of this machine's.
CLOCK_SKEW = timedelta(minutes=1)
#: A window that ends longer ago than this is history: nothing in it can be in the future.
_RECENT = timedelta(hours=1)
_IDENTITY = (TIME, ID, ROW, SITE)


def collect(
    model: str | Path,
    out: str | Path,
    name: str,
    uri: str,
    window: Window,
    sites: str = "",
    truth: str = "",
    truth_key: str = "request_id,row",
    truth_csv: str = "{}",
) -> Collected:
    """Collect the rows of a window into one Parquet file, in the order of time.

    The log is read hour by hour, so that no more than some hours of it are in memory; what is remembered of every row
    is a hash of its key, and only when there is truth to join.

    Args:
        model: The model directory that says what rows look like.
        out: The file to write: the log's columns, the features, the predictions and the target, null where unknown.
        name: The model's name in the log.
        uri: The log: a folder or ``s3://bucket/prefix``; ``LOOPLINE_TRAFFIC_URI``, else this machine's own, when empty.
        window: The window.
        sites: Comma-separated; all when empty.
        truth: CSV or Parquet files with key and target; none when empty or not there yet.
        truth_key: The columns that truth and predictions are joined by, comma-separated.
        truth_csv: JSON that says how truth is written as CSV, where its first lines do not tell: see ``CsvFormat``.

    Returns:
        What was collected. A window without traffic gives a table without rows.

    Raises:
        InputError: The log or the truth cannot be read, the model's own rows lack a feature, or a parameter makes no
            sense. Nothing is written then.
    """
    layout, out = Layout.of(model), Path(out)
    key, form = Key.read(truth_key, layout), CsvFormat.parse(truth_csv)
    found = Collected(name, window, layout.manifest.digest)
    log = open_log(uri)
    parts = _find(log, found, split_names(sites))
    hours = _read_hours(parts, layout, found)
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing_table(out, layout.labeled_schema) as sink:
        if truth.strip():
            _write_labeled(hours, sink, layout, key, truth, form, found, out.parent)
        else:
            for table in hours:
                target = pa.nulls(table.num_rows, layout.target_type)
                sink.write(pa.table([*table.columns, target], schema=layout.labeled_schema))
        _check_columns(found, layout)
    _log_counts(found)
    return found


def _find(log: Log, found: Collected, wanted: Sequence[str]) -> list[Part]:
    """Find the files of the window; counts the rows of those that are dated after now."""
    present = find_sites(log, found.name)
    if not present:
        models = ", ".join(map(repr, find_models(log))) or "no model at all"
        found.notes.append(f"The traffic log has nothing of model {found.name!r}; it has {models}.")
    absent = [site for site in wanted if site not in present]
    if absent and present:
        found.notes.append(f"Site {absent[0]!r} has logged nothing; there are {', '.join(map(repr, present))}.")
    sites = [site for site in wanted or present if site in present]
    window, now = found.window, datetime.now(UTC)
    recent = window.end >= now - _RECENT
    parts = find_parts(log, found.name, sites, window.start, None if recent else window.end)
    ahead = [part for part in parts if recent and part.hour > now + CLOCK_SKEW]
    for part in ahead:
        found.dropped["clock_ahead"] += count_rows(part)
    return [part for part in parts if part.hour < window.end and part not in ahead]


def _read_hours(parts: Sequence[Part], layout: Layout, found: Collected) -> Iterator[pa.Table]:
    """Yield the rows hour by hour, in the order of time and without repetitions, and count them."""
    read = _read_ahead(parts, layout, found)
    for _, group in itertools.groupby(read, key=lambda pair: pair[0].hour):
        tables = []
        for _, rows in group:
            for total, more in (
                (found.dropped, rows.dropped),
                (found.nulled, rows.nulled),
                (found.incomplete, rows.incomplete),
            ):
                total.update(more)
            found.unknown_columns |= rows.unknown
            if rows.table.num_rows:
                lacking = set(rows.incomplete)
                found.absent_columns = found.absent_columns & lacking if found.absent_columns is not None else lacking
            found.files += 1
            tables.append(rows.table)
        table = _in_order(pa.concat_tables(tables), found)
        if table.num_rows:
            _count(table, found)
            yield table
    if found.broken_files and not found.files:
        name, reason = next(iter(found.broken_files.items()))
        raise InputError(
            f"None of the {len(found.broken_files):,} file(s) of the traffic log in the window can be read, such as "
            f"{name} ({reason}): check what writes them."
        )


def _read_ahead(parts: Iterable[Part], layout: Layout, found: Collected) -> Iterator[tuple[Part, PartRows]]:
    """Read files on a few threads, no further ahead than these are busy, in the order given."""
    latest_us = round((datetime.now(UTC) + CLOCK_SKEW).timestamp() * 1e6)
    workers = min(8, 2 * (os.cpu_count() or 1))
    waiting: deque[tuple[Part, Future]] = deque()
    with ThreadPoolExecutor(workers, "traffic") as pool:
        try:
            for part in itertools.chain(parts, [None] * workers):
                if part is not None:
                    waiting.append((part, pool.submit(read_part, part, layout, found.window, latest_us)))
                if waiting and (part is None or len(waiting) > workers):
                    first, future = waiting.popleft()
                    try:
                        yield first, future.result()
                    except BrokenPart as error:
                        logger.warning("%s is left out: %s", first.source.name, error)
                        found.broken_files[first.source.name] = str(error)
        finally:
            for _, future in waiting:
                future.cancel()


def _in_order(table: pa.Table, found: Collected) -> pa.Table:
    """Sort the rows of an hour by time and drop those that are there twice."""
    times = np.asarray(table.column(TIME).cast(pa.int64()))
    positions = pa.array(np.arange(table.num_rows))
    keys = table.select(_IDENTITY).append_column("position", positions)
    first = keys.group_by(list(_IDENTITY), use_threads=False).aggregate([("position", "min")])
    order = np.argsort(times, kind="stable")
    if first.num_rows < table.num_rows:
        found.dropped["duplicate"] += table.num_rows - first.num_rows
        keep = np.zeros(table.num_rows, bool)
        keep[np.asarray(first.column("position_min"))] = True
        order = order[keep[order]]
    elif (times[1:] >= times[:-1]).all():
        return table
    return table.combine_chunks().take(pa.array(order))


def _count(table: pa.Table, found: Collected) -> None:
    found.rows += table.num_rows
    times = table.column(TIME)
    found.first, found.last = found.first or times[0].as_py(), times[-1].as_py()
    hour = found.last.replace(minute=0, second=0, microsecond=0)
    for column, counter in ((SITE, found.by_site), (VERSION, found.by_version)):
        for entry in pc.value_counts(table.column(column)).to_pylist():
            counter[entry["values"] or "unknown"] += entry["counts"]
            if column == SITE:
                found.by_hour[hour, entry["values"] or "unknown"] += entry["counts"]
    found.own += pc.sum(pc.equal(table.column(DIGEST), found.model_digest)).as_py() or 0


def _write_labeled(
    hours: Iterator[pa.Table],
    sink: TableSink,
    layout: Layout,
    key: Key,
    truth: str,
    form: CsvFormat,
    found: Collected,
    folder: Path,
) -> None:
    """Keep the rows aside until it is known which keys to look for in the truth, then write them with it."""
    hashes = [np.zeros(0, np.uint64)]
    with tempfile.TemporaryDirectory(prefix=".collect-", dir=folder) as aside:
        path = Path(aside) / "rows.parquet"
        with writing_table(path, layout.schema) as waiting:
            for table in hours:
                hashes.append(key.hashes(table))
                waiting.write(table)
        keys = np.concatenate(hashes)
        labels = read_labels(truth, key, layout, keys, found.truth, form)
        if not found.truth.rows:
            found.notes.append(f"No truth has arrived at {truth} yet.")
        for table in label_rows(path, labels, keys, layout, key, found.truth):
            known = table.column(layout.manifest.target).is_valid()
            own = pc.equal(table.column(DIGEST), found.model_digest)
            found.labeled += pc.sum(known).as_py() or 0
            found.own_labeled += pc.sum(pc.and_(known, own)).as_py() or 0
            sink.write(table)


def _check_columns(found: Collected, layout: Layout) -> None:
    """Refuse a log in which the model's own rows all lack a feature: it was renamed, or another model's."""
    if not found.rows:
        return
    missing = [name for name in layout.features.names if name in found.absent_columns]
    if missing and found.own:
        unknown = ", ".join(map(repr, sorted(found.unknown_columns))) or "no other columns"
        raise InputError(
            f"Feature {', '.join(map(repr, missing))} is in no file of the traffic log, which has {unknown} instead: "
            "rename it back where the log is written, or watch with the model that wrote it."
        )
    if missing:
        found.notes.append(
            f"Feature {', '.join(map(repr, missing))} is in no file, as no row is of this model's version yet."
        )


def _log_counts(found: Collected) -> None:
    logger.info(
        "%s rows of %s sites, %s labeled, from %s files", f"{found.rows:,}", len(found.by_site), f"{found.labeled:,}",
        f"{found.files:,}",
    )  # fmt: skip
    for note in found.notes:
        logger.warning("%s", note)
