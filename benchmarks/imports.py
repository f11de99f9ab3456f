"""What loading costs: kfp's executor, what each component's body imports on top of it, and the libraries by themselves.

Each is loaded in a fresh process, with the files in the system's cache. CPU seconds, since a pod with little CPU pays
them several times over. What a component's logic imports later, as it needs it, is not in its line:
`tests/import_budget.py` says which libraries that may be.
"""

import ast
import importlib
import inspect
import statistics
import sys
import textwrap

from benchmarks.measure import markdown, measure, spread

EXECUTOR = "kfp.dsl.executor_main"
LIBRARIES = (
    "alibi_detect", "mlflow", "sklearn.pipeline", "scipy.stats", "xgboost", "kfp.client", "kubernetes",
    "pandera.pandas", "matplotlib.figure", "sqlalchemy", "pandas", "onnx", "onnxmltools", "skl2onnx", "onnxruntime",
    "pyarrow", "optuna", "minio", "cryptography.x509", "requests", "aiohttp", "mlserver",
)  # fmt: skip


def load(modules: list[str]) -> int:
    """Import some modules; returns how many modules are loaded then."""
    if EXECUTOR in modules:
        import os

        # As the shell line of a step sets it: kfp then leaves out its compiler and client.
        os.environ["_KFP_RUNTIME"] = "true"
    for name in modules:
        importlib.import_module(name)
    return len(sys.modules)


def named_in_body(component: str) -> list[str]:
    """Return the modules of Loopline that a component's body imports."""
    import loopline.components

    source = textwrap.dedent(inspect.getsource(getattr(loopline.components, component).python_func))
    found = [node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return sorted({name for name in found if name and name.startswith("loopline.")})


def run(repeats: int = 5) -> str:
    """Measure; returns Markdown tables, the dearest first."""
    from loopline.components import STAGES

    executor = _rows({"kfp's executor": [EXECUTOR]}, repeats)
    base = statistics.median(executor[0][1])
    components = _rows({f"`{name}`": [EXECUTOR, *named_in_body(name)] for name in STAGES}, repeats)
    libraries = _rows({f"`{name}`": [name] for name in LIBRARIES}, repeats)
    parts = [
        f"`{EXECUTOR}`, which every step loads: {spread(executor[0][1], 2)} s of CPU, {executor[0][2]:,} modules.",
        markdown(
            ["component's body", "CPU s with the executor", "on top of it", "modules"],
            [[name, spread(cpu, 2), f"{statistics.median(cpu) - base:.2f}", f"{m:,}"] for name, cpu, m in components],
        ),
        markdown(
            ["library alone", "CPU s", "modules"], [[name, spread(cpu, 2), f"{m:,}"] for name, cpu, m in libraries]
        ),
    ]
    return "\n\n".join(parts)


def _rows(groups: dict[str, list[str]], repeats: int) -> list[tuple[str, list[float], int]]:
    """Load each group in processes of its own; returns name, CPU seconds and modules, the dearest first."""
    rows = []
    for name, modules in groups.items():
        load_once = [measure("benchmarks.imports", "load", modules=modules) for _ in range(repeats + 1)]
        kept = load_once[1:]  # the first one brings the files into the system's cache
        rows.append((name, [cost.cpu for cost in kept], kept[0].result))
    return sorted(rows, key=lambda row: -statistics.median(row[1]))
