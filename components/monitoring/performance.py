"""Measure how good the served predictions were, as far as the truth is known; estimate it where it is not."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import norm

from loopline.components.documents import write_document
from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import Replicates, check_replicates, choose_rows, resample
from loopline.components.evaluation.intervals import score_constant, score_with_intervals
from loopline.components.evaluation.metrics import find_metric
from loopline.components.model.directory import Manifest, read_manifest
from loopline.components.monitoring.estimate import Estimator, Expected, fit_estimator
from loopline.components.monitoring.judging import Measured, judge
from loopline.components.monitoring.performance_card import performance_card
from loopline.components.monitoring.performance_parts import PartScorer, calibrate, describe_labels, residuals
from loopline.components.monitoring.reference_scores import ReferenceScores, score_reference
from loopline.components.monitoring.registered import HELD_OUT, Registered, read_registered
from loopline.components.monitoring.served_rows import ServedRows, read_features, read_served
from loopline.components.monitoring.skill import skill_statistic

logger = logging.getLogger("loopline")

#: The most rows whose features an estimate reads.
_ESTIMATE_ROWS = 100_000


@dataclass
class Performance:
    """How good served predictions were.

    Attributes:
        verdict: ``worse``, ``steady``, ``better`` or ``unknown``.
        reason: Why, in one sentence.
        task: ``binary``, ``multiclass`` or ``regression``.
        model: Name and digest of the model, its target and, for classes, their names.
        rows: Rows that this model predicted.
        labeled: How many of them have a label.
        metric: The metric that decides.
        lower_is_better: Its direction.
        metrics: By name ``value``, ``low`` and ``high`` on the labeled rows; empty when there are too few.
        registered: The same at registration; ``registered_source`` says on which rows.
        registered_source: Empty when nothing is known.
        baseline: By name the value of the best constant on the labeled rows.
        skill: ``value``, ``low`` and ``high`` of the metric's skill, and ``registered``, ``registered_low`` and
            ``registered_high``.
        expected: By name what a model that still fits would score on the labeled rows.
        estimate: What all rows are estimated to score, without any label; None when there is no ground for it.
        is_estimate: Whether the estimate is all there is.
        labels: ``share``, and from when to when the labeled rows and all rows are (``first``, ``last``, ``last_row``).
        by_site: The metric by site.
        by_version: The metric by model version, other versions included.
        by_time: The metric over the window.
        calibration: Classes: stated against observed shares, of the window and of the reference rows.
        residuals: Numbers: by tenth of the predictions the quantiles of truth minus prediction.
        notes: What a reader must know.
        settings: The parameters.
    """

    verdict: str
    reason: str
    task: str
    model: dict
    rows: int
    labeled: int
    metric: str
    lower_is_better: bool
    metrics: dict = field(default_factory=dict)
    registered: dict = field(default_factory=dict)
    registered_source: str = ""
    baseline: dict = field(default_factory=dict)
    skill: dict = field(default_factory=dict)
    expected: dict = field(default_factory=dict)
    estimate: dict | None = None
    is_estimate: bool = False
    labels: dict = field(default_factory=dict)
    by_site: dict = field(default_factory=dict)
    by_version: dict = field(default_factory=dict)
    by_time: list = field(default_factory=list)
    calibration: dict = field(default_factory=dict)
    residuals: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    settings: dict = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON."""
        write_document(path, asdict(self))

    @property
    def flat_metrics(self) -> dict[str, float]:
        """The main figures as flat, finite numbers; what is estimated says so in its name."""
        values = {"rows": self.rows, "labeled": self.labeled, "skill": self.skill.get("value")}
        values["registered_skill"] = self.skill.get("registered")
        for name, entry in self.metrics.items():
            values[name] = entry["value"]
        for key in ("low", "high"):
            values[f"{self.metric}_{key}"] = self.metrics.get(self.metric, {}).get(key)
        values[f"registered_{self.metric}"] = self.registered.get(self.metric, {}).get("value")
        for name, entry in (self.estimate or {}).get("metrics", {}).items():
            values[f"estimated_{name}"] = entry["value"]
        return {name: float(value) for name, value in values.items() if value is not None}

    def _repr_html_(self) -> str:
        return performance_card(self).markup()


