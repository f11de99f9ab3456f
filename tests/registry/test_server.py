"""The same against a real MLflow server."""

import mlflow
import numpy as np
import pytest
from mlflow_server import run_server
from registry_models import make_rows

from loopline.components.errors import InputError
from loopline.components.model.directory import verify_model
from loopline.components.model.predictor import load_predictor
from loopline.components.registry.fetch import fetch
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases, promote


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes((empty_store / "mlflow.db").read_bytes())
    with run_server(folder) as running:
        yield running


def test_life_of_a_model(server, trained, retrained, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    monkeypatch.chdir(tmp_path)
    assert fetch(tmp_path / "none", "flights", missing="absent").version == 0
    assert register(*trained.paths(), "flights") == 1
    assert register(*trained.paths(), "flights") == 1
    assert register(*retrained.paths(), "flights") == 2
    assert (promote("flights", 1), promote("flights", 2), promote("flights", 2)) == (0, 1, 1)
    with pytest.raises(InputError, match="no version 3"):
        promote("flights", 3)
    with open_store() as store:
        assert find_aliases(store, "flights") == {"challenger": 2, "champion": 2, "previous": 1}
        experiment = store.client.get_experiment_by_name("flights").experiment_id
        runs = store.client.search_runs([experiment])
        assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
        assert runs[0].data.metrics["roc_auc"] == 0.9
        loaded = mlflow.pyfunc.load_model("models:/flights@champion")
    fetched = fetch(tmp_path / "model", "flights")
    assert (fetched.version, verify_model(tmp_path / "model").digest) == (2, fetched.digest)
    rows = make_rows(20)
    want = load_predictor(retrained.model).predict(rows)
    np.testing.assert_array_equal(loaded.predict(rows.to_pandas()).to_numpy(), want)
    assert list(tmp_path.glob("mlruns")) == []


def test_experiment_of_the_environment_that_is_not_there(server, trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    with pytest.raises(InputError, match="4711"):
        register(*trained.paths(), "lost")


def _stop_while_open(process):
    with open_store() as store:
        process.terminate()
        process.wait(20)
        find_aliases(store, "flights")


def test_server_that_stops(server, trained, monkeypatch):
    """Last in this module: the server is gone afterwards."""
    uri, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with pytest.raises(InputError, match=r"cannot be reached \(Connection refused\)"):
        _stop_while_open(process)
    with pytest.raises(InputError, match=r"cannot be reached \(Connection refused\)"):
        register(*trained.paths(), "flights")
