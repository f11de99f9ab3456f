"""Parsers fuzzed by coverage: no path through them ends in a traceback. A minute each by ``make.py hostile``."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import hostile_fuzz
import pytest
from hostile_runs import FULL

pytestmark = pytest.mark.skipif(not find_spec("atheris"), reason="atheris is for Linux on x86-64 alone")
#: One parser in each run of the tests; ``make.py hostile`` has time for all of them.
CHOSEN = sorted(hostile_fuzz.TARGETS) if FULL else ["schema.json document"]
SECONDS = 60 if FULL else 3


def fuzz(target: str, samples: Path, folder: Path) -> tuple[int, int, str]:
    """Fuzz a target; returns the exit status, how many inputs it got, 0 without coverage, and what was said."""
    program = Path(hostile_fuzz.__file__)
    done = subprocess.run(
        [sys.executable, program, target, samples, str(SECONDS)],
        capture_output=True, text=True, errors="replace", cwd=folder, env={**os.environ, "TMPDIR": str(folder)},
        timeout=SECONDS + 300,
    )  # fmt: skip
    said = done.stdout + done.stderr
    runs = re.search(r"\n#\d+\s+(?:NEW|REDUCE).*Done (\d+) runs", said, re.DOTALL)
    return done.returncode, int(runs[1]) if runs else 0, said[-4000:]


@pytest.mark.parametrize("target", CHOSEN)
def test_no_path_ends_in_a_traceback(target, samples, tmp_path, record_property):
    status, runs, said = fuzz(target, samples, tmp_path)
    assert status == 0, said
    assert runs > 100, said
    record_property("fuzzed", runs)


def test_a_traceback_would_be_seen(samples, tmp_path):
    status, _, said = fuzz(hostile_fuzz.BROKEN, samples, tmp_path)
    assert status != 0 and "ZeroDivisionError" in said
