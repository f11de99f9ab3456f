"""Training: from raw data to a registered, judged and, when it is better, promoted model."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Model

from loopline.components import ingest_data, split_data, train_sklearn, train_xgboost, validate_data
from loopline.pipelines.judging import Stated, judge_and_register
from loopline.pipelines.settings import configure


class TrainingOutputs(NamedTuple):
    """What a training pipeline hands on.

    Attributes:
        version: The registered version.
        verdict: ``promote`` or ``keep``.
        model: The model directory.
        report: The evaluation report.
    """

    version: int
    verdict: str
    model: Model
    report: HTML


def prepare(
    uri: str, columns: str, csv: str, target: str, task: str, expectations: str, on_error: str, split_method: str,
    split_column: str, test_size: float, validation_size: float, test_start: str, seed: int, after=(),
):  # fmt: skip
    """Add the steps from raw data to training, validation and test rows; returns the validate and split tasks.

    The last argument names tasks that come before any data are read.
    """
    ingested = configure(
        ingest_data(uri=uri, columns=columns, csv=csv), "Ingest data", outside=True, secret="loopline-s3"
    ).after(*after)
    checked = validate_data(
        data=ingested.outputs["data"], target=target, task=task, expectations=expectations, on_error=on_error
    )
    configure(checked, "Validate data")
    split = split_data(
        data=checked.outputs["valid"], method=split_method, column=split_column, test_size=test_size,
        validation_size=validation_size, test_start=test_start, seed=seed,
    )  # fmt: skip
    return checked, configure(split, "Split data")


@dsl.pipeline(name="training", display_name="Loopline: train a model with XGBoost")
def training(
    uri: str,
    target: str,
    name: str,
    columns: str = "",
    csv: str = "{}",
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    split_method: str = "random",
    split_column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    exclude: str = "",
    slices: str = "",
    metric: str = "",
    margin: float = 0.0,
    intended_use: str = "",
    limits: str = "",
    seed: int = 0,
) -> TrainingOutputs:
    """Ingest, validate, split, train with XGBoost, evaluate, compare with the champion, register, promote if better.

    Args:
        uri: The data: a local path or glob, s3://bucket/key or https://; CSV, compressed CSV or Parquet.
        target: The column to predict.
        name: The name to register the model under.
        columns: Comma-separated columns to keep of the data; all when empty.
        csv: How CSV is written as a JSON object, where its first lines do not tell: delimiter, decimal_point, encoding,
            null_values, column_types, e.g. {"encoding": "cp1252", "null_values": ["unknown"]}.
        task: binary, multiclass, regression, or auto to go by the target.
        expectations: JSON that tightens the inferred schema by column, e.g. {"distance": {"minimum": 0}}.
        on_error: fail or quarantine, when rows break a rule.
        split_method: random, stratified, time or group.
        split_column: The class, timestamp or group to split by.
        test_size: Share of the rows to test on.
        validation_size: Share of the rows for early stopping.
        test_start: For a split by time: rows from this ISO timestamp on are the test.
        params: XGBoost parameters as a JSON object.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain; 0 never stops.
        class_weight: Empty, balanced, or a JSON object from label to weight.
        exclude: Comma-separated columns not to learn from.
        slices: Comma-separated columns to report by.
        metric: What champion and challenger are compared by; log_loss or rmse when empty.
        margin: How much better the challenger must be to be promoted, in units of the metric.
        intended_use: What the model is for, for its card; as the champion's when empty.
        limits: What it is not for and where it is known to fail, for its card; as the champion's when empty.
        seed: Random seed of split, training and bootstrap.
    """
    checked, split = prepare(
        uri,
        columns,
        csv,
        target,
        task,
        expectations,
        on_error,
        split_method,
        split_column,
        test_size,
        validation_size,
        test_start,
        seed,
    )
    trained = train_xgboost(
        train=split.outputs["train"], validation=split.outputs["validation"], schema=checked.outputs["schema_out"],
        target=target, task=task, params=params, rounds=rounds, early_stopping_rounds=early_stopping_rounds,
        class_weight=class_weight, exclude=exclude, name=name, seed=seed,
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    )  # fmt: skip
    configure(trained, "Train with XGBoost", memory="4Gi", cpu="2")
    judged = judge_and_register(
        trained.outputs["model"], split.outputs["test"], name, slices, metric, margin, seed,
        Stated(uri, intended_use, limits),
    )  # fmt: skip
    return TrainingOutputs(judged.version, judged.verdict, trained.outputs["model"], judged.report)


@dsl.pipeline(name="training-sklearn", display_name="Loopline: train a model with scikit-learn")
def training_sklearn(
    uri: str,
    target: str,
    name: str,
    estimator: str = "LogisticRegression",
    columns: str = "",
    csv: str = "{}",
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    split_method: str = "random",
    split_column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    params: str = "{}",
    allow_pickle: bool = False,
    exclude: str = "",
    slices: str = "",
    metric: str = "",
    margin: float = 0.0,
    intended_use: str = "",
    limits: str = "",
    seed: int = 0,
) -> TrainingOutputs:
    """Ingest, validate, split, train with scikit-learn, evaluate, compare to the champion, register, promote if better.

    Args:
        uri: The data: a local path or glob, s3://bucket/key or https://; CSV, compressed CSV or Parquet.
        target: The column to predict.
        name: The name to register the model under.
        estimator: Public name of a scikit-learn classifier or regressor.
        columns: Comma-separated columns to keep of the data; all when empty.
        csv: How CSV is written as a JSON object, where its first lines do not tell: delimiter, decimal_point, encoding,
            null_values, column_types, e.g. {"encoding": "cp1252", "null_values": ["unknown"]}.
        task: binary, multiclass, regression, or auto to go by the target.
        expectations: JSON that tightens the inferred schema by column, e.g. {"distance": {"minimum": 0}}.
        on_error: fail or quarantine, when rows break a rule.
        split_method: random, stratified, time or group.
        split_column: The class, timestamp or group to split by.
        test_size: Share of the rows to test on.
        validation_size: Share of the rows to score the training on.
        test_start: For a split by time: rows from this ISO timestamp on are the test.
        params: The estimator's parameters as a JSON object.
        allow_pickle: Write a joblib pickle, for MLServer's own scikit-learn runtime.
        exclude: Comma-separated columns not to learn from.
        slices: Comma-separated columns to report by.
        metric: What champion and challenger are compared by; log_loss or rmse when empty.
        margin: How much better the challenger must be to be promoted, in units of the metric.
        intended_use: What the model is for, for its card; as the champion's when empty.
        limits: What it is not for and where it is known to fail, for its card; as the champion's when empty.
        seed: Random seed of split, training and bootstrap.
    """
    checked, split = prepare(
        uri,
        columns,
        csv,
        target,
        task,
        expectations,
        on_error,
        split_method,
        split_column,
        test_size,
        validation_size,
        test_start,
        seed,
    )
    trained = train_sklearn(
        train=split.outputs["train"], validation=split.outputs["validation"], schema=checked.outputs["schema_out"],
        estimator=estimator, target=target, task=task, params=params, exclude=exclude, allow_pickle=allow_pickle,
        name=name, seed=seed, pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    )  # fmt: skip
    configure(trained, "Train with scikit-learn", memory="4Gi", cpu="2")
    judged = judge_and_register(
        trained.outputs["model"], split.outputs["test"], name, slices, metric, margin, seed,
        Stated(uri, intended_use, limits),
    )  # fmt: skip
    return TrainingOutputs(judged.version, judged.verdict, trained.outputs["model"], judged.report)
