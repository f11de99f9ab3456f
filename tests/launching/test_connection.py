"""Where the server, the token and the certificate authority come from."""

import contextlib
import json
import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes_server import APPLICATION, LOGIN, ROUTE, kubernetes_server
from pipeline_server import TOKEN, Scenario, pipeline_server
from workbench import DASHBOARD, PASSWORD, workbench

from loopline.components.errors import InputError
from loopline.pipelines.launching import connection, submit
from loopline.pipelines.launching.connection import connect

PROGRAM = Path(sys.executable).with_name("loopline")
TRAINING = ("training", "--uri", "s3://bucket/flights.parquet", "--target", "late", "--name", "flights")


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A machine that knows nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)


def test_in_a_workbench_there_is_nothing_to_set(elsewhere, tmp_path):
    with workbench(tmp_path) as (server, run):
        server.scenario = Scenario.through("ingest-data")
        server.artifacts = []
        done = run(str(PROGRAM), "submit", *TRAINING)
        assert done.returncode == 0, done.stderr
        assert server.runs[0]["runtime_config"]["parameters"]["name"] == "flights"
        assert f"{DASHBOARD}/develop-train/pipelines/runs/ml/runs/run-0" in done.stdout
        assert "Ingest data done" in done.stdout
        assert TOKEN not in done.stdout + done.stderr and PASSWORD not in done.stdout + done.stderr


def test_an_account_is_not_told_to_servers_outside_its_cluster(elsewhere, tmp_path):
    with workbench(tmp_path) as (server, run):
        outside = f"https://127.0.0.1:{server.server_address[1]}"
        done = run(str(PROGRAM), "submit", *TRAINING, "--host", outside)
        assert done.returncode == 2
        assert "outside this cluster, where this account's token is not sent" in done.stderr
        assert server.asked == []


def test_elsewhere_two_arguments_are_enough(elsewhere, tmp_path, monkeypatch):
    with pipeline_server(tmp_path) as (server, variables):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", variables["KF_PIPELINES_SSL_SA_CERTS"])
        run = submit(TRAINING[0], {"uri": "a", "target": "b", "name": "c"}, host=variables["KF_PIPELINES_ENDPOINT"],
                     token=TOKEN)  # fmt: skip
        assert run.run_id == server.runs[0]["run_id"]
        assert TOKEN not in repr(vars(run)) + run._repr_html_()


def test_a_login_of_netrc_does_not_take_the_tokens_place(server, tmp_path):
    (tmp_path / ".netrc").write_text("default login somebody password something\n")
    assert connect().read_text("/apis/v2beta1/healthz").startswith("{")


def test_the_command_line_takes_a_file_and_no_token(elsewhere, loopline, tmp_path):
    with pipeline_server(tmp_path) as (server, variables):
        words = ["submit", *TRAINING, "--detach", "--host", variables["KF_PIPELINES_ENDPOINT"]]
        trusted = {"SSL_CERT_FILE": variables["KF_PIPELINES_SSL_SA_CERTS"]}
        done = loopline(*words, "--token-file", str(tmp_path / "token"), **trusted)
        assert done.returncode == 0, done.stderr
        assert len(server.runs) == 1
        assert "--token " not in loopline("submit", "--help").stdout


