"""Batch scoring beside MLflow and bare onnxruntime: the flights from one Parquet file into another with predictions.

The clock of a side runs from opening the model to the closed file of predictions, imports done; beside it stands the
whole process. Every side but the floor reads the same file, predicts with the same ONNX model and writes every column
and the probabilities. The floor is XGBoost's own prediction, of numbers that are in memory already, text encoded.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import markdown, measure, spread

_PARAMS = '{"max_depth": 6, "learning_rate": 0.1, "subsample": 0.8}'
#: Rows of one prediction with bare onnxruntime: what Loopline takes.
_BATCH = 65_536
_SIDES = {
    "score_partition": "`score_partition`",
    "bare_onnxruntime": "bare onnxruntime",
    "pyfunc": "`mlflow.pyfunc`, the registered model",
    "mlflow_onnx": "`mlflow.pyfunc`, flavor `mlflow.onnx`",
    "bare_xgboost": "floor: xgboost `inplace_predict`, in memory",
}


def prepare(folder: str, sizes: list[int]) -> dict[str, int]:
    """Train both models and write the tables to score; returns how many trees the models have.

    Args:
        folder: Where to.
        sizes: Rows of each table; they are drawn from all flights of the year.
    """
    import mlflow.onnx
    import numpy as np
    import onnx
    from mlflow.models import Model

    from loopline.components.data.ingest import ingest
    from loopline.components.data.schema import Schema
    from loopline.components.data.split import split_table
    from loopline.components.data.tables import read_table, write_table
    from loopline.components.data.validate import validate
    from loopline.components.registry.flavor import save_flavor
    from loopline.components.training.plan import plan_training
    from loopline.components.training.train import train_boosted_trees
    from loopline.components.training.xgboost_model import fit_xgboost
    from loopline.examples.flights.prepare import write_months

    root = Path(folder)
    months = write_months(root / "months")
    ingest(str(root / "months" / "flights-2013-0[1-5].csv.gz"), root / "spring")
    paths = [root / name for name in ("valid", "set-aside", "schema.json", "report.html")]
    rule = '{"wind_speed": {"maximum": 200}}'
    validate(root / "spring", *paths, target="late", expectations=rule, on_error="quarantine")
    sides = [root / name for name in ("train", "validation", "test")]
    start = "2013-05-16T00:00:00Z"
    split_table(root / "valid", *sides, method="time", column="time_hour", validation_size=0.05, test_start=start)
    trees = {}
    for name, rounds, validation in (("example", 300, sides[1]), ("fixed", 100, None)):
        model = root / name / "model"
        manifest = train_boosted_trees(
            sides[0], validation, root / "schema.json", model, params=_PARAMS, rounds=rounds, name="flights"
        )
        trees[name] = manifest.training["best_iteration"]
        save_flavor(model, root / name / "pyfunc", Model())
        mlflow.onnx.save_model(onnx.load(model / "model.onnx"), root / name / "onnx", pip_requirements=[])
        plan = plan_training(sides[0], Schema.load(root / "schema.json"))
        fit_xgboost(sides[0], None, plan, _PARAMS, trees[name]).save(root / name, False)
    ingest(str(months[0].with_name("flights-2013-*.csv.gz")), root / "year")
    year = read_table(root / "year")
    for rows in sizes:
        write_table(root / f"{rows}.parquet", year.take(np.random.default_rng(0).integers(0, len(year), rows)))
    return trees


def side(name: str, folder: str, model: str, rows: int) -> float:
    """Score a table with one side; returns the seconds after imports."""
    score = globals()[f"_{name}"](Path(folder), Path(folder, model), rows)
    start = time.perf_counter()
    score()
    return time.perf_counter() - start


def _score_partition(folder: Path, model: Path, rows: int) -> Callable[[], None]:
    import onnxruntime  # noqa: F401  (as on the other sides, before the clock runs)

    from loopline.components.scoring.score import score_partition

    out = tempfile.mkdtemp(dir=folder)
    return lambda: score_partition(model / "model", str(folder / f"{rows}.parquet"), out)


def _bare_onnxruntime(folder: Path, model: Path, rows: int) -> Callable[[], None]:
    import onnxruntime
    import pyarrow as pa
    import pyarrow.parquet as pq

    def score() -> None:
        session = onnxruntime.InferenceSession(model / "model" / "model.onnx")
        text = {value.name: value.type == "tensor(string)" for value in session.get_inputs()}
        writer = None
        for batch in pq.ParquetFile(folder / f"{rows}.parquet").iter_batches(_BATCH):
            feed = {}
            for name, is_text in text.items():
                values = batch.column(name)
                values = values.fill_null("") if is_text else values.cast(pa.float32())
                feed[name] = values.to_numpy(zero_copy_only=False).reshape(-1, 1)
            [scores] = session.run(["probabilities"], feed)
            names = [*batch.schema.names, "probability_False", "probability_True"]
            table = pa.table([*batch.columns, *map(pa.array, scores.T.copy())], names)
            writer = writer or pq.ParquetWriter(folder / "bare.parquet", table.schema)
            writer.write_table(table)
        writer.close()

    return score


def _pyfunc(folder: Path, model: Path, rows: int) -> Callable[[], None]:
    import mlflow.pyfunc
    import onnxruntime  # noqa: F401
    import pandas as pd

    def score() -> None:
        frame = pd.read_parquet(folder / f"{rows}.parquet")
        scores = mlflow.pyfunc.load_model(str(model / "pyfunc")).predict(frame)
        pd.concat([frame, scores], axis=1).to_parquet(folder / "pyfunc.parquet")

    return score


def _mlflow_onnx(folder: Path, model: Path, rows: int) -> Callable[[], None]:
    import mlflow.pyfunc
    import numpy as np
    import onnxruntime  # noqa: F401
    import pandas as pd

    columns = json.loads((model / "model" / "schema.json").read_text())["columns"]
    text = {one["name"]: one["kind"] == "category" for one in columns if one["kind"] not in ("timestamp", "boolean")}

    def score() -> None:
        frame = pd.read_parquet(folder / f"{rows}.parquet")
        # The flavor passes columns of a frame on as they are, in one dimension, which the model's inputs are not.
        feed = {name: frame[[name]].to_numpy(object if is_text else np.float32) for name, is_text in text.items()}
        scores = mlflow.pyfunc.load_model(str(model / "onnx")).predict(feed)["probabilities"]
        frame["probability_False"], frame["probability_True"] = scores.T
        frame.to_parquet(folder / "onnx.parquet")

    return score


def _bare_xgboost(folder: Path, model: Path, rows: int) -> Callable[[], None]:
    import xgboost

    from loopline.components.data.tables import read_table
    from loopline.components.model.predictor import encode_columns, feature_columns, load_predictor

    features = load_predictor(model / "model").features
    matrix = encode_columns(feature_columns(read_table(folder / f"{rows}.parquet"), features), features)
    booster = xgboost.Booster(model_file=str(model / "model.ubj"))
    return lambda: booster.inplace_predict(matrix, validate_features=False)


def run(
    sizes: tuple[int, ...] = (100_000, 1_000_000), models: tuple[str, ...] = ("fixed", "example"), repeats: int = 5
) -> str:
    """Measure each side in processes of its own, in turn; returns Markdown tables."""
    with tempfile.TemporaryDirectory(prefix="scoring-benchmark-") as folder:
        trees = measure("benchmarks.scoring", "prepare", folder=folder, sizes=list(sizes)).result
        tables = []
        for model in models:
            for rows in sizes:
                costs = {name: [] for name in _SIDES}
                for _ in range(repeats):
                    for name, found in costs.items():
                        found.append(
                            measure("benchmarks.scoring", "side", name=name, folder=folder, model=model, rows=rows)
                        )
                tables.append(f"{rows:,} rows, {trees[model]} trees of depth 6:\n\n{_table(costs, rows)}")
    return "\n\n".join(tables)


def _table(costs: dict[str, list], rows: int) -> str:
    bare = statistics.median(cost.result for cost in costs["bare_onnxruntime"])
    lines = []
    for name, runs in costs.items():
        seconds = [cost.result for cost in runs]
        middle = statistics.median(seconds)
        whole, peak = spread([cost.whole for cost in runs], 2), spread([cost.peak for cost in runs], 0)
        lines.append([_SIDES[name], spread(seconds, 2), f"{rows / middle:,.0f}", f"{middle / bare:.2f}", whole, peak])
    headers = ["side", "seconds: median (min-max)", "rows/s", "time / bare onnxruntime", "whole process s", "peak MB"]
    return markdown(headers, lines)
