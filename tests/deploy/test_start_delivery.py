"""The steps of the Tekton tasks, run as Tekton runs them, against the API of a pipeline server."""

import pytest
import yaml
from deploy_sites import one
from openshift_manifests import FOLDER
from pipeline_server import TOKEN, pipeline_server
from tekton import run_task

from loopline.components import pipeline_server as pipeline_server_client
from loopline.components.errors import InputError
from loopline.deploy import start_delivery

IMAGE = "registry.example.com/ml/loopline-step@sha256:" + "e" * 64
BASE = "docker://registry.example.com/base/ubi-micro@sha256:" + "f" * 64
PARAMETERS = {
    "name": "flights",
    "version": "3",
    "repository": "https://git.example.com/ml/config-repo.git",
    "image": "docker://registry.example.com/models/flights",
    "base": BASE,
    "event": "Git tag of 4f0c7cbd",
    "step-image": IMAGE,
}


def _run_task(name: str, parameters: dict, result=None):
    manifests = list(yaml.safe_load_all((FOLDER / "components" / "events" / "delivery.yaml").read_text()))
    return run_task(one(manifests, "Task", name), parameters, result)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Run a pipeline server that this process and its children find."""
    with pipeline_server(tmp_path) as (running, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(pipeline_server_client, "SETTLE_S", 0.0)
        yield running


def test_the_tasks_start_a_delivery_and_wait_for_it(server, tmp_path):
    result = tmp_path / "run-id"
    done = _run_task("loopline-start-delivery", PARAMETERS, result)
    assert done.returncode == 0, done.stderr
    (run,) = server.runs
    assert result.read_text() == run["run_id"]
    assert run["runtime_config"]["parameters"] == {
        "name": "flights",
        "model_version": 3,
        "repository": PARAMETERS["repository"],
        "image": PARAMETERS["image"],
        "base": BASE,
    }
    assert run["display_name"] == f"delivery of flights 3 on {BASE.rpartition('@')[2]}: Git tag of 4f0c7cbd"
    assert [e["display_name"] for e in server.experiments] == ["delivery"]
    spec = run["pipeline_spec"].get("pipeline_spec", run["pipeline_spec"])
    assert spec["pipelineInfo"]["name"] == "delivery"
    executors = spec["deploymentSpec"]["executors"].values()
    assert {e["container"]["image"] for e in executors} == {IMAGE}
    assert run["pipeline_spec"]["platform_spec"], "the secrets of the tasks are in the Kubernetes part"

    done = _run_task("loopline-wait-for-run", {"run-id": run["run_id"], "deadline-s": "60"})
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_wait_fails_with_the_run(server, tmp_path):
    run_id = start_delivery.start({"name": "flights"}, "an event")
    server.states = ["FAILED"]
    done = _run_task("loopline-wait-for-run", {"run-id": run_id})
    assert (done.returncode, done.stderr) == (1, f"loopline: run {run_id}: FAILED\n")


def test_the_same_event_starts_one_delivery(server):
    first = start_delivery.start({"name": "flights", "base": BASE}, "new base image")
    assert start_delivery.start({"name": "flights", "base": BASE}, "new base image") == first
    other = BASE.replace("f", "e")
    others = [
        start_delivery.start({"name": "flights", "base": other}, "new base image"),
        start_delivery.start({"name": "wine", "base": BASE}, "new base image"),
        start_delivery.start({"name": "flights", "base": BASE}, ""),
    ]
    assert len({first, *others}) == len(server.runs) == 4


def test_an_event_whose_delivery_failed_starts_it_again(server):
    first = start_delivery.start({"name": "flights"}, "an event")
    server.runs[0]["state"] = "FAILED"
    assert start_delivery.start({"name": "flights"}, "an event") != first


def test_wait_bears_a_short_absence_and_no_long_one(server):
    run_id = start_delivery.start({"name": "flights"}, "an event")
    server.failures, server.states = 2, ["PENDING", "RUNNING", "SUCCEEDED"]
    assert pipeline_server_client.wait(run_id, deadline_s=60, poll_s=0) == "SUCCEEDED"
    server.failures = 1000
    with pytest.raises(InputError, match="503"):
        pipeline_server_client.wait(run_id, deadline_s=60, poll_s=0)
    server.failures, server.states = 0, ["RUNNING"]
    with pytest.raises(InputError, match="not over after 0 s: its state is RUNNING"):
        pipeline_server_client.wait(run_id, deadline_s=0, poll_s=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"KF_PIPELINES_SSL_SA_CERTS": None}, "signed by an authority that is not known here"),
        ({"KF_PIPELINES_SSL_SA_CERTS": "/nowhere.pem"}, "/nowhere.pem cannot be read"),
        ({"KF_PIPELINES_SA_TOKEN_PATH": "/nowhere"}, "The token /nowhere cannot be read"),
        ({"KF_PIPELINES_ENDPOINT": "https://127.0.0.1:1"}, "does not answer"),
        ({"KF_PIPELINES_ENDPOINT": None}, "set KF_PIPELINES_ENDPOINT"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(server, tmp_path, monkeypatch, changes, sentence, capsys):
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    result = tmp_path / "run-id"
    assert start_delivery.main(["start", "--parameter=name=flights", f"--result={result}"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not result.exists()
    assert server.runs == []


def test_a_token_without_the_role_is_refused_by_name(server, tmp_path, capsys):
    (tmp_path / "token").write_text("token-of-a-stranger")
    assert start_delivery.main(["wait", "run-0"]) == 2
    error = capsys.readouterr().err
    assert "bind it to the role ds-pipeline-user-access-dspa" in error
    assert "stranger" not in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--parameter=name"], "write NAME=VALUE"),
        (["--parameter=repository=x"], "needs 'name'"),
        (["--parameter=name=flights", "--parameter=wave_4=moon"], "no parameter 'wave_4'"),
        (["--parameter=name=flights", "--parameter=model_version=three"], "must be an integer"),
        (["--parameter=name=flights", "--parameter=base=ubi"], "Image 'ubi' is not a reference"),
        (["--parameter=name=flights", "--step-image=loopline"], "not pinned"),
    ],
)
def test_a_wrong_parameter_starts_nothing(server, tmp_path, capsys, words, sentence):
    assert start_delivery.main(["start", *words, f"--result={tmp_path / 'run-id'}"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert server.runs == []


def test_an_unknown_run_is_said(server, capsys):
    assert start_delivery.main(["wait", "run-7"]) == 2
    assert "refuses with 404" in capsys.readouterr().err
