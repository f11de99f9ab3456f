"""Stream a training table from Parquet into XGBoost, so that the table never has to fit into memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xgboost

from loopline.components.data.tables import BATCH_ROWS, read_batches
from loopline.components.errors import InputError
from loopline.components.model.predictor import encode_table
from loopline.components.training.pages import PageFolder, quantized_bytes
from loopline.components.training.plan import Plan

#: Bytes of single-precision values that are handed over at a time. A page on disk is of as many rows: smaller ones cost
#: time, since trees are grown page by page.
_PAGE_BYTES = 64 * 2**20
#: Pages that may be on their way to the disk at once.
_PAGES_AHEAD = 4


class TableBatches(xgboost.DataIter):
    """Feed a Parquet file to XGBoost's quantized matrices batch by batch.

    XGBoost reads the table four times; the next batch is read and encoded while it works on the one before, which takes
    a tenth off the whole. The batches are the same wherever the matrix lies: bins, and so trees, follow from them.

    Args:
        path: The table.
        plan: What to learn from which columns.
        class_weights: A weight for each class, in the order of the classes; None for equal weights.
        pages: Where the matrix has its pages; None when memory holds it.
    """

    def __init__(
        self,
        path: str | Path,
        plan: Plan,
        class_weights: np.ndarray | None = None,
        pages: PageFolder | None = None,
    ):
        super().__init__(cache_prefix=str(pages.path / "pages") if pages else None, release_data=True)
        self._path = path
        self._plan = plan
        self._weights = class_weights
        self._pages = pages
        self._rows = _page_rows(len(plan.features.columns))
        self._types = ["c" if column.kind == "category" else "q" for column in plan.features.columns]
        self._batches: Iterator = iter(())
        self._reader = ThreadPoolExecutor(1)
        self._ahead: Future | None = None

    def reset(self) -> None:
        """Start again from the first row."""
        if self._ahead is not None:
            self._ahead.result()
        columns = [*self._plan.features.names, self._plan.target]
        self._batches = read_batches(self._path, columns, min(self._rows, BATCH_ROWS))
        self._ahead = self._reader.submit(self._read)

    def next(self, input_data) -> bool:
        """Hand over the next batch; returns whether there was one."""
        batch = self._ahead.result()
        if batch is None:
            return False
        self._ahead = self._reader.submit(self._read)
        matrix, labels = batch
        if self._pages:
            self._pages.check_room(_PAGES_AHEAD * quantized_bytes(self._plan, len(matrix)))
        extra = {"weight": self._weights[labels]} if self._weights is not None else {}
        input_data(data=matrix, label=labels, feature_types=self._types, **extra)
        return True

    def _read(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Read and encode the rows of a page; None when there are no more."""
        matrix, labels, done = None, [], 0
        while done < self._rows and (batch := next(self._batches, None)) is not None:
            if matrix is None:
                matrix = np.empty((self._rows, len(self._types)), np.float32)
            encoded = encode_table(batch, self._plan.features)
            _check_finite(encoded, self._plan.features.names)
            matrix[done : done + batch.num_rows] = encoded
            labels.append(self._plan.encode_target(batch.column(self._plan.target)))
            done += batch.num_rows
        return None if matrix is None else (matrix[:done], np.concatenate(labels))


def _check_finite(encoded: np.ndarray, names: list[str]) -> None:
    """Refuse what XGBoost takes for no number.

    Raises:
        InputError: A value is infinite in single precision.
    """
    infinite = np.isinf(encoded).any(axis=0)
    if infinite.any():
        name = names[int(infinite.argmax())]
        raise InputError(
            f"Feature {name!r} has a value that is infinite, or beyond 3.4e38, where XGBoost's single precision ends: "
            "set a minimum and maximum for it in expectations, or exclude it."
        )


def _page_rows(features: int) -> int:
    """Return the rows of a page: whole batches of a table, or a part of one when it has many columns."""
    rows = _PAGE_BYTES // (4 * features)
    return min(rows // BATCH_ROWS, 8) * BATCH_ROWS or max(rows, 1024)


def quantized(
    path: str | Path,
    plan: Plan,
    max_bin: int,
    class_weights: np.ndarray | None = None,
    like: xgboost.DMatrix | None = None,
    pages: PageFolder | None = None,
) -> xgboost.DMatrix:
    """Quantize a table into XGBoost's training matrix: about one byte a value, by row and by column.

    Args:
        path: The table.
        plan: What to learn from which columns.
        max_bin: Bins a numeric feature is cut into.
        class_weights: A weight for each class; None for equal weights.
        like: The training matrix, whose bins a validation matrix uses.
        pages: Where the matrix has its pages; None when memory is to hold it.

    Returns:
        The matrix.

    Raises:
        InputError: A label is missing, a feature is infinite, or the disk is full.
    """
    kind = xgboost.ExtMemQuantileDMatrix if pages else xgboost.QuantileDMatrix
    return kind(TableBatches(path, plan, class_weights, pages), max_bin=max_bin, ref=like)
