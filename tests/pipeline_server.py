"""The API of a pipeline server, as far as holding pipelines and starting and following runs goes, over https.

The real server needs a cluster. This one asks for the token, reads filters, gives its answers page by page, tells times
in whole seconds, holds what is sent to the models of KFP's own client, and parses each pipeline as strictly as the real
one does, with KFP's own protocol buffer.
"""

import contextlib
import datetime
import ipaddress
import json
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_server_api import models

TOKEN = "token-of-the-account"
_PREFIX = "/apis/v2beta1"


class PipelineServer(ThreadingHTTPServer):
    """A server with an account's token, experiments and runs.

    Attributes:
        runs: Each run as it was asked for, with its id, state and time.
        pipelines: The pipelines that are held; see ``hold``.
        versions: Their versions, each with its specification.
        states: The states that a run goes through, one a question; the last one stays.
        failures: How many of the next questions are answered with status 503.
        forbidden: Whether the token is good for looking alone.
        page: How many entries an answer has at most.
        before_run: Called before a run is taken, as another client's request would come in between.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: list[dict] = []
        self.experiments: list[dict] = []
        self.states = ["SUCCEEDED"]
        self.failures = 0
        self.pipelines: list[dict] = []
        self.versions: list[dict] = []
        self.forbidden = False
        self.page = 2
        self.before_run = lambda: None

    def hold(self, name: str, compiled: str, version: str = "1"):
        """Hold a version of a pipeline, as if somebody had imported the compiled YAML."""
        pipeline, *platform = yaml.safe_load_all(compiled)
        spec = {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline
        held = next((p for p in self.pipelines if p["display_name"] == name), None)
        if held is None:
            held = {"pipeline_id": f"pipeline-{len(self.pipelines)}", "display_name": name, "created_at": _now()}
            self.pipelines.append(held)
        made = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=len(self.versions))
        self.versions.append(
            {
                "pipeline_id": held["pipeline_id"],
                "pipeline_version_id": f"version-{len(self.versions)}",
                "display_name": version,
                "created_at": _text(made),
                "pipeline_spec": spec,
            }
        )

    def add_run(self, body: dict) -> dict:
        """Take a run as it is."""
        added = {"run_id": f"run-{len(self.runs)}", "state": "PENDING", "created_at": _now()}
        self.runs.append(body | added)
        return self.runs[-1]


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
        held = re.fullmatch(r"/pipelines/([^/]+)/versions", path)
        listings = {
            "/experiments": ("experiments", self.server.experiments),
            "/runs": ("runs", self.server.runs),
            "/pipelines": ("pipelines", self.server.pipelines),
            path if held else "": (
                "pipeline_versions",
                [v for v in self.server.versions if held and v["pipeline_id"] == held[1]],
            ),
        }
        if path in listings:
            field, entries = listings[path]
            return self._answer(self._one_page(field, _sorted(_matching(entries, query), query), query))
        run = next((r for r in self.server.runs if path == f"/runs/{r['run_id']}"), None)
        if run is None:
            return self._answer({"error": f"there is no {path}"}, 404)
        run["state"] = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
        return self._answer(run)

    def do_POST(self):
        path, _ = self._asked()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        if self.server.forbidden:
            return self._answer({"error": "User is not authorized"}, 403)
        if path.endswith(":terminate"):
            run = next(r for r in self.server.runs if path == f"/runs/{r['run_id']}:terminate")
            run["state"] = "CANCELING"
            return self._answer({})
        if path == "/experiments":
            _check_model(body, models.V2beta1Experiment)
            self.server.experiments.append(body | {"experiment_id": f"experiment-{len(self.server.experiments)}"})
            return self._answer(self.server.experiments[-1])
        try:
            _check_model(body, models.V2beta1Run)
            _check_run(body, self._spec_of(body))
        except (json_format.ParseError, ValueError) as error:
            return self._answer({"error": f"invalid pipeline spec: {error}"}, 400)
        self.server.before_run()
        return self._answer(self.server.add_run(body))

    def _spec_of(self, run: dict) -> dict:
        """Return the pipeline of a run: its own, or that of the version which it names."""
        if "pipeline_spec" in run:
            return run["pipeline_spec"]
        reference = run["pipeline_version_reference"]
        held = [v for v in self.server.versions if reference.items() <= v.items()]
        if not held:
            raise ValueError(f"there is no version {reference}")
        return held[0]["pipeline_spec"]

    def _one_page(self, field: str, entries: list[dict], query: dict) -> dict:
        start = int(query.get("page_token", ["0"])[0] or 0)
        end = start + min(self.server.page, int(query.get("page_size", ["100"])[0]))
        page = {field: entries[start:end]} if entries[start:end] else {}
        return page | ({"next_page_token": str(end)} if end < len(entries) else {})

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


def _sorted(entries: list[dict], query: dict) -> list[dict]:
    key, _, order = query.get("sort_by", ["created_at"])[0].partition(" ")
    return sorted(entries, key=lambda e: e.get(key, ""), reverse=order == "desc")


def _now() -> str:
    return _text(datetime.datetime.now(datetime.UTC))


def _text(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_model(body: object, kind: type):
    """Raise unless a body has only fields of a model, each of the model's type, and none that the server sets."""
    fields = {name: kind.openapi_types[attribute] for attribute, name in kind.attribute_map.items()}
    for name, value in body.items():
        if name not in fields:
            raise ValueError(f"unknown field {name!r} of {kind.__name__}")
        if fields[name] in ("str", "object", "dict(str, object)"):
            wanted = {"str": str, "object": dict, "dict(str, object)": dict}[fields[name]]
            if not isinstance(value, wanted):
                raise ValueError(f"{name} is {value!r}, not {fields[name]}")
        else:
            _check_model(value, getattr(models, fields[name]))


def _check_run(body: dict, spec: dict):
    """Raise unless the pipeline can be read, and the parameters are those it asks for, in their types."""
    pipeline = json_format.ParseDict(spec.get("pipeline_spec", spec), pipeline_spec_pb2.PipelineSpec())
    asked = pipeline.root.input_definitions.parameters
    given = body["runtime_config"]["parameters"]
    unknown = set(given) - set(asked)
    missing = {n for n, p in asked.items() if not p.is_optional and not p.HasField("default_value")} - set(given)
    if unknown or missing:
        raise ValueError(f"unknown parameters {sorted(unknown)}, missing parameters {sorted(missing)}")
    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    for name, value in given.items():
        types = _JSON_TYPES[kinds.Name(asked[name].parameter_type)]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"parameter {name} is {value!r}")


_JSON_TYPES = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
