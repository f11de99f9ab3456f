"""No step tells a secret when what it asks refuses it, is down, or answers with what it was asked."""

import base64
import contextlib
import json
import os
import shutil
import ssl
import threading
from html import escape
from http.server import ThreadingHTTPServer

import pytest
from canaries import MARK, Search, password
from config_repositories import make_repository, serve_git
from delivery_models import train_small
from delivery_registry import Handler
from forked_steps import forked_steps
from import_budget import ALLOWED
from pipeline_server.certificate import make_certificate
from planted import USER, plant, presigned, watching, with_password
from promoted_images import PREDICATE, make_key
from registry_models import make_model

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.environment import environment
from loopline.pipelines.sites.ports import free_port

WINDOW = ["--start", "2026-01-01T00:00:00+00:00", "--end", "2026-01-01T01:00:00+00:00"]


class Echo(Handler):
    """Answers with an error and with all it was sent, as debugging servers and careless proxies do."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))[:2_000].decode("latin-1")
        login = self.headers.get("Authorization", "")
        client = self.headers.get("User-Agent", "")
        if not login and (client.startswith("git/") or self.path.startswith("/v2/")):
            # These ask without a login first.
            return self.send(401, b"", WWW_Authenticate='Basic realm="here"')
        self.server.logins.append(f"{login or self.headers} {self.path}")
        known = base64.b64decode(login.removeprefix("Basic ")).decode() if login.startswith("Basic ") else login
        said = f"{known} sent {self.command} {self.path} {self.headers} {body}"
        if "minio" in client.lower():
            text, kind = f"<Error><Code>Other</Code><Message>{escape(said)}</Message></Error>", "application/xml"
        elif client.startswith("git/"):
            text, kind = said, "text/plain"
        else:
            errors = [{"code": "UNKNOWN", "message": said}]
            told = {"error_code": "INTERNAL_ERROR", "message": said, "error": said, "errors": errors}
            text, kind = json.dumps(told), "application/json"
        return self.send(self.server.status, text.encode(), Content_Type=kind)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer


@contextlib.contextmanager
def _echo(status: int, certificate: tuple = ()):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.status, server.logins = status, []
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What steps start from: a model, its metrics, its image, a certificate for the pipeline server."""
    folder = tmp_path_factory.mktemp("given")
    made = make_model(folder / "made")
    model = train_small(folder)
    private = make_key()
    with environment({"LOOPLINE_HOME": str(folder / "home"), "COSIGN_PRIVATE_KEY": private}):
        image = build_image(model, f"oci:{folder / 'images'}", version=1)
        attest_tested(image, PREDICATE)
    repository = make_repository(folder)
    (folder / "pipelines").mkdir()
    key, certificate = make_certificate(folder / "pipelines", "127.0.0.1", "localhost")
    return {
        "model": model, "made": made, "image": image, "repository": repository, "certificate": (certificate, key),
        "home": folder / "home", "key": private,
    }  # fmt: skip


@pytest.fixture(scope="module")
def steps():
    """Steps in Python's development mode, in which it tells more."""
    modules = sorted({name for names in ALLOWED.values() for name in names.split()} - {"mlserver", "alibi_detect"})
    with forked_steps(modules, ["-X", "dev", "-W", "ignore::DeprecationWarning"]) as running:
        yield running


def _register(given, host):
    made = given["made"]
    return ["register_model", "--model", made.model, "--metrics", made.metrics, "--report", made.report, "--name", "x"]


