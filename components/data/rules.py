"""Check a table against a schema with pandera, a batch at a time."""

import dataclasses
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.csv_format import ARROW_TYPES
from loopline.components.data.hashing import row_hashes
from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.data.summary import ColumnSummary
from loopline.components.data.tables import read_batches

#: Values shown for a broken rule.
EXAMPLES = 3


@dataclass
class Failure:
    """A rule that some rows break, or, with ``message``, that the table as a whole breaks.

    Attributes:
        column: The column; empty for a rule about rows or the table.
        rule: The rule's name: ``missing``, ``finite``, ``minimum``, ``maximum``, ``categories``, ``duplicates``, or for
            the table ``column``, ``type``, ``rows`` and ``training``.
        words: What the rule asks for.
        rows: How many rows break it.
        examples: Some of the values, with the row each was first seen in (from 1).
        message: One sentence, when the whole table fails.
    """

    column: str
    rule: str
    words: str = ""
    rows: int = 0
    examples: list[str] = field(default_factory=list)
    message: str = ""

    def sentence(self, examples: int = 1) -> str:
        """Say what is wrong in one clause.

        Args:
            examples: The most examples to give.

        Returns:
            The clause, without a full stop unless ``message`` has one.
        """
        if self.message:
            return self.message
        seen = f" (e.g. {', '.join(self.examples[:examples])})" if self.examples else ""
        if self.rule == "duplicates":
            return f"{self.rows:,} row(s) repeat an earlier one{seen}"
        if self.rule == "missing":
            return f"column {self.column!r} has no value in {self.rows:,} row(s){seen}"
        return f"column {self.column!r} must be {self.words}, and is not in {self.rows:,} row(s){seen}"

    def merged(self, later: "Failure") -> "Failure":
        """Return the failure of both together: of the same rule, in later rows of the table."""
        seen = {example.partition(" in row ")[0] for example in self.examples}
        more = [example for example in later.examples if example.partition(" in row ")[0] not in seen]
        examples = [*self.examples, *more][:EXAMPLES]
        return dataclasses.replace(self, rows=self.rows + later.rows, examples=examples)

    @property
    def label(self) -> str:
        """The column and the rule's name."""
        return f"{self.column} {self.rule}".strip()


def table_failures(
    columns: Sequence[ColumnSummary], schema: Schema, min_rows: int, is_whole: Callable[[str], bool]
) -> list[Failure]:
    """Check what concerns the table as a whole: its columns, their types and the number of rows.

    Args:
        columns: The summary of each of its columns.
        schema: What is expected.
        min_rows: The fewest rows.
        is_whole: Says whether a column of numbers holds whole ones alone; asked where that matters.

    Returns:
        The failures, each with a message.
    """
    found = {column.name: column for column in columns}
    failures = []
    for column in schema.columns:
        if column.name not in found:
            message = f"column {column.name!r} is missing: the table has {', '.join(map(repr, found))}"
            failures.append(Failure(column.name, "column", "there", message=message))
        elif not _fits(found[column.name], column, is_whole):
            message = f"column {column.name!r} holds {found[column.name].kind} where {column.kind} is expected"
            failures.append(Failure(column.name, "type", f"of type {column.kind}", message=message))
    rows = columns[0].rows if columns else 0
    if rows < min_rows:
        message = f"the table has {rows:,} row(s) where at least {min_rows:,} are expected"
        failures.append(Failure("", "rows", f"at least {min_rows:,} rows", message=message))
    return failures


def _fits(found: ColumnSummary, column: Column, is_whole: Callable[[str], bool]) -> bool:
    if found.kind == column.kind or found.missing == found.rows:
        return True
    if (found.kind, column.kind) == ("integer", "number"):
        return True
    if (found.kind, column.kind) != ("number", "integer") or found.infinite:
        return False
    # A missing value turns integers into floats in many tools; whole floats are integers still.
    return is_whole(column.name)


