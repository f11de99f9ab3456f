"""Every component is a contract: short, documented, self-contained, light to import."""

import ast
import inspect
import statistics
import subprocess
import sys

import pytest

import loopline.components
from loopline.components import STAGES


def _function(name: str) -> ast.FunctionDef:
    source = inspect.getsource(getattr(loopline.components, name).python_func)
    return ast.parse(source).body[0]


def _body_lines(function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1


def test_bodies_fit_on_a_screen():
    lines = {name: _body_lines(_function(name)) for name in STAGES}
    assert statistics.median(lines.values()) <= 25, lines
    assert max(lines.values()) <= 60, lines


@pytest.mark.parametrize("name", STAGES)
def test_every_input_and_output_is_documented(name):
    function = _function(name)
    docs = ast.get_docstring(function)
    for argument in function.args.args:
        assert f"\n    {argument.arg}: " in docs, f"{name} does not document {argument.arg}"
    returns = function.returns is not None and not (
        isinstance(function.returns, ast.Constant) and function.returns.value is None
    )
    assert ("Returns:" in docs) == returns, f"{name} documents what it does not return, or the other way round"


@pytest.mark.parametrize("name", STAGES)
def test_no_helpers_and_no_code_outside_the_body(name):
    function = _function(name)
    assert not [n for n in ast.walk(function) if isinstance(n, ast.FunctionDef | ast.Lambda) and n is not function]
    for default in function.args.defaults:
        # A negative number is an operator and its number.
        number = default.operand if isinstance(default, ast.UnaryOp) and isinstance(default.op, ast.USub) else default
        assert isinstance(number, ast.Constant), f"{name}: a default that is not a literal does not reach the cluster"


def test_every_component_function_is_public():
    for stage in set(STAGES.values()):
        module = __import__(f"loopline.components.{stage}.components", fromlist=["x"])
        here = {name for name, value in vars(module).items() if hasattr(value, "component_spec")}
        assert here == {name for name, where in STAGES.items() if where == stage}


HEAVY = {"mlflow", "xgboost", "sklearn", "alibi_detect", "matplotlib", "onnxruntime", "pandera"}


def _heavy(program: str, heavy: set[str]) -> set[str]:
    """Return which of these modules a program imports."""
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return heavy & set(done.stdout.split())


def test_importing_components_loads_no_heavy_library():
    assert not _heavy("import loopline.components as c\nfor name in c.STAGES: getattr(c, name)", HEAVY)


def test_importing_what_runs_pipelines_loads_no_heavy_library():
    assert not _heavy("from loopline.pipelines import Run, run_pipeline", HEAVY | {"kfp", "numpy", "pandas"})
