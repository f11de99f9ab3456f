"""No check ends or holds up another, none shows a secret, and a workbench is known as one."""

import json
import threading
import types
from http.server import ThreadingHTTPServer

import pytest
from delivery_registry import Handler
from doctor_runs import doctor, run
from kubernetes_api import NAMESPACE, kubernetes_api, service_account
from pipeline_server import pipeline_server

from loopline.pipelines.doctor import certificates, checkup, elyra, place
from loopline.pipelines.doctor.checkup import examine
from loopline.pipelines.doctor.findings import failure, ok
from loopline.pipelines.doctor.secrecy import Censor
from loopline.pipelines.doctor.settings import Settings


def _areas(monkeypatch, **checks) -> None:
    """Let areas be checked by functions."""
    modules = {name: types.SimpleNamespace(check=check) for name, check in checks.items()}
    monkeypatch.setattr(
        checkup, "importlib", types.SimpleNamespace(import_module=lambda name: modules[name.rsplit(".", 1)[1]])
    )


def test_a_check_that_breaks_or_hangs_ends_no_other(monkeypatch):
    never = threading.Event()

    def breaks(settings):
        yield ok("first", "seen")
        raise RuntimeError("a bug with\nmany lines")

    def hangs(settings):
        yield ok("second", "seen")
        never.wait()

    def works(settings):
        yield ok("third", "seen")

    _areas(monkeypatch, python=breaks, s3=hangs, git=works)
    found = {area.name: area.findings for area in examine(["python", "s3", "git"], Settings(), timeout_s=2)}
    never.set()
    assert [finding.title for finding in found["python"]] == ["first", "python"]
    assert "this check broke (RuntimeError: a bug with many lines)" in found["python"][1].seen
    assert [finding.title for finding in found["s3"]] == ["second", "s3"]
    assert "not done after 2 s" in found["s3"][1].seen
    assert "--timeout" in found["s3"][1].mend
    assert [finding.title for finding in found["git"]] == ["third"]


