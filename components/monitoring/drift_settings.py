"""What counts as drift."""

from dataclasses import dataclass

from loopline.components.errors import InputError
from loopline.components.monitoring.effects import Effects
from loopline.components.monitoring.summary import SAMPLE


@dataclass(frozen=True)
class DriftSettings:
    """What counts as drift.

    The sizes lie between a shift of 0.02 standard deviations in one column, which harms no model and must never be
    called drift however many rows there are, and one of 0.1, which the best detectors see in 1,000 rows: in Wasserstein
    distance 0.02 and 0.1, in Kolmogorov-Smirnov 0.008 and 0.04. In small windows the tests decide, for what is
    significant in 1,000 rows is always larger than these; in large ones the sizes do.

    Attributes:
        engine: ``alibi`` or ``scipy``: what runs the tests.
        alpha: The share of false alarms allowed, over all columns and tests together.
        shift: Large from this Wasserstein distance on, in standard deviations of the reference.
        share: Large when this share of the rows has moved: Kolmogorov-Smirnov statistic, total variation of categories
            or change of the share of missing values.
        psi: Large from this bias-corrected population stability index on.
        correlation: Large from this change of a rank correlation on.
        auc: Large when a classifier tells the window from the reference with this area under the ROC curve.
        min_rows: Fewer rows say nothing.
        sample: The most rows of each side that the tests see.
        seed: Random seed.
    """

    engine: str = "alibi"
    alpha: float = 0.05
    shift: float = 0.055
    share: float = 0.025
    psi: float = 0.02
    correlation: float = 0.1
    auc: float = 0.53
    min_rows: int = 200
    sample: int = SAMPLE
    seed: int = 0

    def __post_init__(self):
        for name, low, high in (("alpha", 0, 0.5), ("auc", 0.5, 1)):
            if not low < getattr(self, name) < high:
                raise InputError(f"{name} is {getattr(self, name)!r}: set it to a number between {low} and {high}.")
        for name in ("shift", "share", "psi", "correlation", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)!r}: set it to zero or a positive number.")
        for name in ("min_rows", "sample"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}: set it to one row or more.")

    def size(self, effects: Effects) -> float:
        """Return how large effects are: 1 is just large."""
        measured = (
            (effects.wasserstein_sd, self.shift),
            (effects.ks, self.share),
            (effects.missing_change, self.share),
            (effects.psi, self.psi),
        )
        return max((value or 0.0) / max(least, 1e-12) for value, least in measured)