@dataclass(frozen=True)
class _Settings:
    metric: str
    confidence: float
    bootstrap: int
    margin: float
    min_rows: int
    seed: int

    def __post_init__(self):
        if not 0.5 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}: use a share between 0.5 and 1, such as 0.95.")
        if self.bootstrap == 0:
            raise InputError("bootstrap is 0: a verdict needs replicates to know its own uncertainty, such as 500.")
        if not (np.isfinite(self.margin) and self.margin >= 0):
            raise InputError(f"margin is {self.margin}: use 0 or a positive number such as 0.05.")
        if self.min_rows < 2:
            raise InputError(f"min_rows is {self.min_rows}: use 2 or more, such as 200.")
        check_replicates(self.bootstrap, self.seed)


def measure(
    model: str | Path,
    traffic: str | Path,
    registered: str = "{}",
    metric: str = "",
    confidence: float = 0.95,
    bootstrap: int = 500,
    margin: float = 0.05,
    min_rows: int = 200,
    seed: int = 0,
) -> Performance:
    """Hold the logged predictions of a model against the truth, and both against its registration.

    Args:
        model: The model directory.
        traffic: What ``collect_traffic`` wrote.
        registered: The metrics logged at registration as JSON, see ``read_registered``.
        metric: The metric that decides; the task's main one when empty.
        confidence: Of the intervals, in (0.5, 1).
        bootstrap: Replicates of the intervals.
        margin: How much worse is worse, see ``judge``.
        min_rows: The fewest labeled rows that can tell.
        seed: Of the random numbers.

    Returns:
        The verdict and its evidence.

    Raises:
        InputError: A parameter makes no sense or the files do not fit each other.
    """
    settings = _Settings(metric, confidence, bootstrap, margin, min_rows, seed)
    manifest = read_manifest(model)
    chosen = find_metric(manifest.task, metric)
    served = read_served(traffic, manifest)
    reference = score_reference(model)
    promise = read_registered(registered, chosen, reference, bootstrap, seed)
    estimator = fit_estimator(reference, chosen, seed)
    own = np.flatnonzero(served.own)
    labeled = np.flatnonzero(served.own & served.labeled)
    found = Performance(
        verdict="unknown",
        reason="",
        task=manifest.task,
        model=_describe(manifest),
        rows=len(own),
        labeled=len(labeled),
        metric=chosen.name,
        lower_is_better=chosen.lower_is_better,
        registered={name: asdict(figure) for name, figure in promise.metrics.items()},
        registered_source=promise.source,
        skill=_describe_skill(promise),
        labels=describe_labels(served, own, labeled),
        notes=_take_notes(served, reference, promise),
        settings=asdict(settings) | {"metric": chosen.name},
    )
    parts = PartScorer(served, manifest.task, chosen, confidence, seed)
    found.by_site = parts.score_groups(served.site.groups(labeled))
    found.by_version = parts.score_groups(served.version.groups(np.flatnonzero(served.labeled)))
    found.by_time = parts.score_spans(own)
    if estimator is not None and len(own):
        expected = _expect(estimator, traffic, reference, served, own, seed)
        found.estimate = _describe_estimate(estimator, expected, len(own), promise, confidence)
    if len(labeled) < min_rows:
        found.reason = _too_few(found, len(served.own), min_rows)
        found.is_estimate = found.estimate is not None
    else:
        _measure_labeled(found, traffic, served, labeled, reference, estimator, promise, chosen, settings)
    logger.info("%s: %s", found.verdict, found.reason)
    return found


