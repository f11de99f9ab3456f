"""The peak memory of a piece of work, in a process of its own."""

import os
import subprocess
import sys

_END = """
with open("/proc/self/status") as lines:
    print("PEAK", next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""


def peak_mb(program: str, *arguments, **environment: str) -> float:
    """Run a program and return its peak resident memory.

    Args:
        program: Python; it finds its arguments in ``sys.argv[1:]``.
        arguments: Of the program.
        environment: The program's environment variables, beside those that are set.

    Returns:
        MB (2**20 bytes). Not from getrusage, whose peak a process inherits from the one that started it.
    """
    command = [sys.executable, "-c", program + _END, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("PEAK")[2]) / 1024
