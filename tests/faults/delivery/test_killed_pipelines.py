"""The other pipelines killed by ``kill -9`` in each of their steps, then the same command again: it is all there, once.

They take minutes, so that ``python3 make.py faults`` tries them and other runs of the tests do not.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from faults_chosen import ALL
from killed_runs import Death, complete, expect_running, kill_run
from monitoring_models import FEATURES, START, make_events, write_traffic
from sites_world import lasting_home

from loopline.components.data.tables import write_table
from loopline.components.environment import environment
from loopline.components.registry.store import open_store

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are watched in /proc"),
    pytest.mark.skipif(not ALL, reason="python3 make.py faults tries these: they take long"),
]
_ROWS = 2_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A home with a champion, a table in two files, and traffic of two hours whose truth is known."""
    folder = tmp_path_factory.mktemp("killed-pipelines")
    files, log, truth = folder / "files", folder / "log", folder / "truth.parquet"
    files.mkdir()
    table = make_events(_ROWS).select([*FEATURES, "late"])
    for half in range(2):
        write_table(files / f"{half}.parquet", table.slice(half * _ROWS // 2, _ROWS // 2))
    with lasting_home(folder / "home") as home, environment({"LOOPLINE_HOME": str(home)}):
        complete(["training", f"--uri={files}/*.parquet", "--target=late", "--name=flights", "--rounds=4"])
        [model] = home.glob("runs/training-*/*/train-xgboost/model")
        write_table(truth, write_traffic(log, model, make_events(1_200, seed=5), name="flights"))
        yield SimpleNamespace(home=home, folder=folder, files=files, log=log, truth=truth)


@pytest.fixture(autouse=True)
def at_home(shared, monkeypatch, tmp_path):
    """One home for the whole file, and a place of each test's own for what a killed step cannot clean up."""
    monkeypatch.setenv("LOOPLINE_HOME", str(shared.home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def _registered(name: str, versions: int = 1) -> None:
    """See that a model has so many versions, each of a finished run, and that no run is left unfinished."""
    with open_store() as store:
        place = store.client.get_experiment_by_name(name).experiment_id
        runs = {run.info.run_id: run.info.status for run in store.client.search_runs([place])}
        found = store.client.search_model_versions(f"name = '{name}'")
    assert len(found) == versions
    assert {runs[version.run_id] for version in found} == {"FINISHED"}
    assert "RUNNING" not in runs.values()


def _swept(name: str, trials: int) -> None:
    """See that the last sweep was whole, and led to the one version that the same parameters lead to again."""
    with open_store() as store:
        place = store.client.get_experiment_by_name(name).experiment_id
        runs = store.client.search_runs([place])
        [version] = store.client.search_model_versions(f"name = '{name}'")
    [registered] = [run for run in runs if run.info.run_id == version.run_id]
    last = max((run for run in runs if "loopline.sweep" in run.data.tags), key=lambda run: run.info.start_time)
    tried = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == last.info.run_id]
    assert {run.info.status for run in (registered, last, *tried)} == {"FINISHED"}
    assert sorted(run.data.tags["loopline.trial"] for run in tried) == [str(place) for place in range(trials)]


def _scored(folder: Path) -> None:
    """See that each row was scored once."""
    written = [path for path in folder.rglob("*.parquet") if not path.relative_to(folder).parts[0].startswith(".")]
    assert sum(pq.read_metadata(path).num_rows for path in written) == _ROWS


@dataclass(frozen=True)
class Case:
    """A pipeline: what is given to it beside its name, its steps, and what has to be true when it is complete."""

    given: tuple[str, ...]
    steps: tuple[str, ...]
    check: Callable[[SimpleNamespace], None]


_TABLE = ("--uri={files}/*.parquet", "--target=late")
_WINDOW = (f"--start={START.isoformat()}", f"--end={(START + timedelta(hours=2)).isoformat()}")
_JUDGED = ("evaluate-model", "load-model", "compare-models", "register-model", "promote-model", "write-model-card")
CASES = {
    "training-sklearn": Case(
        (*_TABLE, "--name=forest"),
        ("ingest-data", "validate-data", "split-data", "train-sklearn", *_JUDGED),
        lambda _: _registered("forest"),
    ),
    "training-partitioned": Case(
        (*_TABLE, "--name=parts", "--rounds=4", "--workers=2"),
        (
            "divide-table", "profile-partition", "merge-profiles", "prepare-partition", "gather-partitions",
            "train-distributed", *_JUDGED,
        ),
        lambda _: _registered("parts"),
    ),
    "sweep": Case(
        (
            *_TABLE, "--name=swept", "--rounds=4", "--workers=2",
            '--parameter-sets=[{{"max_depth": 2}}, {{"max_depth": 3}}, {{"max_depth": 5}}]',
        ),
        ("validate-data", "plan-sweep", "run-trials", "finish-sweep", "train-xgboost", *_JUDGED),
        lambda _: _swept("swept", 3),
    ),
    "batch-scoring": Case(
        ("--name=flights", "--uri={files}/*.parquet", "--output={folder}/scored"),
        ("load-model", "list-partitions", "score-partition"),
        lambda shared: _scored(shared.folder / "scored"),
    ),
    "drift-partitioned": Case(
        ("--name=flights", "--traffic={log}", "--engine=scipy", "--pieces=2", *_WINDOW),
        ("load-model", "list-windows", "summarize-traffic", "detect-drift-over-windows"),
        lambda _: None,
    ),
    "retraining": Case(
        (
            "--name=flights", "--target=late", "--history={files}/*.parquet", "--traffic={log}", "--truth={truth}",
            f"--since={START.isoformat()}", f"--until={(START + timedelta(hours=2)).isoformat()}", "--rounds=4",
        ),
        ("collect-traffic", "extend-data", "split-data", "train-xgboost", *_JUDGED[:4]),
        lambda _: _registered("flights", 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pipeline", CASES)
def test_a_killed_pipeline_completes_once(pipeline, shared):
    case = CASES[pipeline]
    words = [pipeline, *(word.format(**vars(shared)) for word in case.given)]
    for number, step in enumerate(case.steps):
        kill_run(words, Death(step, 0.1, number % 2 == 0))
    complete(words)
    case.check(shared)
    expect_running()
