"""What running a pipeline adds to a step that does nothing: Loopline's runner beside kfp's local runner.

kfp's defaults are a virtual environment for each step and a `pip install kfp` in it; who knows how can leave both away.
The limit is a bare Python process that imports kfp's executor, which every step of kfp's has to.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.race import Runner, race
from benchmarks.result import Side, Table

#: Steps of the longer pipeline; kfp's defaults take too long for as many.
MANY, FEWER = 5, 2
_SIDES = {
    "Loopline, `run_pipeline`": ("benchmarks.engine:with_loopline", {}, "ours"),
    "kfp.local, its defaults": ("benchmarks.engine:with_kfp", {"use_venv": True, "install": True}, "peer"),
    "kfp.local, use_venv=False": ("benchmarks.engine:with_kfp", {"use_venv": False, "install": True}, "peer"),
    "kfp.local, use_venv=False, install_kfp_package=False": (
        "benchmarks.engine:with_kfp", {"use_venv": False, "install": False}, "peer",
    ),
    "A Python process that imports kfp's executor": ("benchmarks.engine:bare", {}, "limit"),
}  # fmt: skip


def with_loopline(tasks: int) -> int:
    """Run a compiled pipeline as `loopline run` does."""
    from loopline.pipelines.engine import run_pipeline

    with tempfile.TemporaryDirectory(prefix="engine-benchmark-") as folder, contextlib.chdir(folder):
        return len(run_pipeline(_compile(Path(folder), tasks, install=False), {}).seconds)


def with_kfp(tasks: int, use_venv: bool, install: bool) -> int:
    """Run the same pipeline with kfp alone."""
    from kfp import components, local

    with tempfile.TemporaryDirectory(prefix="engine-benchmark-") as folder:
        runner = local.SubprocessRunner(use_venv=use_venv)
        local.init(runner=runner, pipeline_root=folder, raise_on_error=True)
        components.load_component_from_file(str(_compile(Path(folder), tasks, install)))()
    return tasks


def bare(tasks: int) -> int:
    """Start as many processes, told as kfp tells them that they run a step, which spares them most of kfp."""
    for _ in range(tasks):
        command = [sys.executable, "-c", "import kfp.dsl.executor_main"]
        subprocess.run(command, check=True, env=os.environ | {"_KFP_RUNTIME": "true"})
    return tasks


def _compile(folder: Path, tasks: int, install: bool) -> Path:
    from kfp import dsl
    from kfp.compiler import Compiler

    from loopline.components.image import step_image

    @dsl.component(base_image=step_image(), install_kfp_package=install)
    def nothing(number: int) -> int:
        return number + 1

    @dsl.pipeline(name="empty-steps")
    def chain():
        last = nothing(number=0)
        for _ in range(tasks - 1):
            last = nothing(number=last.output)

    path = folder / "empty-steps.yaml"
    Compiler().compile(chain, str(path))
    return path


_IMPORTS = ("kfp", "kfp.local", "kfp.compiler")


def run(repeats: int = 5, venv: bool = True) -> list[Table]:
    """Run pipelines of one and of several steps, each in a process of its own.

    Args:
        repeats: Runs of each.
        venv: Whether to run kfp's defaults, which fetch kfp from the package index for every step.
    """
    names = [name for name in _SIDES if venv or "defaults" not in name]
    short = _race(names, 1, repeats)
    longer = {name: (FEWER if "defaults" in name else MANY) for name in names}
    sides = []
    for name in names:
        long = _race([name], longer[name], repeats)
        sides.append(_combine(short[name], long[name], longer[name] - 1))
    title = (
        f"A chain of steps that add one: one step, and {MANY} of them ({FEWER} with kfp's defaults); kfp is imported "
        "before the clock starts"
    )
    return [Table(title, ("s a further task", "1 task, s"), sides)]


def _race(names: list[str], tasks: int, repeats: int) -> dict[str, Side]:
    runners = []
    for name in names:
        call, arguments, role = _SIDES[name]
        runners.append(Runner(name, call, {**arguments, "tasks": tasks}, role, _IMPORTS))
    return {side.name: side for side in race("", runners, repeats).sides}


def _combine(short: Side, long: Side, further: int) -> Side:
    if not short.samples or not long.samples:
        return long
    pairs = list(zip(short.samples["seconds"], long.samples["seconds"], strict=False))
    samples = {
        "s a further task": [(more - less) / further for less, more in pairs],
        "1 task, s": [x for x, _ in pairs],
    }
    return Side(long.name, samples, long.role, long.note)
