"""Infer a schema from a table, tighten it with what is expected, and judge whether a model can be trained on it."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import Column, Schema
from loopline.components.data.summary import ColumnSummary
from loopline.components.errors import InputError
from loopline.components.model.targets import infer_task
from loopline.components.parameters import parse_object

#: Fewer rows than this are no table to learn from, unless the user says otherwise.
FEWEST_ROWS = 10
_EXAMPLE = '{"age": {"minimum": 0}}'
_FIELDS = {"kind": str, "nullable": bool, "minimum": (int, float), "maximum": (int, float), "categories": list}


def infer_schema(columns: Sequence[ColumnSummary], target: str = "") -> Schema:
    """Infer a schema: types, whether values are missing, ranges and categories as they were seen.

    Args:
        columns: The summary of each column.
        target: The column to predict, which must then be complete; empty for none.

    Returns:
        A schema that the table keeps, but for missing targets and infinite numbers.

    Raises:
        InputError: The target is not a column.
    """
    names = [column.name for column in columns]
    if target and target not in names:
        raise InputError(f"The target {target!r} is not a column: choose one of {', '.join(map(repr, names))}.")
    inferred = []
    for column in columns:
        limits = {}
        if column.kind in ("integer", "number"):
            limits = {"minimum": column.minimum, "maximum": column.maximum}
        elif column.kind == "category" and column.counts:
            limits = {"categories": tuple(sorted(column.counts))}
        nullable = column.missing > 0 and column.name != target
        inferred.append(Column(column.name, column.kind, nullable=nullable, **limits))
    return Schema(tuple(inferred), target=target)


def tighten(schema: Schema, expectations: str) -> Schema:
    """Replace parts of a schema by what the user expects.

    Args:
        schema: The schema.
        expectations: JSON from column name to ``kind``, ``nullable``, ``minimum``, ``maximum`` or ``categories``.

    Returns:
        The schema to check against.

    Raises:
        InputError: The text is not of that form, or names a column that is not there.
    """
    wanted = parse_object(expectations, "expectations", _EXAMPLE)
    flat = [name for name, fields in wanted.items() if not isinstance(fields, dict)]
    if flat:
        raise InputError(f"expectations gives {flat[0]!r} no object of rules: write it like {_EXAMPLE}.")
    columns = {column.name: column for column in schema.columns}
    for name, fields in wanted.items():
        if name not in columns:
            raise InputError(f"expectations names the column {name!r}: use one of {', '.join(map(repr, columns))}.")
        for key, value in fields.items():
            _check_field(name, key, value)
        if isinstance(fields.get("categories"), list):
            fields["categories"] = tuple(sorted(fields["categories"]))
        columns[name] = _replace(columns[name], fields)
    return dataclasses.replace(schema, columns=tuple(columns.values()))


def _replace(column: Column, fields: dict) -> Column:
    kind = fields.get("kind", column.kind)
    if kind != column.kind:
        # What was seen as another kind says nothing about this one.
        column = Column(column.name, kind, nullable=column.nullable)
    for key, kinds in (("minimum", "integer number"), ("maximum", "integer number"), ("categories", "category")):
        if fields.get(key) is not None and kind not in kinds.split():
            raise InputError(f"expectations gives {key} for {column.name!r}, which holds {kind}: leave it out.")
    column = dataclasses.replace(column, **fields)
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        raise InputError(
            f"Column {column.name!r} would have the minimum {column.minimum:g} above its maximum {column.maximum:g}: "
            "correct expectations, giving both."
        )
    return column


def _check_field(name: str, key: str, value: object) -> None:
    form = _FIELDS.get(key)
    if form is None:
        raise InputError(f"expectations gives {key!r} for {name!r}: use {', '.join(_FIELDS)}.")
    right = isinstance(value, form) and (key == "nullable" or not isinstance(value, bool))
    if right and key == "categories":
        right = all(isinstance(item, str) for item in value)
    if not right and not (value is None and key in ("minimum", "maximum", "categories")):
        form = {"categories": "a list of texts", "nullable": "true or false", "kind": "a text"}.get(key, "a number")
        raise InputError(f"expectations gives {value!r} as {key} of {name!r}: give {form}.")


def training_problems(
    columns: Sequence[ColumnSummary],
    schema: Schema,
    task: str,
    expectations: str,
    count_target: Callable[[], pa.StructArray],
) -> list[str]:
    """Say what makes a table unfit to train on.

    Args:
        columns: The summary of each of its columns.
        schema: What is expected of the table, and its target, if it is for training.
        task: ``binary``, ``multiclass``, ``regression``, or ``auto`` to go by the target.
        expectations: What the schema was tightened with: a column that may be missing may be so in every row.
        count_target: Returns how often each value of the target occurs, as ``pyarrow.compute.value_counts`` does, nulls
            left out; asked where the summary does not tell enough.

    Returns:
        One sentence a problem; empty when there is none.
    """
    wanted = parse_object(expectations, "expectations", _EXAMPLE)
    problems = [
        f"Column {column.name!r} has no value at all: leave it out with columns, fill it in, or say with expectations "
        f"that this is known: {json.dumps({column.name: {'nullable': True}})}."
        for column in columns
        if column.missing == column.rows and column.rows and column.name != schema.target
        if not wanted.get(column.name, {}).get("nullable")
    ]
    if schema.target:
        column = next(column for column in columns if column.name == schema.target)
        problems += _target_problems(column, schema[schema.target], task, count_target)
    return problems


def _target_problems(
    column: ColumnSummary, expected: Column, task: str, count_target: Callable[[], pa.StructArray]
) -> list[str]:
    target = column.name
    if column.kind == "timestamp":
        return [f"The target {target!r} holds timestamps: choose numbers, booleans or text."]
    if column.missing == column.rows:
        return [f"The target {target!r} has no value at all: choose another column."]
    if column.kind == "number" and task in ("auto", "regression"):
        # The summary tells enough about a quantity, and reading all of it takes memory.
        constant = column.minimum == column.maximum and not column.infinite
        return [_constant_problem(target, column.minimum)] if constant else []
    found = count_target()
    counts = found.filter(_are_expected(found.field("values"), expected))
    if not len(counts):
        return []  # every row breaks a rule, as the check of the rows will say
    if len(counts) == 1:
        return [_constant_problem(target, counts[0].as_py()["values"])]
    if task in ("binary", "multiclass") or (task == "auto" and infer_task(found.field("values")) != "regression"):
        singles = sorted(entry["values"] for entry in counts.to_pylist() if entry["counts"] == 1)
        if singles:
            more = f" and {len(singles) - 1:,} more" if len(singles) > 1 else ""
            return [
                f"Class {singles[0]!r}{more} of the target {target!r} has a single row: add rows, merge it with "
                "another class or leave it out."
            ]
    elif column.kind in ("category", "boolean"):
        return [f"The target {target!r} holds {column.kind} values: for task 'regression' choose a column of numbers."]
    return []


def _are_expected(values: pa.Array, expected: Column) -> pa.BooleanArray:
    """Return which values the schema allows: the others' rows are set aside, or stop the run by themselves."""
    if expected.categories is not None:
        return pc.is_in(values, value_set=pa.array(expected.categories))
    allowed = pa.array(np.ones(len(values), bool))
    if expected.minimum is not None:
        allowed = pc.and_(allowed, pc.greater_equal(values, expected.minimum))
    return allowed if expected.maximum is None else pc.and_(allowed, pc.less_equal(values, expected.maximum))


def _constant_problem(target: str, value: object) -> str:
    return f"The target {target!r} is {value!r} in every row: there is nothing to learn, choose another."
