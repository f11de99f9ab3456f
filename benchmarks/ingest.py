"""Time ingest_data against plain pyarrow.csv reading of the same file, and measure its memory.

Prints a Markdown table. Everything is written to a temporary folder and removed.

    python benchmarks/ingest.py --gigabytes 1
"""

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

RUNS = 3

#: Each case runs in a process of its own and prints seconds and peak memory.
PLAIN = """
import pyarrow.csv as csv
rows = sum(batch.num_rows for batch in csv.open_csv(sys.argv[1]))
"""
INGEST = """
from loopline.components.data.ingest import ingest
rows = ingest(sys.argv[1], sys.argv[2])["rows"]
"""
HARNESS = """
import json, resource, sys, time
{imports}
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rows]))
"""


def write_flights(path: Path, size: int) -> None:
    """Write a CSV of flights of about ``size`` bytes: 19 columns of integers, decimals, text and timestamps."""
    generator = np.random.default_rng(0)
    with open(path, "wb") as stream:
        header = True
        while stream.tell() < size:
            csv.write_csv(_flights(generator, 200_000), stream, csv.WriteOptions(include_header=header))
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


def measure(work: str, *arguments: Path) -> tuple[float, float, int]:
    """Run one case in a fresh process; return seconds, peak memory in MB and rows."""
    lines = work.strip().splitlines()
    code = HARNESS.format(imports=lines[0], work="\n".join(lines[1:]))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Generate, measure, print, remove."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the CSV (1e9 bytes)")
    parser.add_argument("--gzip", action="store_true", help="also ingest the file compressed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-benchmark-") as folder:
        source, target = Path(folder) / "flights.csv", Path(folder) / "flights.parquet"
        write_flights(source, int(options.gigabytes * 1e9))
        cases = [("pyarrow.csv.open_csv, read only", PLAIN, source), ("ingest_data, CSV to Parquet", INGEST, source)]
        if options.gzip:
            packed = source.with_suffix(".csv.gz")
            with open(source, "rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
                shutil.copyfileobj(plain, out, 2**20)
            cases.append(("ingest_data, gzip to Parquet", INGEST, packed))
        # One case after the other within each round, so that a busy machine slows all alike.
        results = {name: [] for name, _, _ in cases}
        for _ in range(RUNS):
            for name, work, file in cases:
                results[name].append(measure(work, file, target))
        print_table(results, source.stat().st_size, target.stat().st_size)


def print_table(results: dict[str, list[tuple]], csv_bytes: int, parquet_bytes: int) -> None:
    """Print the Markdown table."""
    rows = next(iter(results.values()))[0][2]
    print(f"CSV {csv_bytes / 1e6:,.0f} MB, {rows:,} rows; Parquet {parquet_bytes / 1e6:,.0f} MB; {RUNS} runs each\n")
    print("| case | seconds median | min | max | ratio to read only | peak RSS MB |\n|---|---|---|---|---|---|")
    base = statistics.median(seconds for seconds, _, _ in next(iter(results.values())))
    for name, runs in results.items():
        seconds = [run[0] for run in runs]
        median = statistics.median(seconds)
        peak = max(run[1] for run in runs)
        print(
            f"| {name} | {median:.2f} | {min(seconds):.2f} | {max(seconds):.2f} | {median / base:.2f} | {peak:,.0f} |"
        )


if __name__ == "__main__":
    main()
