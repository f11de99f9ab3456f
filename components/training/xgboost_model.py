"""Train gradient-boosted trees with XGBoost from a table that is streamed and held quantized, in memory or on disk.

Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016; histogram method with native categories.
"""

import json
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xgboost

from loopline.components.data.tables import open_parquet, read_batches
from loopline.components.errors import InputError
from loopline.components.memory import memory_limit
from loopline.components.model.predictor import encode_columns, score_booster
from loopline.components.parameters import parse_object
from loopline.components.processors import processors
from loopline.components.training.batches import quantized
from loopline.components.training.pages import pages_if_needed
from loopline.components.training.plan import Plan

#: What Loopline sets itself; giving it as a parameter would contradict the component's own arguments.
_OWN = {
    "seed": "use the argument seed",
    "random_state": "use the argument seed",
    "tree_method": "it is always hist",
    "num_class": "it follows from the target",
    "n_estimators": "use the argument rounds",
    "num_boost_round": "use the argument rounds",
    "early_stopping_rounds": "use the argument of that name",
    "scale_pos_weight": "use the argument class_weight",
}


_CLASSIFY = ("binary:logistic", "multi:softprob")


@dataclass
class XGBoostModel:
    """A trained booster.

    Attributes:
        booster: Cut to its best iteration.
        plan: What it learned from which columns.
        best_iteration: Rounds kept.
    """

    booster: xgboost.Booster
    plan: Plan
    best_iteration: int

    native_format = "xgboost"

    def score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from feature columns; shapes as ``Predictor.predict`` gives them."""
        return score_booster(self.booster, encode_columns(columns, self.plan.features), self.plan.task)

    def save(self, path: Path, allow_pickle: bool) -> str:
        """Write the model as UBJSON into a model directory; returns the file's name."""
        self.booster.save_model(path / "model.ubj")
        return "model.ubj"

    def to_onnx(self) -> bytes:
        """Convert to ONNX with one input a feature."""
        from loopline.components.training.onnx_export import booster_to_onnx

        return booster_to_onnx(self.booster, self.plan)


@dataclass(frozen=True)
class Recipe:
    """How a booster is trained, in plain values, so that it can be sent to another machine.

    Attributes:
        settings: XGBoost's parameters, complete.
        rounds: The most trees (a class).
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weights: A weight for each class, in the order of the classes; None for equal ones.
    """

    settings: dict
    rounds: int
    early_stopping_rounds: int
    class_weights: list[float] | None


def fit_xgboost(
    train: str | Path,
    validation: str | Path | None,
    plan: Plan,
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    seed: int = 0,
) -> XGBoostModel:
    """Train a booster on a table, of which memory holds one byte a value (twice: by row and by column).

    A table that does not fit into the memory that the step may use lies on disk instead, in the temporary folder. The
    trees are the same.

    Args:
        train: The training table.
        validation: The table that early stopping looks at; None or an empty table trains all rounds.
        plan: What to learn from which columns.
        params: XGBoost parameters as a JSON object.
        rounds: The most trees (a class).
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty for equal weights, ``balanced``, or a JSON object from label to weight.
        seed: The random seed.

    Returns:
        The trained model.

    Raises:
        InputError: A parameter is unknown or has an impossible value, or the disk has no room.
    """
    recipe = plan_boosting(train, plan, params, rounds, early_stopping_rounds, class_weight, seed)
    return boost(train, validation, plan, recipe)


def plan_boosting(
    train: str | Path,
    plan: Plan,
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    seed: int = 0,
) -> Recipe:
    """Settle how a booster is trained, and refuse what cannot work; see ``fit_xgboost`` for the arguments."""
    settings = check_params(params, plan, seed)
    if rounds < 1:
        raise InputError(f"Rounds must be at least 1, not {rounds}.")
    weights = class_weights(train, plan, class_weight)
    return Recipe(settings, rounds, max(early_stopping_rounds, 0), None if weights is None else weights.tolist())


