import http.server
import json
import os
import shutil
import signal
import threading
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow_server import run_server
from monitoring_documents import DIGEST, END, earlier, make_documents, span, write_documents

from loopline.components.environment import environment, home
from loopline.components.errors import InputError
from loopline.components.monitoring.decide import decide
from loopline.components.monitoring.decision import decide_window
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.policy import Policy
from loopline.components.monitoring.state import read_document, read_history, read_service_state, record, window_key
from loopline.components.registry.store import open_store

WORSE = {"performance": {"verdict": "worse", "reason": "Worse by log loss."}}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with tables and nothing in them: making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    with environment({"LOOPLINE_HOME": str(folder)}), open_store():
        return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def database(empty_database):
    """A copy of it as this machine's own."""
    home().mkdir(parents=True)
    return shutil.copy(empty_database, home() / "mlflow.db")


@pytest.fixture
def write(tmp_path):
    """Record a window given by hours from END and return the run."""

    def run(start_h=-24, end_h=0, state=None, **values):
        decision = earlier(start_h, end_h, **values)
        service = tmp_path / "service.json"
        service.write_text(json.dumps({"verdict": "healthy", "state": state or {}}))
        return record("flights", window_key(decision), decision, {"service.json": service})

    return run


def runs(view=ViewType.ACTIVE_ONLY):
    with open_store() as store:
        experiment = store.client.get_experiment_by_name("flights-monitoring")
        return store.client.search_runs([experiment.experiment_id], run_view_type=view) if experiment else []


def ends(history):
    return [decision["window"]["end"] for decision in history]


def later(hours):
    return span(end_h=hours)["end"]


def test_a_window_is_a_run_with_its_figures_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the engine")  # runs of the engine's own are no windows
    paths = write_documents(tmp_path / "window", make_documents())
    decision, page = decide_window("flights", *paths, Policy())
    assert (decision.verdict, page.title) == ("wait", "Retrain, wait or alert")
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "window to 2026-03-10T00:00:00+00:00"
    assert run.data.tags["loopline.monitoring.verdict"] == "wait"
    assert run.data.metrics.items() >= {
        "rows": 5_000, "labeled": 3_000, "drift_score": 0.01, "drift_columns": 0, "retrain": 0, "alerts": 0,
        "log_loss": 0.56, "registered_log_loss": 0.55, "skill": 0.19, "registered_skill": 0.2,
    }.items()  # fmt: skip
    with open_store() as store:
        [point] = store.client.get_metric_history(run.info.run_id, "log_loss")
        files = {file.path for file in store.client.list_artifacts(run.info.run_id)}
    assert (point.step, point.timestamp) == (END.timestamp(), END.timestamp() * 1000)
    assert files == {
        "counts.json", "drift.json", "performance.json", "service.json", "decision.json", "decision.html",
    }  # fmt: skip
    assert read_history("flights", later(1)) == [asdict(decision)]


