"""The contracts of the training stage."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from loopline.components.step import step


@step
def train_xgboost(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    model: Output[Model],
    metrics: Output[Metrics],
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
):
    """Train gradient-boosted trees with XGBoost (histogram method, native categories), streaming the table.

    Args:
        train: Rows to learn from.
        validation: Rows that early stopping looks at; an empty table trains all rounds.
        schema: The schema that validate_data wrote.
        model: The model directory.
        metrics: Scores on the validation rows, and rounds kept.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        params: XGBoost parameters as a JSON object, e.g. {"max_depth": 6, "learning_rate": 0.1}.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty for equal weights, balanced, or a JSON object from label to weight.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.
        name: What a model server calls the model.
        seed: Random seed; the same input and parameters give the same model digest.
        pipeline_run: The pipeline run, kept as provenance.
    """
    from loopline.components.training.train import train_boosted_trees

    manifest = train_boosted_trees(
        train.path, validation.path, schema.path, model.path, target=target, task=task, params=params, rounds=rounds,
        early_stopping_rounds=early_stopping_rounds, class_weight=class_weight, features=features, exclude=exclude,
        name=name, seed=seed, pipeline_run=pipeline_run,
    )  # fmt: skip
    model.metadata.update(digest=manifest.digest, format=manifest.format, task=manifest.task)
    metrics.log_metric("rounds", manifest.training["best_iteration"])
    for metric, value in manifest.training["validation"].items():
        metrics.log_metric(f"validation_{metric}", value)


@step
def train_sklearn(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    model: Output[Model],
    metrics: Output[Metrics],
    estimator: str = "LogisticRegression",
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    features: str = "",
    exclude: str = "",
    allow_pickle: bool = False,
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
):
    """Train any estimator of scikit-learn by its public name, in a pipeline that imputes, scales and encodes.

    Args:
        train: Rows to learn from; they are read into memory.
        validation: Rows to score the model on; an empty table gives no scores.
        schema: The schema that validate_data wrote.
        model: The model directory.
        metrics: Scores on the validation rows.
        estimator: Public name of a classifier or regressor, e.g. RandomForestClassifier.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        params: The estimator's parameters as a JSON object, e.g. {"n_estimators": 200}.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.
        allow_pickle: Write a joblib pickle, the one format MLServer's scikit-learn runtime reads; never load one from
            a source you do not trust.
        name: What a model server calls the model.
        seed: Random seed; the same input and parameters give the same model digest.
        pipeline_run: The pipeline run, kept as provenance.
    """
    from loopline.components.training.train import train_estimator

    manifest = train_estimator(
        train.path, validation.path, schema.path, model.path, estimator=estimator, target=target, task=task,
        params=params, features=features, exclude=exclude, allow_pickle=allow_pickle, name=name, seed=seed,
        pipeline_run=pipeline_run,
    )  # fmt: skip
    model.metadata.update(digest=manifest.digest, format=manifest.format, task=manifest.task)
    for metric, value in manifest.training["validation"].items():
        metrics.log_metric(f"validation_{metric}", value)


@step
def list_trials(parameter_sets: str) -> List[str]:
    """List the parameter sets of a sweep, each checked to be a JSON object, so that trials can run side by side.

    Args:
        parameter_sets: A JSON list of parameter objects, [{"max_depth": 4}, {"max_depth": 8}], or one object of lists
            whose every combination is a trial, {"max_depth": [4, 8], "learning_rate": [0.05, 0.1]}.

    Returns:
        One JSON object as text for each trial.
    """
    from loopline.components.training.trials import list_parameter_sets

    return list_parameter_sets(parameter_sets)
