"""What is to be predicted: the target, the kind of prediction, and how its classes are spread."""

import difflib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.infer import FEWEST_ROWS
from loopline.components.data.tables import read_batches
from loopline.components.errors import InputError
from loopline.components.model.targets import MAX_INTEGER_CLASSES
from loopline.pipelines.project.look import Look

#: More classes than this would take hours and say little.
MOST_CLASSES = 200
#: A class needs one row for each of training, validation and test.
FEWEST_OF_A_CLASS = 3
_LIKELY = ("target", "label", "class", "y", "outcome", "response", "churn", "churned", "default", "survived")
_SHOWN = 12


@dataclass(frozen=True)
class Goal:
    """What is to be predicted.

    Attributes:
        target: The column.
        kind: What it holds, one of ``schema.KINDS``.
        task: ``binary``, ``multiclass`` or ``regression``.
        rows: Rows with a target to learn from.
        missing: Rows without one.
        classes: Rows by class, the largest first; empty for regression.
        rare: Classes with too few rows, set aside.
        remark: What else to know of the target.
    """

    target: str
    kind: str
    task: str
    rows: int
    missing: int
    classes: dict = field(default_factory=dict)
    rare: dict = field(default_factory=dict)
    remark: str = ""

    @property
    def is_classification(self) -> bool:
        """Whether classes are predicted."""
        return self.task != "regression"

    @property
    def smallest(self) -> int:
        """Rows of the smallest class."""
        return min(self.classes.values())


def choose_goal(look: Look, target: str) -> Goal:
    """Decide what kind of prediction a target asks for.

    Args:
        look: The table.
        target: The column that the user named; empty when none was.

    Returns:
        The goal.

    Raises:
        InputError: There is no such column, or nothing can be learned of it.
    """
    if target not in look.names:
        raise InputError(_which_target(look, target))
    column = look[target]
    where = "" if look.whole else f" in the first {look.rows:,} rows"
    if column.kind == "timestamp":
        raise InputError(
            f"The target {target!r} holds timestamps: predict a number, for example the days until then, or a class."
        )
    rows = column.rows - column.missing - column.infinite
    if not rows:
        raise InputError(f"The target {target!r} has no value at all{where}: choose another column.")
    if rows < FEWEST_ROWS:
        raise InputError(
            f"{look.name} has {rows:,} row(s) with a value of {target!r}: at least {FEWEST_ROWS} are needed to train "
            "and to test."
        )
    counts = _count(look, target)
    if counts is not None and len(counts) == 1:
        raise InputError(f"The target {target!r} is the same in every row{where}: there is nothing to learn.")
    missing = column.rows - rows
    if column.kind in ("integer", "number"):
        return _number_goal(target, column.kind, rows, missing, counts)
    return _class_goal(look, target, column.kind, missing, counts)


def _which_target(look: Look, target: str) -> str:
    names = look.names
    if target:
        lower = {name.strip().lower(): name for name in reversed(names)}
        close = difflib.get_close_matches(target.strip().lower(), lower, n=2)
        likely = [lower[name] for name in close]
        said = f"{look.name} has no column {target!r}"
    else:
        likely = [name for name in names if name.strip().lower() in _LIKELY] or names[-1:]
        said = "No target is named"
    hint = f"perhaps {' or '.join(map(repr, likely))}; " if likely else ""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{said}: give the column to predict with --target, {hint}the columns are {shown}{more}."


def _count(look: Look, target: str) -> Counter | None:
    """Count the values of the target over all rows; None when there are too many to be classes."""
    counts = Counter()
    for batch in read_batches(look.table, [target]):
        values = batch.column(0).drop_null()
        if pa.types.is_floating(values.type):
            values = values.filter(pc.is_finite(values))
        for entry in pc.value_counts(values):
            counts[entry["values"].as_py()] += entry["counts"].as_py()
        if len(counts) > 10 * MOST_CLASSES:
            return None
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _number_goal(target: str, kind: str, rows: int, missing: int, counts: Counter | None) -> Goal:
    quantity = Goal(target, kind, "regression", rows, missing)
    if counts is None:
        return quantity
    whole = all(float(value).is_integer() for value in counts)
    if len(counts) == 2 and whole:
        _refuse_single(target, counts)
        return Goal(target, kind, "binary", rows, missing, dict(counts))
    if kind == "number" or len(counts) > MAX_INTEGER_CLASSES:
        remark = "whole numbers, taken for a quantity: multiclass if they are codes" if whole else ""
        few = len(counts) <= MOST_CLASSES and min(counts.values()) >= FEWEST_OF_A_CLASS
        return Goal(target, kind, "regression", rows, missing, remark=remark if few else "")
    if min(counts.values()) < FEWEST_OF_A_CLASS:
        remark = f"{len(counts)} whole numbers, some in fewer than {FEWEST_OF_A_CLASS} rows: taken for a quantity"
        return Goal(target, kind, "regression", rows, missing, remark=remark)
    remark = f"{len(counts)} whole numbers, taken for codes: regression if they are a quantity"
    return Goal(target, kind, "multiclass", rows, missing, dict(counts), remark=remark)


def _class_goal(look: Look, target: str, kind: str, missing: int, counts: Counter | None) -> Goal:
    rare, kept = {}, dict(counts or {})
    if len(kept) > 2:
        rare = {value: rows for value, rows in kept.items() if rows < FEWEST_OF_A_CLASS}
        kept = {value: rows for value, rows in kept.items() if value not in rare}
    elif kept:
        _refuse_single(target, counts)
    if counts is None or len(kept) < 2 or len(kept) > MOST_CLASSES:
        distinct = f"more than {10 * MOST_CLASSES:,}" if counts is None else f"{len(counts):,}"
        raise InputError(
            f"The target {target!r} holds {distinct} different texts in {look.rows:,} rows, of which "
            f"{'too many' if len(kept) != 1 else 'all but one'} would be no class to learn: choose a column with 2 to "
            f"{MOST_CLASSES} classes of {FEWEST_OF_A_CLASS} rows or more, or write numbers as plain numbers."
        )
    alike = Counter(str(value).strip().lower() for value in kept)
    twins = [value for value in kept if alike[str(value).strip().lower()] > 1]
    remark = (
        f"{' and '.join(map(repr, twins[:3]))} differ in blanks or case alone: are they one class?" if twins else ""
    )
    task = "binary" if len(kept) == 2 else "multiclass"
    return Goal(target, kind, task, sum(kept.values()), missing, kept, rare, remark)


def _refuse_single(target: str, counts: Counter) -> None:
    value, rows = list(counts.items())[-1]
    if rows < 2:
        raise InputError(
            f"The target {target!r} is {value!r} in a single row: there is nothing to test on, add rows like it."
        )


def class_codes(look: Look, goal: Goal) -> np.ndarray:
    """Return the class of each row that was read.

    Args:
        look: The table.
        goal: A goal with classes.

    Returns:
        The class's position in ``goal.classes``, -1 for rows that are set aside; shape (rows,).
    """
    parts = []
    for batch in read_batches(look.table, [goal.target]):
        values = batch.column(0)
        codes = pc.index_in(values, value_set=pa.array(list(goal.classes), values.type))
        parts.append(np.asarray(codes.fill_null(-1), np.int64))
    return np.concatenate(parts)
