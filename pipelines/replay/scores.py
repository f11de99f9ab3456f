"""How well the loop and its control predicted the same rows, and what the loop gained."""

import math
from dataclasses import dataclass

import numpy as np

from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import Replicates, Statistic, check_replicates, draw_counts
from loopline.components.evaluation.metrics import find_metric
from loopline.components.model.predictor import agree
from loopline.components.monitoring.skill import skill_statistic

#: By task the metrics of a timeline, the one that decides first.
METRICS = {"binary": ("log_loss", "roc_auc"), "multiclass": ("log_loss", "accuracy"), "regression": ("rmse", "r2")}
#: Share of the loss of the best constant that the model saves; comparable between months with other shares of classes.
SKILL = "skill"
#: Fewer groups than that say nothing of how much groups differ.
FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval.

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
        metric: The metric that decides.
    """

    rows: int
    loop: dict[str, Interval]
    control: dict[str, Interval]
    gain: dict[str, Interval]
    same: bool
    metric: str


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
    statistic = _paired_statistic(task, truth, loop, control)
    codes = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    too_few = groups is not None and codes.max() + 1 < FEWEST_GROUPS
    drawn = _resample(statistic, codes, 0 if too_few else replicates, seed)
    kinds = {"loop": {}, "control": {}, "gain": {}}
    for key, value in drawn.centers.items():
        kind, name = key.split()
        kinds[kind][name] = Interval(value, *drawn.interval(key, value))
    same = bool(np.all(agree(loop, control)))
    return MonthScores(len(truth), **kinds, same=same, metric=METRICS[task][0])


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


def _paired_statistic(task: str, truth: np.ndarray, loop: np.ndarray, control: np.ndarray) -> Statistic:
    """Return all figures of both sides and their differences as a function of how often each row was drawn."""
    main = find_metric(task, METRICS[task][0])
    first, second = (skill_statistic(task, main, truth, scores, METRICS[task]) for scores in (loop, control))

    def statistic(counts: np.ndarray) -> dict[str, float | None]:
        values = {}
        theirs = second(counts)
        for name, mine in first(counts).items():
            other = theirs[name]
            sign = -1.0 if name != SKILL and find_metric(task, name).lower_is_better else 1.0
            gain = None if mine is None or other is None else sign * (mine - other)
            values |= {f"loop {name}": mine, f"control {name}": other, f"gain {name}": gain}
        return values

    return statistic


def _resample(statistic: Statistic, codes: np.ndarray, replicates: int, seed: int) -> Replicates:
    """Draw groups of rows with replacement, as many as there are."""
    centers = statistic(np.ones(len(codes)))
    values = {name: np.full(replicates, np.nan) for name in centers}
    for position, counts in enumerate(draw_counts(int(codes.max()) + 1, replicates, seed)):
        for name, value in statistic(counts[codes]).items():
            values[name][position] = np.nan if value is None else value
    return Replicates(values, centers, len(codes), len(codes))
