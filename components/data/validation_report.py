"""Draw the report of a validation."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.data.rules import Failure
from loopline.components.data.summary import ColumnSummary
from loopline.components.report import Report, show

if TYPE_CHECKING:
    from loopline.components.data.validate import Findings

#: Most frequent values shown for a column of text.
COMMON = 3


def write_report(findings: Findings, path: str | Path) -> None:
    """Write the report.

    Args:
        findings: What was checked and found.
        path: The HTML file.
    """
    rows = findings.kept + findings.broken
    page = Report("Data validation", f"{rows:,} rows x {len(findings.columns):,} columns")
    page.tiles(_tiles(findings, rows))
    page.section("Broken rules")
    _add_failures(page, findings, rows)
    page.section("Columns")
    if findings.extra:
        page.text(f"Left out, because the schema does not have them: {', '.join(findings.extra)}.", "note")
    _add_columns(page, findings)
    page.write(path)


def _tiles(findings: Findings, rows: int) -> list[tuple]:
    broken = len(findings.failures)
    if not broken:
        verdict, detail, tone = "passed", "every rule is kept", "good"
    elif findings.on_error == "fail":
        verdict, detail, tone = "failed", "the pipeline stops here", "bad"
    else:
        verdict, detail, tone = "quarantined", "rows that break a rule are set aside", "warn"
    origin = "inferred from this table" if findings.inferred else "given"
    if findings.stopped:
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
        page.text("None: every row keeps every rule.", "good")
        return
    for failure in findings.failures:
        if failure.message:
            page.text(f"{failure.message[0].upper()}{failure.message[1:].rstrip('.')}.", "bad")
    counted = [failure for failure in findings.failures if not failure.message]
    if counted:
        headers = ["Column", "Rule", "Values must be", "Rows", "Share", "Examples"]
        page.table(headers, [_failure_row(failure, rows) for failure in counted])


def _failure_row(failure: Failure, rows: int) -> list:
    column = failure.column or "(whole row)"
    examples = "; ".join(failure.examples)
    return [column, failure.rule, failure.words, failure.rows, _share(failure.rows, rows), examples]


def _add_columns(page: Report, findings: Findings) -> None:
    headers = ["Column", "Kind", "Missing", "Minimum", "Mean", "Maximum", "Most frequent", "Allowed"]
    page.table(headers, [_column_row(column, findings) for column in findings.columns])
    page.text("Minimum, mean and maximum are of the values that are there; infinite ones do not count.")


def _column_row(column: ColumnSummary, findings: Findings) -> list:
    return [
        column.name + (" (target)" if findings.schema.target == column.name else ""),
        column.kind,
        _share(column.missing, column.rows),
        _short(column.minimum),
        _short(column.mean),
        _short(column.maximum),
        _common(column),
        _allowed(column.name, findings),
    ]


def _common(column: ColumnSummary) -> str | None:
    if column.kind not in ("category", "boolean"):
        return None
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


def _short(value: float | datetime.datetime | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime.date):
        return str(value).removesuffix(" 00:00:00")
    return show(value)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 30 else text[:27] + "..."


def _share(part: int, whole: int) -> str:
    if not part or not whole:
        return "0%"
    share = 100 * part / whole
    return "<0.01%" if share < 0.01 else f"{share:.2f}%" if share < 10 else f"{share:.1f}%"
