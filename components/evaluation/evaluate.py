"""Evaluate one model on labeled test rows."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.metrics import confusion_matrix

from loopline.components.data.tables import check_columns, open_parquet, table_digest
from loopline.components.documents import write_document
from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import check_replicates
from loopline.components.evaluation.cards import evaluation_card
from loopline.components.evaluation.curves import Bin, OperatingPoint, operating_points, reliability, thin_roc
from loopline.components.evaluation.importance import Importance, choose_importance_rows, permutation_importance
from loopline.components.evaluation.intervals import score_constant, score_with_intervals
from loopline.components.evaluation.metrics import find_metric
from loopline.components.evaluation.scored import TestRows, score_rows
from loopline.components.evaluation.slices import SLICE_REPLICATES, Slice, score_slices
from loopline.components.model.directory import Manifest
from loopline.components.model.predictor import load_predictor

log = logging.getLogger("loopline")


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        slices: Columns to score the model by, one part of the rows at a time.
        threshold: Binary: the probability from which a row is called positive, in (0, 1).
        bootstrap: Replicates of the intervals; 0 for none.
        importance_repeats: How often each feature is shuffled; 0 for no importance.
        seed: Of the random numbers.
    """

    slices: tuple[str, ...] = ()
    threshold: float = 0.5
    bootstrap: int = 500
    importance_repeats: int = 3
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold is {self.threshold}: use a probability between 0 and 1, such as 0.5.")
        if not 0 <= self.importance_repeats <= 100:
            raise InputError(f"importance_repeats is {self.importance_repeats}: use 0 for none, or up to 100.")
        check_replicates(self.bootstrap, self.seed)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        manifest: The model's manifest.
        settings: How it was evaluated.
        data_digest: The digest of the test table's file.
        rows: Labeled test rows.
        unlabeled: Rows left out for want of a label.
        metrics: By name ``value``, ``low`` and ``high``; None where the rows do not define them.
        baseline: By name the value of the best constant prediction.
        slices: The model on parts of the rows.
        importance: What each feature is worth.
        importance_rows: On how many rows that was measured.
        resampled: From how many rows each bootstrap replicate was drawn.
        confusion: Classification: rows by true and predicted class, shape (classes, classes).
        calibration: Binary: stated probabilities against what happened.
        thresholds: Binary: what calling rows positive from a probability on would have meant.
        notes: What a reader must know of these figures.
        truth: Class positions or values, shape (rows,).
        scores: Probabilities, shape (rows, classes), or predictions, shape (rows,).
    """

    manifest: Manifest
    settings: Settings
    data_digest: str
    rows: int
    unlabeled: int
    metrics: dict[str, dict[str, float | None]]
    baseline: dict[str, float | None]
    slices: list[Slice]
    importance: list[Importance]
    importance_rows: int
    resampled: int
    confusion: list[list[int]]
    calibration: list[Bin]
    thresholds: list[OperatingPoint]
    notes: list[str]
    truth: np.ndarray
    scores: np.ndarray

    def to_dict(self) -> dict:
        """Return everything but the rows as plain JSON values."""
        manifest = self.manifest
        return {
            "task": manifest.task,
            "target": manifest.target,
            "classes": manifest.classes,
            "model": {"digest": manifest.digest, "format": manifest.format, "conversion": manifest.conversion},
            "data_digest": self.data_digest,
            "rows": self.rows,
            "unlabeled_rows": self.unlabeled,
            "metrics": self.metrics,
            "baseline": self.baseline,
            "slices": [dataclasses.asdict(one) for one in self.slices],
            "importance": [dataclasses.asdict(one) for one in self.importance],
            "confusion_matrix": self.confusion,
            "calibration": [dataclasses.asdict(one) for one in self.calibration],
            "thresholds": [dataclasses.asdict(one) for one in self.thresholds],
            "threshold": self.settings.threshold if manifest.task == "binary" else None,
            "bootstrap": {
                "replicates": self.settings.bootstrap,
                "rows": self.resampled,
                "confidence": 0.95,
                "seed": self.settings.seed,
            },
            "notes": self.notes,
        }

    def save(self, path: str | Path) -> None:
        """Write the evaluation as JSON."""
        write_document(path, self.to_dict())

    def flat_metrics(self) -> dict[str, float]:
        """Return every defined metric and its bounds by name: ``roc_auc``, ``roc_auc_low``, ``roc_auc_high``."""
        flat = {}
        for name, entry in self.metrics.items():
            for suffix, key in (("", "value"), ("_low", "low"), ("_high", "high")):
                if entry[key] is not None:
                    flat[name + suffix] = entry[key]
        return flat

    def _repr_html_(self) -> str:
        return evaluation_card(self).markup()


def evaluate(model: str | Path, test: str | Path, settings: Settings) -> Evaluation:
    """Evaluate a model.

    Args:
        model: A model directory.
        test: A Parquet file with the model's features, its target and the columns of the slices.
        settings: How to evaluate.

    Returns:
        The evaluation.

    Raises:
        InputError: The model cannot be loaded or the test rows do not fit it.
    """
    predictor = load_predictor(model)
    manifest = predictor.manifest
    with open_parquet(test) as file:
        check_columns(file.schema_arrow.names, settings.slices, "the test table, so it cannot be sliced by")
    features, random = predictor.features.names, np.random.default_rng([settings.seed, 2])
    rows = TestRows.find(test, manifest.target, [*features, *settings.slices])
    chosen = choose_importance_rows(rows.rows, len(features), settings.importance_repeats, random)
    truth, scored = score_rows(rows, {"model": predictor}, features)
    scores = scored["model"]
    measured = score_with_intervals(manifest.task, truth, scores, settings.threshold, settings.bootstrap, settings.seed)
    metrics = measured.metrics
    importance = []
    if settings.importance_repeats:
        importance = permutation_importance(
            predictor, rows.take(features, chosen), truth[chosen], settings.importance_repeats, random
        )
    binary = manifest.task == "binary"
    evaluation = Evaluation(
        manifest=manifest,
        settings=settings,
        data_digest=table_digest(test),
        rows=len(truth),
        unlabeled=rows.unlabeled,
        metrics=metrics,
        baseline=score_constant(manifest.task, len(manifest.classes), truth, settings.threshold),
        slices=_score_all_slices(manifest.task, rows.read(settings.slices), truth, scores, settings),
        importance=importance,
        importance_rows=len(chosen),
        resampled=measured.resampled,
        confusion=_confuse(manifest, truth, scores, settings.threshold),
        calibration=reliability(truth, scores[:, 1]) if binary else [],
        thresholds=operating_points(truth, scores[:, 1], settings.threshold) if binary else [],
        notes=_take_notes(manifest, truth, rows.unlabeled, metrics),
        truth=truth,
        scores=scores,
    )
    shown = [(name, entry["value"]) for name, entry in list(metrics.items())[:3]]
    text = ", ".join(f"{name} {value:.4g}" for name, value in shown if value is not None)
    log.info("%s rows: %s", f"{len(truth):,}", text)
    return evaluation


def log_classification(evaluation: Evaluation, classification) -> None:
    """Hand curve and matrix to the artifact that the pipelines' user interface draws.

    Args:
        evaluation: The evaluation; nothing is logged for regression.
        classification: A ``kfp.dsl.ClassificationMetrics``.
    """
    manifest, truth = evaluation.manifest, evaluation.truth
    if manifest.task == "binary" and 0 < truth.sum() < len(truth):
        classification.log_roc_curve(*thin_roc(truth, evaluation.scores[:, 1]))
    if manifest.is_classification:
        classification.log_confusion_matrix([str(one) for one in manifest.classes], evaluation.confusion)


def _confuse(manifest: Manifest, truth: np.ndarray, scores: np.ndarray, threshold: float) -> list[list[int]]:
    if not manifest.is_classification:
        return []
    called = scores[:, 1] >= threshold if manifest.task == "binary" else scores.argmax(axis=1)
    return confusion_matrix(truth, called, labels=range(len(manifest.classes))).tolist()


def _score_all_slices(task: str, table: pa.Table, truth: np.ndarray, scores: np.ndarray, settings: Settings):
    replicates = min(settings.bootstrap, SLICE_REPLICATES)
    return [
        one
        for column in settings.slices
        for one in score_slices(task, column, table.column(column), truth, scores, replicates, settings.seed)
    ]


def _take_notes(manifest: Manifest, truth: np.ndarray, unlabeled: int, metrics: dict) -> list[str]:
    notes = []
    if unlabeled:
        notes.append(f"{unlabeled:,} rows without a label were left out.")
    if manifest.is_classification:
        counts = np.bincount(truth, minlength=len(manifest.classes))
        missing = [str(one) for one, count in zip(manifest.classes, counts, strict=True) if not count]
        if missing:
            notes.append(f"No test row is of class {', '.join(missing)}.")
    undefined = [find_metric(manifest.task, name).label for name, entry in metrics.items() if entry["value"] is None]
    if undefined:
        notes.append(f"Undefined on these rows: {', '.join(undefined)}.")
    return notes
