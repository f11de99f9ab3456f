"""What a probability is worth: curves, calibration and thresholds, small enough to show."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from loopline.components.evaluation.metrics import CALIBRATION_BINS, calibration_bins

#: Precision among fewer called rows than this is luck; on a curve it would be the steepest part.
FEWEST_CALLED = 10
#: Shares of the rows that somebody may be able to act on.
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def thin_roc(
    truth: np.ndarray, probability: np.ndarray, points: int = 200
) -> tuple[list[float], list[float], list[float]]:
    """Compute a ROC curve of a bounded number of points.

    Args:
        truth: 0 or 1, both present, shape (rows,).
        probability: Of the second class, shape (rows,).
        points: The most points.

    Returns:
        False positive rates, true positive rates and finite thresholds, as plain floats; the corners included.
    """
    false, true, thresholds = roc_curve(truth, probability)
    # The first threshold is infinite, since nothing is called positive there; the user interface wants a number.
    thresholds[0] = 1.0
    keep = _thin(false, true, points)
    return false[keep].tolist(), true[keep].tolist(), thresholds[keep].tolist()


def thin_precision_recall(
    truth: np.ndarray, probability: np.ndarray, points: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute a precision-recall curve of a bounded number of points.

    Args:
        truth: 0 or 1, a 1 present, shape (rows,).
        probability: Of the second class, shape (rows,).
        points: The most points.

    Returns:
        Recalls in descending order, precisions and thresholds, each of shape (points,); the end where fewer than
        ``FEWEST_CALLED`` rows are called positive is left out, as long as that is less than a hundredth of the rows.
    """
    precision, recall, thresholds = precision_recall_curve(truth, probability)
    called = len(truth) - np.searchsorted(np.sort(probability), thresholds, side="left")
    enough = np.count_nonzero(called >= min(FEWEST_CALLED, max(1, len(truth) // 100)))
    precision, recall, thresholds = precision[:enough], recall[:enough], thresholds[:enough]
    keep = _thin(recall, precision, points)
    return recall[keep], precision[keep], thresholds[keep]


def _thin(x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Choose points at even steps along a curve, for a chart shows length and not rows; both ends are kept."""
    if len(x) <= points:
        return np.arange(len(x))
    length = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    keep = np.searchsorted(length, np.linspace(0, length[-1], points - 1))
    return np.unique(np.append(np.minimum(keep, len(x) - 1), len(x) - 1))


@dataclass(frozen=True)
class Bin:
    """Rows of about one probability.

    Attributes:
        rows: How many.
        predicted: Their mean probability.
        observed: Their share of positives.
        low: Lower end of the share's 95 percent Wilson interval.
        high: Upper end.
    """

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = CALIBRATION_BINS) -> list[Bin]:
    """Hold stated probabilities against what happened (Wilson, JASA 22, 1927, for the intervals).

    Args:
        truth: 0 or 1, shape (rows,).
        probability: Of the second class, shape (rows,).
        bins: The most bins, of about equal size.

    Returns:
        The bins that have rows, by ascending probability.
    """
    positions = calibration_bins(probability, bins)
    found = []
    for position in np.unique(positions):
        rows = positions == position
        hits, count = int(truth[rows].sum()), int(rows.sum())
        low, high = binomtest(hits, count).proportion_ci(0.95, method="wilson")
        found.append(Bin(count, float(probability[rows].mean()), hits / count, float(low), float(high)))
    return found


@dataclass(frozen=True)
class OperatingPoint:
    """What calling rows positive from one probability on would have meant.

    Attributes:
        threshold: That probability.
        why: What is special about it.
        called: Share of the rows called positive.
        precision: Share of those that are; None when there are none.
        recall: Share of the positives that are called; None when there are none.
        f1: Harmonic mean of both, 0 where undefined.
    """

    threshold: float
    why: str
    called: float
    precision: float | None
    recall: float | None
    f1: float


def operating_points(truth: np.ndarray, probability: np.ndarray, threshold: float) -> list[OperatingPoint]:
    """List thresholds worth a look: the chosen one, the highest score, the best F1, and those that call a given share.

    Args:
        truth: 0 or 1, shape (rows,).
        probability: Of the second class, shape (rows,).
        threshold: The chosen one.

    Returns:
        The points by descending threshold; a share that ties in the probabilities make unreachable is left out.
    """
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits, called = np.cumsum(truth[order])[ends], ends + 1
    positives = int(truth.sum())
    f1 = 2 * hits / (called + positives)
    # Rows of one score are called together, so a share that ties make unreachable is no choice anybody has.
    reachable = [share for share in SHARES if _called_at(ends, round(share * len(ranked))) <= 1.1 * share * len(ranked)]
    wanted = {f"calls {share:.0%} of the rows": ranked[max(round(share * len(ranked)) - 1, 0)] for share in reachable}
    wanted["highest score"] = ranked[0]
    if positives:
        wanted["highest F1"] = ranked[ends[int(np.argmax(f1))]]
    wanted["chosen"] = threshold
    points = []
    for why, value in wanted.items():
        last = np.searchsorted(-ranked[ends], -value, side="right") - 1
        count, found = (int(called[last]), int(hits[last])) if last >= 0 else (0, 0)
        points.append(
            OperatingPoint(
                threshold=float(value),
                why=why,
                called=count / len(ranked),
                precision=found / count if count else None,
                recall=found / positives if positives else None,
                f1=2 * found / (count + positives) if count + positives else 0.0,
            )
        )
    return sorted(points, key=lambda one: -one.threshold)


def _called_at(ends: np.ndarray, rows: int) -> int:
    """Return how many rows are called when at least so many are to be."""
    return int(ends[np.searchsorted(ends, max(rows, 1) - 1)]) + 1
