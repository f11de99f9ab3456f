"""What each column is good for: a feature, or why not, and what in it deserves a look."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.hashing import row_hashes
from loopline.components.data.log_columns import PREFIX
from loopline.components.data.split import MOST_COPIES
from loopline.components.data.summary import ColumnSummary
from loopline.components.model.directory import output_names
from loopline.pipelines.project.goal import Goal
from loopline.pipelines.project.look import Look

#: Fewer values than this say nothing about whether they repeat.
FEWEST_VALUES = 20
#: The share of repeated rows that is worth a word.
_OFTEN = 0.02
_ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "key", "serial", "rownum"})
#: At the end of a name a number tells things apart (invoice_no), elsewhere it counts them (num_visits); an index
#: numbers rows at the beginning or behind their name, and measures something elsewhere (heat_index).
_NUMBERS, _INDICES, _ROWS = {"no", "nr", "num", "number"}, {"index", "idx"}, {"row", "sample", "record"}
_TIME_WORDS = frozenset({"year", "yr", "month", "week", "day", "hour", "date", "time", "period", "age", "t"})
_DATE = r"^\s*\d{1,4}[./-]\d{1,2}[./-]\d{2,4}(\s.*)?$"
_MONEY = "[$\u20ac\u00a3\u00a5]"
_UNITS = rf"{_MONEY}|%|kg|g|km|m|cm|mm|mi|h|min|s|ms|[KMGT]B|USD|EUR"
_DRESSED = rf"^\s*{_MONEY}?\s*[+-]?\d{{1,3}}(\d*|([., ']\d{{3}})+)([.,]\d+)?\s*({_UNITS})?\s*$"
_PLAIN = r"^[+-]?\d+(\.\d+)?$"


def reasons_to_exclude(look: Look, goal: Goal) -> dict[str, str]:
    """Say which columns must not be learned from, or cannot teach anything.

    Args:
        look: The table.
        goal: What is to be predicted.

    Returns:
        The reason by column, in the table's order.
    """
    predicted = output_names(goal.task, list(goal.classes))
    reasons = {}
    for column in look.columns:
        if column.name == goal.target:
            continue
        if column.name in predicted or column.name.startswith(PREFIX):
            reasons[column.name] = "named like what a model predicts"
        elif column.missing == column.rows:
            reasons[column.name] = "no value at all"
        elif column.kind != "timestamp" and (reason := _reason(look, column)):
            reasons[column.name] = reason
    return reasons


def left_out_by_training(look: Look, target: str) -> dict[str, str]:
    """Say which columns training leaves out by itself.

    Args:
        look: The table.
        target: The column to predict.

    Returns:
        The reason by column, in the table's order.
    """
    reasons = dict.fromkeys(look.unusable, "of a type that no step can use")
    for column in look.columns:
        if column.name == target:
            continue
        if column.kind == "timestamp":
            reasons[column.name] = "a timestamp: derive the hour, weekday or age from it"
        elif column.kind == "category" and column.counts is None:
            reasons[column.name] = "more than 1,000 different texts"
    return reasons


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: of ``CustomerID``, ``customer_id`` and ``customer id`` the same two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def is_named_like_an_id(name: str) -> bool:
    """Return whether a column's name says that it tells rows, people or things apart."""
    words = words_of(name)
    if _ID_WORDS.intersection(words) or _NUMBERS.intersection(words[-1:]) or _INDICES.intersection(words[:1]):
        return True
    if _INDICES.intersection(words[-1:]) and _ROWS.intersection(words[-2:-1]):
        return True
    # What pandas writes for its index, and what an unnamed first column is called here.
    return bool(re.fullmatch(r"Unnamed: \d+|column_1", name))


