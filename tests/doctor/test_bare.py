"""On a machine where nothing is set up the doctor is calm, and what it writes can be read."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from doctor_runs import doctor, run

from loopline.pipelines.doctor.checkup import AREAS


def test_a_bare_laptop_has_no_problem(tmp_path):
    examined = doctor()
    assert examined.status == 0
    assert examined.all("problem") == []
    assert examined.all("warning") == []
    assert {finding["area"] for finding in examined.findings} == set(AREAS)
    for finding in examined.all("skipped"):
        assert "needed" in finding["seen"] or finding["title"] == "signing key", finding
    assert json.loads(examined.output)["place"]["kind"] == "laptop"
    assert not (tmp_path / "home").exists(), "looking made something"


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_the_terminal_and_are_aligned(columns):
    lines = run(COLUMNS=str(columns)).stdout.splitlines()
    assert lines[0] == "Loopline 0.1.0 on a laptop: no pod of a cluster."
    for line in lines:
        assert len(line) <= columns or " " not in line[32:], line  # a path alone may be longer
        assert line == line.rstrip()
    found = [line for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert found
    for line in found:
        assert line[2:11].strip() in ("ok", "skipped", "warning", "problem"), line
        assert line[10] == " " and line[11] != " ", line
    assert lines[-1].endswith("skipped)")
    assert ", 0 warnings, 0 problems" in lines[-1]


def test_areas_can_be_chosen_and_come_in_the_usual_order():
    told = json.loads(run("s3", "python", "--json").stdout)
    assert list(told["areas"]) == ["python", "s3"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("mlfow",), "There is no area 'mlfow': choose of python, machine,"),
        (("kfp", "--openshift-ai", "9.1"), "OpenShift AI '9.1' is not known: write one of 3.3, 3.4, 3.5."),
        (("--s3", "nonsense"), "'nonsense' is no place in S3: write s3://bucket/prefix."),
        (("--s3", "s3://["), "'s3://[' cannot be read: name a folder or s3://bucket/prefix."),
        (("--registry", "nonsense"), "is not a reference: write docker://HOST/NAME"),
        (("--host", "http://x"), "would get a token in the clear: write it as https://HOST:PORT."),
        (("--timeout", "nan"), "--timeout is nan and must be more than 0 and at most 3600 seconds."),
        (("--timeout", "1e300"), "--timeout is 1e+300 and must be"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(words, sentence):
    done = run(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_states_are_colored_on_a_terminal_only():
    assert "\033" not in run("machine").stdout
    assert "\033[32mok\033[0m" in _on_a_terminal()
    assert "\033" not in _on_a_terminal(NO_COLOR="1")


def _on_a_terminal(**variables: str) -> str:
    ours, theirs = pty.openpty()
    program = Path(sys.executable).with_name("loopline")
    subprocess.run([program, "doctor", "machine"], stdout=theirs, env={**os.environ, **variables}, check=True)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 4096):
            text += part
    except OSError:  # the other end is closed and all is read
        pass
    os.close(ours)
    return text.decode()
