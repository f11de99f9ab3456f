"""What each step of training costs as rows grow: ingest, validate, split, train, evaluate, one process each."""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import measure_in
from benchmarks.result import Curve, Point

STEPS = ("ingest", "validate", "split", "train", "evaluate")
MEASURES = ("seconds", "CPU seconds", "peak MB")
#: Files whose sizes are kept.
FILES = {"CSV": "data.csv", "Parquet": "data"}
#: Few trees: what grows is the data.
ROUNDS = 20
COLUMNS = 20
_IMPORTS = {
    "ingest": ("loopline.components.data.ingest",),
    "validate": ("loopline.components.data.validate",),
    "split": ("loopline.components.data.split",),
    "train": ("loopline.components.training.train", "loopline.components.training.xgboost_model", "onnxruntime"),
    "evaluate": ("loopline.components.evaluation.evaluate", "loopline.components.evaluation.page", "onnxruntime"),
}


def write_csv(path: Path, rows: int, columns: int) -> None:
    """Write numbers of six digits, one text in ten, and a target that follows from the first of them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as csv

    random = np.random.default_rng(0)
    levels = pa.array([f"level {i}" for i in range(50)])
    with open(path, "wb") as stream:
        # Blocks of about two million values, however many columns.
        block = max(2_000_000 // columns, 1)
        for start in range(0, rows, block):
            count = min(block, rows - start)
            values = random.normal(size=(columns, count)).round(5)
            table = {f"x{i:04}": pa.array(column) for i, column in enumerate(values)}
            for i in range(9, columns, 10):
                table[f"x{i:04}"] = levels.take(pa.array(random.integers(0, len(levels), count)))
            noise = random.normal(size=count)
            table["y"] = pa.array(np.where(values[0] + values[1] * values[2] + noise > 0, "late", "good"))
            csv.write_csv(pa.table(table), stream, csv.WriteOptions(include_header=not start))


def ingest(folder: str) -> None:
    from loopline.components.data.ingest import ingest

    ingest(f"{folder}/data.csv", f"{folder}/data")


def validate(folder: str) -> None:
    from loopline.components.data.validate import validate

    paths = [f"{folder}/{name}" for name in ("valid", "quarantined", "schema.json", "validation.html")]
    validate(f"{folder}/data", *paths, target="y")


def split(folder: str) -> None:
    from loopline.components.data.split import split_table

    split_table(f"{folder}/valid", *(f"{folder}/{name}" for name in ("train", "validation", "test")))


def train(folder: str) -> None:
    from loopline.components.training.train import train_boosted_trees

    model = tempfile.mkdtemp(dir=folder)
    names = [f"{folder}/{name}" for name in ("train", "validation", "schema.json")]
    params = json.dumps({"max_depth": 6})
    train_boosted_trees(*names, model, target="y", params=params, rounds=ROUNDS, early_stopping_rounds=0)
    Path(folder, "model").write_text(model)


def evaluate(folder: str) -> None:
    from loopline.components.evaluation.evaluate import Settings, evaluate
    from loopline.components.evaluation.page import evaluation_report

    model = Path(folder, "model").read_text()
    evaluation_report(evaluate(model, f"{folder}/test", Settings())).write(f"{folder}/evaluation.html")


def run(rows: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000), repeats: int = 5) -> list[Curve]:
    """Measure every step at every size, each in a process of its own.

    Args:
        rows: The sizes, the smallest first.
        repeats: Runs of each; the largest size runs once where it is ten million rows or more.
    """
    sizes = [(count, COLUMNS, 1 if count >= 10_000_000 else repeats) for count in rows]
    lines, written = measure_steps(sizes, "rows")
    title = (
        f"Rows of {COLUMNS} columns and a target, from CSV; {ROUNDS} trees, evaluation with importance and intervals"
    )
    return [Curve(title, "rows", MEASURES, lines), Curve("The files", "rows", ("MB",), written)]


def measure_steps(sizes: list[tuple[int, int, int]], along: str) -> tuple[dict, dict]:
    """Run the steps one after the other on tables of several sizes.

    Args:
        sizes: Rows, columns and repeats.
        along: ``rows`` or ``columns``, whichever grows.

    Returns:
        The points of every step, and the sizes of the files, 10**6 bytes.
    """
    lines: dict[str, list[Point]] = {step: [] for step in STEPS}
    files: dict[str, list[Point]] = {name: [] for name in FILES}
    for rows, columns, repeats in sizes:
        x = rows if along == "rows" else columns
        with tempfile.TemporaryDirectory(prefix="growth-benchmark-") as folder:
            write_csv(Path(folder) / FILES["CSV"], rows, columns)
            found = {step: {measure: [] for measure in MEASURES} for step in STEPS}
            for _ in range(repeats):
                for step in STEPS:
                    cost = measure_in(sys.executable, __name__, step, {"folder": folder}, _IMPORTS[step], 900)
                    for measure, value in zip(MEASURES, (cost.seconds, cost.cpu, cost.peak), strict=True):
                        found[step][measure].append(value)
            for step in STEPS:
                lines[step].append(Point(x, found[step]))
            for name, file in FILES.items():
                files[name].append(Point(x, {"MB": [Path(folder, file).stat().st_size / 1e6]}))
    return lines, files
