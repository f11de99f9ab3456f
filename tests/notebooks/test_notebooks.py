"""Every notebook runs from top to bottom in a fresh kernel, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from notebook_runs import execute

from loopline.components.environment import environment
from loopline.pipelines.sites.process import find_agent, stop_agent

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
#: By the start of its name what the outputs of a notebook must show; every other notebook has only to run.
SHOWN = {
    "01": ("Data validation", "<title>Evaluation: flights predicts late", "Champion and challenger"),
    "02": (
        "version 1 of flights is the champion now",
        "<title>Evaluation: flights predicts late",
        "Report of compare-models",
        "still version 1 of 1",
    ),
    "05": (
        "edge answers with flights version 1",
        "<title>Image test: flights version 1",
        "Promote flights version 2 to edge",
        "Roll edge back to flights version 1",
        "too many complaints",
        "do not run",
    ),
}
#: Run elsewhere: against a test server by test_cluster_notebooks.py, and on what the demo left by test_demo.py.
ELSEWHERE = ("03", "04", "06")


@pytest.fixture
def folder(tmp_path):
    """A folder to run in; sites that a killed kernel left there are stopped."""
    yield tmp_path
    for agent in tmp_path.rglob("agent.json"):
        with environment({"LOOPLINE_HOME": str(agent.parents[1])}):
            stop_agent()


def test_there_are_notebooks():
    assert {file.stem[:2] for file in NOTEBOOKS} >= SHOWN.keys()


@pytest.mark.parametrize(
    "file", [file for file in NOTEBOOKS if not file.stem.startswith(ELSEWHERE)], ids=lambda file: file.stem
)
def test_notebook_runs(file, folder):
    shown = execute(nbformat.read(file, as_version=4), folder)
    for text in SHOWN.get(file.stem[:2], ()):
        assert text in shown


def test_sites_end_with_the_kernel_when_a_cell_fails(folder):
    notebook = nbformat.read(next(file for file in NOTEBOOKS if file.stem.startswith("05")), as_version=4)
    begin, up = (
        next(cell for cell in notebook.cells if text in cell.source) for text in ("atexit.register", "control.up()")
    )
    fail = "from loopline.pipelines.sites.process import find_agent\nassert not find_agent(), 'the agent runs'"
    notebook.cells = [begin, up, nbformat.v4.new_code_cell(fail)]
    with pytest.raises(CellExecutionError, match="the agent runs"):
        execute(notebook, folder)
    with environment({"LOOPLINE_HOME": str(folder / ".loopline" / "delivery")}):
        assert (folder / ".loopline" / "delivery" / "config-repo.git").is_dir()
        assert find_agent() is None


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_readme_lists_it(file):
    assert f"| `{file.stem}` |" in file.with_name("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_outputs_are_stripped(file):
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "clear all outputs before committing"
