"""From figures to a verdict: is the model worse than it was when it was registered?"""

from dataclasses import dataclass

from scipy.stats import norm

from loopline.components.evaluation.metrics import Metric
from loopline.components.monitoring.estimate import Expected
from loopline.components.monitoring.registered import CONFIDENCE, Figure, Registered
from loopline.components.plotting import in_text

#: How unlikely a difference must be by chance alone before it counts, one-sided.
ALPHA = 0.01
#: Harder rows explain a fall when the estimate for the very same rows explains at least this share of it.
EXPLAINED = 0.5


@dataclass(frozen=True)
class Measured:
    """What was measured on labeled rows, as far as it decides.

    Attributes:
        value: The metric, with the standard deviation of its replicates.
        skill: Its skill, likewise; the value is None where undefined.
        expected: What a model that still fits would score on the same rows; None when that cannot be estimated.
    """

    value: tuple[float, float]
    skill: tuple[float | None, float]
    expected: Expected | None


@dataclass(frozen=True)
class _Change:
    """A change for the worse (positive) or the better of one figure, and whether it is large and sure."""

    amount: float
    large: bool
    sure: bool
    unexplained: bool


def judge(metric: Metric, measured: Measured, registered: Registered, margin: float) -> tuple[str, str]:
    """Say whether a model got worse.

    A fall counts when it is surely one (p < 0.01) and large: the loss worse by more than the margin, relative to the
    registered one, while the skill is lower, too; or the skill lower by more than the margin. With the loss alone a
    window of another base rate would look like decay, and with the skill alone some decay would hide behind a base
    rate that flatters. A fall that a model that still fits would have shown on these very rows is no decay: the rows
    are harder, and a new model would find them as hard.

    Args:
        metric: The metric that decides.
        measured: What was measured.
        registered: What it is held against.
        margin: How much is large: a share of the registered value, and an amount of skill.

    Returns:
        ``worse``, ``better``, ``steady`` or ``unknown``, and why, in one sentence.
    """
    skill, spread = measured.skill
    if not registered.source:
        return _judge_alone(skill, spread)
    loss = _loss_change(metric, measured, registered, margin)
    gain = _skill_change(measured, registered, margin)
    label = in_text(metric.label)
    says = f"{label} is {measured.value[0]:.4g} where {registered.metrics[metric.name].value:.4g} was registered"
    if gain is not None:
        says += f" and skill {skill:.3f} where {registered.skill.value:.3f} was"
    fallen = [loss] if loss.large and loss.sure and (gain is None or gain.amount > 0) else []
    fallen += [gain] if gain is not None and gain.large and gain.sure else []
    if any(change.unexplained for change in fallen):
        return "worse", f"The {says}: surely worse, by more than the margin {margin:g}."
    if fallen:
        return "steady", f"The {says}, as a model that still fits would show on these rows: they are harder."
    if _is_better(loss, gain, metric, measured, registered, margin):
        return "better", f"The {says}: surely better, by more than the margin {margin:g}."
    return "steady", f"The {says}: no sure change by more than the margin {margin:g} that the skill confirms."


def _judge_alone(skill: float | None, spread: float) -> tuple[str, str]:
    """Judge a model of which nothing is known but these rows."""
    nothing = "There are no metrics from registration and no held-out reference rows to hold it against"
    if skill is not None and skill + norm.ppf(1 - ALPHA) * spread < 0:
        return "worse", f"{nothing}, but it is surely worse than the best constant prediction (skill {skill:.3f})."
    return "unknown", f"{nothing}: register the model with the metrics of evaluate_model."


def _loss_change(metric: Metric, measured: Measured, registered: Registered, margin: float) -> _Change:
    before = registered.metrics[metric.name]
    sign = 1.0 if metric.lower_is_better else -1.0
    value, spread = measured.value
    amount = sign * (value - before.value)
    large = amount > margin * abs(before.value)
    return _Change(
        amount,
        large,
        _is_sure(amount, spread, before),
        _is_unexplained(amount, sign * value, measured.expected, metric.name, sign),
    )


def _skill_change(measured: Measured, registered: Registered, margin: float) -> _Change | None:
    skill, spread = measured.skill
    before = registered.skill
    if skill is None or before.value is None:
        return None
    amount = before.value - skill
    return _Change(
        amount,
        amount > margin,
        _is_sure(amount, spread, before),
        _is_unexplained(amount, -skill, measured.expected, "skill", -1.0),
    )


def _is_sure(amount: float, spread: float, before: Figure) -> bool:
    noise = (spread**2 + before.spread(CONFIDENCE) ** 2) ** 0.5
    return amount > norm.ppf(1 - ALPHA) * noise


def _is_unexplained(amount: float, loss: float, expected: Expected | None, name: str, sign: float) -> bool:
    """Say whether more than half of a change is beyond what harder rows explain, and surely not by chance."""
    value = expected.values.get(name) if expected else None
    spread = expected.spreads.get(name) if expected else None
    if value is None or spread is None:
        return True
    beyond = loss - sign * value
    return beyond > (1 - EXPLAINED) * amount and beyond > norm.ppf(1 - ALPHA) * spread


def _is_better(loss, gain, metric, measured, registered, margin) -> bool:
    """Say whether loss or skill surely improved by more than the margin, and the other did not get worse."""
    spread = measured.value[1]
    before = registered.metrics[metric.name]
    lower = -loss.amount > margin * abs(before.value) and _is_sure(-loss.amount, spread, before)
    if gain is None:
        return lower
    more = -gain.amount > margin and _is_sure(-gain.amount, measured.skill[1], registered.skill)
    return (lower and gain.amount <= 0) or (more and loss.amount <= 0)
