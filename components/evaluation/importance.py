"""Permutation importance: how much worse a model gets when one feature is shuffled among the rows.

Breiman, "Random Forests", Machine Learning 45, 2001; Fisher, Rudin and Dominici, "All Models are Wrong, but Many are
Useful", JMLR 20, 2019.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from loopline.components.evaluation.metrics import MAIN_METRIC
from loopline.components.evaluation.scored import as_scores
from loopline.components.evaluation.weighted import weighted_statistic
from loopline.components.model.predictor import Predictor, feature_columns

#: The most rows of one prediction, and the most predicted rows altogether.
MOST_ROWS = 10_000
MOST_PREDICTIONS = 2_000_000
FEWEST_ROWS = 500


@dataclass(frozen=True)
class Importance:
    """What a feature is worth to a model.

    Attributes:
        feature: The feature.
        value: How much the main metric (log loss or RMSE) rises when it is shuffled: the mean over the repeats.
        spread: The standard deviation over the repeats; 0 for one repeat.
    """

    feature: str
    value: float
    spread: float


def choose_importance_rows(total: int, features: int, repeats: int, random: np.random.Generator) -> np.ndarray:
    """Choose the rows to measure importance on: all of them, or a random part that keeps the work bounded.

    Args:
        total: How many rows there are.
        features: How many features will be shuffled.
        repeats: How often each.
        random: For the choice.

    Returns:
        Row positions, ascending; none without repeats.
    """
    if not repeats:
        return np.arange(0)
    affordable = max(MOST_PREDICTIONS // max(features * repeats, 1), FEWEST_ROWS)
    rows = min(total, MOST_ROWS, affordable)
    if rows == total:
        return np.arange(total)
    return np.sort(random.choice(total, rows, replace=False, shuffle=False))


def permutation_importance(
    predictor: Predictor, table: pa.Table, truth: np.ndarray, repeats: int, random: np.random.Generator
) -> list[Importance]:
    """Measure what each feature is worth.

    Args:
        predictor: The model.
        table: The chosen rows, with its features.
        truth: Their class positions or values, shape (rows,).
        repeats: How often each feature is shuffled, at least once.
        random: For the shuffles.

    Returns:
        The features, the most important first.
    """
    names, rows = predictor.features.names, table.num_rows
    columns = feature_columns(table, predictor.features)
    before = _loss(predictor, predictor.score(columns), truth)
    # One prediction for all repeats of a feature: with many features it is the call that costs, not the rows.
    repeated = {name: np.tile(values, repeats) for name, values in columns.items()}
    found = []
    for name in names:
        shuffled = np.concatenate([columns[name][random.permutation(rows)] for _ in range(repeats)])
        scores = predictor.score({**repeated, name: shuffled})
        rises = [_loss(predictor, part, truth) - before for part in np.split(scores, repeats)]
        spread = float(np.std(rises, ddof=1)) if repeats > 1 else 0.0
        found.append(Importance(name, float(np.mean(rises)), spread))
    return sorted(found, key=lambda one: -one.value)


def _loss(predictor: Predictor, predictions: np.ndarray, truth: np.ndarray) -> float:
    task = predictor.manifest.task
    metric = MAIN_METRIC[task]
    statistic = weighted_statistic(task, truth, as_scores(predictions, predictor.manifest), only={metric})
    return statistic(np.ones(len(truth)))[metric]
