import contextlib
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pytest
from delivery_registry import make_certificate
from training_tables import make_table

from loopline.components.delivery.inference import (
    RefusedError,
    UnreachableError,
    build_request,
    call_rest,
    is_ready,
    load_features,
    predict_grpc,
    predict_rest,
)
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import load_predictor
from loopline.pipelines.sites.ports import free_port


def address(served, predict):
    return served.url if predict is predict_rest else served.grpc


@pytest.mark.parametrize("predict", [predict_rest, predict_grpc])
def test_answers_are_the_predictions_of_the_model(served, small_model, predict):
    rows = make_table(200, 9)
    assert rows["size"].null_count and rows["color"].null_count, "the rows have to have gaps"
    answer = predict(address(served, predict), "small-late", rows, load_features(small_model))
    np.testing.assert_allclose(answer.scores, load_predictor(small_model).predict(rows), rtol=1e-4, atol=1e-5)
    assert answer.scores.shape == (200, 2) and answer.scores.dtype == np.float32
    assert answer.model == "small-late" and answer.version
    assert answer.parameters["model_digest"] == read_manifest(small_model).digest
    assert answer.parameters["image_digest"] == "sha256:" + "1" * 64


def test_a_request_is_strict_json_with_null_for_a_missing_number(small_model):
    rows = pa.table({"size": pa.array([None, 1.5]), "count": [1, 2], "color": pa.array([None, "é"])})
    request = build_request(rows, load_features(small_model))
    assert json.loads(json.dumps(request, allow_nan=False)) == {
        "inputs": [
            {"name": "size", "shape": [2, 1], "datatype": "FP32", "data": [None, 1.5]},
            {"name": "count", "shape": [2, 1], "datatype": "FP32", "data": [1.0, 2.0]},
            {"name": "color", "shape": [2, 1], "datatype": "BYTES", "data": ["", "é"]},
        ]
    }


def test_a_missing_feature_is_named_before_anything_is_sent(small_model):
    with pytest.raises(InputError, match="'size' is not in the rows to predict"):
        build_request(pa.table({"count": [1], "color": ["red"]}), load_features(small_model))


@pytest.mark.parametrize("predict", [predict_rest, predict_grpc])
def test_nobody_there(small_model, predict):
    port = free_port()
    where = f"http://127.0.0.1:{port}" if predict is predict_rest else f"127.0.0.1:{port}"
    with pytest.raises(UnreachableError, match=rf"No model server answers at .*{port}"):
        predict(where, "small-late", make_table(1, 0), load_features(small_model), timeout_s=2)


@pytest.mark.parametrize(("predict", "status"), [(predict_rest, 404), (predict_grpc, "NOT_FOUND")])
def test_a_refusal_has_the_status_and_the_words_of_the_server(served, small_model, predict, status):
    with pytest.raises(RefusedError, match="nobody") as caught:
        predict(address(served, predict), "nobody", make_table(1, 0), load_features(small_model))
    assert caught.value.status == status and "nobody" in caught.value.reason


def test_what_is_no_model_server(served):
    with pytest.raises(InputError, match="did not answer with a JSON object"):
        call_rest(served.metrics, "/metrics")


class Echo(BaseHTTPRequestHandler):
    """Tells which authorization it was sent; no model server at hand asks for one."""

    def do_GET(self):
        text = json.dumps({"authorization": self.headers.get("Authorization")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def echo(certificate=None):
    """Answer on all addresses of this machine, by TLS where there is a certificate; yields the port."""
    with ThreadingHTTPServer(("0.0.0.0", 0), Echo) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_token_is_sent_where_nobody_else_reads_it(monkeypatch):
    with echo() as port:
        assert call_rest(f"http://127.0.0.1:{port}", "/") == {"authorization": None}
        monkeypatch.setenv("LOOPLINE_SITE_TOKEN", "hunter2\n")
        assert call_rest(f"http://127.0.0.1:{port}", "/") == {"authorization": "Bearer hunter2"}
        # 127.0.0.2 is this machine, too, by a name that is not known for it: as good as a foreign host.
        assert call_rest(f"http://127.0.0.2:{port}", "/") == {"authorization": None}


def test_authorities_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"none\.pem cannot be read: name a PEM file") as caught:
        is_ready("https://127.0.0.1:1")
    assert not isinstance(caught.value, UnreachableError), "no waiting helps"


@contextlib.contextmanager
def answering(answer):
    """Run a gRPC server that gives one answer to everything; yields its address."""
    import grpc
    from mlserver.grpc.dataplane_pb2_grpc import (
        GRPCInferenceServiceServicer,
        add_GRPCInferenceServiceServicer_to_server,
    )

    class Servicer(GRPCInferenceServiceServicer):
        def ModelInfer(self, request, context):
            return answer

    server = grpc.server(ThreadPoolExecutor(1))
    add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def _answers() -> dict:
    """Answers over gRPC that contradict themselves; a server that gives them is none of MLServer's."""
    from mlserver.grpc import dataplane_pb2 as pb

    def answer(shape: list, raw: list, values: list) -> pb.ModelInferResponse:
        found = pb.ModelInferResponse(model_name="small-late", raw_output_contents=raw)
        output = found.outputs.add(name="probabilities", datatype="FP32", shape=shape)
        output.contents.fp32_contents.extend(values)
        return found

    return {
        "no shape": answer([], [], [0.5]),
        "another shape": answer([1, 2], [], [0.5]),
        "no rows": answer([0, 2], [], []),
        "raw values cut off": answer([1, 2], [b"\0" * 7], []),
        "too many rows": answer([2, 2], [], [0.5] * 4),
    }


@pytest.mark.parametrize("name", ["no shape", "another shape", "no rows", "raw values cut off", "too many rows"])
def test_an_answer_that_contradicts_itself_is_said_in_a_sentence(small_model, name):
    with answering(_answers()[name]) as where, pytest.raises(InputError, match="The answer of 127"):
        predict_grpc(where, "small-late", make_table(1, 0), load_features(small_model))


def test_a_parameter_without_a_value_is_left_out(small_model):
    from mlserver.grpc import dataplane_pb2 as pb

    found = pb.ModelInferResponse(model_name="small-late")
    found.outputs.add(name="probabilities", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([0.25, 0.75])
    found.parameters["empty"].SetInParent()
    found.parameters["site"].string_param = "edge"
    with answering(found) as where:
        answer = predict_grpc(where, "small-late", make_table(1, 0), load_features(small_model))
    assert answer.parameters == {"site": "edge"} and answer.scores.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_are_checked_with_the_authority_that_is_named(tmp_path, monkeypatch, variable):
    certificate = make_certificate(tmp_path / "site.pem")  # and its key
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with echo(certificate) as port:
        with pytest.raises(UnreachableError, match="not trusted: set SSL_CERT_FILE"):
            call_rest(f"https://127.0.0.1:{port}", "/")
        assert not is_ready(f"https://127.0.0.1:{port}")
        monkeypatch.setenv(variable, str(certificate[0]))
        assert is_ready(f"https://127.0.0.1:{port}")