def test_after_a_login_the_server_is_found_by_its_route(elsewhere, loopline, tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    with pipeline_server(tmp_path) as (server, variables), kubernetes_server(folder) as (cluster, certificate):
        # The login is one and the same for both.
        cluster.token = TOKEN
        route = variables["KF_PIPELINES_ENDPOINT"].removeprefix("https://")
        cluster.resources[ROUTE.format("ml")] = {"spec": {"host": route}}
        known = {
            "KUBECONFIG": str(cluster.write_kubeconfig(tmp_path, "ml", certificate, TOKEN)),
            "KF_PIPELINES_SSL_SA_CERTS": variables["KF_PIPELINES_SSL_SA_CERTS"],
        }
        done = loopline("submit", *TRAINING, "--detach", **known)
        assert done.returncode == 0, done.stderr
        assert len(server.runs) == 1
        assert TOKEN not in done.stdout + done.stderr

        cluster.resources[APPLICATION.format("ml")] = {
            "spec": {"scheduledWorkflow": {"cronScheduleTimezone": "Europe/Berlin"}}
        }
        done = loopline("schedule", *TRAINING, "--cron", "0 0 3 * * *", **known)
        assert done.returncode == 0, done.stderr
        assert "Next, in Europe/Berlin (as dspa says):" in done.stdout
        assert done.stdout.count("03:00 CE") == 5


def test_the_token_of_a_login_goes_to_its_own_cluster(server, tmp_path, monkeypatch):
    runtimes = tmp_path / ".local/share/jupyter/metadata/runtimes"
    runtimes.mkdir(parents=True)
    elsewhere = {"schema_name": "kfp", "metadata": {"api_endpoint": os.environ["KF_PIPELINES_ENDPOINT"]}}
    (runtimes / "other.json").write_text(json.dumps(elsewhere))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH")
    with kubernetes_server(tmp_path) as (cluster, certificate):
        cluster.resources[ROUTE.format("ml")] = {"spec": {"host": "127.0.0.1:1"}}
        monkeypatch.setenv("KUBECONFIG", str(cluster.write_kubeconfig(tmp_path, "ml", certificate)))
        with pytest.raises(InputError, match=r"https://127\.0\.0\.1:1 does not answer"):
            connect()


@pytest.mark.parametrize(
    ("status", "token", "sentence"),
    [
        (404, LOGIN, "Namespace ml: it has no pipeline server; choose another with `oc project`"),
        (403, LOGIN, "Namespace ml: Forbidden; choose another"),
        (404, "old", "Namespace ml: the login has expired; log in with `oc login`"),
    ],
)
def test_a_login_that_leads_nowhere_is_said(elsewhere, tmp_path, monkeypatch, status, token, sentence):
    with kubernetes_server(tmp_path) as (cluster, certificate):
        cluster.resources[ROUTE.format("ml")] = status
        monkeypatch.setenv("KUBECONFIG", str(cluster.write_kubeconfig(tmp_path, "ml", certificate, token)))
        with pytest.raises(InputError, match=sentence):
            connect()


def test_a_cluster_that_is_gone_is_said(elsewhere, tmp_path, monkeypatch, caplog):
    with kubernetes_server(tmp_path) as (cluster, certificate):
        monkeypatch.setenv("KUBECONFIG", str(cluster.write_kubeconfig(tmp_path, "ml", certificate)))
    with pytest.raises(InputError, match=r"does not answer .*log in with `oc login`"):
        connect()
    assert not caplog.records


@pytest.mark.parametrize("text", [b"clusters: [", b"\xff\xfe"])
def test_a_login_that_cannot_be_read_is_said_where_it_is_needed(server, loopline, tmp_path, text):
    (tmp_path / "kubeconfig").write_bytes(text)
    found, host = {"KUBECONFIG": str(tmp_path / "kubeconfig")}, os.environ["KF_PIPELINES_ENDPOINT"]
    needed = loopline("follow", "run-0", **found, KF_PIPELINES_SA_TOKEN_PATH="", KF_PIPELINES_ENDPOINT="")
    assert (needed.returncode, len(needed.stderr.splitlines())) == (2, 1), needed.stderr
    assert "kubeconfig cannot be read" in needed.stderr
    told = loopline("schedules", "list", "--host", host, "--token-file", str(tmp_path / "token"), **found)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_login_without_a_token_is_said(elsewhere, tmp_path, monkeypatch):
    with kubernetes_server(tmp_path) as (cluster, certificate):
        monkeypatch.setenv("KUBECONFIG", str(cluster.write_kubeconfig(tmp_path, "ml", certificate, "")))
        with pytest.raises(InputError, match="holds no token: log in with `oc login`"):
            connect("https://ds-pipeline-dspa-ml.apps.example.com")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "No pipeline server is known here: name it with --host, or log in to its cluster with `oc login`."),
        (("--host", "https://127.0.0.1:1"), "There is no token for https://127.0.0.1:1: log in with `oc login`"),
        (("--host", "http://127.0.0.1:1", "--token-file", "t"), "would get a token in the clear"),
        (("--host", "127.0.0.1:1", "--token-file", "t"), "'127.0.0.1:1' is no URL of a pipeline server"),
        (("--host", "https://:x", "--token-file", "t"), "is no URL of a pipeline server"),
        (("--host", "https://127.0.0.1:1", "--token-file", "t"), "https://127.0.0.1:1 does not answer"),
        (("--host", "https://127.0.0.1:1", "--token-file", "nowhere"), "The token nowhere cannot be read"),
        (("--host", "https://127.0.0.1:1", "--token-file", "empty"), "The token empty is empty"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(elsewhere, loopline, tmp_path, words, sentence):
    (tmp_path / "t").write_text("secret-token")
    (tmp_path / "empty").write_text("\n")
    done = loopline("submit", *TRAINING, *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert sentence in done.stderr
    assert "secret-token" not in done.stderr


def test_a_server_that_is_gone_is_said_once(server, caplog, monkeypatch):
    monkeypatch.setattr(connection, "PAUSES", (0.0,))
    found = connect()
    gone = replace(found, connection=replace(found.connection, host="https://127.0.0.1:1"))
    with pytest.raises(InputError, match=r"The pipeline server does not answer \(NewConnectionError\)"):
        gone.look(gone.runs.run_service_get_run, "run-0")
    assert not caplog.records


def test_an_unknown_authority_a_wrong_token_and_a_page_are_said(server, monkeypatch, tmp_path):
    host = os.environ["KF_PIPELINES_ENDPOINT"]
    with pytest.raises(InputError, match=r"refuses this account \(status 401\): bind it to the role"):
        connect(host, "wrong")
    with pytest.raises(InputError, match=r"The certificate of https://127\.1:\d+ is for another name"):
        connect(host.replace("127.0.0.1", "127.1"), TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=_answer_without_tls, args=(plain,), daemon=True).start()
        with pytest.raises(InputError, match="does not speak TLS as it should: check host and port"):
            connect(f"https://127.0.0.1:{plain.getsockname()[1]}", TOKEN)
    monkeypatch.delenv("KF_PIPELINES_SSL_SA_CERTS")
    with pytest.raises(InputError, match="signed by an authority that is not known here"):
        connect(host, TOKEN)
    with kubernetes_server(tmp_path) as (page, certificate):
        monkeypatch.setenv("KF_PIPELINES_SSL_SA_CERTS", str(certificate))
        page.token = TOKEN
        with pytest.raises(InputError, match="is no pipeline server: it answers 404"):
            connect(f"https://127.0.0.1:{page.server_address[1]}", TOKEN)


def _answer_without_tls(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            with listening.accept()[0] as asked:
                asked.recv(4096)
                asked.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
