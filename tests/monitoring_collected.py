"""Collected tables, as ``collect_traffic`` writes them, of rows that a small model really predicted."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.tables import write_table
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import load_predictor


@dataclass
class Server:
    """A loaded model that writes what it predicted.

    Args:
        model: The model directory.
    """

    model: Path

    def __post_init__(self):
        self.manifest = read_manifest(self.model)
        self._predictor = load_predictor(self.model, threads=1)

    def serve(self, path: Path, events: pa.Table, labeled: float = 1.0, hours: float = 24.0, **columns) -> Path:
        """Predict events and write the collected table.

        Args:
            path: The file to write.
            events: Rows with the model's features and its target.
            labeled: The share of the rows, the oldest, whose truth has arrived.
            hours: Over how many hours the rows are spread.
            columns: Other values of columns, e.g. ``loopline_site``, one for all rows or one a row.
        """
        rows = events.num_rows
        start = np.datetime64(datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None), "us")
        time = start + (np.arange(rows) * (hours * 3.6e9 / max(rows, 1))).astype("timedelta64[us]")
        values = {
            "loopline_request_id": [str(row) for row in range(rows)],
            "loopline_row": np.zeros(rows, np.int32),
            "loopline_time": pa.array(time).cast(pa.timestamp("us", "UTC")),
            "loopline_latency_ms": np.ones(rows, np.float32),
            "loopline_model_name": self.manifest.name,
            "loopline_model_version": "1",
            "loopline_model_digest": self.manifest.digest,
            "loopline_image_digest": "sha256:" + "1" * 64,
            "loopline_site": "edge",
        }
        scores = self._predictor.predict(events).reshape(rows, len(self.manifest.output_names))
        values |= {name: events.column(name) for name in self._predictor.features.names}
        values |= {name: scores[:, position].copy() for position, name in enumerate(self.manifest.output_names)}
        target = events.column(self.manifest.target).combine_chunks()
        known = target.to_pylist()[: round(labeled * rows)]
        values[self.manifest.target] = pa.array(known + [None] * (rows - len(known)), target.type)
        values |= columns
        write_table(path, pa.table({name: _column(value, rows) for name, value in values.items()}))
        return path


def _column(value, rows: int):
    if isinstance(value, str):
        return pa.array([value] * rows, pa.string())
    return pa.array(value, pa.string()) if isinstance(value, list) else value
