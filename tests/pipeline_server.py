"""The API of a pipeline server, as far as starting and following a run goes, over https.

The real server needs a cluster. This one asks for the token, reads filters, and parses each pipeline as strictly as the
real one does, with KFP's own protocol buffer.
"""

import contextlib
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

TOKEN = "token-of-the-account"
_PREFIX = "/apis/v2beta1"


class PipelineServer(ThreadingHTTPServer):
    """A server with an account's token, experiments and runs.

    Attributes:
        runs: Each run as it was asked for, with its id and state.
        states: The states that a run goes through, one a question; the last one stays.
        failures: How many of the next questions are answered with status 503.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: list[dict] = []
        self.experiments: list[dict] = []
        self.states = ["SUCCEEDED"]
        self.failures = 0


@contextlib.contextmanager
def pipeline_server(folder: Path) -> Iterator[tuple[PipelineServer, dict[str, str]]]:
    """Run a server; yields it and the environment with which an account's client finds it."""
    key, certificate = _certificate(folder)
    (folder / "token").write_text(TOKEN)
    server = PipelineServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield (
            server,
            {
                "KF_PIPELINES_ENDPOINT": f"https://127.0.0.1:{server.server_address[1]}",
                "KF_PIPELINES_SA_TOKEN_PATH": str(folder / "token"),
                "KF_PIPELINES_SSL_SA_CERTS": str(certificate),
            },
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate that signs itself, for 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pipeline server of the tests")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "server.key", folder / "server.crt"
    files[0].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    files[1].write_bytes(certificate.public_bytes(pem))
    return files


class _Handler(BaseHTTPRequestHandler):
    server: PipelineServer

    def do_GET(self):
        path, query = self._asked()
        if path == "/healthz":
            return self._answer({"multi_user": False})
        if self.server.failures:
            self.server.failures -= 1
            return self._answer({"error": "the database is away"}, 503)
        if path == "/experiments":
            return self._answer({"experiments": _matching(self.server.experiments, query)})
        if path == "/runs":
            return self._answer({"runs": _matching(self.server.runs, query)})
        run = next((r for r in self.server.runs if path == f"/runs/{r['run_id']}"), None)
        if run is None:
            return self._answer({"error": f"there is no {path}"}, 404)
        run["state"] = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
        return self._answer(run)

    def do_POST(self):
        path, _ = self._asked()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if path == "/experiments":
            self.server.experiments.append(body | {"experiment_id": f"experiment-{len(self.server.experiments)}"})
            return self._answer(self.server.experiments[-1])
        try:
            _check_run(body)
        except (json_format.ParseError, ValueError) as error:
            return self._answer({"error": f"invalid pipeline spec: {error}"}, 400)
        self.server.runs.append(body | {"run_id": f"run-{len(self.server.runs)}", "state": "PENDING"})
        return self._answer(self.server.runs[-1])

    def _asked(self) -> tuple[str, dict]:
        asked = urlparse(self.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return "/refused", {}
        return asked.path.removeprefix(_PREFIX), parse_qs(asked.query)

    def _answer(self, value: dict, status: int = 200):
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            value, status = {"error": "Unauthorized"}, 401
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def _matching(entries: list[dict], query: dict) -> list[dict]:
    """Filter by equality, the one operation that is asked for."""
    predicates = json.loads(query["filter"][0])["predicates"] if "filter" in query else []
    for predicate in predicates:
        # The number is what KFP's own client sends.
        assert predicate["operation"] in ("EQUALS", 1), predicate
    wanted = {p["key"]: p["stringValue"] for p in predicates}
    return [e for e in entries if wanted.items() <= e.items()]


def _check_run(body: dict):
    """Raise unless the pipeline can be read, and the parameters are those it asks for."""
    spec = body["pipeline_spec"]
    pipeline = json_format.ParseDict(spec.get("pipeline_spec", spec), pipeline_spec_pb2.PipelineSpec())
    asked = pipeline.root.input_definitions.parameters
    given = body["runtime_config"]["parameters"]
    unknown = set(given) - set(asked)
    missing = {n for n, p in asked.items() if not p.is_optional and not p.HasField("default_value")} - set(given)
    if unknown or missing:
        raise ValueError(f"unknown parameters {sorted(unknown)}, missing parameters {sorted(missing)}")
