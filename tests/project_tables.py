"""Tables as people have them: each a file or several, awkward in one way, and the column to predict."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 300
START = datetime.datetime(2025, 1, 1)


@dataclass(frozen=True)
class Case:
    """One table.

    Attributes:
        write: Writes it to a folder and returns what ``--data`` takes.
        target: The column to predict.
        params: Parameters that the project must have, by name.
        words: Words that the printout must have.
    """

    write: Callable[[Path], str]
    target: str = "y"
    params: dict = field(default_factory=dict)
    words: tuple[str, ...] = ()


def base(rows: int = ROWS, seed: int = 0) -> dict[str, list]:
    """Two numbers, a whole number and text, and a target of two classes that follows from them."""
    rng = np.random.default_rng(seed)
    size, weight, count = rng.normal(size=rows), rng.gamma(2, 3, rows), rng.integers(0, 40, rows)
    color = rng.choice(["red", "green", "blue"], rows)
    signal = size + 0.1 * weight + (color == "red") + rng.normal(0, 0.7, rows)
    return {
        "size": [round(float(v), 4) for v in size],
        "weight": [round(float(v), 3) for v in weight],
        "count": count.tolist(),
        "color": color.tolist(),
        "y": ["yes" if v > np.median(signal) else "no" for v in signal],
    }


def amount(rows: int = ROWS) -> list[float]:
    """A quantity that follows from the numbers of ``base``."""
    table, rng = base(rows), np.random.default_rng(7)
    noise = rng.normal(0, 1, rows)
    return [round(20 + 5 * s + w + e, 2) for s, w, e in zip(table["size"], table["weight"], noise, strict=True)]


def text(table: dict[str, list], delimiter: str = ",", comma: bool = False, newline: str = "\n") -> str:
    """Write a table as CSV."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=newline)
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        cells = ["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row]
        writer.writerow([str(v).replace(".", ",") if comma and isinstance(v, float) else v for v in cells])
    return stream.getvalue()


def as_csv(table: dict[str, list], name: str = "table.csv", pack=bytes, encoding: str = "utf-8", **options):
    """Return a writer of one CSV."""

    def write(folder: Path) -> str:
        (folder / name).write_bytes(pack(text(table, **options).encode(encoding)))
        return str(folder / name)

    return write


def as_parquet(table: dict | pa.Table, name: str = "table.parquet"):
    """Return a writer of one Parquet file."""

    def write(folder: Path) -> str:
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), folder / name)
        return str(folder / name)

    return write


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("table.csv", data)
    return buffer.getvalue()


def _months(folder: Path) -> str:
    for month in (1, 2, 3):
        (folder / f"month-{month}.csv.gz").write_bytes(gzip.compress(text(base(100, month)).encode()))
    return str(folder / "month-*.csv.gz")


def _parts(folder: Path) -> str:
    (folder / "parts").mkdir()
    for part in (1, 2):
        pq.write_table(pa.table(base(100, part)), folder / "parts" / f"part-{part}.parquet")
    (folder / "parts" / "_SUCCESS").touch()
    return str(folder / "parts")


def _odd_names() -> dict[str, list]:
    table = base()
    names = ['a "quoted"', "b, with comma", "gr\u00f6\u00dfe \u4ef7\u683c", "1st", "y"]
    renamed = dict(zip(names, table.values(), strict=True))
    more = ("Age", "age", "two\nlines", "yes", "null", "- x: {y}", "#tag", "it's", "a/b:c[0]", "=1+1", "label")
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=ROWS).round(3).tolist() for name in (*more, "x" * 120)} | renamed


def times(rows: int = ROWS, **step) -> list[datetime.datetime]:
    """Instants at even distances."""
    return [START + datetime.timedelta(**step) * i for i in range(rows)]


