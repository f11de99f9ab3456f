"""Malformed requests against the real server, and against one that gets each of them wrong."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.inference import UnreachableError, build_request
from loopline.components.delivery.malformed import rest_cases, try_grpc, try_rest


class CarelessServer(BaseHTTPRequestHandler):
    """Answers right requests rightly, which no server at hand does as wrongly with the others: hence this stand-in."""

    status, say = 200, b"{}"
    right: dict = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, text = self.status, self.say
        right = body == json.dumps(self.right["request"]).encode() and not self.headers.get("Content-Encoding")
        if right and self.path.endswith("small-late/infer"):
            status, text = 200, json.dumps(self.right["answer"]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def golden(small_model):
    return read_golden(small_model)


@pytest.fixture
def careless(golden):
    """Start a careless server that answers with a status and a text."""
    one = golden.slice(0, 1)
    output = {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": one.scores.ravel().tolist()}
    right = {
        "request": build_request(one.rows, golden.features),
        "answer": {"model_name": "small-late", "outputs": [output]},
    }
    servers = []

    def start(status, say):
        handler = type("Handler", (CarelessServer,), {"status": status, "say": say, "right": right})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_model_server_refuses_them_all_over_rest(served, golden):
    outcomes = list(try_rest(served.url, golden))
    assert [(found.request, found.answer, found.problem) for found in outcomes if found.problem] == []
    assert len(outcomes) == len({found.request for found in outcomes}) > 30
    assert all(found.reason for found in outcomes if found.answer != "none")


def test_the_model_server_refuses_them_all_over_grpc(served, golden):
    outcomes = list(try_grpc(served.grpc, served.url, golden))
    assert [(found.request, found.answer, found.problem) for found in outcomes if found.problem] == []
    assert len(outcomes) > 12 and {"INVALID_ARGUMENT", "NOT_FOUND"} <= {found.answer for found in outcomes}


@pytest.mark.parametrize(
    ("status", "say", "problem"),
    [
        (200, b"{}", "it was answered as if it were right"),
        (500, b"oh", "it broke the server (HTTP 500)"),
        (400, b'{"error": "Traceback (most recent call last): ..."}', "the answer holds a traceback"),
    ],
)
def test_a_careless_server_is_caught_at_every_request(careless, golden, status, say, problem):
    outcomes = list(try_rest(careless(status, say), golden))
    assert len(outcomes) == len(list(rest_cases(golden)))
    assert {found.problem for found in outcomes} == {problem}


def test_a_server_that_is_wrong_after_a_refusal_is_caught(careless, golden):
    wrong = golden.slice(1, 1)  # it answers only the first row rightly
    outcome = next(try_rest(careless(400, b'{"error": "no"}'), wrong))
    assert outcome.problem.startswith("the right request after it failed: ")


def test_the_request_that_ended_the_server_is_the_last(golden):
    outcomes = try_rest("http://127.0.0.1:1", golden)
    assert next(outcomes).problem == "no server answered after it"
    with pytest.raises(UnreachableError, match="after an empty body"):
        next(outcomes)
