"""Log predicted rows as Parquet files for monitoring, without holding up an answer.

Rows wait in a bounded queue for a thread that writes them, a file for each hour and flush:
``model=<name>/site=<site>/date=YYYY-MM-DD/hour=HH/part-<unique>.parquet``. When the queue is full, rows are dropped and
counted. A file is there whole or not at all.
"""

import itertools
import logging
import math
import os
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from loopline.components.data.log_columns import PREFIX
from loopline.components.data.schema import Schema
from loopline.components.errors import InputError
from loopline.components.serving import metrics
from loopline.components.serving.sinks import Sink, open_sink

logger = logging.getLogger("loopline")
#: The partition of a site that has no name: Arrow cannot read one that is empty.
_UNKNOWN = "unknown"
#: The most rows and requests that wait, some 80 MB; the rows and seconds after which those waiting are written.
MAX_ROWS, MAX_REQUESTS, FLUSH_ROWS, FLUSH_S = 100_000, 20_000, 5_000, 10.0
#: Requests made into columns at once.
_PIECE = 250
#: Seconds that the last rows may take at shutdown.
CLOSE_S = 3.0


@dataclass(frozen=True)
class Stamp:
    """What every row of the log says of its model.

    Attributes:
        model_name: The model's name.
        model_version: Its version.
        model_digest: Its digest.
        image_digest: The digest of the image it came in, empty when unknown.
        site: Where it is served, empty when unknown.
    """

    model_name: str
    model_version: str
    model_digest: str
    image_digest: str
    site: str


@dataclass(frozen=True)
class _Entry:
    request_id: str
    time_us: int
    columns: dict[str, np.ndarray]
    scores: np.ndarray
    latency_ms: float

    @property
    def hour(self) -> int:
        return self.time_us // 3_600_000_000


