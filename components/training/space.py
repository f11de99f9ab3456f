"""What a sweep tries: parameter sets that are given, or a space of XGBoost parameters to draw from."""

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.parameters import parse_object
from loopline.components.training.trials import MAX_TRIALS, list_parameter_sets

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: What is tried when nobody says otherwise: the parameters that decide most, between the bounds that are seldom left.
DEFAULT_SPACE = {
    "max_depth": {"low": 3, "high": 10},
    "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "min_child_weight": {"low": 1.0, "high": 30.0, "log": True},
    "subsample": {"low": 0.6, "high": 1.0},
    "colsample_bytree": {"low": 0.5, "high": 1.0},
    "reg_lambda": {"low": 0.1, "high": 10.0, "log": True},
}
_EXAMPLE = '{"max_depth": {"low": 3, "high": 10}, "subsample": [0.7, 0.9]}'
_KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    Attributes:
        low: The smallest; an integer when only integers are meant.
        high: The largest.
        log: Whether to draw the logarithm evenly.
        step: The distance between two values; None for any value.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether only integers are meant."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


@dataclass(frozen=True)
class Space:
    """What the trials of a sweep try.

    Attributes:
        count: How many trials there are.
        sets: The parameters of each trial; empty when they are drawn.
        ranges: Parameters drawn between bounds.
        choices: Parameters drawn among values.
        fixed: Parameters that every trial has.
    """

    count: int
    sets: tuple[dict, ...] = ()
    ranges: dict[str, Range] | None = None
    choices: dict[str, list] | None = None
    fixed: dict | None = None

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Return what is drawn as Optuna's distributions, by parameter; nothing where the sets are given."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found = {name: CategoricalDistribution(values) for name, values in (self.choices or {}).items()}
        for name, one in (self.ranges or {}).items():
            if one.whole:
                found[name] = IntDistribution(one.low, one.high, log=one.log, step=one.step or 1)
            else:
                found[name] = FloatDistribution(one.low, one.high, log=one.log, step=one.step)
        return found

    def corners(self) -> list[dict]:
        """Return parameters with which every bound and every choice occurs once: to try whether each is possible."""
        if self.sets:
            return list(self.sets)
        values = {name: [one.low, one.high] for name, one in (self.ranges or {}).items()} | (self.choices or {})
        most = max(map(len, values.values()), default=1)
        return [
            {name: options[min(k, len(options) - 1)] for name, options in values.items()} | (self.fixed or {})
            for k in range(most)
        ]


def read_space(parameter_sets: str, space: str, trials: int) -> Space:
    """Read what a sweep tries.

    Args:
        parameter_sets: See ``list_parameter_sets``; empty to draw from a space.
        space: A JSON object by parameter: ``{"low": 3, "high": 10}`` with ``log`` and ``step`` where wanted (integers
            when both bounds are), a list of values to choose from, or one value for every trial; empty for
            ``DEFAULT_SPACE``.
        trials: How many trials draw from the space.

    Returns:
        What the trials try.

    Raises:
        InputError: The sets or the space cannot be read, both are given, or there are too few or too many trials.
    """
    if parameter_sets:
        if space:
            raise InputError("Both parameter_sets and space are given: a sweep takes one of them.")
        sets = tuple(json.loads(text) for text in list_parameter_sets(parameter_sets))
        return Space(len(sets), sets)
    if not 1 <= trials <= MAX_TRIALS:
        raise InputError(f"A sweep takes 1 to {MAX_TRIALS} trials, not {trials}.")
    given = parse_object(space, "space", _EXAMPLE) or DEFAULT_SPACE
    ranges = {name: _read_range(name, value) for name, value in given.items() if isinstance(value, dict)}
    choices = {name: _read_choices(name, value) for name, value in given.items() if isinstance(value, list)}
    fixed = {name: value for name, value in given.items() if name not in ranges and name not in choices}
    if not ranges and not choices:
        raise InputError(f"The space {space!r} leaves nothing to try: write it like {_EXAMPLE}.")
    return Space(trials, (), ranges, choices, fixed)


def _read_range(name: str, given: dict) -> Range:
    numbers = [given.get(key) for key in ("low", "high") if _is_number(given.get(key))]
    if len(numbers) < 2 or any(key not in _KEYS for key in given):
        raise InputError(
            f"The space of {name!r} is {json.dumps(given)}: give the numbers low and high, and log or step as wanted."
        )
    low, high, log, step = *numbers, given.get("log", False), given.get("step")
    if low > high:
        raise InputError(f"The space of {name!r} begins at {low} and ends at {high}: exchange low and high.")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise InputError(f"The space of {name!r} cannot be logarithmic: log is true with low above 0 and without step.")
    if step is not None and not (_is_number(step) and step > 0):
        raise InputError(f"The space of {name!r} has the step {step!r}: give a number above 0.")
    return Range(low, high, log, step)


def _read_choices(name: str, given: list) -> list:
    if not given or not all(isinstance(value, str | int | float | bool) for value in given):
        raise InputError(
            f"The choices of {name!r} are {json.dumps(given)}: list one or more numbers, texts or booleans."
        )
    return list(dict.fromkeys(given))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
