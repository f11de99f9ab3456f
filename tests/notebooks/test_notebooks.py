"""Every notebook runs from top to bottom in a fresh kernel, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
#: Run elsewhere: on what the demo left in its test, and against a server in test_cluster_notebooks.py.
AFTER_DEMO = {"06-incident", "03-submit", "04-schedule"}


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize(
    "file", [file for file in NOTEBOOKS if file.stem not in AFTER_DEMO], ids=lambda file: file.stem
)
def test_notebook_runs(file, tmp_path):
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("<title>Evaluation" in output.get("data", {}).get("text/html", "") for output in shown)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_outputs_are_stripped(file):
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "clear all outputs before committing"
