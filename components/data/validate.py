"""Check a table against a schema, or infer the schema from it, and set bad rows aside."""

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.infer import FEWEST_ROWS, infer_schema, tighten, training_problems
from loopline.components.data.rules import (
    EXAMPLES,
    Failure,
    arrow_schema,
    checked_table,
    rule_count,
    table_failures,
)
from loopline.components.data.schema import Schema
from loopline.components.data.summary import ColumnSummary, all_whole, summarize
from loopline.components.data.tables import open_parquet, read_batches, read_table
from loopline.components.data.validation_report import Findings, validation_card, write_report
from loopline.components.data.writing import describe_file, writing_table
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

TASKS = ("auto", "binary", "multiclass", "regression")
MODES = ("fail", "quarantine")
#: Broken rules that a failed step logs.
LOGGED_RULES = 20


@dataclass(frozen=True)
class Outcome:
    """What a validation wrote and found.

    Attributes:
        valid: The metadata (rows, digest) of the table of rows that keep every rule.
        quarantined: That of the others.
        findings: What was checked and found.
    """

    valid: dict
    quarantined: dict
    findings: Findings = field(repr=False)

    def _repr_html_(self) -> str:
        return validation_card(self.findings).markup()


def validate(
    data: str | Path,
    valid: str | Path,
    quarantined: str | Path,
    schema_out: str | Path,
    report: str | Path,
    *,
    schema_path: str | Path = "",
    target: str = "",
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    min_rows: int = 0,
    duplicates: str = "",
) -> Outcome:
    """Check a table and write the rows that pass, the rows that do not, the schema and a report.

    Args:
        data: The Parquet file to check.
        valid: Where to write the rows that keep every rule, with the schema's columns in its order.
        quarantined: Where to write the others.
        schema_out: Where to write the schema the table was checked against.
        report: Where to write the HTML report; written before a failure is raised.
        schema_path: A schema to check against; inferred from the table when empty.
        target: The column to predict; what the schema says when empty.
        task: ``binary``, ``multiclass``, ``regression`` or ``auto``; only looked at when the schema is inferred.
        expectations: JSON that replaces parts of the schema by column.
        on_error: ``fail`` or ``quarantine``.
        min_rows: The fewest rows; 0 for the schema's own limit.
        duplicates: ``allow``, ``forbid`` or empty for what the schema says.

    Returns:
        Rows and digest of both tables, and what was found.

    Raises:
        InputError: A parameter is wrong, or a rule is broken that cannot be answered by setting rows aside.
    """
    check_parameters(task, on_error, min_rows, duplicates)
    given = Schema.load(schema_path) if schema_path else None
    columns = summarize(data)
    schema = plan_schema(given, columns, target, expectations, min_rows, duplicates)
    fewest = schema.min_rows if given or min_rows else FEWEST_ROWS
    failures = table_failures(columns, schema, fewest, lambda name: _is_whole(data, name))
    if not given:
        failures += training_failures(columns, schema, task, expectations, lambda: _count_values(data, schema.target))
    if failures:
        extra = [column.name for column in columns if column.name not in schema]
        findings = Findings(columns, schema, not given, failures, rule_count(schema), 0, 0, extra, "fail", False)
        write_report(findings, report)
        raise failed(failures, report)
    return _check_rows(data, (valid, quarantined), schema_out, report, columns, schema, not given, on_error)


def training_failures(
    columns: Sequence[ColumnSummary],
    schema: Schema,
    task: str,
    expectations: str,
    count_target: Callable[[], pa.StructArray],
) -> list[Failure]:
    """Return what makes a table unfit to train on as broken rules; see ``training_problems``."""
    return [
        Failure("", "training", "fit to train on", message=message)
        for message in training_problems(columns, schema, task, expectations, count_target)
    ]


def _is_whole(data: str | Path, name: str) -> bool:
    return all_whole(batch.column(0) for batch in read_batches(data, [name]))


def _count_values(data: str | Path, name: str) -> pa.StructArray:
    values = read_table(data, [name]).column(0).drop_null()
    return pc.value_counts(values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values)


