"""Pipelines started through the API of a pipeline server: once for each event, and not too often."""

import datetime
import threading

import pytest
from kfp import local
from pipeline_server import TOKEN, pipeline_server

from loopline.components import pipeline_server as client_side
from loopline.components.errors import InputError
from loopline.components.monitoring.components import trigger_pipeline
from loopline.components.monitoring.trigger import trigger
from loopline.deploy import start_run
from loopline.pipelines.spec import compiled_folder

EVENT = "LooplineMonitoringOverdue since 2026-11-24T14:00:00Z"
COMPILED = (compiled_folder() / "training.yaml").read_text()
PARAMETERS = {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Run a pipeline server that holds more pipelines than one page of an answer, and that this process finds."""
    with pipeline_server(tmp_path) as (running, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(client_side, "SETTLE_S", 0.0)
        for name in ("sweep", "rollback", "delivery", "training"):
            running.hold(name, (compiled_folder() / f"{name}.yaml").read_text())
        yield running


def _reference(server, run: dict) -> tuple[str, str]:
    """Return the names of the pipeline and of the version that a run is of."""
    asked = run["pipeline_version_reference"]
    (version,) = (v for v in server.versions if v["pipeline_version_id"] == asked["pipeline_version_id"])
    (pipeline,) = (p for p in server.pipelines if p["pipeline_id"] == asked["pipeline_id"])
    assert version["pipeline_id"] == pipeline["pipeline_id"]
    return pipeline["display_name"], version["display_name"]


def test_an_event_starts_one_run_of_the_newest_version(server, capsys):
    for version in ("2", "10"):
        server.hold("training", COMPILED, version)
    given = PARAMETERS | {"seed": "7", "rounds": 50.0}
    first = trigger("training", given, EVENT)
    assert (first.run_id, first.started) == ("run-0", True)
    (run,) = server.runs
    assert _reference(server, run) == ("training", "10")
    assert run["display_name"] == f"training: {EVENT}"
    assert run["runtime_config"]["parameters"] == PARAMETERS | {"seed": 7, "rounds": 50}
    assert [e["display_name"] for e in server.experiments] == ["training"]
    for state in ("PENDING", "RUNNING", "SUCCEEDED"):
        server.runs[0]["state"] = state
        again = trigger("training", given, EVENT)
        assert (again.run_id, again.started) == ("run-0", False)
        assert "started run run-0 of training before" in again.reason
    assert len(server.runs) == 1
    assert TOKEN not in "".join(capsys.readouterr())


def test_other_events_and_no_event_start_others(server):
    runs = [
        trigger("training", PARAMETERS, EVENT),
        trigger("training", PARAMETERS, EVENT + " again"),
        trigger("training", PARAMETERS, "", experiment="by hand"),
        trigger("delivery", {"name": "flights"}, EVENT),
    ]
    assert all(run.started for run in runs)
    assert len({run.run_id for run in runs}) == 4
    assert [e["display_name"] for e in server.experiments] == ["training", "by hand", "delivery"]


def test_the_step_itself_starts_a_run(server, tmp_path):
    """As the engine runs it: in a process where kfp has loaded what its executor needs and no more."""
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    values = '{"uri": "data.csv", "target": "late", "name": "flights"}'
    assert trigger_pipeline(pipeline="training", parameters=values).output == "run-0"
    assert _reference(server, server.runs[0]) == ("training", "1")


def test_a_verdict_starts_only_what_it_calls_for(server, caplog):
    """For engines without conditions, whose graph runs the step in any case."""
    caplog.set_level("INFO", "loopline")
    call = trigger_pipeline.python_func
    values = '{"uri": "data.csv", "target": "late", "name": "flights"}'
    assert call("training", values, verdict="wait") == ""
    assert call("training", values, verdict="retrain", starts_on="alert") == ""
    assert server.runs == []
    assert "the verdict is wait, not retrain: nothing was started" in caplog.text
    assert call("training", values, verdict="retrain") == "run-0"
    assert call("training", values, verdict="alert", starts_on="alert") == "run-1"
    for wrong in ({"verdict": "promote"}, {"verdict": "wait", "starts_on": "never"}):
        with pytest.raises(InputError, match="use retrain, wait, alert, what decide_retraining returns"):
            call("training", values, **wrong)


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED", "CANCELING"])
def test_a_run_that_failed_is_started_again(server, state):
    trigger("training", PARAMETERS, EVENT)
    server.runs[0]["state"] = state
    again = trigger("training", PARAMETERS, EVENT, cooldown_h=24)
    assert (again.run_id, again.started) == ("run-1", True)


def test_long_events_stay_apart(server):
    first, second = (trigger("training", PARAMETERS, "x" * 300 + end) for end in "ab")
    assert first.started and second.started
    assert not trigger("training", PARAMETERS, "x" * 300 + "a").started
    assert max(len(run["display_name"]) for run in server.runs) <= 160


def _made(server, hours_ago: float, state: str = "SUCCEEDED", pipeline: str = "training", name: str = "flights"):
    """Let the server have a run of a pipeline, which somebody else started."""
    (held,) = (p for p in server.pipelines if p["display_name"] == pipeline)
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours_ago)
    run = server.add_run(
        {
            "display_name": f"scheduled {len(server.runs)}",
            "pipeline_version_reference": {"pipeline_id": held["pipeline_id"], "pipeline_version_id": "version-0"},
            "runtime_config": {"parameters": {"name": name}},
        }
    )
    run |= {"created_at": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "state": state}


def test_a_cooldown_counts_every_run_of_the_pipeline(server):
    _made(server, 5.5)
    for _ in range(5):
        _made(server, 0.1, pipeline="sweep")
    within = trigger("training", PARAMETERS, EVENT, cooldown_h=6)
    assert (within.run_id, within.started) == ("", False)
    assert "Run run-0 of training" in within.reason and "cooldown of 6 h" in within.reason
    assert len(server.runs) == 6
    assert trigger("training", PARAMETERS, EVENT, cooldown_h=5).started


def test_a_cooldown_does_not_count_failures_nor_other_models(server):
    _made(server, 1, "FAILED")
    _made(server, 1, name="wine")
    assert trigger("training", PARAMETERS, EVENT, cooldown_h=24).started
    server.runs[-1]["state"] = "SUCCEEDED"
    assert not trigger("training", PARAMETERS, EVENT + " again", cooldown_h=24).started


def test_within_the_cooldown_the_same_event_names_its_run(server):
    _made(server, 1)
    own = trigger("training", PARAMETERS, EVENT)
    again = trigger("training", PARAMETERS, EVENT, cooldown_h=24)
    assert (again.run_id, again.started) == (own.run_id, False)


@pytest.mark.parametrize("theirs", [EVENT, "another alert"])
def test_of_two_at_the_same_moment_the_later_is_taken_back(server, theirs):
    """Another client's run comes in between the look and the start, within the same second."""

    def come_in_between():
        server.before_run = lambda: None
        run = trigger("training", PARAMETERS, theirs, cooldown_h=1)
        assert run.started

    def in_a_thread():
        other = threading.Thread(target=come_in_between)
        other.start()
        other.join()

    server.before_run = in_a_thread
    run = trigger("training", PARAMETERS, EVENT, cooldown_h=1)
    assert not run.started
    assert run.run_id == ("run-0" if theirs == EVENT else "")
    assert [r["state"] for r in server.runs] == ["PENDING", "CANCELING"]


def test_no_name_does_nothing(monkeypatch):
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    nothing = trigger("", {"anything": 1}, EVENT)
    assert (nothing.run_id, nothing.started) == ("", False)
    assert "No pipeline is named" in nothing.reason


def test_a_version_by_name(server):
    server.hold("training", COMPILED, "2")
    trigger("training", PARAMETERS, version="1")
    assert _reference(server, server.runs[0]) == ("training", "1")
    with pytest.raises(InputError, match="no version '3' but 1, 2"):
        trigger("training", PARAMETERS, version="3")


@pytest.mark.parametrize(
    ("pipeline", "change", "sentence"),
    [
        ("trainning", {}, "no pipeline 'trainning' but delivery, rollback, sweep, training: import it first"),
        ("training", {"colour": "red"}, "no parameter 'colour': did you mean 'columns'"),
        ("training", {"seed": "many"}, "'seed' is 'many' but must be an integer"),
        ("training", {"seed": 1.5}, "'seed' is 1.5 but must be an integer"),
        ("training", {"seed": True}, "'seed' is True but must be an integer"),
        ("training", {"target": None}, "needs 'target'"),
    ],
)  # fmt: skip
def test_a_wrong_name_starts_nothing(server, pipeline, change, sentence):
    parameters = {k: v for k, v in (PARAMETERS | change).items() if v is not None}
    with pytest.raises(InputError, match=sentence):
        trigger(pipeline, parameters, EVENT)
    assert server.runs == []


def test_a_pipeline_without_a_version_is_said(server):
    server.pipelines.append({"pipeline_id": "p", "display_name": "empty"})
    with pytest.raises(InputError, match="'empty' has no version"):
        trigger("empty", {}, EVENT)


@pytest.mark.parametrize("hours", [-1.0, float("nan"), float("inf")])
def test_a_cooldown_that_makes_no_sense_is_refused(server, hours):
    with pytest.raises(InputError, match="cooldown_h is"):
        trigger("training", PARAMETERS, EVENT, cooldown_h=hours)


def test_a_server_that_is_away_or_refuses_is_said(server, monkeypatch):
    server.failures = 1
    with pytest.raises(InputError, match=r"refuses with 503 .*the database is away") as raised:
        trigger("training", PARAMETERS, EVENT)
    assert raised.value.temporary
    server.failures, server.forbidden = 0, True
    with pytest.raises(InputError, match="ds-pipeline-user-access-dspa") as raised:
        trigger("training", PARAMETERS, EVENT)
    assert not raised.value.temporary
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "https://127.0.0.1:1")
    with pytest.raises(InputError, match="does not answer"):
        trigger("training", PARAMETERS, EVENT)


