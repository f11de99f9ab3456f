"""Sweep: try parameters side by side, then train, judge and register with the best."""

from kfp import dsl

from loopline.components import finish_sweep, plan_sweep, run_trials, train_xgboost
from loopline.pipelines.judging import Stated, judge_and_register
from loopline.pipelines.settings import configure
from loopline.pipelines.training import TrainingOutputs, prepare


@dsl.pipeline(name="sweep", display_name="Loopline: sweep XGBoost parameters")
def sweep(
    uri: str,
    target: str,
    name: str,
    parameter_sets: str = "",
    space: str = "",
    trials: int = 20,
    workers: int = 0,
    prune: bool = True,
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
    """Try XGBoost's parameters side by side, train with the best by the validation rows, and judge on the test rows.

    Args:
        uri: The data: a local path or glob, s3://bucket/key or https://; CSV, compressed CSV or Parquet.
        target: The column to predict.
        name: The name to register the model under.
        parameter_sets: A JSON list of XGBoost parameter objects, or one object of lists whose combinations are tried;
            empty to draw from a space.
        space: JSON by parameter: {"low": 3, "high": 10} with "log": true or a "step" where wanted, a list of choices,
            or one value for every trial; XGBoost's main parameters when empty.
        trials: How many trials draw from the space.
        workers: How many steps run the trials side by side; 0 for four on a cluster and two on one machine.
        prune: Give up on a trial whose loss, from a third of the rounds on, is above the median of those before.
        columns: Comma-separated columns to keep of the data; all when empty.
        csv: How CSV is written as a JSON object, where its first lines do not tell: delimiter, decimal_point, encoding,
            null_values, column_types, e.g. {"encoding": "cp1252", "null_values": ["unknown"]}.
        task: binary, multiclass, regression, or auto to go by the target.
        expectations: JSON that tightens the inferred schema by column, e.g. {"distance": {"minimum": 0}}.
        on_error: fail or quarantine, when rows break a rule.
        split_method: random, stratified, time or group.
        split_column: The class, timestamp or group to split by.
        test_size: Share of the rows to test on.
        validation_size: Share of the rows for early stopping and for choosing the best.
        test_start: For a split by time: rows from this ISO timestamp on are the test.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain; 0 never stops.
        class_weight: Empty, balanced, or a JSON object from label to weight.
        exclude: Comma-separated columns not to learn from.
        slices: Comma-separated columns to report by.
        metric: What trials, and champion and challenger, are compared by; log_loss or rmse when empty.
        margin: How much better the challenger must be to be promoted, in units of the metric.
        intended_use: What the model is for, for its card; as the champion's when empty.
        limits: What it is not for and where it is known to fail, for its card; as the champion's when empty.
        seed: Random seed of split, training and bootstrap.
    """
    run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    planned = plan_sweep(
        name=name, parameter_sets=parameter_sets, space=space, trials=trials, workers=workers, pipeline_run=run
    )
    configure(planned, "Plan the sweep", memory="1Gi", outside=True, secret="loopline-mlflow")
    checked, split = prepare(
        uri, columns, csv, target, task, expectations, on_error, split_method, split_column, test_size,
        validation_size, test_start, seed, after=(planned,),
    )  # fmt: skip
    with dsl.ParallelFor(planned.output, name="workers") as worker:
        ran = run_trials(
            train=split.outputs["train"], validation=split.outputs["validation"],
            schema=checked.outputs["schema_out"], worker=worker, parameter_sets=parameter_sets, space=space,
            trials=trials, target=target, task=task, rounds=rounds, early_stopping_rounds=early_stopping_rounds,
            class_weight=class_weight, exclude=exclude, metric=metric, prune=prune, seed=seed, pipeline_run=run,
        )  # fmt: skip
        configure(ran, "Run trials", memory="4Gi", cpu="2", outside=True, secret="loopline-mlflow")
    finished = finish_sweep(ran=dsl.Collected(ran.outputs["ran"]), metric=metric, pipeline_run=run)
    configure(finished, "Find the best", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    trained = train_xgboost(
        train=split.outputs["train"], validation=split.outputs["validation"], schema=checked.outputs["schema_out"],
        target=target, task=task, params=finished.outputs["Output"], rounds=rounds,
        early_stopping_rounds=early_stopping_rounds, class_weight=class_weight, exclude=exclude, name=name, seed=seed,
        pipeline_run=run,
    )  # fmt: skip
    configure(trained, "Train with XGBoost", memory="4Gi", cpu="2")
    judged = judge_and_register(
        trained.outputs["model"], split.outputs["test"], name, slices, metric, margin, seed,
        Stated(uri, intended_use, limits),
    )  # fmt: skip
    return TrainingOutputs(judged.version, judged.verdict, trained.outputs["model"], judged.report)
