"""From figures to a verdict: is the model worse than it was when it was registered?"""

from dataclasses import dataclass

from scipy.stats import norm

from loopline.components.evaluation.metrics import Metric
from loopline.components.monitoring.estimate import Expected
from loopline.components.monitoring.registered import CONFIDENCE, Figure, Registered
from loopline.components.plotting import in_text

#: How many standard deviations a difference must be before it is no chance: one-sided, p < 0.01.
_SURE = float(norm.ppf(0.99))
#: Harder rows explain a fall when a model that still fits would show at least this share of it on the very same rows.
_EXPLAINED = 0.5


@dataclass(frozen=True)
class Measured:
    """What was measured on labeled rows, as far as it decides.

    Attributes:
        value: The metric, and the standard deviation of its replicates.
        skill: Its skill, likewise; the value is None where undefined.
        expected: What a model that still fits would score on the same rows; None when that cannot be estimated.
    """

    value: tuple[float, float]
    skill: tuple[float | None, float]
    expected: Expected | None


@dataclass(frozen=True)
class _Change:
    """How one figure moved since the registration, turned so that more is worse.

    Attributes:
        before: At registration.
        now: On the labeled rows.
        noise: Standard deviation of the difference by chance.
        large: How much is large.
        expected: What a model that still fits would show on the same rows, and its standard deviation; None when
            that cannot be estimated.
    """

    before: float
    now: float
    noise: float
    large: float
    expected: tuple[float, float] | None

    @property
    def fell(self) -> bool:
        """Whether the model is surely and by much worse by this figure."""
        return self.now - self.before > max(self.large, _SURE * self.noise)

    @property
    def rose(self) -> bool:
        """Whether it is surely and by much better."""
        return self.before - self.now > max(self.large, _SURE * self.noise)

    @property
    def unexplained(self) -> bool:
        """Whether most of the fall is surely more than harder rows explain."""
        if self.expected is None:
            return True
        value, spread = self.expected
        return self.now - value > max((1 - _EXPLAINED) * (self.now - self.before), _SURE * spread)


def judge(metric: Metric, measured: Measured, registered: Registered, margin: float) -> tuple[str, str]:
    """Say whether a model got worse.

    A fall counts when it is surely one (p < 0.01) and large: the metric worse by more than the margin, relative to the
    registered one, while the skill is lower, too; or the skill lower by more than the margin. With the metric alone a
    window of another base rate would look like decay, and one whose base rate flatters would hide it. A fall that a
    model that still fits would have shown on these very rows is no decay, as long as the model is surely better than a
    constant: the rows are harder, and a new model would find them as hard.

    Args:
        metric: The metric that decides.
        measured: What was measured.
        registered: What it is held against.
        margin: How much is large: a share of the registered value, and an amount of skill.

    Returns:
        ``worse``, ``better``, ``steady`` or ``unknown``, and why, in one sentence.
    """
    if not registered.source:
        return _judge_alone(*measured.skill)
    loss, skill = _loss_change(metric, measured, registered, margin), _skill_change(measured, registered, margin)
    label = in_text(metric.label)
    value = f"the {label} {measured.value[0]:.4g} where {registered.metrics[metric.name].value:.4g} was registered"
    gained = "" if skill is None else f"the skill {-skill.now:.3f} where {-skill.before:.3f} was"
    fallen = [loss] if loss.fell and (skill is None or skill.now > skill.before) else []
    fallen += [skill] if skill is not None and skill.fell else []
    # What fell comes first: beside a base rate that flatters, the metric alone may even be better.
    says = ", ".join(text for text in ((gained, value) if fallen == [skill] else (value, gained)) if text)
    worthless = measured.skill[0] is not None and measured.skill[0] <= _SURE * measured.skill[1]
    if fallen and (worthless or any(change.unexplained for change in fallen)):
        return "worse", f"Worse by {_name_fallen(fallen, loss, label)}, surely and by more than {margin:.0%}: {says}."
    if fallen:
        return "steady", f"These rows are harder, and a model that still fits would do no better on them: {says}."
    if (loss.rose and (skill is None or skill.now <= skill.before)) or (
        skill is not None and skill.rose and loss.now <= loss.before
    ):
        return "better", f"Surely better, by more than {margin:.0%}: {says}."
    if loss.fell:
        return "steady", f"The {label} follows the base rate of these rows, and the skill held: {says}."
    return "steady", f"No change that is both sure and more than {margin:.0%}: {says}."


def _name_fallen(fallen: list[_Change], loss: _Change, label: str) -> str:
    if len(fallen) > 1:
        return f"{label} and skill"
    return label if fallen[0] is loss else "skill"


def _judge_alone(skill: float | None, spread: float) -> tuple[str, str]:
    """Judge a model of which nothing is known but these rows."""
    nothing = "There are no metrics from registration and no held-out reference rows to hold it against"
    if skill is not None and skill + _SURE * spread < 0:
        return "worse", f"{nothing}, but it is surely worse than the best constant prediction (skill {skill:.3f})."
    return "unknown", f"{nothing}: register the model with the metrics of evaluate_model."


def _loss_change(metric: Metric, measured: Measured, registered: Registered, margin: float) -> _Change:
    before = registered.metrics[metric.name]
    sign = 1.0 if metric.lower_is_better else -1.0
    value, spread = measured.value
    large = margin * abs(before.value)
    return _Change(
        sign * before.value, sign * value, _noise(spread, before), large, _expected(measured, metric.name, sign)
    )


def _skill_change(measured: Measured, registered: Registered, margin: float) -> _Change | None:
    value, spread = measured.skill
    before = registered.skill
    if value is None or before.value is None:
        return None
    return _Change(-before.value, -value, _noise(spread, before), margin, _expected(measured, "skill", -1.0))


def _noise(spread: float, before: Figure) -> float:
    return (spread**2 + before.spread(CONFIDENCE) ** 2) ** 0.5


def _expected(measured: Measured, name: str, sign: float) -> tuple[float, float] | None:
    """Return what is expected of a metric or of the skill, turned so that more is worse."""
    expected = measured.expected
    if expected is None or expected.values.get(name) is None or expected.spreads.get(name) is None:
        return None
    return sign * expected.values[name], expected.spreads[name]
