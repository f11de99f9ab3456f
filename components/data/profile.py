"""The profile of a table: what each column looked like, small enough to travel and mergeable.

A numeric column is counted into bins at its quantiles, so that a distribution can later be compared with it to about
one part in a thousand without a single row at hand. Profiles with the same bins add up: partitions can be profiled
apart.
"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import Schema
from loopline.components.errors import InputError

#: Quantile bins of a numeric column.
BINS = 512


def profile_table(table: pa.Table, schema: Schema, like: dict | None = None) -> dict:
    """Profile a table.

    Args:
        table: The rows to look at; it has the schema's columns.
        schema: The columns to profile. Timestamps are left out.
        like: A profile whose bins to use, so that both can be compared and merged; own quantiles when None.

    Returns:
        ``rows`` and ``columns``: for each column its ``kind`` and ``missing`` (count), and for numbers ``mean``, ``sd``
        (population), ``minimum``, ``maximum`` (None when all are missing), ``edges`` (interior bin edges, ascending)
        and ``counts`` (one more than edges; bin i holds edges[i-1] <= x < edges[i]), for text ``counts`` by value.
    """
    columns = {}
    for column in schema.columns:
        if column.kind == "timestamp":
            continue
        values = table.column(column.name)
        if column.kind == "category":
            counted = pc.value_counts(pc.cast(values, pa.string()).drop_null()).to_pylist()
            counts = {entry["values"]: entry["counts"] for entry in sorted(counted, key=lambda entry: entry["values"])}
            columns[column.name] = {"kind": column.kind, "missing": values.null_count, "counts": counts}
        else:
            edges = np.array(like["columns"][column.name]["edges"]) if like else None
            columns[column.name] = {"kind": column.kind, **profile_numbers(as_floats(values), edges)}
    return {"rows": table.num_rows, "columns": columns}


def profile_numbers(values: np.ndarray, edges: np.ndarray | None = None) -> dict:
    """Profile the values of one numeric column.

    Args:
        values: Floats, shape (rows,); NaN is missing.
        edges: Interior bin edges to count into; own quantiles when None.

    Returns:
        The entry of one numeric column as ``profile_table`` describes it, without ``kind``.
    """
    present = values[np.isfinite(values)]
    if edges is None:
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, inner)) if present.size else np.array([])
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return {
        "missing": int(values.size - present.size),
        "mean": float(present.mean()) if present.size else None,
        "sd": float(present.std()) if present.size else None,
        "minimum": float(present.min()) if present.size else None,
        "maximum": float(present.max()) if present.size else None,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def merge_profiles(first: dict, second: dict) -> dict:
    """Add two profiles that use the same bins.

    Args:
        first: A profile.
        second: Another, made ``like`` the first.

    Returns:
        The profile of both tables together.

    Raises:
        InputError: The columns or bins differ.
    """
    if first["columns"].keys() != second["columns"].keys():
        raise InputError("These profiles describe different columns: profile the second table like the first.")
    columns = {}
    for name, one in first["columns"].items():
        two = second["columns"][name]
        if one["kind"] == "category":
            counts = Counter(one["counts"]) + Counter(two["counts"])
            columns[name] = {**one, "missing": one["missing"] + two["missing"], "counts": dict(sorted(counts.items()))}
        elif one["edges"] != two["edges"]:
            raise InputError(f"The profiles of column {name!r} have different bins: profile the second like the first.")
        else:
            columns[name] = {"kind": one["kind"], **_merge_numbers(one, two)}
    return {"rows": first["rows"] + second["rows"], "columns": columns}


def _merge_numbers(one: dict, two: dict) -> dict:
    """Add two numeric entries; mean and variance by Chan, Golub and LeVeque (1979)."""
    n1, n2 = sum(one["counts"]), sum(two["counts"])
    if not n1 or not n2:
        filled = one if n1 else two
        return {**{k: v for k, v in filled.items() if k != "kind"}, "missing": one["missing"] + two["missing"]}
    n, delta = n1 + n2, two["mean"] - one["mean"]
    squares = n1 * one["sd"] ** 2 + n2 * two["sd"] ** 2 + delta**2 * n1 * n2 / n
    return {
        "missing": one["missing"] + two["missing"],
        "mean": one["mean"] + delta * n2 / n,
        "sd": math.sqrt(squares / n),
        "minimum": min(one["minimum"], two["minimum"]),
        "maximum": max(one["maximum"], two["maximum"]),
        "edges": one["edges"],
        "counts": [a + b for a, b in zip(one["counts"], two["counts"], strict=True)],
    }


def as_floats(values: pa.ChunkedArray | pa.Array, type_: type = np.float64) -> np.ndarray:
    """Return a numeric or boolean Arrow column as floats with NaN where it is null.

    Args:
        values: The column.
        type_: ``numpy.float64`` or ``numpy.float32``.

    Returns:
        An array of shape (rows,).
    """
    target = pa.float32() if type_ is np.float32 else pa.float64()
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.uint8())
    if values.type != target:
        # Integers above 2**24 lose digits in single precision; that is the model's precision, so no error.
        values = pc.cast(values, target, safe=False)
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()


def save_profile(profile: dict, path: str | Path) -> None:
    """Write a profile as compact JSON."""
    Path(path).write_text(json.dumps(profile, allow_nan=False, separators=(",", ":")), encoding="utf-8")
