"""Speed and memory of a drift verdict, from two Parquet files, beside other libraries on the same files."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import markdown, spread
from loopline.components.data.tables import BATCH_ROWS, table_writer

NUMBERS, TEXTS = 20, 10
#: What moves in the window: the mean of one column, in standard deviations.
SHIFT = 0.1
_SIDES = Path(__file__).with_name("drift_sides.py")
#: Fetched into environments of their own: they ask for other versions of the same packages.
#: What comes after the first they need and do not ask for themselves.
_PEERS = {
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "pyarrow", "statsmodels"),
}
#: A side that takes longer is stopped.
_LIMIT_S = 900


def write_rows(path: Path, rows: int, seed: int, shift: float = 0.0, ids: bool = False) -> None:
    """Write numbers (normal, skewed, rounded) and texts of 5 to 95 levels; with ids as collect_traffic writes them."""
    random = np.random.default_rng(seed)
    levels = [pa.array([f"level {i}-{j}" for j in range(5 + 10 * i)]) for i in range(TEXTS)]
    writer = None
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        values = random.normal(size=(NUMBERS, count))
        values[0] += shift
        values[1:6] = np.exp(values[1:6])
        values[6:12] = values[6:12].round(2)
        columns = {f"number{i}": pa.array(row) for i, row in enumerate(values)}
        for i, names in enumerate(levels):
            columns[f"text{i}"] = names.take(pa.array(random.integers(0, len(names), count)))
        if ids:
            text = random.bytes(16 * count).hex()
            columns["loopline_request_id"] = pa.array([text[i : i + 32] for i in range(0, len(text), 32)])
            columns["loopline_row"] = pa.array(np.zeros(count, np.int32))
        table = pa.table(columns)
        writer = writer or table_writer(path, table.schema)
        writer.write_table(table, row_group_size=BATCH_ROWS)
    writer.close()


def run(rows: int = 1_000_000, repeats: int = 3, partitions: int = 100, peers: bool = True) -> str:
    """Measure each side in processes of its own; returns Markdown.

    Args:
        rows: Rows of the reference and of the window.
        repeats: Runs of Loopline and of alibi-detect with codes; the slower ones run once.
        partitions: Files of ``rows`` rows that are judged as one window, to see memory stay as it is; 0 for none.
        peers: Whether to fetch evidently and nannyml.
    """
    with tempfile.TemporaryDirectory(prefix="drift-benchmark-") as folder:
        folder = Path(folder)
        reference, current, small, small_current = (folder / name for name in ("before", "now", "before-s", "now-s"))
        fewer = rows // 10
        write_rows(reference, rows, 1)
        write_rows(current, rows, 2, SHIFT, ids=True)
        write_rows(small, fewer, 1)
        write_rows(small_current, fewer, 2, SHIFT, ids=True)
        costs = {}
        sides = {"Loopline, both files profiled": "loopline", "alibi-detect TabularDrift, codes": "alibi_codes"}
        for _ in range(repeats):
            for title, side in sides.items():
                costs.setdefault(title, []).append(measure(sys.executable, side, reference, current))
        title = f"alibi-detect TabularDrift, text, {fewer:,} rows"
        costs[title] = [measure(sys.executable, "alibi_text", small, small_current)]
        for name, requirements in _PEERS.items() if peers else ():
            python = make_environment(folder / name, requirements)
            costs[requirements[0].replace("==", " ")] = [measure(python, name, reference, current) if python else None]
        if partitions:
            # Files without ids, whose rows are told apart by their position: the same file counts as other rows.
            files = [folder / f"part-{i}" for i in range(partitions)]
            for file in files:
                os.link(reference, file)
            title = f"Loopline, {partitions * rows:,} rows in {partitions} files"
            costs[title] = [measure(sys.executable, "loopline", reference, *files)]
        head = f"{rows:,} rows beside {rows:,}, {NUMBERS} numbers and {TEXTS} texts; one mean moved by {SHIFT} sd."
        return f"{head}\n\n{_table(costs)}"


def make_environment(folder: Path, requirements: Sequence[str]) -> Path | None:
    """Make a virtual environment with packages from PyPI; returns its Python, None when they cannot be had."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", *requirements], capture_output=True)
    return python if done.returncode == 0 else None


def measure(python: str | Path, side: str, *paths: Path) -> dict | str:
    """Run one side; returns ``seconds``, ``mb`` beyond what imports took and ``result``, or why there is none."""
    try:
        done = subprocess.run(
            [python, _SIDES, side, *paths], capture_output=True, text=True, timeout=_LIMIT_S, cwd=_SIDES.parents[1]
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {_LIMIT_S} s"
    line = next((line for line in done.stdout.splitlines() if line.startswith("MEASURED ")), None)
    if line is None:
        return "failed: " + (done.stderr.strip().splitlines() or ["no output"])[-1][:100]
    return json.loads(line.removeprefix("MEASURED "))


def _table(costs: dict[str, list]) -> str:
    rows = []
    for title, runs in costs.items():
        done = [one for one in runs if isinstance(one, dict)]
        if done:
            seconds, memory = (
                spread([one[key] for one in done], digits) for key, digits in (("seconds", 1), ("mb", 0))
            )
            rows.append([title, seconds, memory, done[-1]["result"]])
        else:
            rows.append([title, "-", "-", runs[0] or "cannot be installed"])
    headers = ["side", "seconds after imports: median (min-max)", "MB beyond imports", "verdict"]
    return markdown(headers, rows)


if __name__ == "__main__":
    print(run())
