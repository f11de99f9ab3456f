import json
import shutil

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from registry_models import make_model, make_rows

from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, seal_model
from loopline.components.model.predictor import load_predictor
from loopline.components.registry import register as module
from loopline.components.registry.fetch import fetch
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases


def all_runs(store, view=ViewType.ACTIVE_ONLY):
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return store.client.search_runs(experiments, run_view_type=view)


def all_versions(store, name="flights"):
    return store.client.search_model_versions(f"name = '{name}'")


def test_run_and_version_say_where_the_model_comes_from(trained, home):
    assert register(*trained.paths(), "flights", experiment="delays", pipeline_run="run-7") == 1
    digest = read_manifest(trained.model).digest
    with open_store() as store:
        version = store.client.get_model_version("flights", "1")
        run = store.client.get_run(version.run_id)
        assert find_aliases(store, "flights") == {"challenger": 1}
        assert store.client.get_experiment_by_name("delays").experiment_id == run.info.experiment_id
        assert [file.path for file in store.client.list_artifacts(run.info.run_id, "report")] == ["report/report.html"]
    assert version.tags.items() >= {
        "loopline.model_digest": digest,
        "loopline.data_digest": "sha256:" + "d" * 64,
        "loopline.pipeline_run": "run-7",
        "loopline.code_version": "abc",
    }.items()  # fmt: skip
    assert run.info.status == "FINISHED"
    assert run.data.tags["loopline.model_digest"] == digest
    assert run.data.params == {
        "task": "binary",
        "target": "late",
        "format": "joblib",
        "estimator": "RandomForestClassifier",
        "params.max_depth": "4",
        "seed": "0",
    }
    # A metric without a value is left out: MLflow stores no nothing.
    assert run.data.metrics == {
        "roc_auc": 0.9,
        "roc_auc_low": 0.85,
        "roc_auc_high": 0.94,
        "baseline_roc_auc": 0.5,
        "validation_log_loss": 0.5,
    }
    assert (home / "mlartifacts").is_dir()
    assert not (home.parent / "mlruns").exists()


def test_same_content_is_registered_once(trained, retrained, home):
    assert register(*trained.paths(), "flights") == 1
    assert register(*retrained.paths(), "flights") == 2
    assert register(*trained.paths(), "flights") == 1
    with open_store() as store:
        # Not even a run that was begun and deleted again.
        assert len(all_runs(store, ViewType.ALL)) == len(all_versions(store)) == 2
        assert find_aliases(store, "flights") == {"challenger": 1}
    assert register(*trained.paths(), "other name") == 1


def test_the_slower_of_two_registrations_withdraws(trained, home, monkeypatch):
    assert register(*trained.paths(), "flights") == 1
    # The first look comes too early to see what the other process is about to write.
    monkeypatch.setattr(module, "find_digest", blind_once(module.find_digest))
    assert register(*trained.paths(), "flights") == 1
    with open_store() as store:
        assert [int(version.version) for version in all_versions(store)] == [1]
        assert len(all_runs(store)) == 1


def blind_once(find):
    looks = []

    def blind(*arguments):
        looks.append(arguments)
        return [] if len(looks) == 1 else find(*arguments)

    return blind


def test_deleted_version_is_registered_again_from_its_run(trained, home, tmp_path):
    register(*trained.paths(), "flights", pipeline_run="run-1")
    with open_store() as store:
        store.client.delete_model_version("flights", "1")
    version = register(*trained.paths(), "flights", pipeline_run="run-2")
    with open_store() as store:
        [run], [found] = all_runs(store), all_versions(store)
    assert run.data.tags["loopline.pipeline_run"] == found.tags["loopline.pipeline_run"] == "run-2"
    assert fetch(tmp_path / "again", "flights", version=version).run == run.info.run_id


def test_parameters_that_another_process_writes_meanwhile(trained, home, monkeypatch):
    log = MlflowClient.log_batch

    def come_second(client, run, **content):
        known = client.get_run(run).data.params
        log(client, run, **content)
        if any(parameter.key not in known for parameter in content.get("params", ())):
            raise MlflowException("UNIQUE constraint failed: params.key, params.run_uuid")

    monkeypatch.setattr(MlflowClient, "log_batch", come_second)
    assert register(*trained.paths(), "flights") == 1
    with open_store() as store:
        [run] = all_runs(store)
        assert run.data.params["task"] == "binary" and run.data.metrics


def test_parameters_that_are_refused(trained, home, monkeypatch):
    def refuse(client, run, **content):
        raise MlflowException("no room")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    with pytest.raises(InputError, match=r"cannot do what is asked of it: no room\."):
        register(*trained.paths(), "flights")


def test_failure_midway_leaves_no_version_and_a_rerun_completes(trained, home):
    blocked = home / "mlartifacts"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"mlartifacts cannot be written \(.*\): set LOOPLINE_HOME"):
        register(*trained.paths(), "flights")
    with open_store() as store:
        assert all_versions(store) == []
        assert [run.info.status for run in all_runs(store)] == ["FAILED"]
    blocked.unlink()
    assert register(*trained.paths(), "flights") == 1
    with open_store() as store:
        assert sorted(run.info.status for run in all_runs(store)) == ["FAILED", "FINISHED"]


def test_failure_of_the_alias_is_made_good_by_a_rerun(trained, home, monkeypatch):
    def fail(*arguments):
        raise MlflowException("the network is down")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", fail)
        with pytest.raises(InputError, match="the network is down"):
            register(*trained.paths(), "flights")
    assert register(*trained.paths(), "flights") == 1
    with open_store() as store:
        assert find_aliases(store, "flights") == {"challenger": 1}


