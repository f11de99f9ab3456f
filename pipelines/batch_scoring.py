"""Batch scoring: the champion's predictions for a whole table, its partitions side by side."""

from kfp import dsl

from loopline.components import list_partitions, load_model, score_partition
from loopline.pipelines.settings import configure


@dsl.pipeline(name="batch-scoring", display_name="Loopline: score a table")
def batch_scoring(
    name: str,
    uri: str,
    output: str = "",
    keep: str = "",
    csv: str = "{}",
    alias: str = "champion",
    model_version: int = 0,
    most: int = 1000,
) -> int:
    """Score every file of a table with a registered model; what was scored before is skipped.

    Args:
        name: The registered model.
        uri: The table: a path, folder or glob, s3://bucket/key with a prefix or glob, or https://; CSV or Parquet.
        output: Where the predictions go: a folder or s3://bucket/prefix; under LOOPLINE_HOME when empty.
        keep: Comma-separated columns to keep of the table; all when empty.
        csv: How the table is written as CSV, as a JSON object, where its first lines do not tell; see training.
        alias: Which version scores: champion, challenger, previous or any other alias.
        model_version: The version, instead of the alias; 0 to go by the alias.
        most: The most files to allow: each becomes a step of its own.

    Returns:
        The version that scored.
    """
    loaded = load_model(name=name, alias=alias, version=model_version)
    configure(loaded, "Load model", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    listed = list_partitions(uri=uri, most=most)
    configure(listed, "List partitions", memory="1Gi", outside=True, secret="loopline-s3")
    with dsl.ParallelFor(listed.output, name="partitions", parallelism=8) as partition:
        # The local runner hands the item to each parameter of an earlier task: the version comes with the model.
        scored = score_partition(
            model=loaded.outputs["model"], uri=partition, output=output, name=name, keep=keep, csv=csv
        )
        configure(scored, "Score partition", cpu="2", outside=True, secret="loopline-s3")
    return loaded.outputs["found_version"]
