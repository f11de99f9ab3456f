"""Measure a function in a process of its own: wall time, CPU time and peak memory."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Runs a function named on the command line and prints what it cost as one line of JSON.
_PROGRAM = """
import importlib, json, os, sys, time
def resident(field):
    # Not getrusage: its peak is inherited from the process that started this one.
    with open("/proc/self/status") as lines:
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
module, function, arguments, imports = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:5])
call = getattr(importlib.import_module(module), function)
for name in imports:
    importlib.import_module(name)
before, start, cpu = resident("VmRSS"), time.perf_counter(), sum(os.times()[:4])
result = call(**arguments)
seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu
cost = {"seconds": seconds, "cpu": cpu, "before": before, "peak": resident("VmHWM"), "result": result}
print("MEASURED " + json.dumps(cost))
"""
#: What this process measured so far, for the record: the function, its arguments and the cost.
MEASURED: list[dict] = []


class SideFailed(RuntimeError):
    """A measured process ended without an answer; the message ends with the last line it wrote."""


@dataclass(frozen=True)
class Cost:
    """What one call cost.

    Attributes:
        seconds: Wall time of the call alone, imports inside it included.
        whole: Wall time of the whole process.
        before: Resident memory before the call, MB (2**20 bytes), the module imported.
        peak: Peak resident memory of the process, MB.
        result: What the function returned, if JSON can hold it.
        cpu: CPU seconds of the call, of all threads and child processes.
    """

    seconds: float
    whole: float
    before: float
    peak: float
    result: object
    cpu: float = 0.0


def measure(module: str, function: str, **arguments) -> Cost:
    """Call a function in a fresh process; see ``measure_in``."""
    return measure_in(sys.executable, module, function, arguments)


def measure_in(
    python: str | Path,
    module: str,
    function: str,
    arguments: dict,
    imports: tuple[str, ...] = (),
    limit_s: float | None = None,
) -> Cost:
    """Call a function in a fresh process of some Python.

    Args:
        python: The Python; the module must not import what it lacks.
        module: The module to import.
        function: The function in it.
        arguments: Its keyword arguments; JSON must hold them.
        imports: Modules to import before the clock starts.
        limit_s: Seconds after which the process is ended.

    Returns:
        What it cost.

    Raises:
        SideFailed: It failed or took too long.
    """
    words = [str(python), "-c", _PROGRAM, module, function, json.dumps(arguments), json.dumps(imports)]
    # Progress bars and telemetry of others are not what is measured.
    environment = {**os.environ, "TQDM_DISABLE": "1", "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    start = time.perf_counter()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s, cwd=ROOT, env=environment)
    except subprocess.TimeoutExpired:
        raise SideFailed(f"stopped after {limit_s:.0f} s") from None
    whole = time.perf_counter() - start
    line = next((line for line in done.stdout.splitlines() if line.startswith("MEASURED ")), None)
    if done.returncode or line is None:
        raise SideFailed(f"{module}.{function} failed:\n{done.stdout}{done.stderr}")
    values = json.loads(line.removeprefix("MEASURED "))
    cost = Cost(whole=whole, **values)
    MEASURED.append({"call": f"{module}.{function}", "arguments": arguments, **asdict(cost)})
    return cost


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median of some values, with the smallest and largest where there are several."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