def boost(train: str | Path, validation: str | Path | None, plan: Plan, recipe: Recipe) -> XGBoostModel:
    """Train a booster by a recipe; where XGBoost's workers have joined, one on the tables of all of them.

    Args:
        train: The training table, or this worker's share of it.
        validation: The table that early stopping looks at, or this worker's share; None or an empty one for none.
        plan: What to learn from which columns.
        recipe: What ``plan_boosting`` settled.

    Returns:
        The trained model, the same for every worker.

    Raises:
        InputError: The disk has no room.
    """
    max_bin = int(recipe.settings.get("max_bin", 256))
    weights = None if recipe.class_weights is None else np.array(recipe.class_weights)
    held_out = open_parquet(validation).metadata.num_rows if validation is not None else 0
    stops = bool(held_out and recipe.early_stopping_rounds)
    own = replace(plan, rows=open_parquet(train).metadata.num_rows)
    with pages_if_needed(own, held_out, memory_limit()) as pages:
        matrix = quantized(train, plan, max_bin, weights, pages=pages)
        evals = [(quantized(validation, plan, max_bin, weights, matrix, pages), "validation")] if held_out else []
        booster = xgboost.train(
            recipe.settings,
            matrix,
            recipe.rounds,
            evals=evals,
            early_stopping_rounds=recipe.early_stopping_rounds if stops else None,
            verbose_eval=False,
        )
        # Their pages are closed before the folder goes.
        del matrix, evals
    best = booster.best_iteration + 1 if stops else recipe.rounds
    return XGBoostModel(booster[:best] if best < recipe.rounds else booster, plan, best)


def check_params(params: str, plan: Plan, seed: int) -> dict:
    """Complete XGBoost parameters and try them on a handful of rows before any work starts.

    Args:
        params: XGBoost parameters as a JSON object.
        plan: What will be learned.
        seed: The random seed.

    Returns:
        The parameters for ``xgboost.train``.

    Raises:
        InputError: A parameter is unknown, has an impossible value, or is set elsewhere.
    """
    given = parse_object(params, "params", '{"max_depth": 6}')
    for name in given:
        if name in _OWN:
            raise InputError(f"XGBoost parameter {name!r} cannot be given here: {_OWN[name]}.")
    if plan.is_classification and "objective" in given:
        raise InputError("XGBoost parameter 'objective' follows from the classes: leave it out.")
    objective = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
    metric = {"binary": "logloss", "multiclass": "mlogloss", "regression": "rmse"}
    settings = {"objective": objective[plan.task], "eval_metric": metric[plan.task], "max_bin": 256}
    settings |= {"nthread": processors(), **given}
    settings |= {"tree_method": "hist", "seed": seed}
    if plan.task == "multiclass":
        settings["num_class"] = len(plan.classes)
    _try_params(settings, given, max(len(plan.classes), 2))
    return settings


def _try_params(settings: dict, given: dict, classes: int) -> None:
    data = np.arange(4 * classes, dtype=np.float32).reshape(-1, 1)
    labels = np.arange(4 * classes) % classes
    # Some objectives of regression take positive values only.
    probe = xgboost.DMatrix(data, label=labels + 1 if settings["objective"] not in _CLASSIFY else labels)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            xgboost.train({**settings, "verbosity": 1, "validate_parameters": True}, probe, 1)
    except (xgboost.core.XGBoostError, TypeError, ValueError) as error:
        message = str(error).split("Stack trace")[0].strip().splitlines()[-1]
        raise InputError(f"XGBoost refuses these parameters ({message}): {json.dumps(given)}.") from None
    for warning in caught:
        unused = re.search(r"Parameters: \{(.*?)\} are not used", str(warning.message))
        if unused:
            raise InputError(f"XGBoost has no parameter {unused.group(1).strip()}: check its name in XGBoost's manual.")


def class_weights(train: str | Path, plan: Plan, class_weight: str) -> np.ndarray | None:
    """Return a weight for each class.

    Args:
        train: The training table, whose classes ``balanced`` counts.
        plan: What will be learned.
        class_weight: Empty, ``balanced`` (rows / (classes * rows of the class), as scikit-learn does), or a JSON object
            from label to weight.

    Returns:
        Weights in the order of the classes, or None for equal ones.

    Raises:
        InputError: The classes are not these, or a regression is weighted.
    """
    if not class_weight:
        return None
    if not plan.is_classification:
        raise InputError("class_weight has no meaning for a regression: leave it out.")
    if class_weight == "balanced":
        counts = np.zeros(len(plan.classes), np.int64)
        for batch in read_batches(train, [plan.target]):
            counts += np.bincount(plan.encode_target(batch.column(0)), minlength=len(counts))
        return plan.rows / (len(counts) * counts)
    given = parse_object(class_weight, "class_weight", '{"true": 2, "false": 1}')
    known = {_label(label): label for label in plan.classes}
    if given.keys() != known.keys() or not all(isinstance(w, int | float) and w > 0 for w in given.values()):
        raise InputError(f"class_weight {class_weight!r} must give a positive weight for each of {', '.join(known)}.")
    return np.array([given[label] for label in known], float)


def _label(label: object) -> str:
    """Return a class as JSON writes it in a key: booleans in lower case."""
    return str(label).lower() if isinstance(label, bool) else str(label)
