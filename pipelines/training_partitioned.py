"""Training past one machine: a table prepared in partitions side by side, and trained on by one machine or several."""

from kfp import dsl

from loopline.components import (
    divide_table,
    gather_partitions,
    merge_profiles,
    prepare_partition,
    profile_partition,
    train_distributed,
)
from loopline.pipelines.judging import Stated, judge_and_register
from loopline.pipelines.settings import configure
from loopline.pipelines.training import TrainingOutputs


def prepare_partitions(
    uri: str, columns: str, csv: str, target: str, task: str, expectations: str, on_error: str, split_method: str,
    split_column: str, test_size: float, validation_size: float, test_start: str, seed: int, most: int,
):  # fmt: skip
    """Add the steps from raw data to training, validation and test rows; returns the merge and gather tasks."""
    divided = configure(
        divide_table(uri=uri, most=most), "Divide the table", memory="1Gi", outside=True, secret="loopline-s3"
    )
    with dsl.ParallelFor(divided.output, name="profiles", parallelism=8) as partition:
        profiled = profile_partition(
            uri=uri, partition=partition, columns=columns, csv=csv, target=target, split_method=split_method,
            split_column=split_column,
        )  # fmt: skip
        configure(profiled, "Profile partition", cpu="2", outside=True, secret="loopline-s3")
    merged = merge_profiles(
        profiles=dsl.Collected(profiled.outputs["profile"]), uri=uri, target=target, csv=csv, task=task,
        expectations=expectations, on_error=on_error, split_method=split_method, split_column=split_column,
        test_size=test_size, validation_size=validation_size, test_start=test_start, seed=seed,
    )  # fmt: skip
    configure(merged, "Merge profiles", outside=True, secret="loopline-s3")
    with dsl.ParallelFor(divided.output, name="partitions", parallelism=8) as partition:
        prepared = prepare_partition(plan=merged.outputs["plan"], uri=uri, partition=partition)
        configure(prepared, "Prepare partition", cpu="2", outside=True, secret="loopline-s3")
    gathered = gather_partitions(
        prepared=dsl.Collected(prepared.outputs["prepared"]), plan=merged.outputs["plan"]
    )  # fmt: skip
    return merged, configure(gathered, "Gather partitions")


@dsl.pipeline(name="training-partitioned", display_name="Loopline: train on a table of many files")
def training_partitioned(
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
    most: int = 64,
    workers: int = 1,
    worker_memory: str = "4Gi",
    worker_cpu: str = "2",
    runtime: str = "loopline",
) -> TrainingOutputs:
    """Like training, with the files of the table profiled, validated and split in partitions side by side.

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
        most: The most partitions, 1 to 256; with more files than that, a partition has several.
        workers: Machines to train on, as a TrainJob; 1 trains in the step itself.
        worker_memory: Memory of each worker on a cluster, as Kubernetes writes it.
        worker_cpu: CPUs of each worker on a cluster.
        runtime: Training runtime of the cluster; loopline is the one in deploy/openshift/components/training.
    """
    merged, gathered = prepare_partitions(
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
        most,
    )
    trained = train_distributed(
        train=gathered.outputs["train"], validation=gathered.outputs["validation"],
        schema=merged.outputs["schema_out"], target=target, task=task, params=params, rounds=rounds,
        early_stopping_rounds=early_stopping_rounds, class_weight=class_weight, exclude=exclude, name=name, seed=seed,
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, workers=workers, memory=worker_memory, cpu=worker_cpu,
        runtime=runtime,
    )  # fmt: skip
    configure(trained, "Train with XGBoost", memory="4Gi", cpu="2", secret="loopline-s3")
    # The model follows from the inputs alone, so it may be cached; but machines fail.
    trained.set_retry(num_retries=1, backoff_duration="30s")
    judged = judge_and_register(
        trained.outputs["model"], gathered.outputs["test"], name, slices, metric, margin, seed,
        Stated(uri, intended_use, limits),
    )  # fmt: skip
    return TrainingOutputs(judged.version, judged.verdict, trained.outputs["model"], judged.report)
