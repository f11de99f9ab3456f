"""Preparing a table in partitions beside preparing it in one piece: seconds of the steps of the local engine.

The local engine runs two steps of a loop at a time. What a cluster adds, more machines and the start of a pod for each
step, cannot be seen here.
"""

import inspect
import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv

from benchmarks.ingest import write_flights
from benchmarks.measure import markdown

#: Steps in the order in which they stand in the table.
STEPS = ("ingest-data", "validate-data", "split-data", "divide-table", "profile-partition", "merge-profiles",
         "prepare-partition", "gather-partitions")  # fmt: skip
_TARGET = "carrier"


def compile_preparations(folder: Path) -> dict[str, Path]:
    """Compile the steps up to the split as pipelines of their own, in one piece and in partitions."""
    from kfp import compiler, dsl

    from loopline.pipelines.training import prepare
    from loopline.pipelines.training_partitioned import prepare_partitions

    def settings(function) -> dict:
        """Return what the function takes, apart from the table."""
        given = {
            "target": _TARGET, "csv": "{}", "expectations": "{}", "task": "auto", "on_error": "fail",
            "split_method": "random", "test_size": 0.2, "validation_size": 0.1, "seed": 0, "most": 256,
        }  # fmt: skip
        return {name: given.get(name, "") for name in inspect.signature(function).parameters if name != "uri"}

    @dsl.pipeline(name="one-piece")
    def one_piece(uri: str):
        prepare(uri=uri, **settings(prepare))

    @dsl.pipeline(name="partitions")
    def partitions(uri: str):
        prepare_partitions(uri=uri, **settings(prepare_partitions))

    files = {}
    for pipeline in (one_piece, partitions):
        files[pipeline.name] = folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(files[pipeline.name]))
    return files


def write_parts(source: Path, folder: Path, count: int) -> None:
    """Write a CSV as so many of about the same size."""
    folder.mkdir()
    table = csv.read_csv(source, convert_options=csv.ConvertOptions(column_types={"tailnum": pa.string()}))
    rows = -(-table.num_rows // count)
    for number in range(count):
        csv.write_csv(table.slice(number * rows, rows), folder / f"{number:04}.csv")


def run(megabytes: int = 200, counts: tuple[int, ...] = (1, 8, 64, 256), repeats: int = 3) -> str:
    """Prepare one table in one piece and in so many partitions; returns a Markdown table.

    Args:
        megabytes: The size of the table as CSV.
        counts: Numbers of files, each of which is a partition.
        repeats: Runs of each, of which the median is shown.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["LOOPLINE_HOME"] = str(folder / "home")
        pipelines = compile_preparations(folder)
        write_flights(folder / "whole.csv", megabytes * 10**6)
        rows = [_row("in one piece", [_seconds(pipelines["one-piece"], folder / "whole.csv") for _ in range(repeats)])]
        for count in counts:
            write_parts(folder / "whole.csv", folder / f"parts-{count}", count)
            found = [_seconds(pipelines["partitions"], folder / f"parts-{count}") for _ in range(repeats)]
            rows.append(_row(f"{count} partition{'s' if count > 1 else ''}", found))
    note = f"\n\nA CSV of flights of {megabytes} MB; medians of {repeats} runs, of a loop's steps the sum, s."
    return markdown(["", *STEPS, "whole run (min-max)"], rows) + note


def _seconds(pipeline: Path, uri: Path) -> dict[str, float]:
    """Run a pipeline; returns the seconds of each kind of step, and of all."""
    from loopline.pipelines.engine import run_pipeline

    done = run_pipeline(pipeline, {"uri": str(uri)})
    seconds: dict[str, float] = defaultdict(float)
    for step, spent in done.seconds.items():
        seconds[next(kind for kind in STEPS if step.startswith(kind))] += spent
    return seconds | {"": done.total_seconds}


def _row(name: str, runs: list[dict[str, float]]) -> list[str]:
    steps = [f"{statistics.median(run[step] for run in runs):.1f}" if step in runs[0] else "" for step in STEPS]
    whole = [run[""] for run in runs]
    return [name, *steps, f"{statistics.median(whole):.1f} ({min(whole):.1f}-{max(whole):.1f})"]
