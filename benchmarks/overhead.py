"""The training pipeline on the flights against the same work in one process.

Three sides, each a process of its own that begins with nothing imported and nothing in the model store:

- ``pipeline``: ``loopline run training``, the compiled YAML, a process a step;
- ``one process``: the bodies of the same components one after the other, so that what is between is the engine alone;
- ``bare``: ``bare.py``, the same work with the libraries alone.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.measure import markdown, measure, spread

REPEATS = 5


def run(repeats: int = REPEATS) -> str:
    """Measure the sides in turn; returns a Markdown table."""
    from loopline.components.environment import QUIET_THREADS
    from loopline.examples.flights.prepare import write_months

    # For all sides alike: the pipeline's steps have it anyway.
    os.environ.update(QUIET_THREADS)
    with tempfile.TemporaryDirectory() as folder:
        write_months(folder, range(1, 6))
        pattern = f"{folder}/flights-2013-0[1-5].csv.gz"
        wall: dict[str, list[float]] = {side: [] for side in SIDES}
        work: dict[str, list[float]] = {side: [] for side in SIDES}
        for number in range(repeats):
            for side, call in SIDES.items():
                place = Path(folder, f"{side}-{number}".replace(" ", "-"))
                place.mkdir()
                before = _cpu_of_children()
                wall[side].append(call(pattern, place))
                work[side].append(_cpu_of_children() - before)
    rows = [[side, spread(wall[side]), _times(wall, side), spread(work[side]), _times(work, side)] for side in SIDES]
    return markdown(["side", "wall s", "pipeline / side", "CPU s", "pipeline / side"], rows)


def _times(seconds: dict[str, list[float]], side: str) -> str:
    return f"{statistics.median(seconds['pipeline']) / statistics.median(seconds[side]):.2f}"


def _cpu_of_children() -> float:
    """Return the CPU time of the processes that have ended: on a machine that is busy it says more than a clock."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _pipeline(pattern: str, folder: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "loopline.pipelines.cli", "run", "training", "-f", str(_parameters())]
    environment = {**os.environ, "LOOPLINE_HOME": str(folder)}
    done = subprocess.run([*command, "--param", f"uri={pattern}"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - start


def _one_process(pattern: str, folder: Path) -> float:
    return measure("benchmarks.overhead", "call_bodies", pattern=pattern, folder=str(folder)).whole


def _bare(pattern: str, folder: Path) -> float:
    return measure("benchmarks.bare", "train_flights", pattern=pattern, folder=str(folder)).whole


SIDES = {"pipeline": _pipeline, "one process": _one_process, "bare": _bare}


def _parameters() -> Path:
    import loopline.examples.flights

    return Path(loopline.examples.flights.__file__).with_name("training.yaml")


def call_bodies(pattern: str, folder: str) -> str:
    """Call the bodies of the training pipeline's components one after the other.

    Args:
        pattern: The flights.
        folder: Where to write.

    Returns:
        The verdict.
    """
    os.environ["LOOPLINE_HOME"] = folder
    from kfp import dsl

    from loopline import components

    given = yaml.safe_load(_parameters().read_text())

    def new(kind, name: str):
        return kind(name=name, uri=str(Path(folder, name)))

    def call(component: str, **arguments):
        return getattr(components, component).python_func(**arguments)

    data, valid, bad = (new(dsl.Dataset, name) for name in ("data", "valid", "bad"))
    schema, checked = new(dsl.Artifact, "schema"), new(dsl.HTML, "checked")
    train, validation, test = (new(dsl.Dataset, name) for name in ("train", "validation", "test"))
    model, champion = new(dsl.Model, "model"), new(dsl.Model, "champion")
    call("ingest_data", uri=pattern, data=data)
    call(
        "validate_data", data=data, valid=valid, quarantined=bad, schema_out=schema, report=checked,
        target=given["target"], expectations=given["expectations"], on_error=given["on_error"],
    )  # fmt: skip
    call(
        "split_data", data=valid, train=train, validation=validation, test=test, method=given["split_method"],
        column=given["split_column"], validation_size=given["validation_size"], test_start=given["test_start"],
    )  # fmt: skip
    call(
        "train_xgboost", train=train, validation=validation, schema=schema, model=model,
        metrics=new(dsl.Metrics, "training"), target=given["target"], params=given["params"], name=given["name"],
    )  # fmt: skip
    metrics, report = new(dsl.Metrics, "metrics"), new(dsl.HTML, "report")
    call(
        "evaluate_model", model=model, test=test, metrics=metrics,
        classification=new(dsl.ClassificationMetrics, "classification"), report=report, slices=given["slices"],
    )  # fmt: skip
    found = {name: str(Path(folder, name)) for name in ("found_version", "found_run", "found_metrics")}
    call("load_model", model=champion, **found, name=given["name"], missing="absent")
    verdict = call(
        "compare_models", challenger=model, champion=champion, test=test, verdict=new(dsl.Artifact, "verdict"),
        report=new(dsl.HTML, "compared"),
    )  # fmt: skip
    version = call("register_model", model=model, metrics=metrics, report=report, name=given["name"])
    call("promote_model", name=given["name"], version=version, compared_with=0)
    return verdict


if __name__ == "__main__":
    print(run(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS))
