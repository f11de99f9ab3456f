"""train_xgboost against a bare xgboost.train on the same Parquet file: wall time and peak memory.

The quantized data are what XGBoost's QuantileDMatrix holds: by how much the resident set of a process grows when it is
built, freed memory given back. Peak memory is the resident set of the whole process, interpreter and imports included.
"""

import tempfile
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.race import Runner, race
from benchmarks.result import Side, Table, Text

TREES, DEPTH = 100, 6


def make_data(folder: str, rows: int, features: int) -> None:
    """Write a table of floats and a target that follows from them, with its schema."""
    import numpy as np
    import pyarrow as pa

    from loopline.components.data.schema import Column, Schema
    from loopline.components.data.tables import BATCH_ROWS, table_writer

    rng = np.random.default_rng(0)
    names = [f"x{i:02}" for i in range(features)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.bool_())])
    with table_writer(f"{folder}/train.parquet", schema) as writer:
        for start in range(0, rows, BATCH_ROWS):
            block = rng.normal(size=(min(BATCH_ROWS, rows - start), features)).astype(np.float32)
            signal = block[:, 0] + block[:, 1] * block[:, 2] + np.sin(3 * block[:, 3])
            target = signal + rng.normal(size=len(block)) > 0
            writer.write_table(pa.table([*block.T, target], schema=schema))
    columns = (*(Column(name, "number") for name in names), Column("y", "boolean"))
    Schema(columns, "y").save(f"{folder}/schema.json")


def quantized_size(folder: str) -> float:
    """Return the MB that the training matrix holds."""
    import ctypes

    from loopline.components.data.schema import Schema
    from loopline.components.training.batches import quantized
    from loopline.components.training.plan import plan_training

    def resident() -> float:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    plan = plan_training(f"{folder}/train.parquet", Schema.load(f"{folder}/schema.json"))
    before = resident()
    matrix = quantized(f"{folder}/train.parquet", plan, 256)
    size = resident() - before
    del matrix
    return size


def ours(folder: str, rounds: int) -> None:
    """Train through the component's own logic, model directory included."""
    from loopline.components.training.train import train_boosted_trees

    params = f'{{"max_depth": {DEPTH}}}'
    model = tempfile.mkdtemp(dir=folder)
    train_boosted_trees(f"{folder}/train.parquet", None, f"{folder}/schema.json", model, params=params, rounds=rounds)


def bare(folder: str, rounds: int) -> None:
    """Train with XGBoost alone, the way its manual shows: read the table, quantize, train, save."""
    import pandas as pd
    import xgboost

    frame = pd.read_parquet(f"{folder}/train.parquet")
    label = frame.pop("y")
    matrix = xgboost.QuantileDMatrix(frame, label)
    del frame
    params = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": DEPTH}
    xgboost.train(params, matrix, rounds).save_model(f"{folder}/bare.ubj")


def boosting(folder: str, rounds: int) -> None:
    """Train scikit-learn's own, with as many trees of the same depth."""
    import joblib
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame = pd.read_parquet(f"{folder}/train.parquet")
    label = frame.pop("y")
    trees = HistGradientBoostingClassifier(
        max_iter=rounds, max_depth=DEPTH, max_leaf_nodes=2**DEPTH, learning_rate=0.3, early_stopping=False
    )
    joblib.dump(trees.fit(frame, label), f"{folder}/boosting.joblib")


def run(
    rows: int = 1_000_000, features: int = 20, repeats: int = 5, others: bool = True, trees: int = TREES
) -> list[Table | Text]:
    """Measure the sides in turn.

    Args:
        rows: Of the training table.
        features: Its columns beside the target.
        repeats: Runs of each.
        others: Whether to train scikit-learn's boosted trees, too.
        trees: How many to train.
    """
    with tempfile.TemporaryDirectory(prefix="training-benchmark-") as folder:
        make_data(folder, rows, features)
        size = Path(folder, "train.parquet").stat().st_size / 2**20
        quantized = measure("benchmarks.training", "quantized_size", folder=folder).result
        arguments = {"folder": folder, "rounds": trees}
        sides = [
            Runner("`train_xgboost`", "benchmarks.training:ours", arguments, "ours", _OURS),
            Runner("bare xgboost.train", "benchmarks.training:bare", arguments, imports=("xgboost", "pandas")),
        ]
        if others:
            sides.append(
                Runner(
                    "HistGradientBoosting", "benchmarks.training:boosting", arguments,
                    imports=("sklearn.ensemble", "pandas"),
                )
            )  # fmt: skip
        table = race(f"{rows:,} rows x {features} features, {trees} trees of depth {DEPTH}", sides, repeats, 600)
    held = Side("XGBoost's quantized matrix alone", {"peak MB": [quantized]}, "limit")
    note = (
        f"The table is {size:,.0f} MB of Parquet. The component streams the file; its time includes the model "
        "directory: conversion to ONNX and its check, reference profile, digests."
    )
    return [Table(table.title, table.measures, [*table.sides, held]), Text(note)]


_OURS = ("loopline.components.training.train", "loopline.components.training.xgboost_model")
