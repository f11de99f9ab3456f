"""From a table to a judged model with two commands, run by the real engine."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from project_tables import CASES, as_csv, base

from loopline.pipelines.project.create import create_project


def loopline(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("loopline")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=dict(os.environ))


@pytest.mark.parametrize(
    "name",
    ["odd names", "types of Arrow", "a word for missing numbers", "classes of one row", "ten rows and a quantity"],
)
def test_a_run_works_at_once_from_any_folder(name, tmp_path):
    case = CASES[name]
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    uri = Path(case.write(data)).relative_to(data)
    done = loopline("init", "project", "--data", uri, "--target", case.target, cwd=data)
    assert done.returncode == 0, done.stderr
    done = loopline("run", "training", "-f", data / "project" / "params.yaml", cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert "verdict: promote" in done.stdout


def test_a_run_obeys_the_rules_that_a_person_writes(tmp_path):
    as_csv(base())(tmp_path)
    project = create_project(tmp_path / "project", str(tmp_path / "table.csv"), "y")
    file = project.folder / "params.yaml"
    text = file.read_text(encoding="utf-8")
    assert "  weight: {nullable: false, minimum: 0} " in text
    file.write_text(
        text.replace("  weight: {nullable: false, minimum: 0} ", "  weight: {maximum: 9} "), encoding="utf-8"
    )
    done = loopline("run", "training", "-f", file, cwd=tmp_path)
    assert done.returncode == 2
    assert "step validate-data failed: Column 'weight' must be at most 9, and is not in" in done.stderr


def test_the_notebook_shows_data_target_model_and_report(tmp_path):
    case = CASES["an event time"]
    project = create_project(tmp_path / "project", case.write(tmp_path), case.target)
    notebook = nbformat.read(project.folder / "explore.ipynb", as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(project.folder)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output["data"].get("text/html", "") for output in shown if "data" in output]
    printed = "".join(output.get("text", "") for output in shown)
    assert any("booked_at" in page and "<table" in page for page in pages)
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("<title>Evaluation" in page for page in pages)
    assert "version 1: promote" in printed
    # Nothing but what was there: runs and models are where the commands look for them.
    assert sorted(path.name for path in project.folder.iterdir()) == sorted(project.files)


def test_the_notebook_keeps_models_where_the_commands_look_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = create_project("deep/project", as_csv(base())(tmp_path), "y")
    source = "".join(nbformat.read(project.folder / "explore.ipynb", as_version=4).cells[1].source)
    [line] = [line for line in source.splitlines() if "LOOPLINE_HOME" in line]
    assert 'Path("../../.loopline").resolve()' in line
    assert yaml.safe_load((project.folder / "params.yaml").read_text())["uri"] == str(tmp_path / "table.csv")
