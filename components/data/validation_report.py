"""Draw the report of a validation."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopline.components.data.rules import Failure
from loopline.components.data.schema import Schema
from loopline.components.data.summary import ColumnSummary
from loopline.components.display import Card
from loopline.components.report import Report, show

#: Most frequent values shown for a column of text.
COMMON = 3


@dataclass(frozen=True)
class Findings:
    """Everything the report tells.

    Attributes:
        columns: What each column of the table looks like.
        schema: What the table was checked against.
        inferred: Whether the schema was inferred from this very table.
        failures: The broken rules.
        rules: How many rules there are.
        kept: Rows that keep every rule.
        broken: Rows that break at least one.
        extra: Columns of the table that the schema does not have.
        on_error: ``fail`` or ``quarantine``.
        checked: Whether the rows were looked at; not when the table as a whole fails.
    """

    columns: Sequence[ColumnSummary]
    schema: Schema
    inferred: bool
    failures: Sequence[Failure]
    rules: int
    kept: int
    broken: int
    extra: Sequence[str]
    on_error: str
    checked: bool = True


def write_report(findings: Findings, path: str | Path) -> None:
    """Write the report.

    Args:
        findings: What was checked and found.
        path: The HTML file.
    """
    rows = findings.columns[0].rows if findings.columns else 0
    page = Report("Data validation", f"{rows:,} rows x {len(findings.columns):,} columns")
    page.tiles(_tiles(findings, rows))
    page.section("Broken rules")
    _add_failures(page, findings, rows)
    _add_columns(page, findings)
    page.write(path)


def validation_card(findings: Findings) -> Card:
    """Show what a notebook's reader must know of a validation: the verdict and every broken rule."""
    rows = findings.columns[0].rows if findings.columns else 0
    card = Card("Data validation", f"{rows:,} rows x {len(findings.columns):,} columns")
    _add_failures(card, findings, rows)
    card.tiles(_tiles(findings, rows))
    return card


def _tiles(findings: Findings, rows: int) -> list[tuple]:
    broken = len(findings.failures)
    if not broken:
        verdict, detail, tone = "passed", "every rule is kept", "good"
    elif findings.on_error == "fail":
        verdict, detail, tone = "failed", "the pipeline stops here", "bad"
    else:
        verdict, detail, tone = "quarantined", "rows that break a rule are set aside", "warn"
    origin = "inferred from this table" if findings.inferred else "given"
    if not findings.checked:
        kept, share = "0", "the rows were not looked at"
    else:
        kept, share = f"{findings.kept:,}", f"{_share(findings.broken, rows)} of the rows break a rule"
    return [
        ("Verdict", verdict, detail, tone),
        ("Rows kept", kept, share),
        ("Rows set aside", f"{findings.broken:,}" if findings.on_error == "quarantine" else "0"),
        ("Rules", f"{findings.rules:,}", f"{broken:,} broken; schema {origin}"),
    ]


def _add_failures(page: Report, findings: Findings, rows: int) -> None:
    if not findings.failures:
        page.text("Every row keeps every rule.", "good")
    for failure in findings.failures:
        if failure.message:
            page.text(f"{failure.message[0].upper()}{failure.message[1:].rstrip('.')}.", "bad")
    counted = [failure for failure in findings.failures if not failure.message]
    if counted:
        headers = ["Column", "Rule", "Values must be", "Rows", "Share", "Examples"]
        page.table(headers, [_failure_row(failure, rows) for failure in counted])
    if findings.extra:
        page.text(f"Columns left out, because the schema does not have them: {', '.join(findings.extra)}.", "note")


def _failure_row(failure: Failure, rows: int) -> list:
    column = failure.column or "(whole row)"
    examples = "; ".join(failure.examples)
    return [column, failure.rule, failure.words, failure.rows, _share(failure.rows, rows), examples]


def _add_columns(page: Report, findings: Findings) -> None:
    """Add a section for each sort of column, so that figures stand under figures."""
    values = ("Minimum", "Mean", "Maximum")
    sorts = (
        ("Numbers", ("integer", "number"), values, lambda column: (column.minimum, column.mean, column.maximum)),
        ("Text and booleans", ("category", "boolean"), ("Most frequent",), lambda column: (_common(column),)),
        ("Timestamps", ("timestamp",), ("First", "Last"), lambda c: (_instant(c.minimum), _instant(c.maximum))),
    )
    for heading, kinds, headers, cells in sorts:
        columns = [column for column in findings.columns if column.kind in kinds]
        if columns:
            page.section(heading)
            rows = [[*_start(column, findings), *cells(column), _allowed(column.name, findings)] for column in columns]
            page.table(["Column", "Kind", "Missing", *headers, "Allowed"], rows)


def _start(column: ColumnSummary, findings: Findings) -> list[str]:
    target = " (target)" if findings.schema.target == column.name else ""
    return [column.name + target, column.kind, _share(column.missing, column.rows)]


def _common(column: ColumnSummary) -> str:
    if column.counts is None:
        return "more than 1,000 values"
    present = column.rows - column.missing
    parts = [f"{_cut(value)} {_share(count, present)}" for value, count in column.counts.most_common(COMMON)]
    more = len(column.counts) - COMMON
    return ", ".join(parts) + (f" and {more:,} more" if more > 0 else "")


def _allowed(name: str, findings: Findings) -> str:
    if name not in findings.schema:
        return "not in the schema"
    column = findings.schema[name]
    parts = []
    if column.minimum is not None or column.maximum is not None:
        low = "" if column.minimum is None else show(column.minimum)
        high = "" if column.maximum is None else show(column.maximum)
        parts.append(f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}")
    if column.categories is not None:
        parts.append(f"{len(column.categories):,} known values")
    if not column.nullable:
        parts.append("never missing")
    return ", ".join(parts) or "anything"


def _instant(value: datetime.datetime | None) -> str | None:
    return None if value is None else str(value).removesuffix(" 00:00:00")


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 30 else text[:27] + "..."


def _share(part: int, whole: int) -> str:
    if not part or not whole:
        return "0%"
    share = 100 * part / whole
    return "<0.01%" if share < 0.01 else f"{share:.2f}%" if share < 10 else f"{share:.1f}%"
