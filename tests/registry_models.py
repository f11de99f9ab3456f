"""A small model directory, and what evaluate_model would say about it."""

import json
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from loopline.components.data.profile import profile_table, save_profile
from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import write_table
from loopline.components.model.directory import Manifest, seal_model
from loopline.components.model.predictor import as_frame, feature_columns

SCHEMA = Schema(
    (
        Column("distance", "number"),
        Column("hour", "integer"),
        Column("holiday", "boolean"),
        Column("carrier", "category", categories=("AA", "UA")),
        Column("late", "boolean", nullable=False),
    ),
    target="late",
)


@dataclass
class Trained:
    """The three inputs of ``register_model``."""

    model: Path
    metrics: Path
    report: Path

    def paths(self) -> tuple[Path, Path, Path]:
        return self.model, self.metrics, self.report


def make_rows(rows: int, seed: int = 0, distance: str = "distance") -> pa.Table:
    """Make rows of which each feature misses a fifth of its values; the first goes by the name given."""
    random = np.random.default_rng(seed)
    values = {
        "distance": random.normal(500, 100, rows),
        "hour": random.integers(0, 24, rows),
        "holiday": random.random(rows) > 0.5,
        "carrier": random.choice(["AA", "UA"], rows).astype(object),
    }
    columns = {name: pa.array(column, mask=random.random(rows) < 0.2) for name, column in values.items()}
    columns["late"] = pa.array((values["distance"] > 500) & (random.random(rows) > 0.1))
    return pa.table(columns).rename_columns({"distance": distance})


def make_model(folder: Path, seed: int = 0, run: str = "run-1", distance: str = "distance") -> Trained:
    """Fit a forest on a few rows and write a sealed model directory with metrics and report beside it."""
    model = folder / f"model-{seed}"
    model.mkdir(parents=True)
    table = make_rows(300, distance=distance)
    schema = Schema((Column(distance, "number"), *SCHEMA.columns[1:]), target=SCHEMA.target)
    features = schema.select(schema.names[:-1])
    columns = feature_columns(table, features)
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"]), remainder="passthrough"),
        RandomForestClassifier(n_estimators=5, max_depth=4, random_state=seed),
    )
    pipeline.fit(as_frame(columns), table.column("late").to_numpy())
    joblib.dump(pipeline, model / "model.joblib")
    schema.save(model / "schema.json")
    save_profile(profile_table(table, schema), model / "reference-profile.json")
    scores = pipeline.predict_proba(as_frame(columns))[:10].astype(np.float32)
    golden = table.select(features.names).slice(0, 10)
    for position, name in enumerate(("probability_False", "probability_True")):
        golden = golden.append_column(name, pa.array(scores[:, position]))
    write_table(model / "golden.parquet", golden)
    seal_model(
        model,
        Manifest(
            task="binary",
            target="late",
            classes=[False, True],
            format="joblib",
            file="model.joblib",
            training={
                "estimator": "RandomForestClassifier",
                "params": {"max_depth": 4},
                "seed": seed,
                "validation": {"log_loss": 0.5, "roc_auc": None},
            },
            provenance={"data_digest": "sha256:" + "d" * 64, "pipeline_run": run, "code_version": "abc"},
            libraries={"scikit-learn": "1.8.0"},
        ),
    )
    values = {"roc_auc": {"value": 0.9, "low": 0.85, "high": 0.94}, "undefined": {"value": None}}
    (folder / "metrics.json").write_text(
        json.dumps({"task": "binary", "metrics": values, "baseline": {"roc_auc": 0.5, "undefined": None}})
    )
    (folder / "report.html").write_text("<h1>Report</h1>")
    return Trained(model, folder / "metrics.json", folder / "report.html")
