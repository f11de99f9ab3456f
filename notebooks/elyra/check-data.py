"""Bring a table in and check it: the first node of explore.pipeline.

The node's environment variables say which table: DATA (a path, glob, s3:// or https://) and TARGET, the column to
predict. Without DATA it is the breast cancer table that comes with scikit-learn.
"""

import logging
import os
from pathlib import Path

from loopline.components.data.ingest import ingest
from loopline.components.data.validate import validate


def write_example(path: Path) -> str:
    """Write the example table as CSV and return the column to predict."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.rename(columns=lambda column: column.replace(" ", "_"))
    frame["diagnosis"] = [str(bunch.target_names[position]) for position in bunch.target]
    frame.to_csv(path, index=False)
    return "diagnosis"


def main():
    """Write table.parquet, schema.json and validation.html beside this file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data, target = os.environ.get("DATA", ""), os.environ.get("TARGET", "")
    if not data:
        data, target = "example.csv", write_example(Path("example.csv"))
    ingest(data, "all.parquet")
    validate(
        "all.parquet", "table.parquet", "broken.parquet", "schema.json", "validation.html", target=target,
        on_error="quarantine",
    )  # fmt: skip


if __name__ == "__main__":
    main()
