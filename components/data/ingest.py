"""Bring a table in: from a path, S3 or HTTPS, from CSV or Parquet, to one Parquet file."""

import glob
import logging

import pyarrow as pa
import pyarrow.csv as csv

from loopline.components.data.tables import read_batches
from loopline.components.data.writing import describe_file, writing_table
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")


def ingest(uri, path, columns="", delimiter=",", null_values="", column_types="{}", encoding="utf-8") -> dict:
    """Thin first version."""
    files = sorted(glob.glob(uri))
    if not files:
        raise InputError(f"There is no file at {uri}: check the path.")
    keep = [name.strip() for name in columns.split(",") if name.strip()] or None

    def batches():
        for file in files:
            if file.endswith(".parquet"):
                yield from read_batches(file, keep)
            else:
                yield from csv.open_csv(
                    file,
                    csv.ReadOptions(block_size=2**25),
                    csv.ParseOptions(delimiter=delimiter),
                    csv.ConvertOptions(include_columns=keep, strings_can_be_null=True),
                )

    stream = batches()
    first = next(stream)
    with writing_table(path, first.schema) as sink:
        sink.write(first)
        for batch in stream:
            sink.write(pa.Table.from_batches([batch]).cast(first.schema))
    logger.info("%s rows x %s columns", sink.rows, len(first.schema))
    return {**describe_file(path, sink.rows), "columns": len(first.schema), "source": uri}