def _reason(look: Look, column: ColumnSummary) -> str:
    values = look.values(column.name)
    present, distinct = len(values), pc.count_distinct(values).as_py()
    if distinct <= 1 and _is_constant(column):
        return "the same value in every row" if not column.missing else "the same value wherever there is one"
    if present < FEWEST_VALUES or column.kind == "boolean":
        return ""
    if column.kind == "category":
        if distinct < 0.95 * present:
            return ""
        kind = _dressed(values)
        return f"{kind} read as text, different in nearly every row" if kind else "different in nearly every row"
    if column.kind == "number" and not _all_whole(values):
        return ""
    if is_named_like_an_id(column.name) and distinct >= 0.95 * present:
        return "an identifier: different in nearly every row"
    span = column.maximum - column.minimum + 1
    if (
        distinct == present
        and span <= 1.1 * (column.rows - column.missing)
        and not _TIME_WORDS.intersection(words_of(column.name))
    ):
        return "numbers of the rows"
    return ""


def _is_constant(column: ColumnSummary) -> bool:
    """Return whether all rows agree, where the sample does."""
    if column.kind in ("category", "boolean"):
        return column.counts is not None and len(column.counts) == 1
    return column.minimum == column.maximum and not column.infinite


def _all_whole(values: pa.Array) -> bool:
    return bool(pc.all(pc.and_(pc.is_finite(values), pc.equal(pc.floor(values), values))).as_py())


def findings(look: Look, goal: Goal, excluded: Sequence[str]) -> list[str]:
    """Say what in the rows and the features deserves a person's look.

    Args:
        look: The table.
        goal: What is to be predicted.
        excluded: The columns that are not learned from.

    Returns:
        A sentence each.
    """
    found = []
    repeated = _repeated(look)
    if repeated >= _OFTEN:
        found.append(f"{repeated:.0%} of the rows repeat an earlier one: are they meant to count twice?")
    for column in look.columns:
        if column.name == goal.target or column.name in excluded:
            continue
        values = look.values(column.name)
        sentence = ""
        if column.kind == "category":
            sentence = _text_finding(column.name, pc.unique(values))
        elif column.kind in ("integer", "number"):
            sentence = _number_finding(column, np.asarray(values.cast(pa.float64(), safe=False)))
        if sentence:
            found.append(sentence)
        if column.infinite:
            found.append(f"{column.name!r} is infinite in {column.infinite:,} rows, which are set aside.")
    return found


def _repeated(look: Look) -> float:
    """Return the share of the sample's rows that occurred before, of those that may be copies."""
    batches = look.sample.combine_chunks().to_batches()
    hashes = np.concatenate([row_hashes(batch) for batch in batches])
    _, counts = np.unique(hashes, return_counts=True)
    return float((counts[counts <= MOST_COPIES] - 1).sum() / len(hashes))


def _text_finding(name: str, values: pa.Array) -> str:
    kind = _dressed(values)
    if kind == "dates":
        return f"{name!r} holds dates that are read as text: written like 2026-03-01 they could order the rows."
    if kind == "numbers":
        return f"{name!r} holds numbers that are read as text, for their separators or units: write plain numbers."
    if pc.any(pc.match_substring_regex(values, r"^\s|\s$")).as_py():
        return f"{name!r} holds texts with blanks at their ends: with and without are two values."
    return ""


def _dressed(values: pa.Array) -> str:
    """Say what texts are that a person reads as something else: dates, numbers, or nothing."""

    def share(pattern: str) -> float:
        return pc.mean(pc.match_substring_regex(values, pattern).cast(pa.float64())).as_py() or 0.0

    if len(values) < 2:
        return ""
    if share(_DATE) > 0.9:
        return "dates"
    return "numbers" if share(_DRESSED) > 0.9 and share(_PLAIN) < 0.5 else ""


def _number_finding(column: ColumnSummary, values: np.ndarray) -> str:
    """Find -999 and its like among values that are never negative otherwise."""
    low = column.minimum
    if low is None or low >= 0 or not re.fullmatch(r"-9{2,}", f"{low:.0f}"):
        return ""
    others = values[values != low]
    if len(others) and others.min() >= 0 and np.count_nonzero(values == low) > 1:
        return f"{column.name!r} is {low:.0f} in some rows and never negative otherwise: does that mean missing?"
    return ""
