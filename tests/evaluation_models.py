"""Small tables with a known signal, and models fitted on them."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.model.directory import Manifest, seal_model


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


def make_model(
    path: Path, table: pa.Table, task: str, features=("distance", "noise", "carrier"), estimator=None, **training
) -> Path:
    """Write the directory of a model fitted on these rows; the estimator is linear unless one is given."""
    path.mkdir(parents=True)
    frame = table.select(features).to_pandas().astype({n: "float32" for n in features if n != "carrier"})
    target = table.column("target").to_pandas()
    linear = LinearRegression() if task == "regression" else LogisticRegression()
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), [n for n in features if n == "carrier"]),
        remainder="passthrough",
    )
    joblib.dump(make_pipeline(encode, estimator or linear).fit(frame, target), path / "model.joblib")
    columns = tuple(Column(name, kind_of(table.schema.field(name).type)) for name in [*features, "target"])
    Schema(columns, target="target").save(path / "schema.json")
    classes = [] if task == "regression" else sorted(pd.unique(target).tolist())
    conversion = {"reason": "the tests want a pickle"}
    manifest = Manifest(task, "target", classes, "joblib", "model.joblib", conversion=conversion, training=training)
    seal_model(path, manifest)
    return path
