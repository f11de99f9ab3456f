"""How well the loop and its control predicted the same rows, and what the loop gained."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import Replicates, check_replicates, draw_counts
from loopline.components.evaluation.metrics import find_metric
from loopline.components.evaluation.metrics import score as score_metrics
from loopline.components.evaluation.weighted import weighted_statistic
from loopline.components.model.predictor import agree

#: By task the metrics of a timeline, the one that decides first.
METRICS = {"binary": ("log_loss", "roc_auc"), "multiclass": ("log_loss", "accuracy"), "regression": ("rmse", "r2")}
#: Share of the loss of the best constant that the model saves; comparable between months with other shares of classes.
SKILL = "skill"
#: Fewer groups than that say nothing of how much groups differ.
FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure; None where it is undefined.
        low: The lower end; None without interval.
        high: The upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MonthScores:
    """What the loop and its control are worth on the same rows.

    Attributes:
        rows: How many rows.
        loop: By metric, and ``skill``, the figure of the loop.
        control: The same of the control.
        gain: By how much the loop is better, from paired resampling; positive when it is, whatever the metric.
        same: Whether both predict the same, as one model served and not served does.
    """

    rows: int
    loop: dict[str, Interval]
    control: dict[str, Interval]
    gain: dict[str, Interval]
    same: bool


def score_month(
    truth: np.ndarray,
    loop: np.ndarray,
    control: np.ndarray,
    seed: int = 0,
    groups: np.ndarray | None = None,
    task: str = "binary",
    replicates: int = 500,
) -> MonthScores:
    """Compare the loop with its control on the same rows.

    Intervals are percentile bootstrap intervals. Rows of one group are drawn together (the cluster bootstrap: Davison
    and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8): flights of one day share its weather and
    its queues, and taking them for independent makes every difference look sure.

    Args:
        truth: Class positions (booleans for two classes) or values, shape (rows,), at least one.
        loop: Probabilities that sum to one, shape (rows, classes), or values, shape (rows,).
        control: The same of the control.
        seed: Of the random numbers.
        groups: The group of each row, such as its day, shape (rows,); each row is its own when None. With fewer than
            ``FEWEST_GROUPS`` there are no intervals.
        task: ``binary``, ``multiclass`` or ``regression``.
        replicates: How many times to resample; 0 for no intervals.

    Returns:
        The figures.

    Raises:
        InputError: There are no rows, or not as many of each.
    """
    check_replicates(replicates, seed)
    truth = np.asarray(truth, np.float64 if task == "regression" else np.int64)
    sizes = {len(truth), len(loop), len(control), len(truth) if groups is None else len(groups)}
    if sizes == {0} or len(sizes) > 1:
        raise InputError(f"There are {sorted(sizes)} rows of truth and scores: give as many of each, at least one.")
    names = [*METRICS[task], SKILL]
    sides = {"loop": loop, "control": control}
    values = {}
    for side, scores in sides.items():
        found = score_metrics(task, truth, scores)
        found[SKILL] = _skill(found[names[0]], _constant_loss(task, truth, np.ones(len(truth))))
        values[side] = {name: found[name] for name in names}
    values["gain"] = _gain(task, values["loop"], values["control"])
    intervals = _resample(task, truth, sides, seed, groups, replicates)

    def with_interval(kind: str) -> dict[str, Interval]:
        return {
            name: Interval(value, *intervals.interval(f"{kind} {name}", value)) if intervals else Interval(value)
            for name, value in values[kind].items()
        }

    same = bool(np.all(agree(loop, control)))
    return MonthScores(len(truth), *(with_interval(kind) for kind in ("loop", "control", "gain")), same)


def pool(parts: list[tuple[float, Interval]]) -> Interval:
    """Average figures of independent months, with an interval.

    The distances from the figures to the ends of their intervals are added in quadrature: Zou and Donner,
    "Construction of confidence limits about effect measures", Statistics in Medicine 2008.

    Args:
        parts: For each month its weight and its figure; those that are undefined are left out.

    Returns:
        The weighted mean; its interval where every figure has one.
    """
    parts = [(weight, figure) for weight, figure in parts if figure.value is not None]
    total = sum(weight for weight, _ in parts)
    if not total:
        return Interval(None)
    value = sum(weight * figure.value for weight, figure in parts) / total
    if any(figure.low is None or figure.high is None for _, figure in parts):
        return Interval(value)
    below = math.hypot(*(weight * (figure.value - figure.low) / total for weight, figure in parts))
    above = math.hypot(*(weight * (figure.high - figure.value) / total for weight, figure in parts))
    return Interval(value, value - below, value + above)


def _resample(task, truth, sides, seed, groups, replicates) -> Replicates | None:
    codes = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    if not replicates or (groups is not None and count < FEWEST_GROUPS):
        return None
    statistics = {name: weighted_statistic(task, truth, scores, only=METRICS[task]) for name, scores in sides.items()}

    def statistic(counts: np.ndarray) -> dict[str, float | None]:
        found = {side: one(counts) for side, one in statistics.items()}
        constant = _constant_loss(task, truth, counts)
        for values in found.values():
            values[SKILL] = _skill(values[METRICS[task][0]], constant)
        found["gain"] = _gain(task, found["loop"], found["control"])
        return {f"{kind} {name}": value for kind, values in found.items() for name, value in values.items()}

    centers = statistic(np.ones(len(truth)))
    values = {name: np.full(replicates, np.nan) for name in centers}
    for position, counts in enumerate(_draw(codes, count, replicates, seed)):
        for name, value in statistic(counts).items():
            values[name][position] = np.nan if value is None else value
    return Replicates(values, centers, len(truth), len(truth))


def _draw(codes: np.ndarray, groups: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Draw groups with replacement; yields how often each row was drawn."""
    for counts in draw_counts(groups, replicates, seed):
        yield counts[codes]


def _gain(task: str, loop: Mapping, control: Mapping) -> dict[str, float | None]:
    gains = {}
    for name, value in loop.items():
        sign = -1.0 if name != SKILL and find_metric(task, name).lower_is_better else 1.0
        defined = value is not None and control[name] is not None
        gains[name] = sign * (value - control[name]) if defined else None
    return gains


def _constant_loss(task: str, truth: np.ndarray, counts: np.ndarray) -> float:
    """Return the loss of the best constant prediction: the entropy of the classes, or the standard deviation."""
    if task == "regression":
        mean = counts @ truth / counts.sum()
        return float(np.sqrt(counts @ (truth - mean) ** 2 / counts.sum()))
    shares = np.bincount(truth, weights=counts) / counts.sum()
    shares = shares[shares > 0]
    return float(-(shares @ np.log(shares)))


def _skill(loss: float, constant: float) -> float | None:
    return 1 - loss / constant if constant > 0 else None