def _measure_labeled(found, traffic, served, labeled, reference, estimator, promise, metric, settings) -> None:
    """Fill in what the labeled rows say, and judge."""
    truth, scores = served.truth[labeled], served.scores[labeled]
    task, classes = found.task, len(found.model["classes"])
    scored = score_with_intervals(
        task, truth, scores, replicates=settings.bootstrap, seed=settings.seed, confidence=settings.confidence
    )
    found.metrics = scored.metrics
    found.baseline = score_constant(task, classes, truth)
    if found.metrics[metric.name]["value"] is None:
        found.reason = f"{metric.label} is undefined on the {len(labeled):,} labeled rows: wait for more labels."
        return
    chosen = choose_rows(len(labeled), settings.bootstrap, max(classes, 1), settings.seed)
    statistic = skill_statistic(task, metric, truth[chosen], scores[chosen], only={metric.name})
    replicates = resample(statistic, len(chosen), len(labeled), settings.bootstrap, settings.seed)
    # Over all rows rather than those resampled: the same figure as everywhere else on the page.
    skill = skill_statistic(task, metric, truth, scores, only={metric.name})(np.ones(len(labeled)))["skill"]
    low, high = replicates.interval("skill", skill, settings.confidence)
    found.skill |= {"value": skill, "low": low, "high": high}
    expected = None
    if estimator is not None:
        expected = _expect(estimator, traffic, reference, served, labeled, settings.seed)
        found.expected = _intervals(expected, settings.confidence)
    measured = Measured(
        (found.metrics[metric.name]["value"], _spread(replicates, metric.name)),
        (skill, _spread(replicates, "skill")),
        expected,
    )
    found.verdict, found.reason = judge(metric, measured, promise, settings.margin)
    if task == "regression":
        found.residuals = residuals(truth, scores)
    else:
        found.calibration = {
            "window": calibrate(truth, scores),
            "reference": calibrate(reference.truth, reference.scores),
        }


def _spread(replicates: Replicates, name: str) -> float:
    """Return the standard deviation of a figure over resampled rows; 0 where it is undefined."""
    return 0.0 if replicates.centers[name] is None else float(np.std(replicates.deviations(name)))


def _expect(
    estimator: Estimator,
    traffic: str | Path,
    reference: ReferenceScores,
    served: ServedRows,
    rows: np.ndarray,
    seed: int,
) -> Expected:
    """Estimate what some rows would score if the model still fits; at most ``_ESTIMATE_ROWS`` where it reads them."""
    if not estimator.needs_features:
        return estimator.expect(served.scores[rows], None, seed)
    if len(rows) > _ESTIMATE_ROWS:
        rows = np.sort(np.random.default_rng([seed, 3]).choice(rows, _ESTIMATE_ROWS, replace=False))
    table = read_features(traffic, reference.features.names, served.positions[rows])
    return estimator.expect(served.scores[rows], table, seed)


def _intervals(expected: Expected, confidence: float) -> dict[str, dict[str, float | None]]:
    reach = float(norm.ppf(0.5 + confidence / 2))
    found = {}
    for name, value in expected.values.items():
        spread = expected.spreads[name]
        known = value is not None and spread is not None
        ends = (value - reach * spread, value + reach * spread) if known else (None, None)
        found[name] = {"value": value, "low": ends[0], "high": ends[1]}
    return found


def _describe_estimate(
    estimator: Estimator, expected: Expected, rows: int, promise: Registered, confidence: float
) -> dict:
    metrics = _intervals(expected, confidence)
    skill = metrics.pop("skill")
    return {
        "method": estimator.method,
        "paper": estimator.paper,
        "rows": rows,
        "metrics": metrics,
        "skill": skill,
        "registered": {name: promise.metrics[name].value for name in metrics if name in promise.metrics},
    }


def _describe(manifest: Manifest) -> dict:
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "target": manifest.target,
        "classes": manifest.classes,
    }


def _describe_skill(promise: Registered) -> dict:
    before = {"registered": promise.skill.value, "registered_low": promise.skill.low}
    return {"value": None, "low": None, "high": None, **before, "registered_high": promise.skill.high}


def _take_notes(served: ServedRows, reference: ReferenceScores, promise: Registered) -> list[str]:
    notes = list(served.notes)
    others = int((~served.own).sum())
    if others:
        notes.append(f"{others:,} rows were predicted by another model and do not count.")
    if not reference.held_out:
        notes.append("The model was trained on its reference rows, so nothing can be estimated from them.")
    if promise.source == HELD_OUT:
        notes.append("No metrics from registration: held against the model's held-out reference rows.")
    elif promise.source and promise.skill_source == HELD_OUT:
        notes.append("The skill at registration is not known: that on the held-out reference rows stands in for it.")
    return notes


def _too_few(found: Performance, rows: int, min_rows: int) -> str:
    if not found.rows:
        whose = "none of them was predicted by this model" if rows else "the window is empty"
        return f"There are {rows:,} rows with a prediction, and {whose}."
    return f"{found.labeled:,} of {found.rows:,} rows have a label, and a verdict needs {min_rows:,}: wait for labels."