def _arrow_types() -> pa.Table:
    table, rng = base(), np.random.default_rng(4)
    utc = [when.replace(tzinfo=datetime.UTC) for when in times(hours=5)]
    return pa.table(
        {
            "money": pa.array([decimal.Decimal(str(v)).quantize(decimal.Decimal("0.01")) for v in table["weight"]]),
            "half": pa.array(np.array(table["size"], np.float16)),
            "small": pa.array(table["count"], pa.int8()),
            "large": pa.array([2**63 + v for v in table["count"]], pa.uint64()),
            "color": pa.array(table["color"]).dictionary_encode(),
            "level": pa.array(rng.integers(0, 3, ROWS)).dictionary_encode(),
            "long": pa.array(table["color"], pa.large_string()),
            "when": pa.array(utc, pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([when.date() for when in utc]),
            "noon": pa.array([datetime.time(12)] * ROWS),
            "took": pa.array([datetime.timedelta(seconds=1)] * ROWS),
            "tags": pa.array([["a", "b"]] * ROWS),
            "place": pa.array([{"x": 1}] * ROWS),
            "raw": pa.array([b"x"] * ROWS),
            "nothing": pa.nulls(ROWS),
            "y": pa.array([v == "yes" for v in table["y"]]),
        }
    )


def _sorted_by_class() -> dict[str, list]:
    table = base()
    order = np.argsort(table["y"], kind="stable")
    return {name: [values[i] for i in order] for name, values in table.items()} | {"created": times(hours=1)}


def _patients() -> dict[str, list]:
    table, rng = base(), np.random.default_rng(5)
    return {"patient_id": sorted(rng.integers(1000, 1100, ROWS).tolist()), **table}


def _rare() -> dict[str, list]:
    table = base()
    table["y"] = ["only one", "two", "two", *[f"{y} {c}" for y, c in zip(table["y"], table["color"], strict=True)][3:]]
    return table


def _twins() -> dict[str, list]:
    table = base()
    table["y"] = [y + " " * (i % 3 == 0) for i, y in enumerate(table["y"])]
    return table


def _gaps(values: list, every: int, with_: object = None) -> list:
    return [with_ if i % every == 0 else value for i, value in enumerate(values)]


def _leaks() -> dict[str, list]:
    table = base()
    codes = [{"yes": 4711, "no": 42}[y] for y in table["y"]]
    reasons = ["price" if y == "yes" else None for y in table["y"]]
    return {**table, "status_code": codes, "reason": reasons}


def _tokens() -> dict[str, list]:
    table = base()
    table["weight"] = _gaps(table["weight"], 9, "?")
    table["count"] = _gaps(table["count"], 7, "-")
    table["size"] = _gaps(table["size"], 5, "n.a.")
    return table


def _wide() -> dict[str, list]:
    rng = np.random.default_rng(6)
    wide = {f"sensor {i}": rng.normal(size=200).round(4).tolist() for i in range(1000)}
    wide["sensor 500"] = [None] * 200
    return wide | {"y": [v > 0 for v in wide["sensor 7"][:190]] + [v < 0 for v in wide["sensor 7"][190:]]}


def _infinite(every: int) -> dict[str, list]:
    table = base()
    return {**table, "ratio": _gaps([0.1 * i % 7 for i in range(ROWS)], every, float("inf"))}


def _shuffled(values: list) -> list:
    return [values[i] for i in np.random.default_rng(8).permutation(len(values))]


def _prices(marks: str) -> list[str]:
    return [f"{marks[0]}{1000 + 37 * i % 9000:,}{marks[1:]}" for i in range(ROWS)]


CASES: dict[str, Case] = {
    "plain": Case(as_csv(base()), params={"task": "binary", "split_method": "stratified", "on_error": "fail"}),
    "semicolons and decimal commas": Case(
        as_csv(base(), delimiter=";", comma=True), words=("semicolons", "decimal commas", "3 of numbers")
    ),
    "tabs": Case(as_csv(base(), "table.tsv", delimiter="\t"), words=("tabs",)),
    "bars": Case(as_csv(base(), delimiter="|")),
    "byte order mark and Windows lines": Case(as_csv(base(), encoding="utf-8-sig", newline="\r\n")),
    "utf-16": Case(as_csv(base(), encoding="utf-16")),
    "cp1252": Case(
        as_csv({"stra\u00dfe": ["K\u00f6ln", "M\u00fcnchen", "Ulm"] * 100, **base()}, encoding="cp1252"),
        params={"csv": {"encoding": "cp1252"}},
        words=("not UTF-8",),
    ),
    "gzip": Case(as_csv(base(), "table.csv.gz", gzip.compress)),
    "bzip2 without a name": Case(as_csv(base(), "download", bz2.compress)),
    "zip": Case(as_csv(base(), "table.zip", _zip)),
    "a glob": Case(_months),
    "a folder of Parquet": Case(_parts),
    "newlines and delimiters in quotes": Case(
        as_csv({"note": ["first\nsecond, and", 'says "hi"; ok', "plain"] * 100, **base()}), words=("2 of text",)
    ),
    "odd names": Case(as_csv(_odd_names())),
    "blanks after commas": Case(
        as_csv(base(), pack=lambda data: data.replace(b",", b", ")),
        words=("'color' holds texts with blanks", "2 classes, ' no'"),
    ),
    "an index without a name": Case(
        as_csv({"": list(range(ROWS)), **base()}),
        params={"exclude": ["column_1"]},
        words=("'column_1' (an identifier",),
    ),
    "identifiers": Case(
        as_csv(
            {
                "CustomerID": _shuffled([10_000 + 3 * i for i in range(ROWS)]),
                "uuid": [str(uuid.UUID(int=i * 2**90)) for i in range(ROWS)],
                "e-mail": [f"person{i}@example.com" for i in range(ROWS)],
                "n": list(range(1, ROWS + 1)),
                "population": _shuffled([1000 + i * i for i in range(ROWS)]),
                **base(),
            }
        ),
        params={"exclude": ["CustomerID", "uuid", "e-mail", "n"]},
        words=("'n' (numbers of the rows)",),
    ),
    "odd signs for missing numbers": Case(as_csv(_tokens()), words=("3 of numbers",)),
    "a word for missing numbers": Case(
        as_csv({**base(), "weight": _gaps(base()["weight"], 6, "Unknown")}),
        params={"csv": {"null_values": ["Unknown"]}},
        words=("3 of numbers",),
    ),
    "numbers as text": Case(
        as_csv({"price": _prices("$"), "rate": [f"{i % 50}.5 %" for i in range(ROWS)], **base()}),
        params={"exclude": ["price"]},
        words=("'price' (numbers read as text", "'rate' holds numbers that are read as text",),
    ),
    "dates as text": Case(
        as_csv({"signup": [f"{i % 28 + 1:02}/{i % 12 + 1:02}/2024" for i in range(ROWS)], **base()}),
        words=("'signup' holds dates that are read as text",),
    ),
    "an event time": Case(
        as_csv({"booked_at": [t.isoformat() + "Z" for t in times(hours=20)], **base()}),
        params={"split_method": "time", "split_column": "booked_at", "test_start": "2025-08-01T00:00:00Z"},
        words=("trained on the past",),
    ),
    "a quantity by day": Case(
        as_csv({"day": [t.date() for t in times(days=1)], **base(), "y": amount()}),
        params={"task": "regression", "split_method": "time", "split_column": "day", "test_start": "2025-09-01"},
    ),
    "birth dates": Case(
        as_csv({"birth_date": _shuffled([t.date() for t in times(days=1)]), **base()}),
        params={"split_method": "stratified"},
        words=("'birth_date' (a timestamp",),
    ),
    "sorted by class and time": Case(
        as_csv(_sorted_by_class()), params={"split_method": "stratified"}, words=("not by time on 'created'",)
    ),
    "several rows a patient": Case(
        as_csv(_patients()),
        params={"split_method": "group", "split_column": "patient_id", "exclude": ["patient_id"]},
    ),
    "a rare class": Case(
        as_csv({**base(1000), "y": [i % 50 == 0 for i in range(1000)]}),
        params={"task": "binary"},
        words=("the smallest class has 20 rows",),
    ),
    "classes of one row": Case(as_csv(_rare()), params={"on_error": "quarantine"}, words=("2 classes have fewer",)),
    "classes of two rows": Case(
        as_csv({**base(60), "y": ["a"] * 58 + ["b"] * 2}), params={"validation_size": 0.0, "rounds": 50}
    ),
    "whole numbers as classes": Case(
        as_csv({**base(), "y": [i % 3 for i in range(ROWS)]}), params={"task": "multiclass"}, words=("taken for codes",)
    ),
    "a count with rare values": Case(
        as_csv({**base(), "y": [0, 1, 1, 2, 2, 3] * 49 + [4, 4, 5, 5, 6, 9]}),
        params={"task": "regression"},
        words=("taken for a quantity",),
    ),
    "two classes as floats with gaps": Case(
        as_parquet({**base(), "y": _gaps([float(y == "yes") for y in base()["y"]], 25)}),
        params={"task": "binary", "on_error": "quarantine"},
        words=("12 rows have no 'y'",),
    ),
    "a boolean": Case(as_csv({**base(), "y": [y == "yes" for y in base()["y"]]}), params={"task": "binary"}),
    "classes that differ in blanks": Case(as_csv(_twins()), params={"task": "multiclass"}, words=("blanks or case",)),
    "a target with gaps": Case(
        as_csv({**base(), "y": _gaps(base()["y"], 10)}),
        params={"on_error": "quarantine"},
        words=("30 rows have no 'y'",),
    ),
    "columns that know the target": Case(
        as_csv(_leaks()), params={"exclude": ["status_code", "reason"]}, words=("known before it is",)
    ),
    "one column that knows the target": Case(
        as_csv({"x": base()["size"], "y": [v > 0 for v in base()["size"]]}), words=("alone nearly tells the target",)
    ),
    "constant and empty columns": Case(
        as_csv({"same": ["x"] * ROWS, "one": [1] * ROWS, "none": [None] * ROWS, **base()}),
        params={"exclude": ["same", "one", "none"]},
    ),
    "free text": Case(
        as_csv({"note": [f"note {i % 1200} of the day" for i in range(2000)], **base(2000)}),
        words=("'note' (more than 1,000",),
    ),
    "a thousand columns": Case(as_csv(_wide()), words=("1,001 columns", "'sensor 500' (no value at all)")),
    "one feature": Case(as_csv({"x": base()["size"], "y": amount()}), params={"task": "regression"}),
    "twelve rows": Case(as_csv({name: values[:12] for name, values in base().items()} | {"y": ["a", "b"] * 6})),
    "ten rows and a quantity": Case(
        as_csv({"x": list(range(10)), "z": _shuffled([1.5 * i for i in range(10)]), "y": amount(10)})
    ),
    "rows twice": Case(
        as_csv({name: values[:60] * 5 for name, values in base().items()}), words=("80% of the rows repeat",)
    ),
    "a few infinite values": Case(as_csv(_infinite(50)), params={"on_error": "quarantine"}, words=("infinite",)),
    "many infinite values": Case(
        as_csv(_infinite(3)), params={"columns": ["size", "weight", "count", "color", "y"]}, words=("infinite",)
    ),
    "types of Arrow": Case(
        as_parquet(_arrow_types()), params={"split_method": "time", "split_column": "when"}, words=("no step can use",)
    ),
    "a hundred classes": Case(
        as_csv({**base(1000), "y": [f"class {i % 100}" for i in range(1000)]}), params={"rounds": 60}
    ),
    "predictions of another model": Case(
        as_csv({**base(), "y": amount(), "prediction": amount(), "loopline_model_name": ["m"] * ROWS}),
        params={"exclude": ["prediction", "loopline_model_name"]},
    ),
    "years as names": Case(
        as_csv({"country": ["de", "fr", "it"] * 100, "2019": base()["size"], "2020": base()["weight"], "y": amount()})
    ),
    "a number for a name": Case(as_csv({"1": base()["size"], "2": base()["color"], "3": base()["y"]}), target="3"),
    "-999 for missing": Case(
        as_csv({**base(), "weight": _gaps(base()["weight"], 8, -999)}), words=("does that mean missing",)
    ),
    "booleans alone": Case(
        as_csv({f"b{i}": [v > i / 3 for v in base()["size"]] for i in range(3)} | {"y": base()["y"]}),
        words=("true or false",),
    ),
}  # fmt: skip
