"""The command line as a person uses it: help, results, refusals, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def loopline(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("loopline")
    return subprocess.run([str(program), *words], capture_output=True, text=True, cwd=cwd, env=dict(os.environ))


def test_help_names_every_command_and_shows_examples():
    text = loopline("--help").stdout
    for word in ("run", "compile", "demo", "examples:", "environment:", "exit status:"):
        assert word in text


def test_help_of_a_pipeline_lists_its_parameters():
    text = loopline("run", "training", "--help").stdout
    assert "--target VALUE" in text
    assert "required" in text
    assert "The column to predict" in text
    assert "--early-stopping-rounds" in text


def test_run_ends_with_what_it_made(bundled, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("target: target\nname: from-file\nrounds: 5\n")
    words = ("--from-file", str(settings), "--param", f"uri={bundled['breast_cancer']}", "--name", "cells")
    done = loopline("run", "training", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train-xgboost done in" in done.stdout
    assert "version: 1" in done.stdout
    assert "verdict: promote" in done.stdout
    report = next(line.split("report: ")[1] for line in done.stdout.splitlines() if "evaluate-model.html" in line)
    assert (tmp_path / report).is_file()
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "trainig"), "There is no pipeline 'trainig': choose one of batch-scoring, capacity, delivery,"),
        (("run", "training"), "Pipeline training needs 'name', 'target', 'uri': give each a value."),
        (("run", "training", "--param", "uri"), "--param 'uri' has no value: write --param name=value."),
        (
            ("run", "training", "--from-file", "nowhere.yaml"),
            "There is nothing at nowhere.yaml, which should be",
        ),
        (("compile", "--image", "registry.example.com/step"), "is not pinned"),
        (("compile", "--image", "registry.example.com/step:latest"), "is not pinned"),
        (("compile", "--image", "localhost:5000/step"), "is not pinned"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(words, sentence, tmp_path):
    done = loopline(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("compiled"))


@pytest.mark.parametrize(
    ("changes", "step", "sentence"),
    [
        ({"uri": "nowhere.csv"}, "ingest-data", "nowhere.csv"),
        ({"target": "absent"}, "validate-data", "absent"),
        ({"params": '{"depth": 3}'}, "train-xgboost", 'XGBoost has no parameter "depth"'),
        ({"metric": "beauty"}, "compare-models", "beauty"),
    ],
)
def test_a_refusing_step_ends_the_run_and_registers_nothing(bundled, tmp_path, changes, step, sentence):
    values = {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells", "rounds": "2", **changes}
    done = loopline("run", "training", *[f"--{name}={value}" for name, value in values.items()], cwd=tmp_path)
    assert done.returncode == 2
    assert f"loopline: step {step} failed: " in done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "register-model" not in done.stdout


@pytest.mark.parametrize("size", ["200k", "1200k"])
def test_a_full_disk_is_one_sentence_and_promotes_nothing(bundled, tmp_path, size):
    """A real file system too small for the data, or only for the model store, in a mount namespace of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    small = tmp_path / "small"
    small.mkdir()
    program = Path(sys.executable).with_name("loopline")
    words = f"run training --uri {bundled['breast_cancer']} --target target --name cells --rounds 5"
    script = f"mount -t tmpfs -o size={size} tmpfs {small} && LOOPLINE_HOME={small}/home {program} {words}; echo $?"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "2"
    assert "failed: The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "promote-model" not in done.stdout
