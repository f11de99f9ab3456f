"""Stream a training table from Parquet into XGBoost, so that the table never has to fit into memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xgboost

from loopline.components.data.tables import read_batches
from loopline.components.model.predictor import encode_columns, feature_columns
from loopline.components.training.plan import Plan


class TableBatches(xgboost.DataIter):
    """Feed a Parquet file to ``xgboost.QuantileDMatrix`` batch by batch.

    XGBoost reads the table four times; the next batch is read and encoded while it works on the one before, which takes
    a tenth off the whole.

    Args:
        path: The table.
        plan: What to learn from which columns.
        class_weights: A weight for each class, in the order of the classes; None for equal weights.
    """

    def __init__(self, path: str | Path, plan: Plan, class_weights: np.ndarray | None = None):
        super().__init__(release_data=True)
        self._path = path
        self._plan = plan
        self._weights = class_weights
        self._types = ["c" if column.kind == "category" else "q" for column in plan.features.columns]
        self._batches: Iterator = iter(())
        self._reader = ThreadPoolExecutor(1)
        self._ahead: Future | None = None

    def reset(self) -> None:
        """Start again from the first row."""
        if self._ahead is not None:
            self._ahead.result()
        self._batches = read_batches(self._path, [*self._plan.features.names, self._plan.target])
        self._ahead = self._reader.submit(self._read)

    def next(self, input_data) -> bool:
        """Hand over the next batch; returns whether there was one."""
        batch = self._ahead.result()
        if batch is None:
            return False
        self._ahead = self._reader.submit(self._read)
        matrix, labels = batch
        extra = {"weight": self._weights[labels]} if self._weights is not None else {}
        input_data(data=matrix, label=labels, feature_types=self._types, **extra)
        return True

    def _read(self) -> tuple[np.ndarray, np.ndarray] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        matrix = encode_columns(feature_columns(batch, self._plan.features), self._plan.features)
        return matrix, self._plan.encode_target(batch.column(self._plan.target))


def quantized(
    path: str | Path,
    plan: Plan,
    max_bin: int,
    class_weights: np.ndarray | None = None,
    like: xgboost.QuantileDMatrix | None = None,
) -> xgboost.QuantileDMatrix:
    """Quantize a table into XGBoost's training matrix: about one byte a value.

    Args:
        path: The table.
        plan: What to learn from which columns.
        max_bin: Bins a numeric feature is cut into.
        class_weights: A weight for each class; None for equal weights.
        like: The training matrix, whose bins a validation matrix uses.

    Returns:
        The matrix.
    """
    return xgboost.QuantileDMatrix(TableBatches(path, plan, class_weights), max_bin=max_bin, ref=like)
