"""How long the component functions are, and what importing them costs."""

import ast
import inspect
import statistics
import subprocess
import sys

from benchmarks.measure import markdown


def run() -> str:
    """Count the lines of each component's body, docstring left out; returns a Markdown table."""
    import loopline.components as components

    lines = {}
    for name in components.STAGES:
        function = ast.parse(inspect.getsource(getattr(components, name).python_func)).body[0]
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines[name] = body[-1].end_lineno - body[0].lineno + 1
    program = "import time; t = time.perf_counter(); import loopline.components; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    rows = [[name, str(count)] for name, count in sorted(lines.items(), key=lambda entry: -entry[1])]
    summary = (
        f"\n\nMedian {statistics.median(lines.values()):g} lines, longest {max(lines.values())}. "
        f"`import loopline.components`: {statistics.median(seconds) * 1000:.0f} ms."
    )
    return markdown(["component", "lines of body"], rows) + summary
