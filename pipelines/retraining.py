"""Retraining: the champion's data and what has happened since, to a challenger that is judged on the newest rows."""

from kfp import dsl

from loopline.components import (
    collect_traffic,
    extend_data,
    ingest_data,
    load_model,
    split_data,
    train_xgboost,
    validate_data,
)
from loopline.components.data.log_columns import TIME
from loopline.pipelines.judging import Stated, judge_and_register
from loopline.pipelines.settings import configure


@dsl.pipeline(name="retraining", display_name="Loopline: retrain a model on what has happened since")
def retraining(
    name: str,
    target: str,
    history: str,
    history_time: str = "",
    csv: str = "{}",
    task: str = "auto",
    traffic: str = "",
    truth: str = "",
    truth_key: str = "request_id,row",
    truth_csv: str = "{}",
    since: str = "",
    until: str = "",
    lookback_h: float = 8760.0,
    test_share: float = 0.3,
    validation_size: float = 0.05,
    expectations: str = "{}",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    slices: str = "",
    metric: str = "",
    margin: float = 0.0,
    intended_use: str = "",
    limits: str = "",
    seed: int = 0,
) -> str:
    """Train on the history and the labeled traffic; promote the challenger if it is better on the newest labeled rows.

    Args:
        name: The registered model.
        target: The column to predict.
        history: The data the champion was trained on: a local path or glob, s3://bucket/key or https://.
        history_time: The column of the history that says when, to put its rows in order; none when empty.
        csv: How the history is written as CSV, as a JSON object, where its first lines do not tell; see training.
        task: binary, multiclass, regression, or auto to go by the target.
        traffic: The traffic log: a folder or s3://bucket/prefix; LOOPLINE_TRAFFIC_URI, else this machine's own.
        truth: CSV or Parquet with the key and the target: path, glob or s3://.
        truth_key: The columns by which truth and predictions are joined.
        truth_csv: How the truth is written as CSV, as a JSON object, where its first lines do not tell; see training.
        since: The first instant of the traffic to learn from, ISO 8601; lookback_h before the end when empty.
        until: The first instant after it; now when empty.
        lookback_h: How much traffic to learn from, in hours, when there is no since.
        test_share: Share of the labeled traffic, the newest, to judge the challenger on.
        validation_size: Share of the rows, just before those, for early stopping.
        expectations: JSON that tightens the inferred schema by column; rows that break a rule are set aside.
        params: XGBoost parameters as a JSON object.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain; 0 never stops.
        class_weight: Empty, balanced, or a JSON object from label to weight.
        slices: Comma-separated columns to report by.
        metric: What champion and challenger are compared by; log_loss or rmse when empty.
        margin: How much better the challenger must be to be promoted, in units of the metric.
        intended_use: What the model is for, for its card; as the champion's when empty.
        limits: What it is not for and where it is known to fail, for its card; as the champion's when empty.
        seed: Random seed of training and bootstrap.

    Returns:
        promote or keep.
    """
    champion = load_model(name=name, alias="champion")
    configure(champion, "Load champion", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    old = configure(ingest_data(uri=history, csv=csv), "Ingest history", outside=True, secret="loopline-s3")
    recent = collect_traffic(
        model=champion.outputs["model"], name=name, uri=traffic, start=since, end=until, hours=lookback_h, truth=truth,
        truth_key=truth_key, truth_csv=truth_csv,
    )  # fmt: skip
    configure(recent, "Collect labeled traffic", outside=True, secret="loopline-s3")
    extended = extend_data(
        history=old.outputs["data"], recent=recent.outputs["traffic"], target=target, time_column=history_time,
        test_share=test_share,
    )  # fmt: skip
    configure(extended, "Extend history")
    checked = validate_data(
        data=extended.outputs["data"], target=target, task=task, expectations=expectations, on_error="quarantine"
    )
    configure(checked, "Validate data")
    split = split_data(
        data=checked.outputs["valid"], method="time", column=TIME, validation_size=validation_size,
        test_start=extended.outputs["Output"], seed=seed,
    )  # fmt: skip
    configure(split, "Split data")
    trained = train_xgboost(
        train=split.outputs["train"], validation=split.outputs["validation"], schema=checked.outputs["schema_out"],
        target=target, task=task, params=params, rounds=rounds, early_stopping_rounds=early_stopping_rounds,
        class_weight=class_weight, name=name, seed=seed, pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    )  # fmt: skip
    configure(trained, "Train with XGBoost", memory="4Gi", cpu="2")
    judged = judge_and_register(
        trained.outputs["model"], split.outputs["test"], name, slices, metric, margin, seed,
        Stated(history, intended_use, limits), champion,
    )  # fmt: skip
    return judged.verdict