def checked_table(
    path: str | Path, schema: Schema, failures: dict[tuple[str, str], Failure]
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Check a table row by row: ``checked_batches`` of a Parquet file without table failures."""
    repeated = None if schema.allow_duplicates else _repeated_rows(path, schema.names)
    return checked_batches(read_batches(path, schema.names), schema, failures, repeated)


def checked_batches(
    batches: Iterable[pa.RecordBatch],
    schema: Schema,
    failures: dict[tuple[str, str], Failure],
    repeated: np.ndarray | None = None,
    start: int = 0,
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Check rows.

    Args:
        batches: The rows, with the schema's columns in its order.
        schema: What is expected.
        failures: Filled with the rules that rows break, by column and rule.
        repeated: Which rows repeat an earlier one, shape (rows,); None where they may.
        start: How many rows of the table come before these.

    Yields:
        Each batch, with the schema's columns and types, and which of its rows keep every rule (shape (rows,)).
    """
    rules = _pandera_schema(schema)
    done = 0
    for batch in batches:
        batch = _cast(batch, schema)
        good = np.ones(batch.num_rows, bool)
        broken = _broken(rules, batch)
        if repeated is not None:
            rows = np.flatnonzero(repeated[done : done + batch.num_rows])
            broken[("", "duplicates")] = (rows, [None] * rows.size)
        for (column, rule), (rows, values) in broken.items():
            if not len(rows):
                continue
            words = rule_words(schema[column], rule) if column else "different from every row before it"
            failure = failures.setdefault((column, rule), Failure(column, rule, words))
            failure.rows += len(rows)
            _add_examples(failure, rows + start + done, values)
            good[rows] = False
        done += batch.num_rows
        yield batch, good


def rule_count(schema: Schema) -> int:
    """Return how many rules a schema has for rows."""
    return sum(len(_checks(column)) + (not column.nullable) for column in schema.columns) + (
        not schema.allow_duplicates
    )


def rule_words(column: Column, rule: str) -> str:
    """Say what a rule asks of the values of a column.

    Args:
        column: The column.
        rule: The rule's name.

    Returns:
        What completes "must be ...".
    """
    if rule == "categories":
        known = ", ".join(column.categories[:4]) + (", ..." if len(column.categories) > 4 else "")
        return f"one of {len(column.categories):,} known values ({known})" if len(column.categories) > 1 else known
    if rule in ("minimum", "maximum"):
        return f"at least {_exact(column.minimum)}" if rule == "minimum" else f"at most {_exact(column.maximum)}"
    return {"finite": "finite", "missing": "there"}[rule]


def _exact(value: float) -> str:
    """Return a number with every digit: a limit that is rounded would contradict the examples beside it."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def _checks(column: Column) -> list[pandera.Check]:
    """Return the checks of a column's values; each reports its rule's name."""
    checks = []
    if column.kind == "number":
        checks.append(pandera.Check(np.isfinite, error="finite"))
    if column.minimum is not None:
        checks.append(pandera.Check.ge(column.minimum, error="minimum"))
    if column.maximum is not None:
        checks.append(pandera.Check.le(column.maximum, error="maximum"))
    if column.categories is not None:
        checks.append(pandera.Check.isin(list(column.categories), error="categories"))
    return checks


def _pandera_schema(schema: Schema) -> pandera.DataFrameSchema:
    columns = {}
    for column in schema.columns:
        checks = _checks(column)
        if checks or not column.nullable:
            columns[column.name] = pandera.Column(None, checks, nullable=column.nullable)
    return pandera.DataFrameSchema(columns)


def _broken(rules: pandera.DataFrameSchema, batch: pa.RecordBatch) -> dict[tuple[str, str], tuple[np.ndarray, list]]:
    """Return rows and values that break a rule, by column and rule."""
    if not rules.columns:
        return {}
    frame = batch.select(list(rules.columns)).to_pandas()
    try:
        rules.validate(frame, lazy=True, inplace=True)
        return {}
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
    finally:
        # What pandera keeps of a frame refers to itself, so that frame after frame would pile up.
        gc.collect()
    broken = {}
    for (column, check), group in cases.groupby(["column", "check"], sort=False):
        rule = "missing" if check == "not_nullable" else check
        # pandera lists them by value.
        group = group.sort_values("index")
        broken[(column, rule)] = (group["index"].to_numpy(dtype=np.int64), group["failure_case"].tolist())
    return broken


def _add_examples(failure: Failure, rows: np.ndarray, values: Sequence) -> None:
    """Note some of the values with their rows, each value once."""
    seen = {example.partition(" in row ")[0] for example in failure.examples}
    for row, value in zip(rows[:1000], values, strict=False):
        if len(failure.examples) >= EXAMPLES:
            return
        if value is None or pd.isna(value):
            failure.examples.append(f"row {row + 1:,}")
            continue
        text = value if isinstance(value, str) else _exact(value) if np.isfinite(value) else str(value)
        text = repr(text) if isinstance(value, str) and text != text.strip() else text
        text = text if len(text) <= 60 else text[:57] + "..."
        if text not in seen:
            seen.add(text)
            failure.examples.append(f"{text} in row {row + 1:,}")


def _cast(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Give the columns their kinds: integers may stand for numbers, whole numbers for integers, nulls for anything."""
    arrays = []
    for column, values in zip(schema.columns, batch.columns, strict=True):
        if kind_of(values.type) != column.kind:
            if pa.types.is_floating(values.type):
                values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
            values = values.cast(ARROW_TYPES[column.kind])
        arrays.append(values)
    return pa.record_batch(arrays, names=schema.names)


def arrow_schema(found: pa.Schema, schema: Schema) -> pa.Schema:
    """Return the Arrow schema of the checked table.

    Args:
        found: The Arrow schema of the table as it came.
        schema: What it was checked against.

    Returns:
        The schema's columns in its order, with the types they came with where those are of the right kind.
    """
    types = {}
    for column in schema.columns:
        type_ = found.field(column.name).type
        types[column.name] = type_ if kind_of(type_) == column.kind else ARROW_TYPES[column.kind]
    return pa.schema(list(types.items()))


def _repeated_rows(path: str | Path, names: Sequence[str]) -> np.ndarray:
    """Tell which rows occurred before, by a 64-bit hash of each: 8 bytes a row, and no batch but one in memory."""
    hashes = [row_hashes(batch) for batch in read_batches(path, names)]
    return pd.Series(np.concatenate(hashes) if hashes else np.array([], np.uint64)).duplicated().to_numpy()
