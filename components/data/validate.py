"""Check a table against a schema."""

from dataclasses import dataclass

import pyarrow.compute as pc

from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.data.tables import read_table
from loopline.components.data.writing import describe_file, writing_table
from loopline.components.report import Report


@dataclass
class Outcome:
    """What came of a validation."""

    valid: dict
    quarantined: dict


def validate(
    data,
    valid,
    quarantined,
    schema_out,
    report,
    schema_path="",
    target="",
    task="auto",
    expectations="{}",
    on_error="fail",
    min_rows=0,
    duplicates="",
) -> Outcome:
    """Thin first version."""
    table = read_table(data)
    columns = []
    for name in table.column_names:
        values = table[name]
        kind = kind_of(values.type)
        extra = {}
        if kind in ("integer", "number"):
            low, high = pc.min_max(values).as_py().values()
            extra = {"minimum": low, "maximum": high}
        elif kind == "category":
            found = pc.unique(values.drop_null()).to_pylist()
            extra = {"categories": tuple(sorted(found)) if len(found) <= 1000 else None}
        columns.append(Column(name, kind, nullable=values.null_count > 0, **extra))
    schema = Schema.load(schema_path) if schema_path else Schema(tuple(columns), target=target)
    schema.save(schema_out)
    page = Report("Data validation")
    page.write(report)
    with writing_table(valid, table.schema) as sink:
        sink.write(table)
    with writing_table(quarantined, table.schema):
        pass
    return Outcome(describe_file(valid, table.num_rows), describe_file(quarantined, 0))
