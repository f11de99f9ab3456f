"""The one decorator that turns a Python function into a Kubeflow Pipelines component."""

import ast
from collections.abc import Callable

# From its own module: in the process of a step kfp.dsl does not offer it.
from kfp.dsl.component_decorator import component

from loopline.components.image import step_image


def step(function: Callable) -> Callable:
    """Turn a function into a lightweight component that runs in the step image.

    The image holds Loopline and everything it needs, so nothing is installed at run time and the compiled YAML carries
    the function's few lines alone. The function must import what it uses inside its body: KFP ships its source and
    nothing around it.

    Args:
        function: The component's contract, with KFP type annotations and a Google docstring.

    Returns:
        The KFP component.
    """
    made = component(function, base_image=step_image(), install_kfp_package=False)
    command = made.component_spec.implementation.container.command
    command[-1] = _without_docstring(command[-1])
    return made


def _without_docstring(program: str) -> str:
    """Drop the docstring from a shipped program.

    KFP has read its texts into the component's interface by then. A workflow on the cluster has some 256 kB for all of
    its programs, and pipelines nest.
    """
    [function] = [node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)]
    first = function.body[0]
    if not isinstance(first, ast.Expr) or len(function.body) == 1:
        return program
    lines = program.splitlines(keepends=True)
    return "".join(lines[: first.lineno - 1] + lines[first.end_lineno :])
