"""Estimate how good predictions are without the truth: what a model that still fits would score on these very rows.

Classes: calibrated probabilities say how often each class is the truth, so every metric has an expected value
(Kivimaki, Bialek, Nurminen and Kuberski, "Confidence-based Estimators for Predictive Performance in Model Monitoring",
Journal of Artificial Intelligence Research, 2025, arXiv 2407.08649; before them Guillory et al., "Predicting with
Confidence on Unseen Distributions", ICCV 2021). Numbers: a second model learns from the reference rows how large the
error of each prediction is (direct loss estimation, as NannyML calls it).

An estimate follows harder or easier rows. It cannot see that the world changed, that is that rows of the same features
turn out differently now: no method can without the truth (Garg et al., "Leveraging Unlabeled Data to Predict
Out-of-Distribution Performance", ICLR 2022).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from loopline.components.evaluation.bootstrap import draw_counts
from loopline.components.evaluation.metrics import Metric
from loopline.components.model.predictor import encode_columns, feature_columns
from loopline.components.monitoring.calibration import fit_calibration
from loopline.components.monitoring.reference_scores import ReferenceScores
from loopline.components.monitoring.skill import skill_score, skill_statistic

#: The most rows that an estimate goes over: so many over the square of the number of classes, and at least the second
#: and at most the third number. It takes a second or two whatever the window.
_WORK, _FEWEST, _MOST = 2_000_000, 5_000, 100_000
#: How often labels, calibrations and rows are drawn for the spread of an estimate.
_DRAWS = 60
#: What is estimated for classes, beside the metric that decides.
_ESTIMATED = ("log_loss", "roc_auc", "brier", "accuracy")
#: Estimated from fewer rows with a known truth, an error is a guess.
FEWEST_REFERENCE_ROWS = 100
_CONFIDENCE = (
    "confidence-based estimation",
    "Kivimaki, Bialek, Nurminen and Kuberski, Confidence-based Estimators for Predictive Performance in Model "
    "Monitoring, JAIR 2025, arXiv 2407.08649",
)
_DIRECT = (
    "direct loss estimation",
    "NannyML, Direct Loss Estimation (documentation, 2022); the error of each row is predicted by gradient boosting",
)


@dataclass(frozen=True)
class Expected:
    """What a model that still fits would score on some rows.

    Attributes:
        values: The expected value by metric name, and ``skill``; None where undefined.
        spreads: By the same names the standard deviation of what these rows would in truth show around it: the luck of
            the labels, and that the reference rows are finite.
    """

    values: dict[str, float | None]
    spreads: dict[str, float | None]


class Estimator(Protocol):
    """What ``fit_estimator`` gives."""

    method: str
    paper: str

    def expect(self, scores: np.ndarray, table: pa.Table | None, seed: int) -> Expected:
        """Say what a model that still fits would score.

        Args:
            scores: What was predicted: probabilities that sum to one, shape (rows, classes), or values, shape (rows,).
            table: The features of the same rows where ``needs_features``.
            seed: Of the random numbers.
        """

    @property
    def needs_features(self) -> bool:
        """Whether an estimate needs the features, and not the predictions alone."""


def fit_estimator(reference: ReferenceScores, metric: Metric, seed: int = 0) -> Estimator | None:
    """Learn from reference rows how far a model's predictions can be trusted.

    Args:
        reference: Rows with known truth that the model was not trained on.
        metric: The metric whose skill is wanted beside the others.
        seed: Of the random numbers.

    Returns:
        The estimator; None when the rows are too few, or the model has seen them and was surer of them than it can be.
    """
    if not reference.held_out or len(reference.truth) < FEWEST_REFERENCE_ROWS:
        return None
    if reference.task == "regression":
        return _ErrorModel(reference, metric, seed)
    return _Confidence(reference, metric)


class _Confidence:
    """Expected metrics of a classifier: each row counts for every class as often as that class is the truth."""

    method, paper = _CONFIDENCE
    needs_features = False

    def __init__(self, reference: ReferenceScores, metric: Metric):
        self._task, self._metric = reference.task, metric
        self._calibration = fit_calibration(reference.truth, reference.scores)

    def expect(self, scores: np.ndarray, table: pa.Table | None, seed: int) -> Expected:
        classes = scores.shape[1]
        random = np.random.default_rng([seed, 2])
        total, most = len(scores), min(max(_WORK // classes**2, _FEWEST), _MOST)
        if total > most:
            scores = scores[np.sort(random.choice(total, most, replace=False, shuffle=False))]
        rows = len(scores)
        # One row for each class it may turn out to be: class by class, so that the counts are columns one by one.
        pairs = np.tile(scores, (classes, 1))
        truth = np.repeat(np.arange(classes), rows)
        statistic = skill_statistic(self._task, self._metric, truth, pairs, only=_ESTIMATED)

        def measure(weights: np.ndarray) -> dict[str, float | None]:
            return statistic(weights.T.ravel())

        stated = self._calibration.apply(scores)
        values = measure(stated)
        labels = _spread(values, (measure(_draw_labels(stated, random)) for _ in range(_DRAWS)))
        drawn = self._calibration.draw(random, _DRAWS)
        parts = [
            (labels, np.sqrt(rows / total)),  # the luck of the labels, which evens out over all rows
            (_spread(values, (measure(self._calibration.apply(scores, one)) for one in drawn)), 1.0),
        ]
        if rows < total:
            counts = draw_counts(rows, _DRAWS, seed)
            parts.append((_spread(values, (measure(stated * one[:, None]) for one in counts)), 1.0))
        return Expected(values, {name: _join([(part[name], scale) for part, scale in parts]) for name in values})


def _draw_labels(probability: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw a class for each row; returns ones and zeros of the same shape."""
    below = probability.cumsum(axis=1)
    drawn = (random.random((len(probability), 1)) >= below).sum(axis=1)
    return np.eye(probability.shape[1])[np.minimum(drawn, probability.shape[1] - 1)]


