"""Performance by site, version and time, and where predictions go wrong."""

import itertools
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from loopline.components.evaluation.bootstrap import Statistic, choose_rows, resample
from loopline.components.evaluation.curves import reliability
from loopline.components.evaluation.metrics import RAISED_BY_RESAMPLING, Metric
from loopline.components.evaluation.weighted import weighted_statistic
from loopline.components.monitoring.served_rows import ServedRows
from loopline.components.monitoring.spans import divide_time

#: Replicates of the interval of one part, and the fewest rows that get one.
_REPLICATES, _FEWEST = 200, 20


class PartScorer:
    """Scores parts of the served rows by one metric.

    Args:
        served: The rows.
        task: ``binary``, ``multiclass`` or ``regression``.
        metric: The metric.
        confidence: Of the intervals.
        seed: Of the random numbers.
    """

    def __init__(self, served: ServedRows, task: str, metric: Metric, confidence: float, seed: int):
        self._served, self._task, self._metric = served, task, metric
        self._confidence, self._seed = confidence, seed

    def score(self, rows: np.ndarray) -> dict:
        """Return ``rows``, ``value``, ``low`` and ``high`` of labeled rows; None where there are too few."""
        name, total = self._metric.name, len(rows)
        if not total:
            return {"rows": 0, "value": None, "low": None, "high": None}
        value = self._statistic(rows)(np.ones(total)).get(name)
        low, high = None, None
        if value is not None and total >= _FEWEST:
            chosen = rows[choose_rows(total, _REPLICATES, 1, self._seed)]
            replicates = resample(self._statistic(chosen), len(chosen), total, _REPLICATES, self._seed)
            low, high = replicates.interval(name, value, self._confidence, centered=name in RAISED_BY_RESAMPLING)
        return {"rows": total, "value": value, "low": low, "high": high}

    def _statistic(self, rows: np.ndarray) -> Statistic:
        truth, scores = self._served.truth[rows], self._served.scores[rows]
        return weighted_statistic(self._task, truth, scores, only={self._metric.name})

    def score_groups(self, groups: Iterable[tuple[str, np.ndarray]]) -> dict[str, dict]:
        """Score each of several named parts."""
        return {name: self.score(rows) for name, rows in groups}

    def score_spans(self, own: np.ndarray) -> list[dict]:
        """Score the rows over time.

        Args:
            own: The positions of all rows of the model, labeled or not.

        Returns:
            For each span of time ``start`` and ``end`` (ISO 8601), how many rows are ``served`` and how many of them
            labeled (``rows``), and ``value``, ``low`` and ``high``.
        """
        if not len(own):
            return []
        spans, edges = divide_time(self._served.time[own])
        found = []
        for span, (start, end) in enumerate(itertools.pairwise(edges)):
            part = own[spans == span]
            entry = {"start": iso(start), "end": iso(end), "served": len(part)}
            found.append({**entry, **self.score(part[self._served.labeled[part]])})
        return found


def describe_labels(served: ServedRows, own: np.ndarray, labeled: np.ndarray) -> dict:
    """Say how much of the truth has arrived, and how far behind it is.

    Args:
        served: The rows.
        own: The positions of the model's rows.
        labeled: The positions of those that have a label.

    Returns:
        ``share`` of the rows with a label, ``first`` and ``last`` time of a labeled row, ``last_row`` of any row, and
        ``behind_s``, the seconds between the last two; None where there is no such row.
    """
    times, known = served.time[own], served.time[labeled]
    return {
        "share": len(labeled) / len(own) if len(own) else None,
        "first": iso(known.min()) if len(known) else None,
        "last": iso(known.max()) if len(known) else None,
        "last_row": iso(times.max()) if len(times) else None,
        "behind_s": float((times.max() - known.max()) / np.timedelta64(1, "s")) if len(known) else None,
    }


def iso(time: np.datetime64) -> str:
    """Return a time in UTC as ISO 8601 text with its zone, to the second."""
    return f"{np.datetime_as_string(time.astype('datetime64[s]'))}+00:00"


def calibrate(truth: np.ndarray, scores: np.ndarray) -> list[dict]:
    """Hold stated probabilities against what happened.

    Args:
        truth: Class positions, shape (rows,).
        scores: Probabilities, shape (rows, classes).

    Returns:
        Bins of ``reliability``: of the second class where there are two, else of the class that is most probable.
    """
    if scores.shape[1] == 2:
        return [asdict(one) for one in reliability(truth, scores[:, 1])]
    called = scores.argmax(axis=1)
    return [asdict(one) for one in reliability((called == truth).astype(np.int64), scores.max(axis=1))]


def residuals(truth: np.ndarray, predicted: np.ndarray, bins: int = 10) -> list[dict]:
    """Say how far the truth lies from the predictions, by predicted value.

    Args:
        truth: The values, shape (rows,).
        predicted: What was predicted for them, shape (rows,).
        bins: The most bins, of about equal size.

    Returns:
        For each bin its ``rows``, the median ``predicted``, and the ``low`` (10 percent), ``middle`` and ``high`` (90
        percent) quantile of truth minus prediction.
    """
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    positions = np.searchsorted(edges, predicted, side="right")
    found = []
    for position in np.unique(positions):
        part = positions == position
        low, middle, high = np.quantile(truth[part] - predicted[part], [0.1, 0.5, 0.9])
        found.append(
            {
                "rows": int(part.sum()),
                "predicted": float(np.median(predicted[part])),
                "low": float(low),
                "middle": float(middle),
                "high": float(high),
            }
        )
    return found
