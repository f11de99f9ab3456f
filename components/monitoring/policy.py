"""When to retrain: what a site's owner decides once, and every window is held against."""

import math
from dataclasses import dataclass

from loopline.components.errors import InputError

PERFORMANCE, DRIFT, EITHER = "performance", "drift", "either"


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes:
        trigger: What calls for a retraining: ``performance`` (measured against the truth), ``drift``, or ``either``.
            Drift alone says little about harm, so it is not the default.
        patience: For so many windows in a row with enough truth the performance must be worse.
        drift_patience: For so many windows in a row there must be drift.
        min_labels: The fewest labeled rows that are new since the last retraining.
        cooldown_h: Hours after the end of a window that called for a retraining in which no other does.
        max_dropped: The largest share of rows, files or truth that may be unusable; more means that data are broken.
    """

    trigger: str = PERFORMANCE
    patience: int = 1
    drift_patience: int = 2
    min_labels: int = 1000
    cooldown_h: float = 24.0
    max_dropped: float = 0.2

    def __post_init__(self):
        if self.trigger not in (PERFORMANCE, DRIFT, EITHER):
            raise InputError(f"trigger is {self.trigger!r}: use {PERFORMANCE!r}, {DRIFT!r} or {EITHER!r}.")
        for name, least in (("patience", 1), ("drift_patience", 1), ("min_labels", 0)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise InputError(f"{name} is {value!r}: use a whole number of {least} or more.")
        if not (math.isfinite(self.cooldown_h) and self.cooldown_h >= 0):
            raise InputError(f"cooldown_h is {self.cooldown_h!r}: use a number of hours, 0 for no cooldown.")
        if not 0 <= self.max_dropped <= 1:
            raise InputError(f"max_dropped is {self.max_dropped!r}: use a share between 0 and 1, such as 0.2.")
