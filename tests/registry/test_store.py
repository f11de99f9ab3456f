import contextlib
import gc
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from loopline.components.errors import InputError
from loopline.components.registry import store
from loopline.components.registry.store import open_store, tracking_uri, ui_command
from loopline.components.registry.versions import promote
from loopline.components.secrecy import without_credentials
from loopline.pipelines.sites.ports import free_port

REGISTER = """
import sys
from loopline.components.registry.register import register
print(register(*sys.argv[1:]))
"""


def test_environment_comes_first(home, monkeypatch):
    assert tracking_uri() == f"sqlite:///{home}/mlflow.db"
    assert f"--backend-store-uri 'sqlite:///{home}/mlflow.db'" in ui_command()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example.com")
    assert tracking_uri() == "https://user:secret@mlflow.example.com"
    assert ui_command() == "python -m webbrowser https://mlflow.example.com"


def test_pod_without_a_server_is_refused(home, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("LOOPLINE_HOME")
    with pytest.raises(InputError, match="set it to the address of the MLflow server"):
        promote("flights", 1)
    # Where to look is no step: it is asked for in a workbench, behind a run whose steps had their folder.
    assert "sqlite:///" in ui_command()


def test_a_workbench_is_a_pod_whose_folder_stays(home, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("NB_PREFIX", "/notebook/team/mine")
    monkeypatch.delenv("LOOPLINE_HOME")
    assert tracking_uri() == f"sqlite:///{Path.cwd()}/.loopline/mlflow.db"


def test_pod_with_a_folder_of_its_own_keeps_models_there(home, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert tracking_uri() == f"sqlite:///{home}/mlflow.db"
    with open_store() as opened:
        assert opened.client.search_registered_models() == []


def test_environment_is_as_before_afterwards(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    before = dict(os.environ)
    with open_store() as opened:
        assert os.environ["MLFLOW_TRACKING_URI"] == opened.uri
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert dict(os.environ) == before


def test_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set LOOPLINE_HOME"):
        promote("flights", 1)


def test_error_of_another_file_keeps_its_message(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), open_store():
        (tmp_path / "elsewhere").read_text()


@pytest.fixture
def probe_module(tmp_path, monkeypatch):
    """Write a module that notes whether the garbage collector is on while it is imported, and may fail then."""

    def write(fail: bool) -> str:
        lines = [
            "import gc, sys",
            "sys.collector_was_on = gc.isenabled()",
            f"if {fail}: raise OSError('broken module')",
        ]
        (tmp_path / "collector_probe.py").write_text("\n".join(lines))
        return "collector_probe"

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "collector_was_on", None, raising=False)
    yield write
    sys.modules.pop("collector_probe", None)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fail", [True, False])
def test_collector_rests_during_imports_and_is_as_before_afterwards(probe_module, enabled, fail):
    name = probe_module(fail)
    if not enabled:
        gc.disable()
    try:
        with pytest.raises(OSError, match="broken module") if fail else contextlib.nullcontext():
            store._import_modules(name)
        assert gc.isenabled() is enabled
        assert sys.collector_was_on is False
    finally:
        gc.enable()


@pytest.mark.parametrize(("runtime", "frozen"), [("true", True), ("false", False)])
def test_only_a_step_keeps_what_is_loaded_out_of_the_collection(home, monkeypatch, runtime, frozen):
    """A notebook lives on: what it drops later must be found."""
    monkeypatch.setenv("_KFP_RUNTIME", runtime)
    gc.unfreeze()
    try:
        with open_store():
            assert (gc.get_freeze_count() > 0) is frozen
    finally:
        gc.unfreeze()


def test_two_processes_register_at_once_into_an_empty_store(trained, tmp_path):
    environment = {**os.environ, "LOOPLINE_HOME": str(tmp_path / "new")}
    command = [sys.executable, "-c", REGISTER, *map(str, trained.paths()), "flights"]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    versions = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert versions[0] == versions[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOPLINE_HOME", str(tmp_path / "new"))
        with open_store() as opened:
            kept = opened.client.search_model_versions("name = 'flights'")
            assert [str(version.version) for version in kept] == versions[:1]
            experiment = opened.client.get_experiment_by_name("flights").experiment_id
            assert len(opened.client.search_runs([experiment])) == 1


def test_server_that_is_not_there_is_one_sentence_without_credentials(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match=r"cannot be reached \(Connection refused\)") as caught:
        promote("flights", 1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "denies access"), (403, "denies access"), (200, "like an MLflow server"), (404, "like an MLflow server")],
)
def test_answers_of_other_servers_are_one_sentence(monkeypatch, status, message):
    """A proxy in front of MLflow answers so; the test environment has none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>Hello</h1>")

        def log_message(self, *arguments):
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{server.server_port}")
        with pytest.raises(InputError, match=message) as caught:
            promote("flights", 1)
        server.shutdown()
    assert str(status) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@ss@host:5000/a", "http://host:5000/a"),
        ("mysql://u:p@s@s@host/db and https://v:w@other", "mysql://host/db and https://other"),
        ("http://host/who@example", "http://host/who@example"),
    ],
)
def test_nothing_of_a_password_is_left(text, shown):
    assert without_credentials(text) == shown
