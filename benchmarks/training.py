"""train_xgboost against a bare xgboost.train on the same Parquet file: wall time and peak memory.

The quantized data are what XGBoost's QuantileDMatrix holds: by how much the resident set of a process grows when it is
built, freed memory given back. Peak memory is the resident set of the whole process, interpreter and imports included.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.measure import markdown, measure, spread

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


def run(rows: int = 10_000_000, features: int = 20, repeats: int = 3) -> str:
    """Measure both sides in turn; returns a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder, rows, features)
        size = Path(folder, "train.parquet").stat().st_size / 2**20
        quantized = measure("benchmarks.training", "quantized_size", folder=folder).result
        costs = {"ours": [], "bare": []}
        for _ in range(repeats):
            for side, found in costs.items():
                found.append(measure("benchmarks.training", side, folder=folder, rounds=TREES))
    table = []
    reference = statistics.median(cost.seconds for cost in costs["bare"])
    for side, title in (("ours", "train_xgboost"), ("bare", "bare xgboost.train")):
        seconds = [cost.seconds for cost in costs[side]]
        peaks = [cost.peak for cost in costs[side]]
        ratio = statistics.median(seconds) / reference
        memory = statistics.median(peaks) / quantized
        table.append([title, spread(seconds), f"{ratio:.2f}", spread(peaks, 0), f"{memory:.2f}"])
    headers = ["side", "seconds: median (min-max)", "ratio", "peak MB", "peak / quantized data"]
    note = (
        f"{rows:,} rows x {features} features ({size:.0f} MB Parquet, {quantized:.0f} MB in the quantized matrix), "
        f"{TREES} trees of depth {DEPTH}.\n\n"
    )
    return note + markdown(headers, table)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(run(options.rows, repeats=options.repeats))
