"""How to split the rows: by time where they have one, whole groups where there are some, else each class in shares."""

import datetime
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.hashing import row_hashes
from loopline.components.data.split import SIDES, TEST, assign_by_time, assign_groups
from loopline.components.data.tables import read_batches, read_table
from loopline.pipelines.project.columns import is_named_like_an_id, words_of
from loopline.pipelines.project.goal import FEWEST_OF_A_CLASS, Goal, class_codes
from loopline.pipelines.project.look import Look

#: Fewer rows than this are too few to cut by time or group.
FEWEST_ROWS = 100
#: The share of the rows that a test should have, where a round instant may leave it, and where it must be.
_WANTED, _ROUND, _SANE = 0.2, (0.15, 0.25), (0.12, 0.32)
#: Instants that are no event: when somebody was born, when something ends.
_NO_EVENT = frozenset(
    {"birth", "birthday", "birthdate", "dob", "expiry", "expires", "expiration", "end", "ends", "ended", "until", "due"}
    | {"valid", "next", "planned", "deadline", "update", "updated", "modified"}
)
#: Rows a group has: fewer is an identifier, more is a place, a product or another thing that will be seen again.
_GROUP_ROWS = (1.3, 20.0)
_FEWEST_GROUPS = 50
#: Rows whose values are counted at once.
_COUNTED_ROWS = 500_000


@dataclass(frozen=True)
class Split:
    """How to split the rows, as ``split_data`` takes it.

    Attributes:
        method: random, stratified, time or group.
        column: The class, timestamp or group.
        test_size: Share of the rows for the test.
        validation_size: Share of the rows for validation.
        test_start: For a split by time: where the test begins.
        share: The share of the rows that the test gets.
        reason: Why so, in words.
    """

    method: str
    column: str
    test_size: float
    validation_size: float
    test_start: str
    share: float
    reason: str


def choose_split(look: Look, goal: Goal) -> tuple[Split, list[str]]:
    """Decide how to split the rows.

    Args:
        look: The table.
        goal: What is to be predicted.

    Returns:
        The split, and what spoke against others that a person may expect.
    """
    test_size, validation_size = _sizes(goal)
    remarks = []
    if goal.rows >= FEWEST_ROWS and look.whole:
        codes = _usable(look, goal)
        for name in _event_times(look):
            split, remark = _by_time(look, goal, codes, name, validation_size)
            if split:
                return split, remarks
            remarks.append(remark)
        for name in group_columns(look, goal.target):
            split, remark = _by_group(look, goal, codes, name, test_size, validation_size)
            if split:
                return split, remarks
            remarks.append(remark)
    if not look.whole:
        remarks += [f"{name!r} may order the rows: see split_method time." for name in _event_times(look)]
    if goal.is_classification:
        reason = "at random, each class in the same shares"
        return Split("stratified", goal.target, test_size, validation_size, "", test_size, reason), remarks
    return Split("random", "", test_size, validation_size, "", test_size, "at random"), remarks


def _sizes(goal: Goal) -> tuple[float, float]:
    """Return the shares of test and validation: a small table needs larger ones to say anything."""
    sizes = (0.3, 0.2) if goal.rows < 50 else (0.25, 0.15) if goal.rows < 200 else (0.2, 0.1)
    if goal.is_classification and goal.smallest < FEWEST_OF_A_CLASS:
        return sizes[0], 0.0
    return sizes


def _usable(look: Look, goal: Goal) -> np.ndarray:
    """Return the class of each row, 0 for a quantity; -1 where it will be set aside."""
    if goal.is_classification:
        return class_codes(look, goal)
    values = read_table(look.table, [goal.target]).column(0)
    valid = pc.is_finite(values).fill_null(False) if pa.types.is_floating(values.type) else values.is_valid()
    return np.where(np.asarray(valid), 0, -1)


def _event_times(look: Look) -> list[str]:
    """Return the timestamps that may say when a row happened, the likeliest first."""
    found = []
    for column in look.columns:
        if column.kind != "timestamp" or column.missing or column.minimum == column.maximum:
            continue
        if _NO_EVENT.intersection(words_of(column.name)) or column.minimum.year < 1900 or column.maximum.year > 2100:
            continue
        values = look.values(column.name)
        if pc.count_distinct(values).as_py() < 10:
            continue
        instants = np.asarray(values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()))
        found.append((bool((np.diff(instants) < 0).any()), column.name))
    return [name for _, name in sorted(found, key=lambda entry: entry[0])]


