"""What a model scored when it was registered: the promise that served predictions are held against."""

import json
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import choose_rows, resample
from loopline.components.evaluation.intervals import score_with_intervals
from loopline.components.evaluation.metrics import METRICS, Metric
from loopline.components.monitoring.reference_scores import ReferenceScores
from loopline.components.monitoring.skill import skill_score, skill_statistic

#: The width of the registered intervals, as ``evaluate_model`` writes them.
CONFIDENCE = 0.95
REGISTRY, HELD_OUT = "the test rows at registration", "the model's held-out reference rows"


@dataclass(frozen=True)
class Figure:
    """A number and its interval.

    Attributes:
        value: The number; None where undefined.
        low: Lower end of the interval; None when unknown.
        high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def spread(self, confidence: float) -> float:
        """Return the standard deviation that the interval speaks of; 0 when there is none."""
        if self.low is None or self.high is None:
            return 0.0
        return (self.high - self.low) / (2 * float(norm.ppf(0.5 + confidence / 2)))


@dataclass(frozen=True)
class Registered:
    """What a model scored when it was registered.

    Attributes:
        source: On which rows; empty when nothing is known.
        metrics: By name.
        skill: Of the metric that decides.
        skill_source: On which rows the skill was measured.
    """

    source: str
    metrics: dict[str, Figure]
    skill: Figure
    skill_source: str


def read_registered(
    text: str, metric: Metric, reference: ReferenceScores, bootstrap: int = 500, seed: int = 0
) -> Registered:
    """Read the metrics logged at registration, or measure them on the reference rows where there are none.

    Rows that the model was trained on make no promise: what is missing in the text then stays unknown.

    Args:
        text: A JSON object of numbers: each metric by name, ``<name>_low`` and ``<name>_high`` for its 95 percent
            interval, and ``baseline_<name>`` for the best constant on the same rows.
        metric: The metric that decides.
        reference: The scored reference rows.
        bootstrap: Replicates for figures on the reference rows.
        seed: Of the random numbers.

    Returns:
        The figures.

    Raises:
        InputError: The text is no such object.
    """
    values = _parse(text)
    task = reference.task
    logged = {
        one.name: Figure(values[one.name], values.get(f"{one.name}_low"), values.get(f"{one.name}_high"))
        for one in METRICS[task]
        if one.name in values
    }
    held = reference.held_out and len(reference.truth) > 1
    if metric.name not in logged and not held:
        return Registered("", {}, Figure(None), "")
    if metric.name in logged:
        source, metrics = REGISTRY, logged
    else:
        source = HELD_OUT
        scored = score_with_intervals(task, reference.truth, reference.scores, replicates=bootstrap, seed=seed)
        metrics = {name: Figure(**entry) for name, entry in scored.metrics.items()}
    skill = _logged_skill(metric, logged.get(metric.name), values.get(f"baseline_{metric.name}"))
    if skill.value is not None:
        return Registered(source, metrics, skill, REGISTRY)
    if held:
        return Registered(source, metrics, _reference_skill(metric, reference, bootstrap, seed), HELD_OUT)
    return Registered(source, metrics, skill, "")


def _parse(text: str) -> dict[str, float]:
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        values = None
    numbers = isinstance(values, dict) and all(
        isinstance(value, int | float) and np.isfinite(value) for value in values.values()
    )
    if not numbers:
        raise InputError(
            f'registered is {text[:80]!r}: give the metrics of the registered version as JSON, such as {{"log_loss": '
            "0.5}, or {} to measure them on the model's reference rows."
        )
    return values


def _logged_skill(metric: Metric, logged: Figure | None, baseline: float | None) -> Figure:
    if logged is None or baseline is None:
        return Figure(None)
    ends = [skill_score(metric, value, baseline) for value in (logged.low, logged.high)]
    known = None not in ends
    # The interval of the metric with the constant held fixed: a little too wide, since both move together.
    return Figure(skill_score(metric, logged.value, baseline), *(sorted(ends) if known else (None, None)))


def _reference_skill(metric: Metric, reference: ReferenceScores, bootstrap: int, seed: int) -> Figure:
    total = len(reference.truth)
    chosen = choose_rows(total, max(bootstrap, 1), 1, seed)
    statistic = skill_statistic(
        reference.task, metric, reference.truth[chosen], reference.scores[chosen], only={metric.name}
    )
    replicates = resample(statistic, len(chosen), total, bootstrap, seed)
    value = replicates.centers["skill"]
    return Figure(value, *(replicates.interval("skill", value, CONFIDENCE) if bootstrap else (None, None)))
