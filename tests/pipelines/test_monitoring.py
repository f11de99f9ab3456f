"""The committed monitoring YAML through the local runner: one real site, real traffic, and each of its branches."""

import json
import re
import subprocess
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import requests
import yaml

from loopline.components.delivery.git import default_repository
from loopline.components.registry.store import open_store
from loopline.pipelines.compile import compile_pipeline
from loopline.pipelines.engine import Run, run_pipeline
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import stop_agent
from loopline.pipelines.sites.repository import init_config_repository
from loopline.pipelines.sites.server import TRAFFIC_FLUSH_S
from loopline.pipelines.sites.state import read_states

ROWS = 1_500
#: Steps of the nested pipelines, which only a verdict of `retrain` may start.
NESTED = {"extend-data", "train-xgboost", "compare-models", "build-model-image", "promote-to-site", "annotate-model"}


@pytest.fixture
def stopped():
    """The agent that the test starts is stopped."""
    yield
    stop_agent()


def _events(rows: int, seed: int, flipped: bool = False) -> pd.DataFrame:
    """Machines that fail when hot, or, once the sensor's meaning is flipped, when cold."""
    random = np.random.default_rng(seed)
    heat, load = random.normal(20, 5, rows), random.normal(0, 1, rows)
    logit = (-1 if flipped else 1) * (heat - 20) / 3 + 0.4 * load
    frame = pd.DataFrame({"heat": heat, "load": load, "kind": random.choice(["pump", "fan", "press"], rows)})
    frame["fails"] = random.random(rows) < 1 / (1 + np.exp(-logit))
    return frame


def _site() -> str:
    [site] = [state for state in read_states() if state.site == "datacenter"]
    return site.url


def _serve(window: str, events: pd.DataFrame, folder) -> dict:
    """Send events to the site, note the truth, and return the window as parameters of the pipeline."""
    start = datetime.now(UTC)
    features = events.drop(columns="fails")
    truth = []
    for number, rows in enumerate(np.array_split(np.arange(len(events)), 10)):
        part = features.iloc[rows]
        inputs = [
            {
                "name": name,
                "shape": [len(part), 1],
                "datatype": "BYTES" if name == "kind" else "FP32",
                "data": part[name].tolist(),
            }
            for name in features
        ]
        identity = f"{window}-{number}"
        answer = requests.post(
            f"{_site()}/v2/models/machines/infer", json={"id": identity, "inputs": inputs}, timeout=30
        )
        assert answer.ok, answer.text
        truth += [(identity, row, fails) for row, fails in enumerate(events["fails"].iloc[rows])]
    time.sleep(float(TRAFFIC_FLUSH_S) + 1)
    pd.DataFrame(truth, columns=["request_id", "row", "fails"]).to_csv(folder / f"truth-{window}.csv", index=False)
    return {"start": start.isoformat(), "end": datetime.now(UTC).isoformat()}


def _document(run: Run, step: str, name: str) -> dict:
    [file] = run.folder.glob(f"**/{step}/{name}")
    return json.loads(file.read_text())


def _steps(run: Run) -> set[str]:
    return {name.rstrip("-0123456789") for name in run.seconds}


def _commits() -> int:
    command = ["git", "--git-dir", str(default_repository()), "rev-list", "--count", "main"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_models_with_one_schedule_call_for_people_apart():
    """The same event starts one run, and windows of a schedule end together."""
    spec = next(yaml.safe_load_all(compile_pipeline("monitoring")))
    [call] = [
        task["inputs"]["parameters"]["event"]
        for component in spec["components"].values()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
        if name == "trigger-pipeline"
    ]
    text = call["runtimeValue"]["constant"]
    assert re.findall(r"pipelinechannel--([\w-]+)", text) == ["name", "collect-traffic-window_end"]


@pytest.mark.usefixtures("stopped")
def test_the_loop_waits_heals_itself_and_calls_for_people(tmp_path):
    history = _events(4_000, seed=1)
    history["when"] = pd.date_range("2026-01-01", periods=len(history), freq="min", tz="UTC")
    history.to_csv(tmp_path / "history.csv", index=False)
    split = {"split_method": "time", "split_column": "when", "early_stopping_rounds": 0, "rounds": 30}
    uri = str(tmp_path / "history.csv")
    trained = run_pipeline("training", {"uri": uri, "target": "fails", "name": "machines", **split})
    assert trained.outputs["verdict"] == "promote"
    init_config_repository(sites=("datacenter",))  # which logs every request
    control.up()
    waves = {"wave_1": "datacenter", "wave_2": "", "wave_3": ""}
    run_pipeline("delivery", {"name": "machines", **waves})
    common = {
        "name": "machines", "target": "fails", "history": uri, "history_time": "when", "rounds": 30,
        "truth": f"{tmp_path}/truth-*.csv", "cooldown_h": 0.0, "min_labels": 500, **waves,
    }  # fmt: skip
    before = _commits()

    calm = run_pipeline("monitoring", common | _serve("calm", _events(ROWS, seed=2), tmp_path))
    assert calm.outputs["Output"] == "wait"
    assert not _steps(calm) & (NESTED | {"trigger-pipeline"})
    assert _document(calm, "detect-drift", "drift")["verdict"] == "none"
    assert _document(calm, "measure-performance", "performance")["verdict"] == "steady"
    assert _commits() == before

    flipped = run_pipeline(
        "monitoring", common | _serve("flipped", _events(ROWS, seed=3, flipped=True), tmp_path) | {"engine": "scipy"}
    )
    assert flipped.outputs["Output"] == "retrain"
    assert _steps(flipped) >= NESTED
    assert "trigger-pipeline" not in _steps(flipped)
    assert _document(flipped, "measure-performance", "performance")["verdict"] == "worse"
    assert requests.get(f"{_site()}/v2/models/machines", timeout=10).json()["versions"] == ["2"]
    assert _commits() == before + 1
    with open_store() as store:
        version = store.client.get_model_version_by_alias("machines", "champion")
        assert int(version.version) == 2
        assert version.tags["loopline.monitoring.verdict"] == "retrain"

    broken = _events(ROWS, seed=4, flipped=True)
    broken["heat"] *= 1000  # a unit that changed
    called = run_pipeline("monitoring", common | _serve("broken", broken, tmp_path) | {"engine": "scipy"})
    assert called.outputs["Output"] == "alert"
    assert "trigger-pipeline" in _steps(called)
    assert not _steps(called) & NESTED
    decision = _document(called, "decide-retraining", "decision")
    assert any("heat" in reason for reason in decision["alerts"])
    assert requests.get(f"{_site()}/v2/models/machines", timeout=10).json()["versions"] == ["2"]

    probed = run_pipeline(
        "capacity", {"name": "machines", "url": _site(), "most_rate": 40.0, "seconds": 1.0, "budget_s": 30.0}
    )
    assert probed.outputs["Output"] == pytest.approx(40.0, rel=0.2), "a single row takes a millisecond or two"
