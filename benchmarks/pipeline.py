"""The demo from an empty folder: wall time by step, and how much of it is not spent in the component's body.

Each step's process notes when its body starts and ends; what is left of the step's time is the engine: starting Python,
kfp's executor, reading and writing artifacts' metadata, and the orchestration between steps.
"""

import json
import os
import tempfile
import textwrap
import time
from pathlib import Path

from benchmarks.measure import markdown

#: Loaded by every Python process that finds it on its path: times the call of the component's function.
_SITE = """
import atexit, importlib.abc, importlib.util, json, os, sys, time

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "kfp.dsl.executor":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            start = module.Executor.__init__
            def timed_init(self, executor_input, function_to_execute):
                inner = function_to_execute
                function = getattr(inner, "python_func", inner)
                def timed(*args, **kwargs):
                    begin = time.perf_counter()
                    try:
                        return function(*args, **kwargs)
                    finally:
                        with open(os.environ["LOOPLINE_BENCH_LOG"], "a") as log:
                            log.write(json.dumps([function.__name__, time.perf_counter() - begin]) + "\\n")
                timed.__annotations__, timed.__name__ = function.__annotations__, function.__name__
                timed.__signature__ = __import__("inspect").signature(function)
                start(self, executor_input, timed)
            module.Executor.__init__ = timed_init
        spec.loader.exec_module = exec_module
        return spec

STARTERS = {"kfp.dsl.executor_main", "loopline.pipelines.step_server"}
if os.environ.get("LOOPLINE_BENCH_LOG") and STARTERS & set(sys.orig_argv):
    sys.meta_path.insert(0, Watch())
"""


def run() -> str:
    """Run the demo in an empty folder; returns a Markdown table."""
    from loopline.pipelines import demo
    from loopline.pipelines.progress import Progress
    from loopline.pipelines.sites.process import stop_agent

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(textwrap.dedent(_SITE))
        log = Path(folder, "bodies.jsonl")
        os.environ.update(
            LOOPLINE_HOME=f"{folder}/home",
            LOOPLINE_BENCH_LOG=str(log),
            PYTHONPATH=os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]),
        )
        runs = []
        original = demo.run_pipeline
        demo.run_pipeline = lambda *args: runs.append(original(*args)) or runs[-1]
        start = time.perf_counter()
        try:
            demo.run_demo(Progress.silent(), fast=True)
        finally:
            stop_agent()
            demo.run_pipeline = original
        whole = time.perf_counter() - start
        bodies = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [(step, seconds) for run in runs for step, seconds in run.seconds.items()]
    # Steps run one after the other, so their bodies were noted in the same order.
    rows = [
        [step, f"{seconds:.2f}", f"{body:.2f}", f"{seconds - body:.2f}"]
        for (step, seconds), (_, body) in zip(steps, bodies, strict=True)
    ]
    pipelines = sum(run.total_seconds for run in runs)
    overhead = (pipelines - sum(body for _, body in bodies)) / len(steps)
    summary = (
        f"\n\nDemo: {whole:.1f} s in all, {pipelines:.1f} s of it the {len(steps)} steps of its pipelines. "
        f"Outside component bodies: {overhead:.2f} s a step."
    )
    return markdown(["step", "process s", "body s", "outside the body s"], rows) + summary
