"""From tables to a model directory: what the training components do, as plain functions."""

import logging
from pathlib import Path

from loopline.components.data.schema import Schema
from loopline.components.model.directory import Manifest
from loopline.components.parameters import parse_object
from loopline.components.training.plan import Plan, plan_training
from loopline.components.training.write import Origin, write_model

logger = logging.getLogger("loopline")


def train_boosted_trees(
    train: str | Path,
    validation: str | Path | None,
    schema: str | Path,
    model: str | Path,
    *,
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    features: str = "",
    exclude: str = "",
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
) -> Manifest:
    """Train with XGBoost and write the model directory.

    Args:
        train: The training table.
        validation: The validation table; None or empty for none.
        schema: The schema file.
        model: The model directory to write.
        target: See ``plan_training``, as ``task``, ``features`` and ``exclude``.
        task: See ``plan_training``.
        params: See ``fit_xgboost``, as ``rounds``, ``early_stopping_rounds`` and ``class_weight``.
        rounds: See ``fit_xgboost``.
        early_stopping_rounds: See ``fit_xgboost``.
        class_weight: See ``fit_xgboost``.
        features: See ``plan_training``.
        exclude: See ``plan_training``.
        name: What a model server calls the model.
        seed: The random seed.
        pipeline_run: The pipeline run, kept as provenance.

    Returns:
        The manifest of the written model.

    Raises:
        InputError: Something given cannot be used.
    """
    from loopline.components.training.xgboost_model import fit_xgboost

    plan = announced_plan(train, schema, target, task, features, exclude)
    fitted = fit_xgboost(train, validation, plan, params, rounds, early_stopping_rounds, class_weight, seed)
    details = {"best_iteration": fitted.best_iteration, "class_weight": class_weight, "rounds": rounds}
    origin = Origin(
        "train_xgboost",
        "XGBoost",
        given_params(params),
        seed,
        pipeline_run,
        name,
        details,
    )
    return write_model(model, fitted, plan, train, validation, origin)


def train_estimator(
    train: str | Path,
    validation: str | Path | None,
    schema: str | Path,
    model: str | Path,
    *,
    estimator: str,
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    features: str = "",
    exclude: str = "",
    allow_pickle: bool = False,
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
) -> Manifest:
    """Train an estimator of scikit-learn and write the model directory.

    Args:
        train: The training table.
        validation: The validation table; None or empty for none.
        schema: The schema file.
        model: The model directory to write.
        estimator: See ``fit_sklearn``, as ``params``.
        target: See ``plan_training``, as ``task``, ``features`` and ``exclude``.
        task: See ``plan_training``.
        params: See ``fit_sklearn``.
        features: See ``plan_training``.
        exclude: See ``plan_training``.
        allow_pickle: Write a pickle; see ``write_model``.
        name: What a model server calls the model.
        seed: The random seed.
        pipeline_run: The pipeline run, kept as provenance.

    Returns:
        The manifest of the written model.

    Raises:
        InputError: Something given cannot be used.
    """
    from loopline.components.training.sklearn_model import fit_sklearn

    plan = announced_plan(train, schema, target, task, features, exclude)
    fitted = fit_sklearn(train, plan, estimator, params, seed)
    origin = Origin("train_sklearn", estimator, given_params(params), seed, pipeline_run, name, {})
    return write_model(model, fitted, plan, train, validation, origin, allow_pickle)


def announced_plan(train: str | Path, schema: str | Path, *choice: str) -> Plan:
    """Decide what to learn and say so in the log; ``choice`` as ``plan_training`` takes it after the schema."""
    plan = plan_training(train, Schema.load(schema), *choice)
    logger.info(
        "%s of %s from %d columns, %s rows", plan.task, plan.target, len(plan.features.columns), f"{plan.rows:,}"
    )
    for column, reason in plan.left_out.items():
        logger.info("left out %s: %s", column, reason)
    return plan


def given_params(params: str) -> dict:
    """Return the parameters as they were given, for the model's record."""
    return parse_object(params, "params", '{"max_depth": 6}')
