"""Whole pipelines killed by ``kill -9``, and the same command again: it completes, and nothing is there twice.

They are killed in the steps that matter most or, with ``EVERY_DEATH=1``, twice in each of them; a delivery is then
completed by two runs at once. That takes minutes.
"""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
import requests
from killed_runs import Death, complete, expect_running, kill_run
from sites_world import lasting_home

from loopline.components.delivery.git import default_repository
from loopline.components.environment import home
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import list_versions
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import find_agent
from loopline.pipelines.sites.repository import init_config_repository
from loopline.pipelines.sites.server import TRAFFIC_FLUSH_S
from loopline.pipelines.sites.state import read_states

EVERY = bool(os.environ.get("EVERY_DEATH"))

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are watched in /proc")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """The home in which a model is trained, delivered and watched, test after test."""
    with lasting_home(tmp_path_factory.mktemp("killed") / "home") as folder:
        yield folder


@pytest.fixture(autouse=True)
def at_home(shared_home, monkeypatch, tmp_path):
    """One home for the whole file, and a place of each test's own for what a killed step cannot clean up."""
    monkeypatch.setenv("LOOPLINE_HOME", str(shared_home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def deaths(some: list[Death], steps: list[str]) -> list[Death]:
    """Return some deaths or, if asked for, two in each step, one of each kind."""
    return [Death(step, 0.3, number % 2 == 0) for number, step in enumerate(steps * 2)] if EVERY else some


def git(*words: str) -> str:
    command = ["git", "--git-dir", str(default_repository()), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def runs_of(experiment: str) -> list[str]:
    """The states of the MLflow runs in an experiment."""
    with open_store() as store:
        found = store.client.get_experiment_by_name(experiment)
        return [run.info.status for run in store.client.search_runs([found.experiment_id])] if found else []


def test_a_killed_training_registers_once(bundled):
    words = ["training", f"--uri={bundled['breast_cancer']}", "--target=target", "--name=cells", "--rounds=4"]
    some = [Death("train-xgboost", 0.05, False), Death("register-model", 0.2, True)]
    steps = ["ingest-data", "validate-data", "split-data", "train-xgboost", "evaluate-model", "register-model"]
    for death in deaths(some, steps):
        kill_run(words, death)
    [said] = complete(words)
    assert "version: 1" in said
    assert [version["version"] for version in list_versions("cells")] == [1]
    assert runs_of("cells") == ["FINISHED"]
    expect_running()


def test_a_killed_delivery_delivers_once():
    init_config_repository(sites=("edge",))
    control.up(interval_s=0.2)
    words = ["delivery", "--name=cells", "--wave-2=", "--wave-3=", f"--image=oci:{home()}/place", "--p99-ms=5000"]
    some = [Death("test-model-image", 1.0, False)]
    steps = ["load-model", "build-model-image", "test-model-image", "promote-to-site", "check-site"]
    agent = find_agent()
    for death in deaths(some, steps):
        kill_run(words, death)
    said = complete(words, at_once=2 if EVERY else 1)
    assert git("log", "--format=%s", "main").splitlines()[:-1] == ["Promote cells version 1 to edge"]
    git("fsck", "--strict", "--no-dangling")
    [state] = read_states()
    assert all(state.running in one for one in said) and state.in_sync
    assert requests.get(f"{state.url}/v2/models/cells", timeout=10).json()["versions"] == ["1"]
    index = json.loads((home() / "place" / "index.json").read_text())
    named = [entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for entry in index["manifests"]]
    named = [name for name in named if name]
    assert len(named) == len(set(named)) and sum(name.endswith(".att") for name in named) == 1 and "v1" in named
    assert not list((home() / "place").glob(".partial"))
    expect_running(agent.pid, state.pid)


def test_a_killed_monitoring_judges_a_window_once(bundled, tmp_path):
    [state] = read_states()
    since = datetime.now(UTC)
    _send(state.url, bundled["breast_cancer"])
    time.sleep(float(TRAFFIC_FLUSH_S) + 1)
    words = [
        "monitoring", "--name=cells", "--target=target", f"--history={bundled['breast_cancer']}", "--engine=scipy",
        f"--start={since.isoformat()}", f"--end={datetime.now(UTC).isoformat()}", "--wave-2=", "--wave-3=",
    ]  # fmt: skip
    some = [Death("decide-retraining", 0.2, True)]
    steps = ["load-model", "collect-traffic", "detect-drift", "measure-performance", "check-service"]
    for death in deaths(some, [*steps, "decide-retraining"]):
        kill_run(words, death)
    complete(words)
    assert runs_of("cells-monitoring") == ["FINISHED"]
    assert [version["version"] for version in list_versions("cells")] == [1]
    expect_running(find_agent().pid, state.pid)


def _send(url: str, table) -> None:
    from loopline.components.data.tables import read_table
    from loopline.components.delivery.inference import load_features, predict_rest
    from loopline.pipelines.sites.state import sites_home

    [model] = (sites_home() / "images").glob("*/models")
    for _ in range(3):
        predict_rest(url, "cells", read_table(table), load_features(model))
