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


def permutation_importance(
    predictor: Predictor, table: pa.Table, truth: np.ndarray, repeats: int, seed: int
) -> tuple[list[Importance], int]:
    """Measure what each feature is worth.

    Args:
        predictor: The model.
        table: Rows with its features.
        truth: Class positions or values, shape (rows,).
        repeats: How often each feature is shuffled.
        seed: Of the shuffles and of the choice of rows.

    Returns:
        The features, the most important first, and how many rows were used.
    """
    random = np.random.default_rng([seed, 2])
    names = predictor.features.names
    affordable = max(MOST_PREDICTIONS // max(len(names) * repeats, 1), FEWEST_ROWS)
    rows = min(table.num_rows, MOST_ROWS, affordable)
    if rows < table.num_rows:
        chosen = np.sort(random.choice(table.num_rows, rows, replace=False, shuffle=False))
        table, truth = table.take(chosen), truth[chosen]
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
    return sorted(found, key=lambda one: -one.value), rows


def _loss(predictor: Predictor, predictions: np.ndarray, truth: np.ndarray) -> float:
    task = predictor.manifest.task
    metric = MAIN_METRIC[task]
    statistic = weighted_statistic(task, truth, as_scores(predictions, predictor.manifest), only={metric})
    return statistic(np.ones(len(truth)))[metric]
