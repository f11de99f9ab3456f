"""Small models and tables, made once."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.data.tables import write_table
from loopline.components.model.directory import Manifest, seal_model
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def make_table(rows: int, task: str = "binary", seed: int = 0) -> pa.Table:
    """Return rows whose target depends on ``distance`` and ``carrier`` and not on ``noise``."""
    random = np.random.default_rng(seed)
    distance = random.normal(size=rows)
    carrier = random.choice(["AA", "DL", "UA"], rows, p=[0.6, 0.3, 0.1])
    signal = 1.5 * distance + (carrier == "DL") - 1.0
    if task == "binary":
        target = np.where(random.random(rows) < 1 / (1 + np.exp(-signal)), "late", "ok")
    elif task == "multiclass":
        target = np.digitize(signal + random.normal(size=rows), [-1.5, 0.5])
    else:
        target = 100 + 10 * signal + random.normal(size=rows)
    return pa.table({"distance": distance, "noise": random.normal(size=rows), "carrier": carrier, "target": target})


def make_model(path: Path, table: pa.Table, task: str, features=("distance", "noise", "carrier"), **training) -> Path:
    """Write the directory of a model fitted on these rows; the estimator is linear unless ``trees`` is True."""
    trees = training.pop("trees", False)
    path.mkdir(parents=True)
    frame = table.select(features).to_pandas().astype({n: "float32" for n in features if n != "carrier"})
    target = table.column("target").to_pandas()
    linear = LinearRegression() if task == "regression" else LogisticRegression()
    final = HistGradientBoostingClassifier(max_iter=20, random_state=0) if trees else linear
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), [n for n in features if n == "carrier"]),
        remainder="passthrough",
    )
    joblib.dump(make_pipeline(encode, final).fit(frame, target), path / "model.joblib")
    columns = tuple(Column(name, kind_of(table.schema.field(name).type)) for name in [*features, "target"])
    Schema(columns, target="target").save(path / "schema.json")
    classes = [] if task == "regression" else sorted(pd.unique(target).tolist())
    conversion = {"reason": "the tests want a pickle"}
    manifest = Manifest(task, "target", classes, "joblib", "model.joblib", conversion=conversion, training=training)
    seal_model(path, manifest)
    return path


class Bench:
    """Models and test tables by task."""

    def __init__(self, folder: Path):
        self.folder = folder

    def model(self, task: str = "binary") -> Path:
        return self.folder / f"{task}-model"

    def test(self, task: str = "binary") -> Path:
        return self.folder / f"{task}-test.parquet"


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("evaluation"))
    for task in ("binary", "multiclass", "regression"):
        make_model(bench.model(task), make_table(2000, task), task)
        write_table(bench.test(task), make_table(1500, task, seed=1))
    return bench


@pytest.fixture(scope="session")
def weak(bench) -> Path:
    """A binary model that sees noise alone."""
    return make_model(bench.folder / "weak-model", make_table(2000), "binary", features=("noise",))
