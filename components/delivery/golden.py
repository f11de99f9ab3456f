"""Replay the golden rows of a model against a server that should predict the same."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.schema import Schema
from loopline.components.data.tables import read_table
from loopline.components.delivery.inference import Answer, load_features, predict_rest
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import agree


@dataclass(frozen=True)
class Golden:
    """Rows with the predictions that a model gave for them at training.

    Attributes:
        model: The model's name.
        digest: The model's digest.
        features: The schema of what it takes.
        rows: The inputs.
        scores: The predictions: shape (rows, classes) or (rows,), single precision.
    """

    model: str
    digest: str
    features: Schema
    rows: pa.Table
    scores: np.ndarray

    def reverse(self) -> "Golden":
        """Return the same rows and predictions with the features in reverse order."""
        features = self.features.select(self.features.names[::-1])
        return Golden(self.model, self.digest, features, self.rows.select(features.names), self.scores)

    def slice(self, start: int, rows: int) -> "Golden":
        """Return some of the rows with their predictions."""
        part = self.rows.slice(start, rows)
        return Golden(self.model, self.digest, self.features, part, self.scores[start : start + part.num_rows])


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Attributes:
        rows: Rows replayed.
        wrong: Rows of which a prediction differs by more than the tolerance.
        max_difference: The largest difference of any prediction.
        answer: The server's answer.
    """

    rows: int
    wrong: int
    max_difference: float
    answer: Answer

    @property
    def passed(self) -> bool:
        """Whether every prediction agrees."""
        return self.wrong == 0


def read_golden(model: str | Path) -> Golden:
    """Read the golden rows of a model directory.

    Args:
        model: The model directory.

    Returns:
        The rows and predictions.

    Raises:
        InputError: The directory has none.
    """
    manifest, features = read_manifest(model), load_features(model)
    table = read_table(Path(model) / "golden.parquet", [*features.names, *manifest.output_names])
    if not table.num_rows:
        raise InputError(f"golden.parquet of {model} has no rows: train the model anew.")
    scores = np.column_stack([table.column(name).to_numpy() for name in manifest.output_names]).astype(np.float32)
    scores = scores if manifest.is_classification else scores.reshape(-1)
    return Golden(manifest.name, manifest.digest, features, table.select(features.names), scores)


def replay(
    golden: Golden, address: str, predict: Callable[..., Answer] = predict_rest, timeout_s: float = 10.0
) -> Replay:
    """Ask a server for the golden rows and compare.

    Args:
        golden: What ``read_golden`` gave.
        address: Where the server answers.
        predict: ``predict_rest`` or ``predict_grpc``.
        timeout_s: Seconds to wait for the answer.

    Returns:
        How far the predictions differ.

    Raises:
        InputError: The server does not answer, refuses the rows or answers something else than predictions.
    """
    answer = predict(address, golden.model, golden.rows, golden.features, timeout_s)
    if answer.scores.shape != golden.scores.shape:
        raise InputError(
            f"{address} answered predictions of shape {answer.scores.shape} instead of {golden.scores.shape}: "
            "it serves another model."
        )
    agrees = agree(answer.scores, golden.scores).reshape(golden.rows.num_rows, -1).all(axis=1)
    difference = np.abs(answer.scores - golden.scores)
    # NaN is the largest difference there is, and np.max says so.
    return Replay(golden.rows.num_rows, int((~agrees).sum()), float(difference.max()), answer)