def _spread(values: dict, draws: Iterable[dict]) -> dict[str, float | None]:
    """Return by name how far draws lie from a value, as a standard deviation; None where most do not define it."""
    found: dict[str, list[float]] = {name: [] for name in values}
    for one in draws:
        for name, value in one.items():
            if value is not None:
                found[name].append(value)
    return {
        name: float(np.std(drawn)) if values[name] is not None and len(drawn) * 2 > _DRAWS else None
        for name, drawn in found.items()
    }


def _join(parts: list[tuple[float | None, float]]) -> float | None:
    """Add independent spreads, each by its scale; None where one is unknown."""
    if any(spread is None for spread, _ in parts):
        return None
    return float(np.sqrt(sum((spread * scale) ** 2 for spread, scale in parts)))


class _ErrorModel:
    """Expected errors of a regression model, learned from the reference rows and what was predicted for them."""

    method, paper = _DIRECT
    needs_features = True

    def __init__(self, reference: ReferenceScores, metric: Metric, seed: int):
        self._metric, self._features = metric, reference.features
        matrix = self._matrix(reference.table, reference.scores)
        absolute = np.abs(reference.truth - reference.scores)
        self._absolute = _Errors(matrix, absolute, seed)
        self._square = _Errors(matrix, absolute**2, seed)

    def _matrix(self, table: pa.Table, scores: np.ndarray) -> np.ndarray:
        encoded = encode_columns(feature_columns(table, self._features), self._features)
        return np.column_stack([encoded, scores.astype(np.float32)])

    def expect(self, scores: np.ndarray, table: pa.Table | None, seed: int) -> Expected:
        matrix = self._matrix(table, scores)
        absolute, absolute_spread = self._absolute.expect(matrix)
        square, square_spread = self._square.expect(matrix)
        rmse = float(np.sqrt(square))
        values = {"rmse": rmse, "mae": absolute, "skill": None}
        spreads = {"rmse": square_spread / (2 * rmse) if rmse else None, "mae": absolute_spread, "skill": None}
        if self._metric.name == "rmse" and rmse:
            # Predictions that still fit vary by what they explain; the truth varies by that and by the error.
            total = float(np.sqrt(np.var(scores) + square))
            values["skill"] = skill_score(self._metric, rmse, total)
            spreads["skill"] = None if values["skill"] is None else spreads["rmse"] / total
        return Expected(values, spreads)


class _Errors:
    """The expected error of a row."""

    def __init__(self, matrix: np.ndarray, errors: np.ndarray, seed: int):
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import KFold

        self._models = []
        unseen = np.empty(len(errors))
        for learned, left in KFold(3, shuffle=True, random_state=seed).split(matrix):
            model = HistGradientBoostingRegressor(max_iter=60, min_samples_leaf=40, random_state=seed)
            with _one_thread():
                self._models.append(model.fit(matrix[learned], errors[learned]))
                unseen[left] = model.predict(matrix[left])
        # On rows a model has not seen, so that its own mistakes are part of what is not known.
        self._shift = float(np.mean(errors - unseen))
        self._residual = float(np.std(errors - unseen))
        self._rows = len(errors)

    def expect(self, matrix: np.ndarray) -> tuple[float, float]:
        """Return the mean error expected of rows and the standard deviation of what they would show."""
        with _one_thread():
            mean = float(np.mean([model.predict(matrix).mean() for model in self._models])) + self._shift
        return max(mean, 0.0), self._residual * float(np.sqrt(1 / len(matrix) + 1 / self._rows))


def _one_thread():
    """Keep trees to one thread: ten thousand rows are little work, and threads that wait for each other burn cores."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "openmp")
