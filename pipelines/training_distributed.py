"""Training on several machines: one table, of which each worker of a TrainJob holds a share."""

from kfp import dsl

from loopline.components import train_distributed
from loopline.pipelines.judging import judge_and_register
from loopline.pipelines.settings import configure
from loopline.pipelines.training import TrainingOutputs, prepare


@dsl.pipeline(name="training-distributed", display_name="Loopline: train a model with XGBoost on several machines")
def training_distributed(
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
    seed: int = 0,
    workers: int = 2,
    worker_memory: str = "4Gi",
    worker_cpu: str = "2",
    runtime: str = "loopline",
) -> TrainingOutputs:
    """Like training, on the workers of a TrainJob, each of which holds a share of the rows.

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
        seed: Random seed of split, training and bootstrap.
        workers: Machines to train on; 1 trains in the step itself.
        worker_memory: Memory of each worker on a cluster, as Kubernetes writes it.
        worker_cpu: CPUs of each worker on a cluster.
        runtime: Training runtime of the cluster; loopline is the one in deploy/openshift/components/training.
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
    trained = train_distributed(
        train=split.outputs["train"], validation=split.outputs["validation"], schema=checked.outputs["schema_out"],
        target=target, task=task, params=params, rounds=rounds, early_stopping_rounds=early_stopping_rounds,
        class_weight=class_weight, exclude=exclude, name=name, seed=seed,
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, workers=workers, memory=worker_memory, cpu=worker_cpu,
        runtime=runtime,
    )  # fmt: skip
    configure(trained, "Train on workers", memory="4Gi", cpu="2", secret="loopline-s3")
    # The model follows from the inputs alone, so it may be cached; but machines fail.
    trained.set_retry(num_retries=1, backoff_duration="30s")
    judged = judge_and_register(trained.outputs["model"], split.outputs["test"], name, slices, metric, margin, seed)
    return TrainingOutputs(judged.version, judged.verdict, trained.outputs["model"], judged.report)
