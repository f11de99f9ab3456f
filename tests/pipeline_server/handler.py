"""How a pipeline server answers."""

import json
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlparse

from .contract import ContractError, Operation, check_request, check_value, find_operation
from .state import NOT_FOUND, REFUSED, Fault, PipelineServer, Refusal, check_run

TOKEN = "token-of-the-account"
_PREFIX = "/apis/v2beta1"


class Handler(BaseHTTPRequestHandler):
    """One connection to a server."""

    server: PipelineServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet, which nobody waits to acknowledge

    def do_GET(self):
        asked = urlparse(self.path)
        path, query = asked.path, parse_qs(asked.query, keep_blank_values=True)
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer({"error": "Unauthorized"}, 401)
        short = path.removeprefix(_PREFIX)
        self.server.asked.append((self.command, short, {name: values[0] for name, values in query.items()}))
        if self.command == "GET" and short != "/healthz" and self.server.failures:
            self.server.failures -= 1
            return self._answer({"error": "the database is away"}, 503)
        if self.command != "GET" and self.server.forbidden:
            return self._answer({"error": "User is not authorized"}, 403)
        fault = self._fault(short)
        if fault and not fault.taken:
            return self._answer({"error": "the database is away"}, 503)
        if special := self._special(path):
            return special(path, query)
        try:
            operation, parts = find_operation(self.command, path)
            body, files = self._read(content)
            check_request(operation, query, body, files)
            value = self._do(operation, parts, query, body, files)
            check_value(value, operation.answer, f"the answer to {operation.method} {operation.template}")
        except ContractError as error:
            self.server.violations.append(str(error))
            return self._answer({"error": f"contract: {error}"}, REFUSED)
        except Refusal as refusal:
            return self._answer({"error": str(refusal), "message": str(refusal), "code": 3}, refusal.status)
        return self._answer({"error": "the answer got lost"}, 503) if fault else self._answer(value)

    do_POST = do_DELETE = do_PATCH = do_GET

    def _fault(self, path: str) -> Fault | None:
        for fault in self.server.faults:
            if fault.times and fault.method == self.command and path.endswith(fault.path):
                fault.times -= 1
                return fault
        return None

    def _read(self, content: bytes) -> tuple[object, dict[str, str]]:
        """Read a body: what it says as JSON, and the files that it holds."""
        kind = self.headers["Content-Type"] or ""
        if not kind.startswith("multipart/form-data"):
            return (json.loads(content) if content else None), {}
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        parts = message.iter_parts()
        return None, {
            p.get_param("name", header="content-disposition"): p.get_payload(decode=True).decode() for p in parts
        }

    def _special(self, path: str):
        """Return what answers a path that is not in the description."""
        if self.command == "GET" and path.startswith("/apis/v1alpha1/runs/") and path.endswith("/log"):
            return self._log
        if self.command == "GET" and path == f"{_PREFIX}/artifacts":
            return self._artifacts
        return None

    def _log(self, path: str, query: dict):
        # /apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log, where a node is a pod.
        _, _, _, _, run_id, nodes, pod, _ = path.split("/")
        assert nodes == "nodes" and not query, path
        try:
            run = self.server.one("runs", "run_id", run_id)
            return self._answer(self.server.log_of(run, pod), kind="text/plain")
        except Refusal as refusal:
            # As the real one does: whatever is wrong is an internal error.
            return self._answer({"error_message": str(refusal), "error_details": str(refusal)}, 500)

    def _artifacts(self, path: str, query: dict):
        known = {"max_result_size", "order_by_field", "order_by", "next_page_token", "namespace"}
        if self.server.artifacts is None:
            return self._answer({"error": "Not Found"}, NOT_FOUND)
        if not set(query) <= known or "namespace" not in query:
            self.server.violations.append(f"artifacts with {query}")
        entries = sorted(self.server.artifacts, key=lambda a: int(a["artifact_id"]))
        if query.get("order_by") == ["desc"]:
            entries.reverse()
        start = int(query.get("next_page_token", ["0"])[0] or 0)
        end = start + min(self.server.page, int(query.get("max_result_size", ["20"])[0]))
        more = {"next_page_token": str(end)} if end < len(entries) else {}
        return self._answer({"artifacts": entries[start:end]} | more)

    def _do(self, operation: Operation, parts: dict, query: dict, body, files: dict[str, str]) -> dict:
        server, short = self.server, operation.template.removeprefix(_PREFIX)
        between = server.before.pop((self.command, short), None)
        if between:
            between()
        if (self.command, short) == ("POST", "/runs"):
            check_run(body, server.spec_of(body))
            server.before_run()
        with server.lock:
            return _ANSWERS[self.command, short](server, parts, query, body, files)

    def _answer(self, value: dict | str, status: int = 200, kind: str = "application/json"):
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _listed(field: str, kind: str):
    """Return what answers a listing, filtered, sorted and page by page."""

    def answer(server: PipelineServer, parts: dict, query: dict, body, files) -> dict:
        entries = [e for e in getattr(server, kind) if parts.items() <= e.items()]
        if "experiment_id" in query:
            entries = [e for e in entries if e.get("experiment_id") == query["experiment_id"][0]]
        key, _, order = query.get("sort_by", ["created_at"])[0].partition(" ")
        entries = sorted(_matching(entries, query), key=lambda e: e.get(key, ""), reverse=order == "desc")
        start = int(query.get("page_token", ["0"])[0] or 0)
        end = start + min(server.page, int(query.get("page_size", ["100"])[0]))
        page = {field: entries[start:end]} if entries[start:end] else {}
        return page | ({"next_page_token": str(end)} if end < len(entries) else {})

    return answer