class _Echo(Handler):
    """A server that says what it was asked with, as badly written ones do in their errors."""

    def _echo(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = f"error: {dict(self.headers)} {self.path} {self.rfile.read(length)!r}"
        self.send(500, json.dumps({"errors": [{"code": "DENIED", "message": said}], "message": said}).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _echo


@pytest.mark.parametrize("form", ["lines", "json"])
def test_no_secret_of_the_environment_is_shown(tmp_path, form):
    secrets = {
        "AWS_ACCESS_KEY_ID": "CANARYKEY", "AWS_SECRET_ACCESS_KEY": "canary-s3", "AWS_SESSION_TOKEN": "canary-session",
        "MLFLOW_TRACKING_USERNAME": "robot", "MLFLOW_TRACKING_PASSWORD": "canary-mlflow", "GIT_PASSWORD": "canary-git",
        "COSIGN_PRIVATE_KEY": "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ncanary-line\n-----END-----\n",
        "COSIGN_PASSWORD": "canary-cosign", "LOOPLINE_SITE_TOKEN": "canary-site", "PROMETHEUS_TOKEN": "canary-prom",
    }  # fmt: skip
    (tmp_path / "token").write_text("canary-token")
    (tmp_path / "auth.json").write_text("canary-auth is no JSON")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    done = run(
        "--registry", f"docker://{host}/x", "--repository", f"http://{host}/x.git", "--s3", "s3://bucket/x",
        *(["--json"] if form == "json" else []),
        MLFLOW_TRACKING_URI=f"http://mlflow:canary-uri@{host}", AWS_S3_ENDPOINT=f"http://{host}",
        KF_PIPELINES_ENDPOINT=f"http://{host}", KF_PIPELINES_SA_TOKEN_PATH=str(tmp_path / "token"),
        REGISTRY_AUTH_FILE=str(tmp_path / "auth.json"), **secrets,
    )  # fmt: skip
    server.shutdown()
    assert done.returncode == 1
    assert "canary" not in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_the_censor_hides_values_and_keeps_paths():
    censor = Censor({"DB_PASSWORD": "hunter2", "KF_PIPELINES_SA_TOKEN_PATH": "/run/token", "API_TOKEN": "abc"})
    assert censor.text("hunter2 at /run/token abc") == "*** at /run/token abc"
    assert censor.text("https://a:b@host/x") == "https://host/x"


@pytest.mark.parametrize(
    ("message", "seen", "mend"),
    [
        ("It is away (at a: b): try again.", "It is away (at a: b)", "Try again."),
        ("No colon here.", "No colon here.", "Mend that, and look again."),
        ("A: b: c.", "A: b", "C."),
    ],
)
def test_errors_are_split_into_what_was_seen_and_what_to_do(message, seen, mend):
    finding = failure("x", ValueError(message))
    assert (finding.seen, finding.mend) == (seen, mend)


def test_a_workbench_is_known_as_one_and_asks_for_nothing(tmp_path, monkeypatch, capsys):
    """In this process, since the account of a pod is in a folder of the system's.

    The cluster and its pipeline server are stand-ins; see their modules.
    """
    from kubernetes.config import incluster_config

    from loopline.pipelines.cli import main

    monkeypatch.setattr("logging.disable", lambda level: None)
    account = tmp_path / "account"
    account.mkdir()
    (account / "namespace").write_text(NAMESPACE)
    for module in (place, certificates):
        monkeypatch.setattr(module, "ACCOUNT", account)
    with kubernetes_api(tmp_path) as (api, _), pipeline_server(tmp_path) as (_, variables):
        api.users["token-of-bench"] = service_account("bench")
        (account / "token").write_text("token-of-bench")
        (account / "service-ca.crt").write_bytes((tmp_path / "api.pem").read_bytes())
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "api.pem"))
        pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.server_address[1])}
        for name, value in {**pod, **variables, "NB_PREFIX": f"/notebook/{NAMESPACE}/bench"}.items():
            monkeypatch.setenv(name, value)
        status = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["place"] == {"kind": "workbench", "namespace": NAMESPACE, "name": "bench"}
    found = {area: {finding["title"]: finding for finding in findings} for area, findings in told["areas"].items()}
    assert found["cluster"]["API"]["seen"].endswith(f"as {service_account('bench')}")
    assert found["kfp"]["server"]["state"] == "ok"
    assert found["certificates"]["service-ca.crt"]["state"] == "warning", "it ends within the day"
    assert found["permissions"]["this account"]["state"] == "problem"
    assert f"--serviceaccount={NAMESPACE}:bench" in found["permissions"]["this account"]["mend"]
    assert found["python"]["extra drift"]["mend"] == "Run monitoring with engine=scipy, unless there is a license."
    assert elyra.RUNTIME in found["elyra"]["runtime"]["seen"]
    assert status == 1


@pytest.mark.parametrize("kind", ["pod", "workbench"])
def test_places_in_words(kind, monkeypatch, tmp_path):
    (tmp_path / "namespace").write_text("ml\n")
    monkeypatch.setattr(place, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    if kind == "workbench":
        monkeypatch.setenv("NB_PREFIX", "/notebook/ml/ana")
    here = place.Place.find()
    assert here.kind == kind
    assert here.sentence == {"pod": "a pod in namespace ml", "workbench": "the workbench ana in namespace ml"}[kind]


def test_in_a_pod_without_settings_what_would_be_lost_is_told(tmp_path):
    examined = doctor("mlflow", "registry", KUBERNETES_SERVICE_HOST="127.0.0.1", LOOPLINE_HOME="")
    assert "MLFLOW_TRACKING_URI is not set" in examined.of("store")["seen"]
    assert "cosign generate-key-pair k8s://NAMESPACE/loopline-signing" in examined.of("signing key")["mend"]
