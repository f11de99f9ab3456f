"""Real MLflow servers, open and with MLflow's own basic authentication; what the doctor says to do is done.

Who may not register, who may not delete, and a server that is something else are told apart, and nothing is left.
"""

import re
import sqlite3
import threading

import pytest
from delivery_registry import Handler, proxy
from delivery_registry import run_server as run_small_server
from doctor_runs import doctor
from mlflow_server import run_guarded_server, run_server

from loopline.components.environment import environment
from loopline.components.registry.store import open_store

_ADMIN, _USER = ("admin", "admin-canary-77"), ("robot", "robot-canary-77")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An MLflow server without logins: its address and its folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    with run_server(folder) as (uri, _):
        yield uri, folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """An MLflow server with basic authentication and one user beside the administrator: its address and its users."""
    with run_guarded_server(tmp_path_factory.mktemp("guarded"), _ADMIN, "READ") as uri:
        with _as(_ADMIN):
            from mlflow.server.auth.client import AuthServiceClient

            users = AuthServiceClient(uri)
            users.create_user(*_USER)
        yield uri, users


def _as(login: tuple[str, str]):
    return environment({"MLFLOW_TRACKING_USERNAME": login[0], "MLFLOW_TRACKING_PASSWORD": login[1]})


def _models(uri: str) -> list[str]:
    with environment({"MLFLOW_TRACKING_URI": uri}), open_store() as store:
        return [model.name for model in store.client.search_registered_models()]


def test_a_server_that_takes_models_keeps_nothing(server):
    uri, folder = server
    examined = doctor("mlflow", MLFLOW_TRACKING_URI=uri)
    assert examined.status == 0
    assert f"the server {uri}, MLflow 3." in examined.of("store")["seen"]
    assert "loopline-doctor was made and deleted" in examined.of("registering")["seen"]
    assert "loopline-doctor/probe was written and deleted" in examined.of("artifacts")["seen"]
    assert _models(uri) == []
    assert not (folder / "artifacts" / "loopline-doctor").exists()


def test_nothing_is_written_when_told_so(server):
    uri, folder = server
    before = (folder / "server.log").read_text()
    examined = doctor("mlflow", "--read-only", MLFLOW_TRACKING_URI=uri)
    assert examined.of("registering")["seen"] == "--read-only"
    asked = re.findall(r'"([A-Z]+) (\S+) HTTP', (folder / "server.log").read_text().removeprefix(before))
    assert asked
    assert [path for method, path in asked if method != "GET"] == ["/api/2.0/mlflow/experiments/search"]


def test_what_somebody_else_called_so_is_left_alone(server):
    uri, _ = server
    with environment({"MLFLOW_TRACKING_URI": uri}), open_store() as store:
        store.client.create_registered_model("loopline-doctor", description="mine")
        assert "was left alone" in doctor("mlflow", MLFLOW_TRACKING_URI=uri).of("registering")["seen"]
        assert store.client.get_registered_model("loopline-doctor").description == "mine"
        store.client.delete_registered_model("loopline-doctor")


def test_a_login_that_is_missing_or_wrong_is_named(guarded):
    uri, _ = guarded
    for variables in ({}, {"MLFLOW_TRACKING_USERNAME": _USER[0], "MLFLOW_TRACKING_PASSWORD": "wrong-canary"}):
        examined = doctor("mlflow", MLFLOW_TRACKING_URI=uri, **variables)
        assert examined.of("store")["state"] == "problem"
        assert "denies access" in examined.of("store")["seen"]
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in examined.of("store")["mend"]
        assert "wrong-canary" not in examined.output
    with _as(_USER):
        right = doctor("mlflow", MLFLOW_TRACKING_URI=uri)
    assert right.status == 0
    assert right.of("account")["seen"] == "accepted (user robot)"


