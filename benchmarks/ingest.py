"""Speed and memory of ingest_data beside what else turns a CSV into Parquet."""

import gzip
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from benchmarks.race import Runner, race
from benchmarks.result import Table, Text

#: Rows generated at a time.
CHUNK = 200_000


def write_flights(path: Path, size: int = 0, rows: int = 0) -> None:
    """Write a CSV of flights: 19 columns of integers, decimals, text and timestamps.

    Args:
        path: The file.
        size: The bytes it has at least.
        rows: The rows it has at least.
    """
    generator = np.random.default_rng(0)
    written = 0
    with open(path, "wb") as stream:
        while stream.tell() < size or written < rows:
            csv.write_csv(_flights(generator, CHUNK), stream, csv.WriteOptions(include_header=not written))
            written += CHUNK


def _flights(generator: np.random.Generator, rows: int) -> pa.Table:
    def pick(values: list[str]) -> pa.Array:
        return pa.array(np.array(values)[generator.integers(len(values), size=rows)])

    def number(low: int, high: int) -> np.ndarray:
        return generator.integers(low, high, size=rows)

    delay = pa.array(generator.normal(10, 40, rows).round(1), mask=generator.random(rows) < 0.02)
    start = np.datetime64("2013-01-01T00:00:00") + number(0, 365 * 24 * 60).astype("timedelta64[m]")
    tails = [f"N{i:05d}" for i in range(4000)]
    names = ["year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time"]
    names += ["flight", "air_time", "distance", "hour", "minute"]
    ranges = [(2013, 2014), (1, 13), (1, 29), *[(1, 2400)] * 4, (1, 8500), (20, 700), (17, 4984), (1, 24), (0, 60)]
    columns = {name: number(*bounds) for name, bounds in zip(names, ranges, strict=True)}
    columns |= {"dep_delay": delay, "arr_delay": delay, "carrier": pick(["UA", "AA", "B6", "DL", "EV", "MQ", "US"])}
    columns |= {"tailnum": pick(tails), "origin": pick(["EWR", "LGA", "JFK"]), "dest": pick(tails[:105])}
    columns |= {"time_hour": pa.array(start.astype("datetime64[s]"))}
    return pa.table(columns)


def read_only(source: str) -> int:
    """Parse the CSV with Arrow's own streaming reader and keep nothing; returns the rows."""
    with csv.open_csv(source) as reader:
        return sum(batch.num_rows for batch in reader)


def with_pandas(source: str, target: str, engine: str = "c") -> int:
    """Read the whole CSV and write it, as pandas' manual shows it."""
    import pandas as pd

    frame = pd.read_csv(source, engine=engine)
    frame.to_parquet(target)
    return len(frame)


def with_pyarrow(source: str, target: str) -> int:
    """Read the whole CSV into a table and write it."""
    import pyarrow.parquet as pq

    table = csv.read_csv(source)
    pq.write_table(table, target)
    return table.num_rows


def stream_with_pyarrow(source: str, target: str) -> int:
    """Write batch by batch; the types are what the first block of the file tells."""
    import pyarrow.parquet as pq

    rows = 0
    with csv.open_csv(source) as reader, pq.ParquetWriter(target, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def to_parquet(source: str, target: str) -> int:
    """Do what the component does: infer types, write Parquet, take its digest; returns the rows."""
    from loopline.components.data.ingest import ingest

    return ingest(source, target)["rows"]


def run(gigabytes: float = 0.25, repeats: int = 5) -> list[Table]:
    """Measure each side in processes of its own.

    Args:
        gigabytes: Size of the CSV, 10**9 bytes.
        repeats: Runs of each.
    """
    with tempfile.TemporaryDirectory(prefix="ingest-benchmark-") as folder:
        source, target = Path(folder) / "flights.csv", str(Path(folder) / "flights.parquet")
        write_flights(source, size=int(gigabytes * 1e9))
        rows = read_only(str(source))
        packed = source.with_suffix(".csv.gz")
        with open(source, "rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
            shutil.copyfileobj(plain, out, 2**20)
        paths = {"source": str(source), "target": target}
        ours, pandas = ("loopline.components.data.ingest",), ("pandas", "pyarrow.parquet")
        sides = [
            Runner("`ingest_data`", "benchmarks.ingest:to_parquet", paths, "ours", ours),
            Runner("pandas", "benchmarks.ingest:with_pandas", paths, imports=pandas),
            Runner(
                "pandas, engine pyarrow",
                "benchmarks.ingest:with_pandas",
                {**paths, "engine": "pyarrow"},
                imports=pandas,
            ),
            Runner("pyarrow, whole table", "benchmarks.ingest:with_pyarrow", paths, imports=("pyarrow.parquet",)),
            Runner("pyarrow, streamed", "benchmarks.ingest:stream_with_pyarrow", paths, imports=("pyarrow.parquet",)),
            Runner("polars, whole table", "benchmarks.ingest_polars:whole", paths, imports=("polars",), peer="polars"),
            Runner("polars, streamed", "benchmarks.ingest_polars:streamed", paths, imports=("polars",), peer="polars"),
            Runner("pyarrow parsing alone", "benchmarks.ingest:read_only", {"source": str(source)}, "limit"),
            Runner(
                "`ingest_data` of gzip", "benchmarks.ingest:to_parquet", {**paths, "source": str(packed)}, "other", ours
            ),
        ]
        title = f"{gigabytes * 1e3:,.0f} MB of CSV, {rows:,} rows x 19 columns, to Parquet"
        table = race(title, sides, repeats, agree=True)
    note = (
        "pyarrow streamed and polars take the types from the first rows, and stop where a later row does not fit; "
        "pandas mixes types in one column then. `ingest_data` widens the type and reads the file again, and takes the "
        "digest of what it wrote."
    )
    return [table, Text(note)]
