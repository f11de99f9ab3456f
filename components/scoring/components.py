"""Components of the scoring stage: predictions for a whole table, partition by partition."""

from typing import List

from kfp.dsl import Input, Metrics, Model, Output

from loopline.components.step import step


@step
def list_partitions(uri: str, most: int = 1000) -> List[str]:
    """List the files behind a URI, so that they can be scored side by side.

    Args:
        uri: A path, folder or glob, s3://bucket/key with a prefix or glob, or https://; CSV or Parquet.
        most: The most files to allow: each becomes a step of its own.

    Returns:
        One URI a file, sorted.

    Raises:
        InputError: There is none, there are too many, or the place cannot be read.
    """
    from loopline.components.scoring.partitions import list_partitions

    return list_partitions(uri, most)


@step
def score_partition(
    model: Input[Model],
    scored: Output[Metrics],
    uri: str,
    output: str = "",
    name: str = "",
    keep: str = "",
    csv: str = "{}",
) -> str:
    """Predict every row of a partition and write the predictions beside its columns, as Parquet.

    A partition that was scored before, with the same content and by the same model, is skipped. A row with a value
    that its column cannot hold stays and has no prediction.

    Args:
        model: The model directory; the version in its metadata, where load_model put it, stands beside each row.
        scored: How many rows there were, and how many have no prediction.
        uri: One CSV or Parquet file, what list_partitions returned.
        output: Where to: a folder or s3://bucket/prefix; under LOOPLINE_HOME when empty.
        name: The model's registered name; its own when empty.
        keep: Comma-separated columns to keep of the partition; all when empty.
        csv: JSON that says how CSV is written, where its first lines do not tell, e.g. {"encoding": "cp1252"}; see
            ingest_data.

    Returns:
        Where the predictions are; empty when the partition is a CSV without rows.

    Raises:
        InputError: The partition lacks a feature, no row of it fits, or something cannot be read or written.
    """
    from loopline.components.scoring.score import score_partition

    version = int(model.metadata.get("version", 0))
    found = score_partition(model.path, uri, output, name, version, keep, csv)
    for key, value in found.metrics.items():
        scored.log_metric(key, value)
    return found.uri
