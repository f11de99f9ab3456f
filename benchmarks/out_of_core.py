"""The training pipeline on a table that does not fit into memory: wall time and peak memory of every step.

The table is made up: floats rounded and not, integers, text, a boolean, some of them missing, and a binary target that
follows from some of them. The steps are those of the compiled pipeline, each a process of its own, told by
LOOPLINE_MEMORY_LIMIT how much memory they may use. Memory is the resident set of the step's process and of those it
started, summed up every tenth of a second; the pages of files that they have mapped count, too.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import markdown

#: Rows of one file.
FILE_ROWS = 1_000_000
LIMIT = "4Gi"
FLOATS, ROUNDED, INTEGERS, TEXTS = 5, 5, 5, 4


def write_files(folder: Path, rows: int) -> float:
    """Write a table of 20 columns and a target as Parquet files of a million rows; returns their size in MB."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        file = folder / f"part-{number:04}.parquet"
        table = _make_rows(min(FILE_ROWS, rows - start), number)
        pq.write_table(table, file, compression="zstd", row_group_size=2**17)
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def _make_rows(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)

    def gaps(share: float) -> np.ndarray:
        return random.random(rows) < share

    values = {f"float{i}": random.normal(size=rows) for i in range(FLOATS)}
    values |= {f"rounded{i}": random.normal(100, 20, rows).round(1) for i in range(ROUNDED)}
    values |= {f"integer{i}": random.integers(0, 10 ** (i + 1), rows) for i in range(INTEGERS)}
    codes = {f"text{i}": random.integers(0, 5 * 3**i, rows) for i in range(TEXTS)}
    flag = random.random(rows) < 0.3
    signal = values["float0"] + values["float1"] * values["float2"] + np.sin(values["rounded0"] / 10)
    signal += 0.8 * flag + 0.5 * (codes["text0"] % 3 == 1) + 0.3 * (values["integer1"] > 70)
    target = signal + random.logistic(size=rows) > 1
    columns = {name: pa.array(column, mask=gaps(0.02 * (i % 3))) for i, (name, column) in enumerate(values.items())}
    for name, column in codes.items():
        levels = pa.array([f"level {level}" for level in range(int(column.max()) + 1)])
        columns[name] = levels.take(pa.array(column, mask=gaps(0.01)))
    return pa.table({**columns, "flag": flag, "target": target})


class StepMemory:
    """Watches the steps that this process starts.

    Attributes:
        peaks: The most memory that each step held, MB (2**20 bytes), by the name of the component's function.
    """

    def __init__(self):
        self.peaks: dict[str, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        shown = ""
        while not self._done.wait(0.1):
            for child in _children(os.getpid()):
                name = _function(child)
                if not name:
                    continue
                if name != shown and shown:
                    # A run that is broken off has said what it found so far.
                    print(f"{shown}: peak {self.peaks[shown]:,.0f} MB", file=sys.stderr)
                shown = name
                self.peaks[name] = max(self.peaks.get(name, 0.0), _tree(child))


def _function(process: int) -> str:
    """Return the name of the component's function that a step's process runs."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        return words[words.index("--function_to_execute") + 1].replace("_", "-")
    except (OSError, ValueError):
        return ""


def _children(process: int) -> list[int]:
    try:
        return [int(pid) for task in Path(f"/proc/{process}/task").iterdir() for pid in _words(task / "children")]
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _tree(process: int) -> float:
    """Return the resident memory of a process and all below it, MB."""
    words = _words(Path(f"/proc/{process}/statm"))
    own = int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if words else 0.0
    return own + sum(map(_tree, _children(process)))


def run(rows: int = 100_000_000, rounds: int = 20, folder: str = "") -> str:
    """Run the training pipeline; returns a Markdown table.

    Args:
        rows: Rows of the table.
        rounds: Trees to train.
        folder: Where to keep table and run; a temporary folder when empty.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return _run(rows, rounds, Path(folder or temporary))


def _run(rows: int, rounds: int, folder: Path) -> str:
    from loopline.pipelines.engine import run_pipeline
    from loopline.pipelines.progress import Progress

    data = folder / f"rows-{rows}"
    start = time.perf_counter()
    size = write_files(data, rows) if not data.is_dir() else sum(f.stat().st_size for f in data.iterdir()) / 2**20
    print(f"{size:,.0f} MB of Parquet after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    # Steps forked from one process cannot be told apart by their command lines.
    os.environ.update(LOOPLINE_HOME=f"{folder}/home", LOOPLINE_MEMORY_LIMIT=LIMIT, LOOPLINE_FRESH_STEPS="1")
    given = {"uri": str(data), "target": "target", "name": "large", "rounds": rounds, "params": '{"max_depth": 6}'}
    # A champion of few rows, so that the challenger is compared with one on all of its test rows.
    run_pipeline("training", {**given, "uri": str(min(data.iterdir()))})
    with StepMemory() as memory:
        done = run_pipeline("training", given, Progress(sys.stderr))
    table = [[step, f"{s:,.0f}", f"{memory.peaks.get(step, 0):,.0f}"] for step, s in done.seconds.items()]
    note = (
        f"{rows:,} rows x {FLOATS + ROUNDED + INTEGERS + TEXTS + 1} columns and a target, {size:,.0f} MB of Parquet in "
        f"files of {FILE_ROWS:,} rows; {rounds} trees of depth 6, compared with a champion of a million rows; memory "
        f"limit {LIMIT}; {done.total_seconds:,.0f} s in all.\n\n"
    )
    return note + markdown(["step", "seconds", "peak MB"], table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    print(run(options.rows, options.rounds, options.folder))