def group_columns(look: Look, target: str) -> list[str]:
    """Return the columns that tell things apart of which each has several rows.

    Args:
        look: The table.
        target: The column to predict.

    Returns:
        Their names.
    """
    found = []
    for column in look.columns:
        if column.name == target or column.kind not in ("category", "integer") or column.missing:
            continue
        if not is_named_like_an_id(column.name):
            continue
        groups = _count_values(look, column.name)
        if groups >= _FEWEST_GROUPS and _GROUP_ROWS[0] <= look.rows / groups <= _GROUP_ROWS[1]:
            found.append(column.name)
    return found


def _count_values(look: Look, name: str) -> float:
    """Count the different values of a column, in a large table those of a part of the values."""
    part = max(1, look.rows // _COUNTED_ROWS)
    kept, rows = [], 0
    for batch in read_batches(look.table, [name]):
        hashes = row_hashes(batch)
        kept.append(hashes[hashes % part == 0])
        rows += len(kept[-1])
    return look.rows * len(np.unique(np.concatenate(kept))) / max(rows, 1)


def _by_time(look: Look, goal: Goal, codes: np.ndarray, name: str, validation_size: float) -> tuple[Split | None, str]:
    values = read_table(look.table, [name]).column(0).filter(pa.array(codes >= 0))
    start = _find_start(values)
    sides = assign_by_time(values, _WANTED, validation_size, start)
    problem = _problem(sides, codes[codes >= 0], goal)
    if problem:
        return None, f"not by time on {name!r}: {problem}."
    share = float(np.mean(sides == TEST))
    reason = f"by time on {name!r}: trained on the past, tested on what came after"
    return Split("time", name, _WANTED, validation_size, start, share, reason), ""


def _find_start(values: pa.ChunkedArray) -> str:
    """Find a round instant that leaves a sane share of the rows behind it; empty when there is none."""
    zone = values.type.tz
    # In UTC, as split_data reads an instant without a zone.
    instants = np.sort(np.asarray(values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())))
    instants = instants.astype("datetime64[us]")
    about = instants[int(len(instants) * (1 - _WANTED))]
    for unit in ("Y", "M", "D", "h", "m", "s"):
        near = about.astype(f"datetime64[{unit}]")
        shares = {start: float(np.mean(instants >= start)) for start in (near, near + 1)}
        start = min(shares, key=lambda start: abs(shares[start] - _WANTED))
        if _ROUND[0] <= shares[start] <= _ROUND[1]:
            moment = start.astype("datetime64[s]").item()
            if zone:
                return f"{moment.isoformat()}Z"
            return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat()
    return ""


def _by_group(
    look: Look, goal: Goal, codes: np.ndarray, name: str, test_size: float, validation_size: float
) -> tuple[Split | None, str]:
    values = read_table(look.table, [name]).column(0).filter(pa.array(codes >= 0))
    sides = assign_groups(values, test_size, validation_size, 0)
    problem = _problem(sides, codes[codes >= 0], goal)
    if problem:
        return None, f"not by {name!r}: {problem}."
    reason = f"whole groups of {name!r}: what is tested on was never seen in training"
    return Split("group", name, test_size, validation_size, "", float(np.mean(sides == TEST)), reason), ""


def _problem(sides: np.ndarray, codes: np.ndarray, goal: Goal) -> str:
    """Say what is wrong with a split: a side without rows or without a class, or a test of an odd size."""
    share = float(np.mean(sides == TEST))
    if not _SANE[0] <= share <= _SANE[1]:
        return f"the test would be {share:.0%} of the rows"
    for side, title in enumerate(SIDES):
        present = np.unique(codes[sides == side])
        if not len(present):
            return f"no row would be left for {title}"
        if goal.is_classification and len(present) < len(goal.classes):
            absent = list(goal.classes)[int(np.setdiff1d(np.arange(len(goal.classes)), present)[0])]
            return f"there would be no {absent!r} in the rows for {title}"
    return ""
