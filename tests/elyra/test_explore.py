"""explore.pipeline: Elyra runs its script and its notebook on this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd

from loopline.components.data.schema import Schema

FOLDER = Path(__file__).parents[2] / "notebooks" / "elyra"


def test_elyra_runs_it(session, tmp_path):
    for file in ("explore.pipeline", "check-data.py", "explore-data.ipynb"):
        shutil.copy(FOLDER / file, tmp_path)
    checked = session.run("elyra-pipeline", "validate", "explore.pipeline", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    done = session.run("elyra-pipeline", "run", "explore.pipeline", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Schema.load(tmp_path / "schema.json").target == "diagnosis"
    assert "<title>Evaluation" in (tmp_path / "evaluation.html").read_text()
    shown = [
        kind
        for cell in nbformat.read(tmp_path / "explore-data.ipynb", as_version=4).cells
        for output in cell.get("outputs", ())
        for kind in output.get("data", {})
    ]
    assert {"image/png", "text/html"} <= set(shown)


def test_outputs_that_a_cluster_passes_on_are_what_the_script_writes():
    nodes = json.loads((FOLDER / "explore.pipeline").read_text())["pipelines"][0]["nodes"]
    outputs = {node["id"]: node["app_data"]["component_parameters"]["outputs"] for node in nodes}
    notebook = (FOLDER / "explore-data.ipynb").read_text()
    for name in outputs["check-data"]:
        assert name in (FOLDER / "check-data.py").read_text() and name in notebook


def test_the_table_is_the_one_that_the_variables_name(bundled, tmp_path):
    pd.read_parquet(bundled["diabetes"]).to_csv(tmp_path / "mine.csv", index=False)
    variables = {**os.environ, "DATA": "mine.csv", "TARGET": "target"}
    subprocess.run([sys.executable, str(FOLDER / "check-data.py")], cwd=tmp_path, env=variables, check=True)
    assert Schema.load(tmp_path / "schema.json").target == "target"
    assert not (tmp_path / "example.csv").exists()


def test_the_notebook_is_committed_without_outputs():
    for cell in nbformat.read(FOLDER / "explore-data.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "clear all outputs before committing"