#: What is asked, by what of a step asks it; each gets the model directory and the rest, and the server's host and port.
STEPS = {
    "MLflow, writing": _register,
    "MLflow, reading": lambda given, host: ["load_model", "--name", "x", "--model", "OUT/model"],
    "S3, a table": lambda given, host: ["ingest_data", "--uri", "s3://bucket/table.csv", "--data", "OUT/data"],
    "S3, the traffic log": lambda given, host: [
        "collect_traffic", "--model", given["model"], "--name", "x", "--uri", "s3://bucket/log", *WINDOW,
        "--traffic", "OUT/traffic", "--counts", "OUT/counts", "--report", "OUT/report",
    ],
    "a presigned address": lambda given, host: ["ingest_data", "--uri", presigned(host), "--data", "OUT/data"],
    "an address with a password": lambda given, host: [
        "ingest_data", "--uri", with_password(host), "--data", "OUT/data",
    ],
    "registry, pushing": lambda given, host: [
        "build_model_image", "--model", given["model"], "--image", f"docker://{host}/models/x",
    ],
    "registry, pulling": lambda given, host: [
        "test_model_image", "--image", f"docker://{host}/models/x@sha256:{'a' * 64}", "--report", "OUT/report",
    ],
    "Git": lambda given, host: [
        "promote_to_site", "--image", given["image"], "--sites", "edge", "--repository", f"http://{host}/config.git",
    ],
    "Git, rolling back": lambda given, host: [
        "rollback_site", "--sites", "edge", "--repository", f"http://{host}/config.git",
    ],
    # Git works, and the service around it does not.
    "a pull request": lambda given, host: [
        "promote_to_site", "--image", given["image"], "--sites", "edge", "--repository", "GIT/team/config.git",
        "--mode", "pull-request",
    ],
    "a site": lambda given, host: [
        "probe_capacity", "--model", given["model"], "--url", f"http://{host}", "--seconds", "0.2",
        "--capacity", "OUT/capacity", "--report", "OUT/report",
    ],
    "Prometheus": lambda given, host: [
        "check_service", "--name", "x", *WINDOW, "--targets", f"edge=http://{host}/metrics",
        "--service", "OUT/service", "--report", "OUT/report",
    ],
    "the pipeline server": lambda given, host: ["trigger_pipeline", "--pipeline", "training"],
}  # fmt: skip
#: The others take their time: LOOPLINE_ALL_SECRETS=1 runs them, too.
MODES = ("401", "500", *(("403", "down", "behind a proxy") if os.environ.get("LOOPLINE_ALL_SECRETS") else ()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("asked", STEPS)
def test_a_failure_tells_no_secret(given, steps, tmp_path, asked, mode):
    with contextlib.ExitStack() as stack:
        host = pipelines = f"127.0.0.1:{free_port()}"
        servers = []
        if mode.isdigit():
            servers = [stack.enter_context(_echo(int(mode), certificate)) for certificate in ((), given["certificate"])]
            host, pipelines = (f"127.0.0.1:{server.server_port}" for server in servers)
        planted = plant(tmp_path / "planted", host, pipelines, tmp_path / "home", given["key"])
        variables = {**planted.variables, "KF_PIPELINES_SSL_SA_CERTS": str(given["certificate"][0])}
        if mode == "behind a proxy":
            variables |= {"NO_PROXY": "", "no_proxy": ""}
        if asked == "Prometheus":
            # It is asked once the store has been read, so that has to be there.
            del variables["MLFLOW_TRACKING_URI"]
            variables["LOOPLINE_HOME"] = str(given["home"])
        (tmp_path / "tmp").mkdir()
        variables["TMPDIR"] = str(tmp_path / "tmp")
        watch = stack.enter_context(watching())
        git = stack.enter_context(serve_git(tmp_path / "git", USER, password("git")))
        shutil.copytree(given["repository"], tmp_path / "git" / "team" / "config.git")
        words = [str(word).replace("OUT", str(tmp_path / "out")) for word in STEPS[asked](given, host)]
        words = [word.replace("GIT", git.url) for word in words]
        done = steps.start(["-m", "loopline.components", *words], variables)
    if servers and asked != "an address with a password":  # that is refused before anybody is asked
        assert any(_has_canary(login) for server in servers for login in server.logins), done.stderr
    _judge(done, asked)
    found = Search(planted.parts)
    found.text("what it printed", done.stdout + done.stderr)
    found.folder(tmp_path, leave_out=(planted.folder,))
    watch.search(found)
    assert found.leaks == []


def _has_canary(text: str) -> bool:
    found = Search()
    found.text("", text)
    return bool(found.leaks)


def _judge(done, asked: str) -> None:
    """One sentence, and no traceback, unless the step goes on without what it asked for."""
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert MARK not in said, said
    if asked not in ("Prometheus", "a site"):
        assert done.returncode in (1, 2), said