def test_an_account_that_may_not_register_is_told_and_mended(guarded):
    uri, users = guarded
    with _as(_ADMIN):
        role = users.create_role(workspace="default", name="lookers")
        denied = users.add_role_permission(role.id, "registered_model", "*", "DENY")
        users.assign_role("robot", role.id)
    with _as(_USER):
        examined = doctor("mlflow", MLFLOW_TRACKING_URI=uri)
        assert examined.of("store")["state"] == "ok"
        assert examined.of("registering")["state"] == "problem"
        assert f"may not register models at {uri}" in examined.of("registering")["seen"]
        assert "give robot a role that may create registered models" in examined.of("registering")["mend"]
        assert "canary" not in examined.output
    with _as(_ADMIN):
        users.remove_role_permission(denied.id)
        users.delete_role(role.id)
    with _as(_USER):
        assert doctor("mlflow", MLFLOW_TRACKING_URI=uri).status == 0
    with _as(_ADMIN):
        assert _models(uri) == []


def test_an_account_that_may_not_delete_makes_nothing(server):
    """As the role of OpenShift AI's MLflow operator has it: create and update, and no delete."""
    uri, _ = server

    def answer(handler: Handler) -> bool:
        if handler.command != "DELETE":
            return False
        handler.send(403, b"Permission denied")
        return True

    with run_small_server(_proxy(uri, answer)) as host:
        examined = doctor("mlflow", MLFLOW_TRACKING_URI=f"http://{host}", MLFLOW_TRACKING_TOKEN="token-canary")
    assert "none was made, since this account may not delete any" in examined.of("registering")["seen"]
    assert _models(uri) == []
    assert "token-canary" not in examined.output


def test_what_cannot_be_deleted_after_all_is_named(server):
    uri, _ = server

    def answer(handler: Handler) -> bool:
        if handler.command != "DELETE":
            return False
        handler.send(500, b"the database is away")
        return True

    with run_small_server(_proxy(uri, answer)) as host:
        examined = doctor("mlflow", MLFLOW_TRACKING_URI=f"http://{host}")
    assert examined.of("registering")["state"] == "warning"
    assert "the database is away" in examined.of("registering")["seen"]
    assert examined.of("registering")["mend"].startswith("Delete the registered model loopline-doctor")
    # The next one that may tidies up.
    assert doctor("mlflow", MLFLOW_TRACKING_URI=uri).of("registering")["state"] == "ok"
    assert _models(uri) == []


def test_artifacts_in_a_bucket_need_the_endpoint_of_the_bucket(tmp_path):
    with run_server(tmp_path, ("--no-serve-artifacts", "--default-artifact-root", "s3://models/mlflow")) as (uri, _):
        lost = doctor("mlflow", MLFLOW_TRACKING_URI=uri, AWS_S3_ENDPOINT="https://minio.example.com")
        assert lost.of("artifacts")["state"] == "problem"
        mend = lost.of("artifacts")["mend"]
        assert "MLFLOW_S3_ENDPOINT_URL=https://minio.example.com" in mend
        name, _, value = mend.split()[1].partition("=")
        told = doctor("mlflow", MLFLOW_TRACKING_URI=uri, AWS_S3_ENDPOINT="https://minio.example.com", **{name: value})
        assert told.status == 0
        assert "s3://models" in told.of("artifacts")["seen"]


def test_a_server_that_is_away_or_another_is_no_riddle():
    away = doctor("mlflow", MLFLOW_TRACKING_URI="http://user:pass-canary@127.0.0.1:9")
    assert away.of("store")["seen"] == "http://127.0.0.1:9 does not answer (nothing listens there)"
    assert "MLFLOW_TRACKING_URI" in away.of("store")["mend"]
    assert "pass-canary" not in away.output
    with run_small_server(_Other) as host:
        other = doctor("mlflow", MLFLOW_TRACKING_URI=f"http://{host}")
    assert "does not answer like an MLflow server" in other.of("store")["seen"]


def test_a_locked_database_is_told(tmp_path):
    (tmp_path / "home").mkdir()
    file = tmp_path / "home" / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE models (name TEXT)")
    assert doctor("mlflow").of("registering")["state"] == "ok"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    locked = doctor("mlflow")
    assert locked.of("registering")["state"] == "problem"
    assert "database is locked" in locked.of("registering")["seen"]
    assert str(file) in locked.of("registering")["mend"]
    holder.close()


class _Other(Handler):
    def do_GET(self) -> None:
        self.send(200, b"<html>Welcome</html>", Content_Type="text/html")

    do_POST = do_GET


def _proxy(uri: str, answer):
    handler = proxy(uri.removeprefix("http://"), answer)
    return type("Proxy", (handler,), {"do_DELETE": handler.do_GET, "lock": threading.Lock()})
