"""Windows to compare: small tables with known drift, and traffic as collect_traffic writes it."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import write_table
from loopline.components.model.predictor import load_predictor

SCHEMA = Schema((*(Column(f"x{i}", "number") for i in range(6)), Column("hour", "integer"), Column("kind", "category")))
LEVELS = np.array(["a", "b", "c", "d"])


def make_window(
    rows: int, seed: int, shift: float = 0.0, correlation: float = 0.6, missing: float = 0.0, mix: float = 0.0
) -> pa.Table:
    """Return rows with request ids: x0 can be shifted, x1 and x2 are correlated, x3 can miss values, kind can move."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 6))
    numbers[:, 2] = correlation * numbers[:, 1] + np.sqrt(1 - correlation**2) * numbers[:, 2]
    numbers[:, 0] += shift
    columns = {
        f"x{i}": pa.array(numbers[:, i], mask=random.random(rows) < (missing if i == 3 else 0)) for i in range(6)
    }
    columns["hour"] = random.integers(0, 24, rows)
    columns["kind"] = random.choice(LEVELS, rows, p=[0.4 + mix, 0.3, 0.2 - mix, 0.1])
    columns["loopline_request_id"] = [f"{seed}-{i}" for i in range(rows)]
    columns["loopline_row"] = np.zeros(rows, np.int32)
    return pa.table(columns)


def write_traffic_table(path: Path, model: Path, events: pa.Table, digest: str = "") -> Path:
    """Write events with what the model predicts for them, as collect_traffic writes a window."""
    predictor = load_predictor(model, threads=1)
    scores = predictor.predict(events).reshape(events.num_rows, -1)
    table = events.select(predictor.features.names)
    for position, name in enumerate(predictor.manifest.output_names):
        table = table.append_column(name, pa.array(scores[:, position], pa.float32()))
    ids = pa.array([f"request-{i}" for i in range(events.num_rows)], pa.string())
    table = table.append_column("loopline_request_id", ids)
    table = table.append_column("loopline_row", pa.array(np.zeros(events.num_rows, np.int32)))
    digests = pa.array([digest or predictor.manifest.digest] * events.num_rows, pa.string())
    write_table(path, table.append_column("loopline_model_digest", digests))
    return path
