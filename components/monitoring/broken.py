"""Tell data that are broken from data that have drifted: retraining on broken data makes a broken model."""

import math

import numpy as np

from loopline.components.monitoring.effects import Effects
from loopline.components.monitoring.reference import Watched
from loopline.components.monitoring.tallies import CategoryTally, NumberTally

#: Fewer rows say nothing.
LEAST_ROWS = 30
#: From this share on, what is missing or new is nearly everything.
NEARLY_ALL = 0.9
#: No drift changes how large values are by such a factor; a change of unit (1,000, 100, 60) does.
FACTOR = 20.0
#: A number that takes no fewer values (bin edges) at training does not stand still by itself; a weekday does.
VARIED = 100


def find_fault(
    column: Watched, tally: NumberTally | CategoryTally, effects: Effects, sizes: tuple[float, float] | None
) -> str:
    """Say what is wrong with a column, if it is broken rather than drifted.

    Args:
        column: The column.
        tally: What was counted of it.
        effects: How far it moved.
        sizes: Typical sizes of its values in the reference and now, as ``typical_sizes`` gives them.

    Returns:
        One sentence; empty when it is not broken.
    """
    rows = tally.present + tally.missing
    if rows < LEAST_ROWS or not column.present:
        return ""
    subject = f"Prediction {column.name!r}" if column.role == "prediction" else f"Column {column.name!r}"
    missing, before = effects.missing or 0.0, effects.missing_reference or 0.0
    if missing >= NEARLY_ALL and before < 0.5:
        share = "every row" if missing == 1 else f"{missing:.1%} of the rows"
        return f"{subject} is missing in {share}, at training in {before:.1%}: see whether what fills it still runs."
    if tally.present < LEAST_ROWS:
        return ""
    if column.is_text:
        return _find_new_coding(subject, tally, effects)
    return _find_unit(subject, column, effects, sizes) or _find_standstill(subject, column, tally)


def typical_sizes(reference: np.ndarray, current: np.ndarray) -> tuple[float, float] | None:
    """Return the median of the absolute values that are neither zero nor missing, on both sides.

    Args:
        reference: Values, NaN for missing.
        current: Values now.

    Returns:
        Both medians; None when a side has too few values.
    """
    medians = []
    for values in (reference, current):
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        if len(sizes) < LEAST_ROWS:
            return None
        medians.append(float(np.median(sizes)))
    return medians[0], medians[1]


def _find_new_coding(subject: str, tally: CategoryTally, effects: Effects) -> str:
    if effects.unseen < NEARLY_ALL:
        return ""
    most = sorted(tally.examples, key=lambda text: (-tally.examples[text], text))[:3]
    examples = ", ".join(repr(text[:40]) for text in most)
    return (
        f"{subject} has categories that training never saw in {effects.unseen:.1%} of the rows ({examples}): see "
        "whether it is coded in another way now."
    )


def _find_unit(subject: str, column: Watched, effects: Effects, sizes: tuple[float, float] | None) -> str:
    low, high = column.entry["minimum"], column.entry["maximum"]
    if sizes and column.kind != "boolean":
        ratio = sizes[1] / sizes[0]
        if not 1 / FACTOR < ratio < FACTOR:
            times = f"{_round(ratio)} times as large as" if ratio > 1 else f"{_round(1 / ratio)} times smaller than"
            return f"{subject} has values about {times} at training: see whether its unit has changed."
    if effects.far >= 0.5 and high > low:
        return (
            f"{subject} lies far outside the range from {low:g} to {high:g} that training saw in {effects.far:.1%} of "
            "the rows: see whether its unit or meaning has changed."
        )
    return ""


def _find_standstill(subject: str, column: Watched, tally: NumberTally) -> str:
    if column.kind != "number" or len(column.bins.edges) < VARIED or tally.minimum != tally.maximum:
        return ""
    return f"{subject} is {tally.minimum:g} in every row but varied at training: see whether its source stands still."


def _round(factor: float) -> str:
    """Show a factor of 20 or more with two digits."""
    return f"{round(factor, 1 - math.floor(math.log10(factor))):,.0f}"