def test_the_verdict_is_shown_in_prometheus(tmp_path, monkeypatch):
    put = {}

    class Gateway(http.server.BaseHTTPRequestHandler):
        """Stands for a Pushgateway, whose own behavior is tested with the gauges."""

        def do_PUT(self):
            put[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    paths = write_documents(tmp_path / "window", make_documents(**WORSE))
    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PROMETHEUS_PUSHGATEWAY_URL", f"http://127.0.0.1:{server.server_port}")
        decide_window("flights", *paths, Policy())
        server.shutdown()
    gauges = put["/metrics/job/loopline_monitoring/model/flights"].splitlines()
    assert 'loopline_monitoring_verdict{verdict="retrain"} 1.0' in gauges
    assert "loopline_drift_score 0.01" in gauges
    assert "loopline_model_skill 0.19" in gauges


def test_windows_decide_about_the_next_ones(tmp_path):
    verdicts = []
    for start in (0, 24, 48, 72):
        counts = {"window": span(start, start + 24)}
        paths = write_documents(tmp_path / f"from {start}", make_documents(counts=counts, **WORSE))
        verdicts.append(decide_window("flights", *paths, Policy(patience=2, cooldown_h=48))[0].verdict)
    assert verdicts == ["wait", "retrain", "wait", "retrain"]


def test_a_rerun_of_an_older_window_does_not_see_later_ones(tmp_path, write):
    paths = write_documents(tmp_path / "window", make_documents(**WORSE))
    first, _ = decide_window("flights", *paths, Policy())
    write(0, 24, verdict="retrain")
    again, _ = decide_window("flights", *paths, Policy())
    assert again == first == decide(read_evidence(*paths), [], Policy())
    assert len(runs()) == 2


def test_history_is_that_of_the_model_in_the_order_of_time(write):
    assert read_history("flights", later(0)) == []
    for start in (-48, -120, -24, -96):
        write(start, start + 24)
    assert ends(read_history("flights", later(1))) == [later(hours) for hours in (-96, -72, -24, 0)]
    assert ends(read_history("flights", later(0))) == [later(hours) for hours in (-96, -72, -24)]
    assert ends(read_history("flights", later(1), limit=2)) == [later(-24), later(0)]
    assert read_history("trains", later(1)) == []


def test_the_last_retraining_is_never_beyond_the_limit(write):
    write(-200, -190, verdict="retrain")
    write(-100, -90, verdict="retrain")
    for start in (-48, -24, -12):
        write(start, start + 12)
    assert ends(read_history("flights", later(1), limit=2)) == [later(hours) for hours in (-90, -12, 0)]


def test_the_same_window_is_recorded_once(write):
    assert write() == write()
    assert len(runs(ViewType.ALL)) == 1


def test_another_finding_about_a_window_takes_the_place_of_the_first(write):
    first, second = write(verdict="wait"), write(verdict="alert")
    assert first != second
    assert [run.info.run_id for run in runs()] == [second]
    [decision] = read_history("flights", later(1))
    assert decision["verdict"] == "alert"


def test_a_window_of_another_model_stands_beside_the_first(write):
    write(), write(model_digest="sha256:" + "b" * 64)
    assert {decision["model_digest"] for decision in read_history("flights", later(1))} == {
        DIGEST, "sha256:" + "b" * 64,
    }  # fmt: skip


def test_counters_are_those_of_the_window_that_began_before(write):
    assert read_service_state("flights", later(0)) == {}
    write(-48, -24, state={"sites": {"edge": 1}})
    write(-24, 0, state={"sites": {"edge": 2}})
    assert read_service_state("flights", later(-48)) == {}
    assert read_service_state("flights", later(-24)) == {"sites": {"edge": 1}}
    assert read_service_state("flights", later(-23.9)) == {"sites": {"edge": 2}}  # windows that overlap
    assert read_service_state("flights", later(100)) == {"sites": {"edge": 2}}


def test_a_run_whose_files_somebody_deleted_is_left_out(write, caplog):
    lost = write(-48, -24)
    write(-24, 0)
    with open_store() as store:
        Path(store.client.get_run(lost).info.artifact_uri.removeprefix("file://"), "decision.json").unlink()
    assert ends(read_history("flights", later(1))) == [later(0)]
    assert f"run {lost} has no decision.json any more" in caplog.text


#: What writing a window asks of MLflow, in this order.
CALLS = ("create_experiment", "create_run", "log_batch", "log_artifact", "log_artifact", "set_terminated", "delete_run")


def die_at(monkeypatch, number):
    """End this process without notice at the given call that changes something, before it is made."""
    made = []

    def watch(call):
        def watched(*arguments, **keywords):
            made.append(call)
            if len(made) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return watched

    for name in set(CALLS):
        monkeypatch.setattr(MlflowClient, name, watch(getattr(MlflowClient, name)))


@pytest.mark.parametrize("replaces", [False, True])
def test_a_death_at_any_moment_leaves_nothing_half_done(write, monkeypatch, replaces):
    calls = len(CALLS) - 1  # a first window deletes nothing, a second needs no experiment
    for number in range(1, calls + 1):
        end = -24 * number
        if replaces:
            write(end - 24, end, verdict="wait")
        child = os.fork()
        if child == 0:
            with monkeypatch.context() as patch:
                die_at(patch, number if replaces or number == 1 else number - 1)
                write(end - 24, end, verdict="alert")
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        seen = [one["verdict"] for one in read_history("flights", later(end + 1)) if one["window"]["end"] == later(end)]
        # Before the last call the window is what it was; then the new run is whole and the old one still there.
        whole = replaces and number == calls
        assert seen == (["alert"] if whole else ["wait"] if replaces else [])
        write(end - 24, end, verdict="alert")
        [decision] = [one for one in read_history("flights", later(end + 1)) if one["window"]["end"] == later(end)]
        assert decision["verdict"] == "alert"
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert len(runs()) == calls


def test_the_same_on_a_server(tmp_path, write, database, monkeypatch):
    shutil.copy(database, tmp_path / "mlflow.db")
    with run_server(tmp_path) as (url, process):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.chdir(tmp_path)
        write(-48, -24, verdict="retrain", state={"sites": {"edge": 1}})
        assert write() == write()
        write(verdict="alert")
        lost = write(-72, -48)
        assert ends(read_history("flights", later(1))) == [later(hours) for hours in (-48, -24, 0)]
        assert [one["verdict"] for one in read_history("flights", later(1), limit=1)] == ["retrain", "alert"]
        assert read_service_state("flights", later(-24)) == {"sites": {"edge": 1}}
        with open_store() as store:
            uri = store.client.get_run(lost).info.artifact_uri
        next((tmp_path / "artifacts").rglob(f"{lost}/artifacts/decision.json")).unlink()
        assert uri.startswith("mlflow-artifacts:")
        assert ends(read_history("flights", later(1))) == [later(hours) for hours in (-24, 0)]
        process.terminate()
        process.wait(20)
        with pytest.raises(InputError, match="cannot be reached"):
            read_history("flights", later(1))


@pytest.mark.parametrize("read", [read_history, read_service_state])
def test_what_cannot_be_read_is_refused(read, write):
    write()
    with pytest.raises(InputError, match="'yesterday' is no instant"):
        read("flights", "yesterday")
    with pytest.raises(InputError, match="The model name 'fl/ghts' cannot be used"):
        read("fl/ghts", later(0))


def test_what_a_decision_rests_on_is_read_of_its_own_window(write):
    write(-48, -24, state={"edge": "before"})
    write(-24, 0, state={"edge": "now"})
    before, now = read_history("flights", (END + timedelta(hours=1)).isoformat())
    assert read_document("flights", before, "service.json")["state"] == {"edge": "before"}
    assert read_document("flights", now, "service.json")["state"] == {"edge": "now"}
    with pytest.raises(InputError, match=r"MLflow holds no drift.json of the window to 2026-03-10"):
        read_document("flights", now, "drift.json")
    with pytest.raises(InputError, match="in churn-monitoring"):
        read_document("churn", now, "service.json")
