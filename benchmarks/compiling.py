"""How long a pipeline takes to compile and how large it gets: Loopline's steps beside kfp's own components."""

import tempfile
import time
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.race import Runner, race
from benchmarks.result import Curve, Point, Table

TASKS = (1, 10, 100)


def with_steps(tasks: int) -> int:
    """Compile a chain of Loopline's ``split_data``; returns the bytes of the YAML."""
    from loopline.components import split_data

    return _compile(split_data, tasks)


def with_components(tasks: int) -> int:
    """Compile the same chain with the same function as kfp's decorator makes it a component."""
    from kfp import dsl

    from loopline.components import split_data
    from loopline.components.image import step_image

    return _compile(dsl.component(split_data.python_func, base_image=step_image()), tasks)


def again(tasks: int, repeats: int) -> dict:
    """Compile once more in one process, so that what only the first one pays is left out; returns seconds and kB."""
    size, seconds = with_steps(tasks), []
    for _ in range(repeats):
        start = time.perf_counter()
        with_steps(tasks)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "kB of YAML": [size / 1e3]}


def _compile(component, tasks: int) -> int:
    from kfp import dsl
    from kfp.compiler import Compiler

    @dsl.pipeline(name="chain")
    def chain(uri: str):
        last = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset).output
        for _ in range(tasks):
            last = component(data=last).outputs["train"]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.yaml"
        Compiler().compile(chain, str(path))
        return path.stat().st_size


def run(repeats: int = 5, tasks: tuple[int, ...] = TASKS) -> list[Table | Curve]:
    """Compile chains of so many steps; returns a table for each size, and the growth."""
    imports = ("kfp.compiler", "loopline.components")
    parts = []
    for count in tasks[-2:]:
        sides = [
            Runner("Loopline's `step`", "benchmarks.compiling:with_steps", {"tasks": count}, "ours", imports),
            Runner("kfp's `dsl.component`", "benchmarks.compiling:with_components", {"tasks": count}, "peer", imports),
        ]
        parts.append(race(f"A chain of {count} steps, `split_data` each", sides, repeats))
    points = []
    for count in tasks:
        points.append(Point(count, measure("benchmarks.compiling", "again", tasks=count, repeats=repeats).result))
    title = "Loopline's steps compiled again in one process"
    return [*parts, Curve(title, "tasks", ("seconds", "kB of YAML"), {"a chain": points})]
