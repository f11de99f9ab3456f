"""The notebooks that speak to a cluster run from top to bottom in a workbench, with a real store for the bucket."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
from object_stores import running_store
from pipeline_server import Scenario
from workbench import workbench

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def _run(name: str, run: Callable[..., subprocess.CompletedProcess], folder: Path) -> str:
    """Run a notebook; returns all that it shows."""
    file = folder / f"{name}.ipynb"
    file.write_bytes((NOTEBOOKS / file.name).read_bytes())
    done = run(
        sys.executable, "-m", "jupyter", "execute", "--inplace", "--timeout=120", str(file), AWS_S3_BUCKET="models"
    )
    assert done.returncode == 0, done.stderr
    shown = []
    for cell in nbformat.read(file, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown.append(output.get("text") or data.get("text/html") or data.get("text/plain", ""))
    return "\n".join(shown)


def test_submit(tmp_path, monkeypatch):
    with workbench(tmp_path) as (server, run), running_store(monkeypatch, "models"):
        server.scenario = Scenario.through("ingest-data", "train-xgboost")
        uri = "s3://models/pipelines/training/run-0/evaluate-model/7f1c/report"
        server.artifacts = [{"artifact_id": "1", "uri": uri, "created_at": "2099-01-01T00:00:00Z"}]
        shown = _run("03-submit", run, tmp_path)
    assert "loopline/flights/flights-2013-01.csv.gz" in shown
    assert "uploaded now" in shown and "as the server holds it" in shown
    assert "<td>Ingest data</td><td>done</td>" in shown and "'SUCCEEDED'" in shown
    assert f"evaluate-model report {uri}" in shown
    assert [run["runtime_config"]["parameters"].get("rounds") for run in server.runs] == [None, 100]
    assert server.posted("/upload_version") == 1


def test_schedule(tmp_path):
    with workbench(tmp_path) as (server, run):
        shown = _run("04-schedule", run, tmp_path)
    assert "every day at 02:00" in shown and 'To run every day at 02:00 write "0 0 2 * * *"' in shown
    assert "windows overlap: right where the truth comes late, else set hours to 6." in shown
    assert "every 6 hours" in shown and ">paused<" in shown
    assert server.recurring == []
    assert server.posted("/recurringruns") == 3