def _matching(entries: list[dict], query: dict) -> list[dict]:
    """Filter by equality, the one operation that is asked for."""
    given = json.loads(query["filter"][0]) if "filter" in query else {"predicates": []}
    predicates = [{_SNAKE.get(name, name): value for name, value in p.items()} for p in given["predicates"]]
    for predicate in predicates:
        # KFP's own client sends the operation's number.
        predicate["operation"] = {1: "EQUALS"}.get(predicate.get("operation"), predicate.get("operation"))
    check_value({"predicates": predicates}, "V2beta1Filter", "the filter")
    assert all(predicate["operation"] == "EQUALS" for predicate in predicates), predicates
    wanted = {p["key"]: p["string_value"] for p in predicates}
    return [e for e in entries if wanted.items() <= e.items()]


_SNAKE = {"stringValue": "string_value", "intValue": "int_value", "stringValues": "string_values"}


def _upload(server: PipelineServer, parts, query, body, files) -> dict:
    added = server.add_pipeline({"display_name": query["name"][0]})
    server.add_version(added["pipeline_id"], query["name"][0], files["uploadfile"])
    return added


def _set_status(status: str):
    def answer(server: PipelineServer, parts, query, body, files) -> dict:
        server.one("recurring", **_key(parts))["status"] = status
        return {}

    return answer


def _terminate(server: PipelineServer, parts, query, body, files) -> dict:
    server.one("runs", **_key(parts))["state"] = "CANCELING"
    return {}


def _delete_recurring(server: PipelineServer, parts, query, body, files) -> dict:
    server.delete_recurring(parts["recurring_run_id"], query.get("propagation_policy", [""])[0])
    return {}


def _create_recurring(server: PipelineServer, parts, query, body, files) -> dict:
    check_run(body, server.spec_of(body))
    return server.add_recurring(body)


def _key(parts: dict) -> dict:
    ((key, value),) = parts.items()
    return {"key": key, "value": value}


_ANSWERS = {
    ("GET", "/healthz"): lambda *_: {"multi_user": False, "pipeline_store": "database"},
    ("GET", "/experiments"): _listed("experiments", "experiments"),
    ("GET", "/experiments/{experiment_id}"): lambda s, parts, *_: s.one("experiments", **_key(parts)),
    ("POST", "/experiments"): lambda s, parts, query, body, files: s.add_experiment(body),
    ("GET", "/pipelines"): _listed("pipelines", "pipelines"),
    ("GET", "/pipelines/{pipeline_id}"): lambda s, parts, *_: s.one("pipelines", **_key(parts)),
    ("POST", "/pipelines"): lambda s, parts, query, body, files: s.add_pipeline(body),
    ("POST", "/pipelines/upload"): _upload,
    ("POST", "/pipelines/upload_version"): lambda s, parts, query, body, files: s.add_version(
        query["pipelineid"][0], query["name"][0], files["uploadfile"]
    ),
    ("GET", "/pipelines/{pipeline_id}/versions"): _listed("pipeline_versions", "versions"),
    ("GET", "/pipelines/{pipeline_id}/versions/{pipeline_version_id}"): lambda s, parts, *_: s.one(
        "versions", "pipeline_version_id", parts["pipeline_version_id"]
    ),
    ("GET", "/runs"): _listed("runs", "runs"),
    ("GET", "/runs/{run_id}"): lambda s, parts, *_: s.look_at(s.one("runs", **_key(parts))),
    ("POST", "/runs"): lambda s, parts, query, body, files: s.add_run(body),
    ("POST", "/runs/{run_id}:terminate"): _terminate,
    ("GET", "/recurringruns"): _listed("recurringRuns", "recurring"),
    ("GET", "/recurringruns/{recurring_run_id}"): lambda s, parts, *_: s.one("recurring", **_key(parts)),
    ("POST", "/recurringruns"): _create_recurring,
    ("DELETE", "/recurringruns/{recurring_run_id}"): _delete_recurring,
    ("POST", "/recurringruns/{recurring_run_id}:enable"): _set_status("ENABLED"),
    ("POST", "/recurringruns/{recurring_run_id}:disable"): _set_status("DISABLED"),
}
