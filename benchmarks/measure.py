"""Measure a function in a process of its own: wall time and peak memory."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

#: Runs a function named on the command line and prints what it cost as one line of JSON.
_PROGRAM = """
import importlib, json, sys, time
def resident(field):
    # Not getrusage: its peak is inherited from the process that started this one.
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
module, function, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
call = getattr(importlib.import_module(module), function)
before = resident("VmRSS")
start = time.perf_counter()
result = call(**arguments)
seconds = time.perf_counter() - start
print("MEASURED " + json.dumps({"seconds": seconds, "before": before, "peak": resident("VmHWM"), "result": result}))
"""


@dataclass(frozen=True)
class Cost:
    """What one call cost.

    Attributes:
        seconds: Wall time of the call alone, imports inside it included.
        whole: Wall time of the whole process.
        before: Resident memory before the call, MB (2**20 bytes), the module imported.
        peak: Peak resident memory of the process, MB.
        result: What the function returned, if JSON can hold it.
    """

    seconds: float
    whole: float
    before: float
    peak: float
    result: object


def measure(module: str, function: str, **arguments) -> Cost:
    """Call a function in a fresh process.

    Args:
        module: The module to import.
        function: The function in it.
        arguments: Its keyword arguments; JSON must hold them.

    Returns:
        What it cost.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, module, function, json.dumps(arguments)],
        capture_output=True,
        text=True,
    )
    whole = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{module}.{function} failed:\n{done.stdout}{done.stderr}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED "))
    values = json.loads(line.removeprefix("MEASURED "))
    return Cost(values["seconds"], whole, values["before"], values["peak"], values["result"])


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median of some values, with the smallest and largest where there are several."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