class TrafficLog:
    """Logs predicted rows.

    Args:
        sink: Where the files go.
        stamp: What every row says of its model.
        features: The schema of what the model takes.
        outputs: The names of the predicted columns.
        sample: The share of the requests that is logged.
        max_rows: The most rows that wait to be written.
        flush_rows: Rows after which those waiting are written.
        flush_s: Seconds after which they are.

    Raises:
        InputError: A feature has a name that the log needs.
    """

    def __init__(
        self,
        sink: Sink,
        stamp: Stamp,
        features: Schema,
        outputs: Sequence[str],
        sample: float = 1.0,
        max_rows: int = MAX_ROWS,
        flush_rows: int = FLUSH_ROWS,
        flush_s: float = FLUSH_S,
    ):
        self._sink, self._stamp, self._features, self._outputs = sink, stamp, features, list(outputs)
        for name in features.names:
            if name.startswith(PREFIX) or name in self._outputs:
                raise InputError(
                    f"Feature {name!r} has the name of a column of the traffic log: rename it, or serve the model "
                    "without LOOPLINE_TRAFFIC_URI."
                )
        self._sample, self._max_rows, self._flush_rows, self._flush_s = sample, max_rows, flush_rows, flush_s
        self._entries: deque[_Entry] = deque()
        self._waiting_rows = self._waiting_requests = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="traffic-log", daemon=True)
        self._thread.start()

    def record(self, request_id: str, columns: dict[str, np.ndarray], scores: np.ndarray, seconds: float) -> None:
        """Log the rows of one request; returns at once.

        Args:
            request_id: The request's id.
            columns: The features by name, arrays of shape (rows,).
            scores: What was predicted, shape (rows, classes) or (rows,).
            seconds: How long it took.
        """
        if self._sample < 1 and random.random() >= self._sample:
            return
        rows = len(scores)
        with self._lock:
            before = self._waiting_rows
            fits = before + rows <= self._max_rows and self._waiting_requests < MAX_REQUESTS
            if fits:
                self._waiting_rows += rows
                self._waiting_requests += 1
                self._entries.append(_Entry(request_id, time.time_ns() // 1000, columns, scores, seconds * 1e3))
        if not fits:
            metrics.TRAFFIC_DROPPED.labels("full").inc(rows)
        elif before < self._flush_rows <= before + rows:
            self._wake.set()

    def close(self) -> None:
        """Write what waits and stop; rows that cannot be written in time are dropped and counted."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        with self._lock:
            if self._waiting_rows:
                metrics.TRAFFIC_DROPPED.labels("shutdown").inc(self._waiting_rows)
                logger.warning("The traffic log lost %d rows at shutdown.", self._waiting_rows)

    def _run(self) -> None:
        held: list[_Entry] = []
        closing = False
        while not closing:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            closing = self._closing  # read before the entries are taken, so that none comes after the last round
            with self._lock:
                held += self._entries
                self._entries.clear()
            held = self._write(held)

    def _write(self, entries: list[_Entry]) -> list[_Entry]:
        """Write entries, a file an hour; returns those that could not be written."""
        entries = sorted(entries, key=lambda entry: entry.time_us)
        hours = [list(group) for _, group in itertools.groupby(entries, key=lambda entry: entry.hour)]
        for position, group in enumerate(hours):
            # In pieces, so that the thread that answers requests gets its turn between them.
            pieces = (group[start : start + _PIECE] for start in range(0, len(group), _PIECE))
            table = pa.concat_tables(self._table(piece) for piece in pieces)
            try:
                self._sink.write(self._path(group[0].hour), table)
            except (InputError, OSError) as error:  # a token that cannot be read now, say; the thread must live
                if not self._failing:
                    logger.warning("%s Predicted rows wait, and are dropped when they are too many.", error)
                self._failing = True
                return [entry for rest in hours[position:] for entry in rest]
            self._failing = False
            with self._lock:
                self._waiting_rows -= table.num_rows
                self._waiting_requests -= len(group)
            metrics.TRAFFIC_LOGGED.inc(table.num_rows)
        return []

    def _path(self, hour: int) -> str:
        start = datetime.fromtimestamp(hour * 3600, UTC)
        model, site = (quote(name, safe="") or _UNKNOWN for name in (self._stamp.model_name, self._stamp.site))
        return f"model={model}/site={site}/date={start:%Y-%m-%d}/hour={start:%H}/part-{uuid.uuid4().hex}.parquet"

    def _table(self, entries: list[_Entry]) -> pa.Table:
        counts = [len(entry.scores) for entry in entries]
        scores = np.concatenate([entry.scores for entry in entries]).reshape(sum(counts), -1)
        columns = {
            "request_id": pa.array(np.repeat([entry.request_id for entry in entries], counts), pa.string()),
            "row": pa.array(np.concatenate([np.arange(count, dtype=np.int32) for count in counts])),
            "time": pa.array(np.repeat([entry.time_us for entry in entries], counts), pa.timestamp("us", "UTC")),
            "latency_ms": pa.array(np.repeat([entry.latency_ms for entry in entries], counts).astype(np.float32)),
        }
        for name, value in vars(self._stamp).items():
            columns[name] = pa.repeat(pa.scalar(value, pa.string()), sum(counts))
        table = {PREFIX + name: values for name, values in columns.items()}
        for column in self._features.columns:
            values = np.concatenate([entry.columns[column.name] for entry in entries])
            table[column.name] = _feature(values, column.kind)
        for position, name in enumerate(self._outputs):
            table[name] = pa.array(np.ascontiguousarray(scores[:, position]))
        return pa.table(table)


def open_traffic_log(stamp: Stamp, features: Schema, outputs: Sequence[str]) -> TrafficLog | None:
    """Open the traffic log that ``LOOPLINE_TRAFFIC_URI``, ``_SAMPLE`` and ``_FLUSH_S`` ask for.

    Args:
        stamp: What every row says of its model.
        features: The schema of what the model takes.
        outputs: The names of the predicted columns.

    Returns:
        The log; None when none is asked for.

    Raises:
        InputError: The environment makes no sense.
    """
    uri = os.environ.get("LOOPLINE_TRAFFIC_URI", "")
    share = _read_number("LOOPLINE_TRAFFIC_SAMPLE", 1.0, 0.0, 1.0)
    flush_s = _read_number("LOOPLINE_TRAFFIC_FLUSH_S", FLUSH_S, 0.1, 3600.0)
    return TrafficLog(open_sink(uri), stamp, features, outputs, share, flush_s=flush_s) if uri and share else None


def _read_number(variable: str, default: float, least: float, most: float) -> float:
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InputError(f"{variable} is {text!r}: set it to a number from {least:g} to {most:g}.")
    return value


def _feature(values: np.ndarray, kind: str) -> pa.Array:
    """Return a feature as it was given to the model: text, or single precision; null where missing."""
    if kind == "category":
        return pa.array(values, pa.string(), mask=values == "")
    numbers = pa.array(values, pa.float32(), from_pandas=True)
    return numbers.cast(pa.bool_()) if kind == "boolean" else numbers
