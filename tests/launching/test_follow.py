"""Runs followed: their steps, logs, failures and artifacts, through the command line."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_server import Fault, Scenario

from loopline.components.errors import InputError
from loopline.pipelines.launching import ServerRun, following, submit
from loopline.pipelines.launching.connection import connect
from loopline.pipelines.progress import Progress

PROGRAM = Path(sys.executable).with_name("loopline")
PARAMETERS = {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"}
WORDS = [word for name, value in PARAMETERS.items() for word in (f"--{name}", value)]


def told(*messages: str) -> list[str]:
    """Return lines as kfp's executor prints what a step logs."""
    return [f"[KFP Executor 2026-11-28 12:00:00,000 INFO]: loopline: {message}" for message in messages]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What a step really prints that refuses its input: the log of a run on this machine."""
    folder = tmp_path_factory.mktemp("refused")
    words = ["run", "training", "--uri", "nowhere.csv", "--target", "late", "--name", "flights"]
    subprocess.run([str(PROGRAM), *words], cwd=folder, env={**os.environ, "LOOPLINE_HOME": str(folder / "home")})
    (log,) = folder.rglob("run.log")
    return log.read_text().splitlines()


def test_steps_are_shown_as_they_happen(server, loopline):
    logs = {"ingest-data": told("27,075 rows", "18 columns"), "train-xgboost": told("best round 120")}
    server.scenario = Scenario.through("ingest-data", "validate-data", "train-xgboost", logs=logs)
    done = loopline("submit", "training", *WORDS)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.sub(r"^\[ *[\d.]+ s\] +", "", line).strip() for line in done.stdout.splitlines()]
    shown = [re.sub(r"[\d.]+ s$", "N s", line) for line in lines]
    begin = shown.index("Ingest data ...")
    assert shown[begin : begin + 8] == [
        "Ingest data ...", "27,075 rows", "18 columns", "Ingest data done in N s",
        "Validate data ...", "Validate data done in N s", "Train with XGBoost ...", "best round 120",
    ]  # fmt: skip
    assert re.search(r"The run succeeded after \d+ s\.", done.stdout)


def test_a_refusing_step_is_one_sentence(server, loopline, refused):
    server.scenario = Scenario([{}, {"ingest-data": "RUNNING"}, {"ingest-data": "FAILED"}], state="FAILED")
    server.scenario.logs["ingest-data"] = refused
    server.scenario.attempts["ingest-data"] = 3
    done = loopline("submit", "training", *WORDS)
    assert done.returncode == 1
    assert "Ingest data failed after" in done.stdout and "The run failed after" in done.stdout
    assert "loopline: step Ingest data failed: " in done.stderr and "nowhere.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_step_shows_its_own_traceback(server, loopline):
    log = [
        *told("judging"), "Traceback (most recent call last):", '  File "/x/kfp/dsl/executor_main.py", line 9, in main',
        "    executor()", '  File "/x/loopline/evaluate.py", line 3, in evaluate', "    rows[7]", "IndexError: 7",
        "time=2026 level=error msg=exit status 1",
    ]  # fmt: skip
    server.scenario = Scenario(
        [{}, {"ingest-data": "SUCCEEDED", "evaluate-model": "RUNNING"}, {"evaluate-model": "FAILED"}],
        logs={"evaluate-model": log},
        state="FAILED",
    )
    done = loopline("submit", "training", *WORDS)
    assert done.returncode == 1
    assert "loopline: step Evaluate model failed: IndexError: 7" in done.stderr
    assert "evaluate.py" in done.stderr and "executor_main" not in done.stderr


def _with_driver_failed(run: dict, step: str) -> dict:
    """Return a run in which the pod failed that prepares a step, so that the step has no node."""
    details = [d for d in run["run_details"]["task_details"] if d["display_name"] != step]
    for detail in details:
        if detail["display_name"] == f"{step}-driver":
            detail["state"] = "FAILED"
    return run | {"run_details": {"task_details": details}}


def test_a_step_without_a_log_and_one_that_was_never_prepared_are_said(server):
    server.scenario = Scenario([{}, {"score-partition": "FAILED"}], state="FAILED")
    run = submit("batch-scoring", {"name": "flights", "uri": "x", "output": "y"})
    # The pods are gone.
    server.log_of = lambda run, pod: server.one("runs", "run_id", "gone")
    outcome = run.follow(Progress.silent())
    assert outcome.state == "FAILED"
    assert outcome.failure.step == "Score partition"
    assert "its log cannot be read" in outcome.failure.message

    look = server.look_at
    server.look_at = lambda run: _with_driver_failed(look(run), "score-partition")
    outcome = run.follow(Progress.silent())
    assert str(outcome.failure) == "Score partition: the engine could not prepare it; its log cannot be read."


def test_an_attempt_after_the_first_is_read(server, loopline):
    """The name of its pod follows from the hash of the first name that the server tells, as Argo makes it."""
    server.scenario = Scenario.through("ingest-data", logs={"ingest-data": told("read at last")})
    server.scenario.attempts["ingest-data"] = 2
    done = loopline("submit", "training", *WORDS)
    assert done.returncode == 0
    assert done.stdout.count("read at last") == 1


def test_steps_of_nested_pipelines_and_skipped_ones_are_shown(server, loopline):
    server.scenario = Scenario(
        [
            {},
            {"load-model": "RUNNING"},
            {"load-model": "SUCCEEDED", "condition-1/retraining/split-data": "RUNNING"},
            {
                "load-model": "SUCCEEDED",
                "condition-1/retraining/split-data": "SUCCEEDED",
                "trigger-pipeline": "SKIPPED",
            },
        ],
        logs={"condition-1/retraining/split-data": told("split by time")},
    )
    done = loopline("submit", "monitoring", "--name", "flights", "--target", "late", "--history", "x")
    assert done.returncode == 0, done.stderr
    # Two pipelines have a step of this name, and call it otherwise.
    assert "load-model ..." in done.stdout or "Load champion ..." in done.stdout
    assert "split by time" in done.stdout
    assert "Call for people skipped" in done.stdout


def test_the_run_follows_through_a_servers_short_absence(server, loopline):
    server.scenario = Scenario.through("ingest-data", "split-data")
    server.faults = [Fault("GET", "/runs/run-0", times=3), Fault("GET", "/log", times=2)]
    done = loopline("submit", "training", *WORDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert [fault.times for fault in server.faults] == [0, 0]
    assert "Split data done" in done.stdout


def test_a_long_absence_leaves_the_run_alone(server, monkeypatch):
    server.scenario = Scenario.through("ingest-data")
    run = submit("training", PARAMETERS)
    away = Fault("GET", "/runs/run-0", times=0)
    server.faults.append(away)

    class Silent(Progress):
        def start(self, step):
            away.times = 1000
            return super().start(step)

    with pytest.raises(InputError, match="The run goes on: `loopline follow run-0` looks at it again"):
        following.follow(connect(), run.run_id, Silent(None), patience_s=0.1)
    assert not any(method == "POST" and path.endswith(":terminate") for method, path, _ in server.asked)


@pytest.fixture
def heeding_ctrl_c():
    """Let what is started heed Ctrl-C, also where these tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_detaches_and_follow_attaches_again(server, loopline, tmp_path):
    server.scenario = Scenario([{"ingest-data": "RUNNING"}] * 1000)
    words = [str(PROGRAM), "submit", "training", *WORDS]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert any("Ingest data ..." in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "\nDetached: the run goes on. `loopline follow run-0` attaches again.\n"
    assert server.runs[0]["state"] == "RUNNING"
    assert not any(path.endswith(":terminate") for _, path, _ in server.asked)

    server.scenario = Scenario([{"ingest-data": "SUCCEEDED"}])
    done = loopline("follow", "run-0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ingest data done in" in done.stdout


@pytest.mark.parametrize(("state", "words"), [("CANCELED", "was canceled"), ("FAILED", "failed")])
def test_the_exit_status_is_the_runs(server, loopline, state, words):
    submit("training", PARAMETERS)
    server.scenario = Scenario([{"ingest-data": "SUCCEEDED"}], state=state)
    done = loopline("follow", "run-0")
    assert done.returncode == 1
    assert f"The run {words} after" in done.stdout


def test_no_such_run_is_said(server, loopline):
    done = loopline("follow", "run-7")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "runs run-7 not found" in done.stderr


def test_artifacts_are_listed_where_the_server_tells_of_them(server, monkeypatch):
    server.scenario = Scenario.through("evaluate-model")
    run = submit("training", PARAMETERS)
    where = "s3://bucket/pipelines/training/{}/{}/7f1c/{}"
    written = [("run-9", "evaluate-model", "report"), ("run-0", "ingest-data", "data"),
               ("run-0", "evaluate-model", "report")]  # fmt: skip
    server.artifacts = [
        {"artifact_id": str(number), "uri": where.format(*entry), "created_at": server.runs[0]["created_at"]}
        for number, entry in enumerate(written)
    ]
    server.artifacts.insert(
        0, {"artifact_id": "-1", "uri": where.format("run-0", "old", "x"), "created_at": "2020-01-01T00:00:00Z"}
    )
    monkeypatch.setattr("loopline.pipelines.launching.connection.pod_namespace", lambda: "ml")
    attached = ServerRun.find(run.run_id)
    assert [(a.step, a.name) for a in attached.artifacts()] == [("ingest-data", "data"), ("evaluate-model", "report")]
    assert attached.artifacts()[1].uri == where.format("run-0", "evaluate-model", "report")
    server.artifacts = None
    with pytest.raises(InputError, match="answers 404"):
        attached.artifacts()


def test_in_a_notebook_a_run_shows_itself(server):
    server.scenario = Scenario([{"ingest-data": "SUCCEEDED", "split-data": "RUNNING"}, {"ingest-data": "SUCCEEDED"}])
    run = submit("training", PARAMETERS | {"name": "<b>flights"})
    page = run._repr_html_()
    assert "&lt;b&gt;flights" in page and "<b>flights" not in page
    assert "Ingest data" in page and "running" in page
    assert run.wait() == "SUCCEEDED" == run.state
