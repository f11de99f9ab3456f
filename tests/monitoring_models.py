"""Small models that were really trained, and the traffic logs their servers would have written."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pyarrow as pa

from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import write_table
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import feature_columns, load_predictor
from loopline.components.serving import traffic
from loopline.components.serving.sinks import open_sink
from loopline.components.serving.traffic import Stamp, TrafficLog
from loopline.components.training.train import train_boosted_trees

#: The instant at which a test's traffic begins unless it says otherwise; long ago, so that no clock is ahead.
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
FEATURES = ("distance", "hour", "holiday", "carrier", "wind")
#: Each task's target.
TARGETS = {"binary": "late", "multiclass": "grade", "regression": "minutes"}
CARRIERS = ("AA", "DL", "UA")

SCHEMA = (
    Column("distance", "number"),
    Column("hour", "integer"),
    Column("holiday", "boolean"),
    Column("carrier", "category", categories=CARRIERS),
    Column("wind", "number"),
    Column("late", "boolean", nullable=False),
    Column("grade", "category", nullable=False, categories=("high", "low", "middle")),
    Column("minutes", "number", nullable=False),
)


def make_events(
    rows: int,
    seed: int = 0,
    shift: float = 0.0,
    flipped: bool = False,
    carriers: Sequence[float] = (0.5, 0.3, 0.2),
    missing: float = 0.1,
) -> pa.Table:
    """Return events with five features and three targets that follow from ``distance``, ``holiday`` and ``carrier``.

    Args:
        rows: How many.
        seed: Random seed.
        shift: Standard deviations by which ``distance`` has moved: drift of the inputs.
        flipped: Whether ``distance`` means the opposite: drift of the concept, which no input shows.
        carriers: The carriers' shares.
        missing: The share of ``distance`` that is missing.
    """
    random = np.random.default_rng(seed)
    distance = random.normal(500 + 100 * shift, 100, rows)
    holiday = random.random(rows) < 0.3
    carrier = random.choice(CARRIERS, rows, p=carriers)
    signal = (distance - 500) / 100 * (-1 if flipped else 1) + holiday + (carrier == "DL") - 0.5
    noisy = signal + random.logistic(0, 0.6, rows)
    return pa.table(
        {
            "distance": pa.array(distance, mask=random.random(rows) < missing),
            "hour": random.integers(0, 24, rows),
            "holiday": holiday,
            "carrier": carrier,
            "wind": random.gamma(2.0, 5.0, rows),
            "late": noisy > 0,
            "grade": np.array(["low", "middle", "high"])[np.digitize(noisy, [-0.7, 0.7])],
            "minutes": 10 * noisy,
        }
    )


def make_model(folder: Path, task: str = "binary", rows: int = 2_000, seed: int = 0, name: str = "flights") -> Path:
    """Train a few trees on events and write the model directory (ONNX, with reference rows); takes about a second."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [*FEATURES, TARGETS[task]]
    for split, part in (("train", make_events(rows, seed)), ("validation", make_events(rows, seed + 1))):
        write_table(folder / f"{split}.parquet", part.select(columns))
    schema = Schema(SCHEMA).select(columns)
    Schema(schema.columns, target=TARGETS[task]).save(folder / "schema.json")
    train_boosted_trees(
        folder / "train.parquet", folder / "validation.parquet", folder / "schema.json", folder / "model",
        params='{"max_depth": 3, "learning_rate": 0.3}', rounds=20, name=name, seed=seed,
    )  # fmt: skip
    return folder / "model"


def write_traffic(
    uri: str | Path,
    model: Path,
    events: pa.Table,
    start: datetime = START,
    hours: float = 2.0,
    site: str = "edge",
    version: str = "1",
    digest: str = "",
    per_request: int = 5,
    sample: float = 1.0,
    prefix: str = "",
    name: str = "",
) -> pa.Table:
    """Predict events and log them as a site does, spread evenly over some hours.

    Args:
        uri: The traffic log: a folder or ``s3://bucket/prefix``.
        model: The model directory.
        events: What ``make_events`` gave.
        start: When the first request is.
        hours: How long the requests go on.
        site: The site.
        version: The model's version, as logged.
        digest: The model's digest, as logged; its own when empty.
        per_request: Rows of a request.
        sample: The share of the requests that is logged.
        prefix: Before the ids of the requests; the site's name when empty.
        name: The model's name, as logged; its own when empty.

    Returns:
        The truth of all events, logged or not: ``request_id``, ``row`` and the target.
    """
    manifest, predictor = read_manifest(model), load_predictor(model, threads=1)
    scores = predictor.predict(events)
    columns = feature_columns(events, predictor.features)
    stamp = Stamp(name or manifest.name, version, digest or manifest.digest, "sha256:" + "1" * 64, site)
    starts = range(0, events.num_rows, per_request)
    times = [start + timedelta(hours=hours) * (position / len(starts)) for position in range(len(starts))]
    clock = SimpleNamespace(time_ns=None)
    ids = [f"{prefix or site}-{position}" for position in range(len(starts))]
    # Sampling is by chance: a seed of its own, so that a test sees the same rows each time.
    chance = SimpleNamespace(random=np.random.default_rng(7).random)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(traffic, "random", chance))
        stack.enter_context(mock.patch.object(traffic, "MAX_REQUESTS", len(starts)))
        stack.enter_context(mock.patch.object(traffic, "CLOSE_S", 60.0))
        log = TrafficLog(
            open_sink(str(uri)), stamp, predictor.features, manifest.output_names, sample,
            max_rows=events.num_rows, flush_rows=events.num_rows + 1, flush_s=3600.0,
        )  # fmt: skip
        with mock.patch.object(traffic, "time", clock):
            for identity, first, time in zip(ids, starts, times, strict=True):
                clock.time_ns = lambda time=time: round(time.timestamp() * 1e6) * 1000
                rows = slice(first, first + per_request)
                log.record(identity, {key: values[rows] for key, values in columns.items()}, scores[rows], 0.002)
        log.close()
    counts = np.arange(events.num_rows)
    return pa.table(
        {
            "request_id": np.array(ids, object)[counts // per_request],
            "row": (counts % per_request).astype(np.int32),
            manifest.target: events.column(manifest.target),
        }
    )
