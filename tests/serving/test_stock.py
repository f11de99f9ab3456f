"""A model directory in MLServer as the platform ships it, without the launcher of this package."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from delivery_models import train_small
from serving_models import IMAGE
from training_tables import OTHERS

from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import call_rest
from loopline.components.delivery.model_server import is_ready
from loopline.components.training.train import train_estimator
from loopline.pipelines.sites.ports import free_port


@pytest.fixture
def start(tmp_path):
    """Start ``mlserver start`` on a folder; returns its address."""
    processes = []

    def begin(folder) -> str:
        port = free_port()
        variables = {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false", "MLSERVER_HTTP_PORT": str(port)}
        variables |= {"MLSERVER_GRPC_PORT": str(free_port()), "MLSERVER_METRICS_PORT": str(free_port())}
        log = (tmp_path / "mlserver.log").open("wb")
        command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)]
        processes.append(
            subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **variables}, cwd=tmp_path)
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not is_ready(url):
            assert processes[-1].poll() is None, (tmp_path / "mlserver.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return url

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_mlserver_loads_our_class_by_itself(start, model, monkeypatch):
    """As in a ServingRuntime of one's own: what the settings name is enough."""
    monkeypatch.setenv("LOOPLINE_IMAGE_DIGEST", f"oci://registry.example.com/ml/small@{IMAGE}")
    found = replay(read_golden(model), start(model))
    assert found.passed
    assert found.answer.version == "3"
    assert found.answer.parameters["image_digest"] == IMAGE


def test_a_pickle_is_served_by_mlservers_own_class(start, tmp_path):
    """mlserver-sklearn gives its predictions; which column is which, its pandas codec settles."""
    train_small(tmp_path)
    folder = tmp_path / "pickle"
    train_estimator(
        tmp_path / "train.parquet", None, tmp_path / "schema.json", folder, target="late", exclude=OTHERS["late"],
        estimator="DecisionTreeClassifier", params='{"max_depth": 3}', name="small-late", allow_pickle=True,
    )  # fmt: skip
    assert json.loads((folder / "model-settings.json").read_text())["implementation"] == "mlserver_sklearn.SKLearnModel"
    url, golden = start(folder), read_golden(folder)
    inputs = []
    for column in golden.features.columns:
        values = golden.rows.column(column.name).to_pylist()
        text = column.kind == "category"
        data = [value or "" for value in values] if text else [float("nan") if v is None else v for v in values]
        whole = [row for row, value in enumerate(values) if value is not None]
        inputs.append((column.name, "BYTES" if text else "FP32", data, whole))
    kept = sorted(set.intersection(*(set(whole) for *_, whole in inputs)))  # JSON has no NaN, and this class no null
    request = {
        "parameters": {"content_type": "pd"},
        "inputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": [len(kept), 1],
                "data": [data[row] for row in kept],
                **({"parameters": {"content_type": "str"}} if datatype == "BYTES" else {}),
            }
            for name, datatype, data, _ in inputs
        ],
        "outputs": [{"name": "predict_proba"}],
    }
    [output] = call_rest(url, "/v2/models/small-late/infer", request)["outputs"]
    assert len(kept) > 10
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), golden.scores[kept], atol=1e-5)
