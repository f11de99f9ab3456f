"""The doctor as a person runs it: the program, and what it says."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Examined:
    """What the doctor found.

    Attributes:
        status: The exit status.
        findings: Each with its area.
        output: All that was written.
    """

    status: int
    findings: list[dict]
    output: str

    def of(self, title: str) -> dict:
        """Return the one finding of a title."""
        [found] = [finding for finding in self.findings if finding["title"] == title]
        return found

    def all(self, state: str) -> list[dict]:
        """Return the findings of a state."""
        return [finding for finding in self.findings if finding["state"] == state]


def doctor(*words: str, **variables: str) -> Examined:
    """Run the doctor as a program and read its JSON."""
    done = run(*words, "--json", **variables)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    findings = [finding | {"area": area} for area, found in told["areas"].items() for finding in found]
    assert done.returncode == int(told["counts"]["problem"] > 0)
    for finding in findings:
        assert bool(finding["mend"]) == (finding["state"] in ("warning", "problem")), finding
        assert finding["mend"] == "" or finding["mend"].endswith("."), finding
    return Examined(done.returncode, findings, done.stdout)


def run(*words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the doctor as a program."""
    program = Path(sys.executable).with_name("loopline")
    environment: Mapping[str, str] = {**os.environ, **variables}
    return subprocess.run(
        [str(program), "doctor", *words], capture_output=True, text=True, env=environment, timeout=120
    )
