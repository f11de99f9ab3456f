"""Write a trained model as a model directory, in the safest format that predicts the same."""

import datetime
import importlib.metadata
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from loopline.components.data.periods import table_periods
from loopline.components.data.profile import profile_numbers, profile_table, save_profile
from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import open_parquet, read_batches, read_table, table_digest, write_table
from loopline.components.evaluation.metrics import score
from loopline.components.model.directory import HELD_OUT, Manifest, seal_model, writing_model
from loopline.components.model.predictor import ATOL, RTOL, Predictor, agree, feature_columns, open_predictor
from loopline.components.training.plan import Plan

#: Rows the reference profile is made of, drawn at random when there are more: a distribution to about 3e-3.
PROFILE_ROWS = 200_000
#: Rows that travel with the model for tests of drift that need rows.
REFERENCE_ROWS = 10_000
#: Rows on which a converted model must predict what the native one predicts.
CHECK_ROWS = 20_000
#: Rows replayed against a model server.
GOLDEN_ROWS = 64

_LIBRARIES = (
    "scikit-learn",
    "numpy",
    "pandas",
    "xgboost-cpu",
    "onnx",
    "onnxruntime",
    "skl2onnx",
    "onnxmltools",
    "skops",
)

logger = logging.getLogger("loopline")


class TrainedModel(Protocol):
    """What a trainer hands over to be written."""

    native_format: str

    def score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from feature columns."""

    def save(self, path: Path, allow_pickle: bool) -> str:
        """Write the model in its own format; returns the file's name."""

    def to_onnx(self) -> bytes:
        """Convert to ONNX."""


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        component: The trainer's name.
        estimator: The estimator's name.
        params: Its parameters as given, a JSON object.
        seed: The random seed.
        pipeline_run: The pipeline run, empty outside one.
        name: What the model server calls the model.
        details: What came of the training, e.g. the best iteration.
    """

    component: str
    estimator: str
    params: dict
    seed: int
    pipeline_run: str
    name: str
    details: dict


def write_model(
    path: str | Path,
    model: TrainedModel,
    plan: Plan,
    train: str | Path,
    validation: str | Path | None,
    origin: Origin,
    allow_pickle: bool = False,
) -> Manifest:
    """Write a model directory.

    Args:
        path: The directory to write; it is there whole or not at all, in place of a model that was there before.
        model: The trained model.
        plan: What it learned from which columns.
        train: The training table.
        validation: The validation table, None or empty for none.
        origin: Where the model comes from.
        allow_pickle: Write scikit-learn models as a pickle, which MLServer's own runtime needs.

    Returns:
        The sealed manifest.

    Raises:
        InputError: The directory is there and holds something else.
    """
    with writing_model(path) as folder:
        return _write(folder, model, plan, train, validation, origin, allow_pickle)


def _write(
    path: Path,
    model: TrainedModel,
    plan: Plan,
    train: str | Path,
    validation: str | Path | None,
    origin: Origin,
    allow_pickle: bool,
) -> Manifest:
    schema = Schema((*plan.features.columns, _target_column(plan)), plan.target)
    schema.save(path / "schema.json")
    rows = sample_rows(train, schema.names, PROFILE_ROWS, origin.seed)
    manifest = Manifest(plan.task, plan.target, plan.classes, "", "", origin.name)
    _write_payload(path, model, plan, manifest, pick_rows(rows, CHECK_ROWS, origin.seed), allow_pickle)
    predictor = open_predictor(path, manifest)
    held_out = _validation_rows(validation, schema.names, origin.seed)
    # Scores on rows the model has not seen, where there are any: on training rows they are too sure.
    source = held_out if held_out is not None else rows
    scores = predictor.predict(source)
    _write_reference(path, predictor, rows, origin.seed)
    if held_out is not None:
        write_table(path / HELD_OUT, pick_rows(held_out, REFERENCE_ROWS, origin.seed))
    profile = profile_table(rows, schema) | {"scores": _profile_scores(scores, manifest, held_out is not None)}
    save_profile(profile, path / "reference-profile.json")
    manifest.training = {
        "component": origin.component,
        "estimator": origin.estimator,
        "params": origin.params,
        "seed": origin.seed,
        "rows": plan.rows,
        "left_out": plan.left_out,
        "validation": _validation_scores(plan, held_out, scores),
        **origin.details,
    }
    manifest.provenance = {
        "data_digest": table_digest(train),
        **({"period": periods} if (periods := table_periods(train)) else {}),
        "pipeline_run": origin.pipeline_run,
        "code_version": os.environ.get("LOOPLINE_CODE_VERSION") or importlib.metadata.version("loopline"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    manifest.libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    seal_model(path, manifest)
    logger.info("%s %s, %s, digest %s", origin.estimator, plan.task, manifest.file, manifest.digest[:19])
    return manifest


def sample_rows(path: str | Path, columns: list[str], rows: int, seed: int) -> pa.Table:
    """Draw rows of a table without replacement, reading it once.

    Args:
        path: The table.
        columns: The columns wanted.
        rows: The most rows wanted.
        seed: The random seed.

    Returns:
        The rows, in the order of the table.
    """
    total = open_parquet(path).metadata.num_rows
    if total <= rows:
        return read_table(path, columns).select(columns)
    picked = _draw(total, rows, seed)
    parts, start = [], 0
    for batch in read_batches(path, columns):
        low, high = np.searchsorted(picked, [start, start + batch.num_rows])
        parts.append(pa.Table.from_batches([batch]).take(pa.array(picked[low:high] - start)))
        start += batch.num_rows
    return pa.concat_tables(parts).select(columns)


def pick_rows(table: pa.Table, rows: int, seed: int) -> pa.Table:
    """Draw rows of a table in memory without replacement.

    Args:
        table: The table.
        rows: The most rows wanted.
        seed: The random seed.

    Returns:
        The rows, in the order of the table.
    """
    return table if table.num_rows <= rows else table.take(pa.array(_draw(table.num_rows, rows, seed)))


def _draw(total: int, rows: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(total, rows, replace=False))


def _validation_scores(plan: Plan, rows: pa.Table | None, scores: np.ndarray) -> dict[str, float]:
    """Score a model on validation rows by every metric that they define."""
    if rows is None:
        return {}
    scores = scores.astype(float)
    if plan.is_classification:
        scores /= scores.sum(axis=1, keepdims=True)  # single precision sums to one only to seven digits
    found = score(plan.task, plan.encode_target(rows.column(plan.target)), scores)
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _validation_rows(validation: str | Path | None, columns: list[str], seed: int) -> pa.Table | None:
    if validation is None or not open_parquet(validation).metadata.num_rows:
        return None
    return sample_rows(validation, columns, PROFILE_ROWS, seed)


def _target_column(plan: Plan) -> Column:
    if not plan.is_classification:
        return Column(plan.target, "number")
    kind = {bool: "boolean", int: "integer", str: "category"}[type(plan.classes[0])]
    return Column(plan.target, kind, categories=tuple(plan.classes) if kind == "category" else None)


def _write_payload(
    path: Path, model: TrainedModel, plan: Plan, manifest: Manifest, rows: pa.Table, allow_pickle: bool
) -> None:
    """Write the model as ONNX when that predicts the same, else in its own format; the manifest says which and why."""
    columns = feature_columns(rows, plan.features)
    native = np.asarray(model.score(columns), np.float32)
    if not (allow_pickle and model.native_format == "skops"):
        manifest.format, manifest.file = "onnx", "model.onnx"
        reason = _try_onnx(path, model, manifest, rows, native)
        if not reason:
            return
    else:
        reason = "a pickle was asked for"
    manifest.file = model.save(path, allow_pickle)
    manifest.format = "joblib" if manifest.file.endswith(".joblib") else model.native_format
    manifest.conversion = {"status": "native", "reason": reason, "pickle": manifest.format == "joblib"}
    logger.info("kept as %s: %s", manifest.file, reason)


def _try_onnx(path: Path, model: TrainedModel, manifest: Manifest, rows: pa.Table, native: np.ndarray) -> str:
    """Convert and compare; returns why the conversion was given up, or nothing."""
    file = path / manifest.file
    try:
        file.write_bytes(model.to_onnx())
        converted = open_predictor(path, manifest).predict(rows)
    except OSError:  # a full disk is no reason to write another format
        raise
    except Exception as error:  # the converters and the runtime raise types of their own, some bare Exception
        file.unlink(missing_ok=True)
        return f"it does not convert to ONNX ({str(error).strip().splitlines()[0][:200]})"
    difference = np.abs(converted - native)
    if not agree(converted, native).all():
        file.unlink()
        return f"its ONNX form predicts differently by up to {difference.max():.2g} (tolerance {ATOL} + {RTOL} * value)"
    manifest.conversion = {
        "status": "converted",
        "rows": rows.num_rows,
        "max_difference": float(difference.max()),
        "tolerance": f"{ATOL} + {RTOL} * |score|",
    }
    return ""


def _profile_scores(scores: np.ndarray, manifest: Manifest, held_out: bool) -> dict:
    """Profile what the model predicts, one entry a predicted column."""
    columns = scores.reshape(len(scores), -1).astype(float)
    entries = {
        name: {"kind": "number", **profile_numbers(columns[:, position])}
        for position, name in enumerate(manifest.output_names)
    }
    return {"rows": len(scores), "held_out": held_out, "columns": entries}


def _write_reference(path: Path, predictor: Predictor, rows: pa.Table, seed: int) -> None:
    """Write rows that later data are compared with, and rows with the predictions a server must give."""
    write_table(path / "reference-rows.parquet", pick_rows(rows, REFERENCE_ROWS, seed))
    golden = _golden_rows(rows, predictor.features)
    predictions = predictor.predict(golden).reshape(golden.num_rows, -1)
    for position, name in enumerate(predictor.manifest.output_names):
        golden = golden.append_column(name, pa.array(predictions[:, position]))
    write_table(path / "golden.parquet", golden)


def _golden_rows(rows: pa.Table, features: Schema) -> pa.Table:
    """Pick rows evenly, half of them with a missing value where there are such."""
    incomplete = np.zeros(rows.num_rows, bool)
    for values in feature_columns(rows, features).values():
        incomplete |= (values == "") if values.dtype == object else np.isnan(values)
    picked = []
    for group in (np.flatnonzero(incomplete), np.flatnonzero(~incomplete)):
        count = min(GOLDEN_ROWS // 2, len(group))
        picked.extend(group[np.linspace(0, len(group) - 1, count).astype(int)] if count else [])
    return rows.select(features.names).take(pa.array(sorted(picked)))