def plan_schema(
    given: Schema | None,
    columns: Sequence[ColumnSummary],
    target: str,
    expectations: str,
    min_rows: int = 0,
    duplicates: str = "",
) -> Schema:
    """Return the schema to check a table against.

    Args:
        given: The schema to begin with; inferred from the summary of each column when None.
        columns: The summary of each column of the table.
        target: The column to predict; what the schema says when empty.
        expectations: JSON that replaces parts of the schema by column.
        min_rows: The fewest rows; 0 for the schema's own limit.
        duplicates: ``allow``, ``forbid`` or empty for what the schema says.

    Raises:
        InputError: A column that is named is not there, or the expectations are of another form.
    """
    schema = tighten(given or infer_schema(columns, target), expectations)
    if target and target not in schema:
        raise InputError(
            f"The target {target!r} is not in the schema: use one of {', '.join(map(repr, schema.names))}."
        )
    return dataclasses.replace(
        schema,
        target=target or schema.target,
        min_rows=min_rows or schema.min_rows,
        allow_duplicates=schema.allow_duplicates if not duplicates else duplicates == "allow",
    )


def _check_rows(
    data: str | Path,
    paths: tuple[str | Path, str | Path],
    schema_out: str | Path,
    report: str | Path,
    columns: Sequence[ColumnSummary],
    schema: Schema,
    inferred: bool,
    on_error: str,
) -> Outcome:
    with open_parquet(data) as file:
        arrow = arrow_schema(file.schema_arrow, schema)
    found: dict[tuple[str, str], Failure] = {}
    with writing_table(paths[0], arrow) as valid, writing_table(paths[1], arrow) as quarantined:
        broken = 0
        for batch, good in checked_table(data, schema, found):
            broken += len(good) - int(good.sum())
            valid.write(batch.filter(pa.array(good)))
            if on_error == "quarantine":
                quarantined.write(batch.filter(pa.array(~good)))
        failures = sorted(found.values(), key=lambda failure: -failure.rows)
        extra = [column.name for column in columns if column.name not in schema]
        rules = rule_count(schema)
        findings = Findings(columns, schema, inferred, failures, rules, valid.rows, broken, extra, on_error)
        write_report(findings, report)
        if failures and on_error == "fail":
            raise failed(failures, report)
        if not valid.rows:
            raise none_left(failures, report)
    schema.save(schema_out)
    if extra:
        logger.info("columns left out because the schema does not have them: %s", ", ".join(extra))
    why = f" ({', '.join(failure.label for failure in failures[:4])})" if failures else ""
    logger.info("%s rows kept, %s quarantined%s", f"{valid.rows:,}", f"{broken:,}", why)
    return Outcome(describe_file(paths[0], valid.rows), describe_file(paths[1], quarantined.rows), findings)


def failed(failures: Sequence[Failure], report: str | Path = "") -> InputError:
    """Log broken rules and return the error that names the first of them.

    Args:
        failures: At least one.
        report: Where they are reported, if they are.
    """
    _log_failures(failures)
    first = failures[0].sentence().rstrip(".")
    if len(failures) == 1:
        return InputError(f"{first[0].upper()}{first[1:]}{_place(report)}.")
    return InputError(f"{len(failures)} rules are broken, first: {first}{_place(report)}.")


def none_left(failures: Sequence[Failure], report: str | Path) -> InputError:
    """Log broken rules and return the error that says that no row keeps them all."""
    _log_failures(failures)
    return InputError(f"Every row breaks a rule, so none is left{_place(report)}.")


def _log_failures(failures: Sequence[Failure]) -> None:
    """Log what is broken: on a cluster the report of a failed step is never uploaded, and the log is all there is."""
    for failure in failures[:LOGGED_RULES]:
        logger.info("broken: %s", failure.sentence(EXAMPLES))
    if len(failures) > LOGGED_RULES:
        logger.info("and %s more broken rules", f"{len(failures) - LOGGED_RULES:,}")


def _place(report: str | Path) -> str:
    """Say where to read more: a pod's files are gone with it, its log stays."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "; the log of the step has examples of every broken rule"
    if not report:
        return ""
    return f"; the report is at {report}"


def check_parameters(task: str, on_error: str, min_rows: int = 0, duplicates: str = "") -> None:
    """Refuse parameters of a validation that are none of those allowed; see ``validate``."""
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown: use one of {', '.join(TASKS)}.")
    if on_error not in MODES:
        raise InputError(f"on_error {on_error!r} is unknown: use one of {', '.join(MODES)}.")
    if min_rows < 0:
        raise InputError(f"min_rows {min_rows} is negative: give 0 for the default, or a number of rows.")
    if duplicates not in ("", "allow", "forbid"):
        raise InputError(f"duplicates {duplicates!r} is unknown: use allow, forbid or leave it empty.")