def test_run_of_the_engine_is_used_and_left_open(trained, home, monkeypatch):
    with open_store() as store:
        run = store.client.create_run(store.client.create_experiment("engine", (home / "engine").as_uri()))
        store.client.log_param(run.info.run_id, "task", "set by the engine")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    assert register(*trained.paths(), "flights", experiment="unused") == 1
    with open_store() as store:
        assert store.client.get_model_version("flights", "1").run_id == run.info.run_id
        after = store.client.get_run(run.info.run_id)
        assert (after.info.status, after.data.params["task"]) == ("RUNNING", "set by the engine")
        assert after.data.params["target"] == "late"
        assert store.client.get_experiment_by_name("unused") is None


@pytest.mark.parametrize("by", ["MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"])
def test_experiment_of_the_environment_comes_first(trained, home, monkeypatch, by):
    with open_store() as store:
        identifier = store.client.create_experiment("given", (home / "given").as_uri())
    monkeypatch.setenv(by, identifier if by.endswith("ID") else "given")
    register(*trained.paths(), "flights", experiment="mine")
    with open_store() as store:
        assert [run.info.experiment_id for run in all_runs(store)] == [identifier]


def test_changed_model_is_refused_before_anything_is_written(trained, home, tmp_path):
    model = tmp_path / "changed"
    shutil.copytree(trained.model, model)
    (model / "model.joblib").write_bytes(b"other")
    with pytest.raises(InputError, match=r"model\.joblib .* is changed"):
        register(model, trained.metrics, trained.report, "flights")
    with open_store() as store:
        assert all_runs(store) == []


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"metrics": {"roc_auc": 0.9}}', '{"roc_auc": 0.9}'])
def test_metrics_of_another_form_are_refused(trained, home, tmp_path, content):
    metrics = tmp_path / "metrics.json"
    if content is not None:
        metrics.write_text(content)
    with pytest.raises(InputError, match="pass the metrics output of evaluate_model"):
        register(trained.model, metrics, trained.report, "flights")


def test_columns_of_any_name(trained, home, tmp_path):
    """Names from the data are no names in MLflow, which refuses most characters there."""
    model = tmp_path / "model"
    shutil.copytree(trained.model, model)
    manifest = read_manifest(model)
    left_out = {"Date (UTC)": "excluded by parameter", "price [EUR], 100%": "has one value", "\u20ac/kg": "text"}
    manifest.training["left_out"] = left_out
    manifest.training["params"] = {"max_depth": 4, "monotone_constraints": {"price [EUR], 100%": 1}}
    manifest.training["class_weight"] = {"a=b": 1.0, "x" * 300: 2.0}
    manifest.training["validation"] = {"recall@5": 0.5}
    seal_model(model, manifest)
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"metrics": {"share > 3 (%)": {"value": 1, "low": 0}}}))
    assert register(model, metrics, trained.report, "flights") == 1
    with open_store() as store:
        run = all_runs(store)[0]
    assert json.loads(run.data.params["left_out"]) == left_out
    assert run.data.params["params.max_depth"] == "4"
    assert json.loads(run.data.params["params.monotone_constraints"]) == {"price [EUR], 100%": 1}
    assert json.loads(run.data.params["class_weight"]) == {"a=b": 1.0, "x" * 300: 2.0}
    assert run.data.metrics == {"share _ 3 ___": 1.0, "share _ 3 ____low": 0.0, "validation_recall_5": 0.5}


def test_feature_of_any_name(home, tmp_path):
    """The signature and the example take the name as it is, and so does MLflow's own way to predict."""
    name = "price [EUR], 100%"
    trained = make_model(tmp_path, distance=name)
    manifest = read_manifest(trained.model)
    manifest.training["left_out"] = {"Date (UTC)": "excluded by parameter"}
    seal_model(trained.model, manifest)
    assert register(*trained.paths(), "flights") == 1
    rows = make_rows(20, distance=name)
    with open_store():
        loaded = mlflow.pyfunc.load_model("models:/flights/1")
    assert name in loaded.metadata.get_input_schema().input_names()
    want = load_predictor(trained.model).predict(rows)
    np.testing.assert_array_equal(loaded.predict(rows.to_pandas()).to_numpy(), want)


def test_many_columns_left_out_fit_into_one_parameter(trained, home, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(trained.model, model)
    manifest = read_manifest(model)
    manifest.training["left_out"] = {f"column {number}": "excluded by parameter" for number in range(1000)}
    seal_model(model, manifest)
    assert register(model, trained.metrics, trained.report, "flights") == 1
    with open_store() as store:
        assert len(all_runs(store)[0].data.params["left_out"]) == 6000


def test_metrics_that_are_not_finite_are_left_out(trained, home, tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"metrics": {"a": {"value": float("nan")}, "b": {"value": 1, "high": float("inf")}}}))
    register(trained.model, metrics, trained.report, "flights")
    with open_store() as store:
        assert all_runs(store)[0].data.metrics == {"b": 1.0, "validation_log_loss": 0.5}


def test_missing_report_is_refused(trained, home):
    with pytest.raises(InputError, match="no report"):
        register(trained.model, trained.metrics, home / "nothing.html", "flights")


@pytest.mark.parametrize("name", ["", "a/b", "it's", "a:b", "-a", "x@champion", "x\n"])
def test_names_that_cannot_be_used_are_refused(trained, home, name):
    with pytest.raises(InputError, match="model name"):
        register(*trained.paths(), name)
