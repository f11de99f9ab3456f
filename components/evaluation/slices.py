"""How a model does on parts of the test rows."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import kind_of
from loopline.components.evaluation.bootstrap import choose_rows, resample
from loopline.components.evaluation.metrics import MAIN_METRIC, score
from loopline.components.evaluation.weighted import weighted_statistic
from loopline.components.report import show

#: More categories of a column than this are put together.
MOST_SLICES = 10
#: A slice with fewer rows, or fewer of either class of two, is marked: its figures say little.
SMALL_ROWS = 100
SMALL_CLASS = 10
#: Replicates for a slice, and the most rows it resamples.
SLICE_REPLICATES = 200
SLICE_WORK = 4_000_000


@dataclass(frozen=True)
class Slice:
    """One part of the test rows.

    Attributes:
        column: The column that was split by.
        name: Which of its values.
        rows: How many rows.
        share: Of all test rows.
        truth: Binary: the share of positives; regression: the mean; else None.
        predicted: The mean prediction to hold against it.
        value: The main metric.
        low: Lower end of its 95 percent interval, None where undefined.
        high: Upper end.
        small: Whether there are too few rows to say much.
        roc_auc: Binary: ROC AUC inside the slice, None where undefined.
    """

    column: str
    name: str
    rows: int
    share: float
    truth: float | None
    predicted: float | None
    value: float
    low: float | None
    high: float | None
    small: bool
    roc_auc: float | None = field(default=None)


def score_slices(
    task: str,
    column: str,
    values: pa.ChunkedArray,
    truth: np.ndarray,
    scores: np.ndarray,
    replicates: int = SLICE_REPLICATES,
    seed: int = 0,
) -> list[Slice]:
    """Score a model on each part of the rows that a column makes.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        column: The column's name.
        values: The column, shape (rows,).
        truth: Class positions or values, shape (rows,).
        scores: Probabilities, shape (rows, classes), or predictions, shape (rows,).
        replicates: Bootstrap replicates of each slice; no interval when 0.
        seed: Of the random numbers.

    Returns:
        The slices: text by size with the rare values together at the end, numbers and months in ascending order.
    """
    codes, names = split_rows(values)
    slices = []
    for code, name in enumerate(names):
        rows = np.flatnonzero(codes == code)
        if len(rows):
            slices.append(_score_slice(task, column, name, truth[rows], scores[rows], len(truth), replicates, seed))
    return slices


def _score_slice(task, column, name, truth, scores, total, replicates, seed) -> Slice:
    metric = MAIN_METRIC[task]
    figures = score(task, truth, scores)
    low = high = None
    if replicates and len(truth) > 1:
        passes = scores.shape[1] if task == "multiclass" else 1
        chosen = choose_rows(len(truth), replicates, passes, seed, SLICE_WORK)
        statistic = weighted_statistic(task, truth[chosen], scores[chosen], only={metric})
        low, high = resample(statistic, len(chosen), len(truth), replicates, seed).interval(metric, figures[metric])
    binary = task == "binary"
    few = binary and min(truth.sum(), len(truth) - truth.sum()) < SMALL_CLASS
    return Slice(
        column=column,
        name=name,
        rows=len(truth),
        share=len(truth) / total,
        truth=None if task == "multiclass" else float(truth.mean()),
        predicted=None if task == "multiclass" else float((scores[:, 1] if binary else scores).mean()),
        value=figures[metric],
        low=low,
        high=high,
        small=bool(len(truth) < SMALL_ROWS or few),
        roc_auc=figures.get("roc_auc"),
    )


def split_rows(values: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Assign each row to a part: its category, or its quarter of a number's range.

    Args:
        values: A column, shape (rows,).

    Returns:
        The part of each row, shape (rows,), and the parts' names. Missing values are a part of their own; at most
        ``MOST_SLICES`` parts and those for missing and for other values.
    """
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    values = values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = kind_of(values.type)
    if kind in ("integer", "number") and pc.count_distinct(values).as_py() > MOST_SLICES:
        return _split_ranges(values.cast(pa.float64(), safe=False))
    if kind == "timestamp":
        return _split_categories(pc.strftime(values, format="%Y-%m"), ordered=True)
    return _split_categories(values, ordered=kind != "category")


def _split_categories(values: pa.Array, ordered: bool) -> tuple[np.ndarray, list[str]]:
    counts = sorted(pc.value_counts(values.drop_null()).to_pylist(), key=lambda one: (-one["counts"], one["values"]))
    kept = [one["values"] for one in counts[:MOST_SLICES]]
    if ordered:
        kept.sort()
    rest = len(counts) - len(kept)
    positions = pc.index_in(values, pa.array(kept, values.type))
    codes = np.asarray(pc.fill_null(positions, len(kept)), np.int64)
    codes[np.asarray(values.is_null())] = len(kept) + 1
    return codes, [str(one) for one in kept] + [f"other ({rest} values)", "missing"]


def _split_ranges(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    numbers = np.asarray(pc.fill_null(values, np.nan), np.float64)
    known = numbers[np.isfinite(numbers)]
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    codes = np.searchsorted(edges, numbers, side="left")
    codes[np.isnan(numbers)] = len(edges) + 1
    first, last = f"up to {show(edges[0])}", f"above {show(edges[-1])}"
    between = [f"above {show(low)} to {show(high)}" for low, high in itertools.pairwise(edges)]
    return codes, [first, *between, last, "missing"]
