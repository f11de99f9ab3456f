"""validate_data beside pandera on a whole frame, with the same rules on the same Parquet file."""

import tempfile
from pathlib import Path

from benchmarks.ingest import write_flights
from benchmarks.race import Runner, race
from benchmarks.result import Table, Text

#: By column the least and the most it may be; a few rows break the last.
_RANGES = {
    "year": (2013, 2013), "month": (1, 12), "day": (1, 28), "dep_time": (1, 2400), "sched_dep_time": (1, 2400),
    "arr_time": (1, 2400), "sched_arr_time": (1, 2400), "flight": (1, 8500), "distance": (17, 4984), "hour": (1, 23),
    "minute": (0, 59), "air_time": (20, 690),
}  # fmt: skip
_CATEGORIES = {"carrier": ["UA", "AA", "B6", "DL", "EV", "MQ", "US"], "origin": ["EWR", "LGA", "JFK"]}
_TEXTS, _NUMBERS = ("tailnum", "dest"), ("dep_delay", "arr_delay")


def with_loopline(source: str, folder: str) -> int:
    """Check against a schema that is given and set bad rows aside, report and digests included."""
    from loopline.components.data.validate import validate

    paths = [f"{folder}/{name}" for name in ("valid", "quarantined", "schema.json", "report.html")]
    found = validate(source, *paths, schema_path=f"{folder}/given.json", on_error="quarantine")
    return found.quarantined["rows"]


def with_pandera(source: str, folder: str) -> int:
    """Check a whole frame, lazily so that every broken rule is found, and write the rows that pass and the others."""
    import pandas as pd
    import pandera.pandas as pandera

    schema = pandera.DataFrameSchema(
        {
            **{name: pandera.Column(int, pandera.Check.in_range(*both)) for name, both in _RANGES.items()},
            **{name: pandera.Column(str, pandera.Check.isin(values)) for name, values in _CATEGORIES.items()},
            **{name: pandera.Column(str) for name in _TEXTS},
            **{name: pandera.Column(float, pandera.Check(_finite), nullable=True) for name in _NUMBERS},
            "time_hour": pandera.Column("datetime64[ms]", coerce=True),
        }
    )
    frame = pd.read_parquet(source)
    bad = pd.Series(False, frame.index)
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        bad[error.failure_cases["index"].dropna().unique()] = True
    frame[~bad].to_parquet(f"{folder}/valid")
    frame[bad].to_parquet(f"{folder}/quarantined")
    return int(bad.sum())


def _finite(values):
    return abs(values) < float("inf")


def read_only(source: str) -> int:
    """Decode the Parquet file and keep nothing."""
    import pyarrow.parquet as pq

    return sum(batch.num_rows for batch in pq.ParquetFile(source, pre_buffer=False).iter_batches())


def run(rows: int = 1_000_000, repeats: int = 5) -> list[Table | Text]:
    """Measure each side in processes of its own.

    Args:
        rows: Of the table, rounded up to a multiple of 200,000.
        repeats: Runs of each.
    """
    from loopline.components.data.ingest import ingest
    from loopline.components.data.schema import Column, Schema

    with tempfile.TemporaryDirectory(prefix="validation-benchmark-") as folder:
        text, source = Path(folder) / "flights.csv", f"{folder}/flights.parquet"
        write_flights(text, rows=rows)
        rows = ingest(str(text), source)["rows"]
        columns = [Column(name, "integer", False, *both) for name, both in _RANGES.items()]
        columns += [Column(name, "category", False, categories=tuple(sorted(v))) for name, v in _CATEGORIES.items()]
        columns += [Column(name, "category", False) for name in _TEXTS] + [Column(name, "number") for name in _NUMBERS]
        Schema((*columns, Column("time_hour", "timestamp", False))).save(f"{folder}/given.json")
        paths = {"source": source, "folder": folder}
        sides = [
            Runner(
                "`validate_data`", "benchmarks.validation:with_loopline", paths, "ours",
                ("loopline.components.data.validate",),
            ),
            Runner(
                "pandera on a pandas frame", "benchmarks.validation:with_pandera", paths,
                imports=("pandas", "pandera.pandas", "pyarrow.parquet"),
            ),
            Runner(
                "decoding the Parquet file", "benchmarks.validation:read_only", {"source": source}, "limit",
                ("pyarrow.parquet",),
            ),
        ]  # fmt: skip
        title = f"{rows:,} rows x 19 columns of Parquet; types, ranges and categories; bad rows are set aside"
        table = race(title, sides, repeats, agree=True)
    note = "`validate_data` also describes every column in a report and takes the digests of what it wrote."
    return [table, Text(note)]
