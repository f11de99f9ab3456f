"""Speed and memory of ingest_data beside plain pyarrow.csv reading of the same file."""

import gzip
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from benchmarks.measure import markdown, measure, spread

#: Rows generated at a time.
CHUNK = 200_000


def write_flights(path: Path, size: int) -> None:
    """Write a CSV of flights of about ``size`` bytes: 19 columns of integers, decimals, text and timestamps."""
    generator = np.random.default_rng(0)
    with open(path, "wb") as stream:
        header = True
        while stream.tell() < size:
            csv.write_csv(_flights(generator, CHUNK), stream, csv.WriteOptions(include_header=header))
            header = False


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


def to_parquet(source: str, target: str) -> int:
    """Do what the component does: infer types, write Parquet, take its digest; returns the rows."""
    from loopline.components.data.ingest import ingest

    return ingest(source, target)["rows"]


def check(source: str, target: str) -> int:
    """Validate the table with an inferred schema and one expectation; returns the rows kept."""
    from loopline.components.data.validate import validate

    folder = Path(target).parent
    paths = [folder / name for name in ("valid", "quarantined", "schema.json", "report.html")]
    expectations = '{"air_time": {"maximum": 690}}'
    return validate(source, *paths, target="arr_delay", expectations=expectations, on_error="quarantine").valid["rows"]


def run(gigabytes: float = 1.0, repeats: int = 3, compressed: bool = True) -> str:
    """Measure each case in processes of its own; returns a Markdown table.

    Args:
        gigabytes: Size of the CSV, 10**9 bytes.
        repeats: Runs of each case; they take turns, so that a busy machine slows all alike.
        compressed: Whether to read the file packed with gzip, too.
    """
    with tempfile.TemporaryDirectory(prefix="ingest-benchmark-") as folder:
        source, table, valid = (Path(folder) / name for name in ("flights.csv", "flights.parquet", "valid"))
        write_flights(source, int(gigabytes * 1e9))
        cases = {
            "`pyarrow.csv.open_csv`, read only": ("read_only", {"source": source}),
            "`ingest_data`, CSV to Parquet": ("to_parquet", {"source": source, "target": table}),
        }
        if compressed:
            packed = source.with_suffix(".csv.gz")
            with open(source, "rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
                shutil.copyfileobj(plain, out, 2**20)
            cases["`ingest_data`, gzip to Parquet"] = ("to_parquet", {"source": packed, "target": table})
        cases["`validate_data` of that Parquet"] = ("check", {"source": table, "target": valid})
        costs = {title: [] for title in cases}
        for _ in range(repeats):
            for title, (function, paths) in cases.items():
                arguments = {name: str(path) for name, path in paths.items()}
                costs[title].append(measure("benchmarks.ingest", function, **arguments))
        sizes = f"{source.stat().st_size / 1e6:,.0f} MB of CSV, {table.stat().st_size / 1e6:,.0f} MB as Parquet"
    rows = costs["`ingest_data`, CSV to Parquet"][0].result
    return f"{rows:,} rows x 19 columns: {sizes}.\n\n{_table(costs)}"


def _table(costs: dict[str, list]) -> str:
    reference = statistics.median(cost.seconds for cost in next(iter(costs.values())))
    rows = []
    for title, runs in costs.items():
        seconds = [cost.seconds for cost in runs]
        ratio = statistics.median(seconds) / reference
        rows.append([title, spread(seconds), f"{ratio:.2f}", spread([cost.peak for cost in runs], 0)])
    return markdown(["case", "seconds: median (min-max)", "time / read only", "peak MB"], rows)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the CSV (10**9 bytes)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(run(options.gigabytes, options.repeats))