def test_a_host_given_gets_no_token_of_this_account(server, monkeypatch):
    """A server named by a parameter gets a token alone that somebody provided for another server."""
    host = server_host(server)
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
    assert trigger("training", PARAMETERS, EVENT, host=host).started
    with pytest.raises(InputError, match="in the clear"):
        trigger("training", PARAMETERS, EVENT, host=host.replace("https", "http"))
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH")
    with pytest.raises(InputError, match="outside this cluster, where this account's token is not sent"):
        trigger("training", PARAMETERS, EVENT, host=host)


def server_host(server) -> str:
    return f"https://127.0.0.1:{server.server_address[1]}"


def test_the_component_starts_it_with_the_text_that_a_pipeline_gives(server):
    run = trigger_pipeline.python_func(
        pipeline="training",
        parameters='{"uri": "a.csv", "target": "late", "name": "flights", "seed": 3.0}',
        event=EVENT,
        cooldown_h=2.0,
    )
    assert run == "run-0"
    assert server.runs[0]["runtime_config"]["parameters"]["seed"] == 3


def test_the_command_writes_the_run(server, tmp_path, capsys):
    result = tmp_path / "run-id"
    words = ["start", "--pipeline=training", f"--event={EVENT}", "--cooldown-h=1", f"--result={result}"]
    words += [f"--parameter={name}={value}" for name, value in PARAMETERS.items()] + ["--parameter=seed="]
    assert start_run.main(words) == 0
    assert result.read_text() == "run-0"
    assert start_run.main([word.replace("Overdue", "Late") for word in words]) == 0
    assert result.read_text() == ""
    assert start_run.main(["start", "--pipeline=", f"--event={EVENT}"]) == 0
    assert start_run.main(["wait", "run-0"]) == 0
    assert start_run.main(["start", "--pipeline=nothing"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("loopline: The pipeline server has no pipeline")


def test_the_command_reads_what_the_runs_of_a_model_have_in_common(server, tmp_path, capsys):
    common = tmp_path / "training.flights"
    words = ["start", "--pipeline=training", "--parameter=name=flights", f"--parameters-file={common}"]
    assert start_run.main(words) == 2
    assert "needs 'target', 'uri'" in capsys.readouterr().err.replace("'uri', 'target'", "'target', 'uri'")
    common.write_text("uri: 2026-11-24\ntarget: late\nname: wine\nseed: 3\nparams: {max_depth: 2}\n")
    assert start_run.main(words) == 0
    given = {"uri": "2026-11-24", "target": "late", "name": "flights", "seed": 3, "params": '{"max_depth": 2}'}
    assert server.runs[0]["runtime_config"]["parameters"] == given
    common.write_text("- uri")
    assert start_run.main(words) == 2
    assert "is not a YAML object of parameters" in capsys.readouterr().err
    assert start_run.main(["start", "--pipeline=", *words[2:]]) == 0
    assert len(server.runs) == 1
