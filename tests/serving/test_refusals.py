"""Requests that cannot be answered: one sentence with a 4xx, and the server lives on."""

import asyncio
import copy
import gzip
import json
import random

import pytest
import requests
from delivery_models import train_small
from serving_models import golden_request
from training_tables import OTHERS

from loopline.components.data.schema import Column, Schema
from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import RefusedError, call_grpc
from loopline.components.delivery.latency import peak_memory_mb
from loopline.components.delivery.malformed import try_grpc, try_rest
from loopline.components.errors import InputError
from loopline.components.serving.inputs import MAX_ROWS, InputReader
from loopline.components.serving.rest import MAX_BYTES
from loopline.components.serving.served import ServedModel
from loopline.components.training import write
from loopline.components.training.train import train_estimator

PATH = "/v2/models/small-late/infer"
READER = InputReader(Schema((Column("size", "number"), Column("color", "category"), Column("on", "boolean"))))
RIGHT = [
    {"name": "size", "shape": [2, 1], "datatype": "FP32", "data": [1.5, None]},
    {"name": "color", "shape": [2], "datatype": "BYTES", "data": ["red", None]},
    {"name": "on", "shape": [2, 1], "datatype": "BOOL", "data": [[True], [None]]},
]


def refusal(answer: requests.Response) -> str:
    """Return the sentence of a refusal; there is nothing else in it."""
    assert 400 <= answer.status_code < 500
    found = answer.json()
    assert list(found) == ["error"]
    assert "Traceback" not in found["error"] and "\n" not in found["error"]
    assert 10 < len(found["error"]) < 600
    return found["error"]


def test_the_reader_reads_what_is_right():
    columns = READER.read(list(reversed(RIGHT)))
    assert list(columns) == ["size", "color", "on"]
    assert columns["size"][0] == 1.5
    assert str(columns["size"][1]) == "nan"
    assert columns["color"].tolist() == ["red", ""]
    assert columns["on"][0] == 1.0
    assert {values.dtype.name for values in columns.values()} == {"float32", "object"}


@pytest.mark.parametrize(
    ("position", "change", "said"),
    [
        (0, {"name": "sise"}, "'sise' is unknown: the model takes 'size', 'color', 'on'"),
        (0, {"name": ["size"]}, "unknown"),
        (0, {"name": "on"}, "'on' is there twice"),
        (0, {"shape": [3, 1]}, "2 values and the shape [3, 1]"),
        (0, {"shape": [-2, 1]}, "write [rows] or [rows, 1]"),
        (0, {"shape": [2, 2]}, "write [rows] or [rows, 1]"),
        (0, {"shape": [2, 1, 1]}, "write [rows] or [rows, 1]"),
        (0, {"shape": [True]}, "write [rows] or [rows, 1]"),
        (0, {"shape": [2.5]}, "write [rows] or [rows, 1]"),
        (0, {"shape": []}, "write [rows] or [rows, 1]"),
        (0, {"shape": "2"}, "write [rows] or [rows, 1]"),
        (0, {"shape": [0, 1], "data": []}, "no rows"),
        (0, {"shape": [1], "data": [1.0]}, "2 rows, the inputs before it 1"),
        (0, {"shape": [MAX_ROWS + 1], "data": []}, f"at most {MAX_ROWS}"),
        (0, {"shape": [10**30], "data": []}, f"at most {MAX_ROWS}"),
        (0, {"data": "ab"}, "send a list"),
        (0, {"data": {"0": 1}}, "send a list"),
        (0, {"data": None}, "send a list"),
        (0, {"data": [1.0, "2.0"]}, "'2.0': send a number"),
        (0, {"data": [1.0, True]}, "True: send a number"),
        (0, {"data": [1.0, [2.0]]}, "[2.0]: send a number"),
        (0, {"data": [1.0, {}]}, "{}: send a number"),
        (0, {"data": [[1.0], [2.0, 3.0]]}, "[1.0]: send a number"),
        (0, {"data": [1.0, float("inf")]}, "too large for single precision"),
        (0, {"data": [1.0, 10**39]}, "too large for single precision"),
        (0, {"data": [1.0, -1e300]}, "too large for single precision"),
        (0, {"data": [1.0, 10**400]}, "too large for single precision"),
        (0, {"datatype": "INT64"}, "1.5: send a number"),
        (0, {"datatype": "BYTES", "data": ["1.5", "2"]}, "it is a number"),
        (0, {"datatype": "FP33"}, "it is a number"),
        (0, {"datatype": ["FP32"]}, "it is a number"),
        (0, {"datatype": None}, "it is a number"),
        (0, {"parameters": {"content_type": "base64"}}, "'base64': send the plain values"),
        (1, {"datatype": "FP32"}, "it is text"),
        (1, {"data": ["red", 7]}, "7: send text"),
        (1, {"data": ["red", b"\xff"]}, "not UTF-8, in row 1"),
        (2, {"data": [1, 0]}, "1: send true or false"),
    ],
)  # fmt: skip
def test_the_reader_says_what_is_wrong(position, change, said):
    tensors = copy.deepcopy(RIGHT)
    tensors[position].update(change)
    with pytest.raises(InputError) as error:
        READER.read(tensors)
    assert said in str(error.value)


@pytest.mark.parametrize("value", ["2.0", True, [2.0, 3.0], 10**400, float("inf")])
def test_a_single_row_is_held_to_the_same(value):
    """It is read by a shorter way."""
    one = [{**tensor, "shape": [1, 1], "data": tensor["data"][:1]} for tensor in RIGHT]
    assert READER.read(one)["size"].tolist() == [1.5]
    one[0]["data"] = [value]
    with pytest.raises(InputError, match="Input 'size'"):
        READER.read(one)


def test_missing_inputs_are_named():
    with pytest.raises(InputError, match=r"^'color', 'on' missing from the inputs"):
        READER.read(RIGHT[:1])
    with pytest.raises(InputError, match=r"^'size', 'color', 'on' missing"):
        READER.read([])


def test_malformed_requests_of_every_kind_over_both_protocols(server, model):
    golden = read_golden(model)
    outcomes = [*try_rest(server.url, golden), *try_grpc(server.grpc, server.url, golden)]
    assert len(outcomes) > 40
    assert [outcome for outcome in outcomes if outcome.problem] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"{", {}, 400, "not JSON"),
        (b'{"inputs": [NaN]}', {}, 400, "not JSON"),
        (b'{"inputs": [' + b"9" * 400 + b"]}", {}, 400, "not JSON"),
        (b'{"inputs": 1}', {}, 400, "at inputs"),
        (b"[" * 100_000, {}, 400, "not JSON"),
        (b"x" * (MAX_BYTES + 1), {}, 413, "larger than 16 MiB"),
        (gzip.compress(b"x" * (MAX_BYTES * 4)), {"Content-Encoding": "gzip"}, 413, "larger than 16 MiB"),
        (b"{}", {"Content-Encoding": "br"}, 415, "'br' is unknown"),
        (b"{}", {"Inference-Header-Content-Length": "2"}, 400, "use gRPC"),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 400, "protocol"),
    ],
)
def test_bodies_that_are_no_request(server, body, headers, status, said):
    answer = requests.post(server.url + PATH, body, headers={"Content-Type": "application/json", **headers}, timeout=30)
    assert answer.status_code == status
    assert said in refusal(answer)


def test_a_body_of_unknown_length_is_limited_too(server):
    pieces = (b"x" * 2**20 for _ in range(64))
    try:
        answer = requests.post(server.url + PATH, pieces, timeout=30)
    except requests.exceptions.ConnectionError:
        return  # it hung up while the rest was still being sent
    assert "larger than" in refusal(answer)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"inputs": [' + b"{}," * 200_000 + b"{}]}", "has 200001 inputs: send at most"),
        (b'{"inputs": [{}], "outputs": [' + b"{}," * 200_000 + b"{}]}", "has 200001 outputs: send at most"),
        (b'{"inputs": [{"shape": [' + b'"a",' * 200_000 + b"1]}]}", "has 200001 sizes"),
        (b'{"inputs": [{"data": [' + b"[]," * 200_000 + b"1]}]}", "has 200001 values: send at most"),
    ],
)
@pytest.mark.parametrize("path", [PATH, "/v2/models/none/infer"])
def test_a_request_of_many_parts_costs_little(server, body, said, path):
    """MLServer would take a gigabyte for the errors of each of these."""
    before = peak_memory_mb(server.pid)
    answer = requests.post(server.url + path, body, headers={"Content-Type": "application/json"}, timeout=60)
    assert said in refusal(answer)
    assert peak_memory_mb(server.pid) - before < 200


def test_a_message_of_many_parts_costs_little(server):
    from mlserver.grpc import dataplane_pb2 as pb

    message = pb.ModelInferRequest(model_name="small-late")
    message.inputs.extend([pb.ModelInferRequest.InferInputTensor()] * 200_000)
    before = peak_memory_mb(server.pid)
    with pytest.raises(RefusedError, match="200000 inputs and 0 outputs: send at most") as caught:
        call_grpc(server.grpc, "ModelInfer", message, 60)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert peak_memory_mb(server.pid) - before < 200


@pytest.mark.parametrize(
    ("estimator", "said"),
    [("LogisticRegression", "cannot predict these rows"), ("GaussianNB", "has no prediction for row 1")],
)
def test_values_that_a_model_cannot_calculate_with(tmp_path, monkeypatch, estimator, said):
    """A number that single precision holds, whose square it does not: some estimators raise, some answer NaN."""
    monkeypatch.setattr(write, "_try_onnx", lambda *arguments: "the test wants scikit-learn itself")
    train_small(tmp_path)
    train_estimator(
        tmp_path / "train.parquet", None, tmp_path / "schema.json", tmp_path / estimator, target="late",
        exclude=OTHERS["late"], estimator=estimator, name="small-late",
    )  # fmt: skip
    served = ServedModel(tmp_path / estimator)
    _, request = golden_request(tmp_path / estimator, 2)
    tensors = {tensor["name"]: tensor for tensor in request["inputs"]}
    assert asyncio.run(served.infer(request))["outputs"]
    name = "size" if estimator == "LogisticRegression" else "count"
    tensors[name]["data"][1] = 3.4e38
    with pytest.raises(InputError, match=said):
        asyncio.run(served.infer(request))
    served.close()


def test_a_packed_request_is_unpacked(server, model):
    _, request = golden_request(model)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = requests.post(server.url + PATH, gzip.compress(json.dumps(request).encode()), headers=headers, timeout=30)
    assert answer.status_code == 200


@pytest.mark.parametrize("request_id", ["a\r\nSet-Cookie: x", "caf\u00e9", "x" * 201, 5, ["a"]])
def test_ids_that_no_header_can_hold(server, model, request_id):
    """MLServer repeats the id in the headers of its answer."""
    _, request = golden_request(model)
    assert "id" in refusal(requests.post(server.url + PATH, json={**request, "id": request_id}, timeout=30))


def test_paths_and_methods_that_are_not_there(server):
    assert requests.get(server.url + "/v2/models/none", timeout=10).status_code == 404
    for answer in (requests.get(server.url + "/nothing", timeout=10), requests.put(server.url + PATH, timeout=10)):
        refusal(answer)


@pytest.mark.parametrize("path", ["infer_stream", "generate_stream", "versions/3/infer_stream"])
def test_streams_are_refused_before_they_begin(server, model, path):
    _, request = golden_request(model)
    answer = requests.post(f"{server.url}/v2/models/small-late/{path}", json=request, timeout=30)
    assert "not streamed" in refusal(answer)


def test_a_client_cannot_take_the_model_away(server, model):
    from mlserver.grpc import dataplane_pb2 as pb

    for action in ("load", "unload"):
        answer = requests.post(f"{server.url}/v2/repository/models/small-late/{action}", json={}, timeout=30)
        assert "not loaded or unloaded by request" in refusal(answer)
    message = pb.RepositoryModelUnloadRequest(model_name="small-late")
    with pytest.raises(RefusedError, match="not loaded or unloaded by request"):
        call_grpc(server.grpc, "RepositoryModelUnload", message)
    assert replay(read_golden(model), server.url).passed


def test_random_damage_never_breaks_the_server(server, model):
    """Each request is a right one with a few values swapped for others, anywhere in it."""
    golden, right = golden_request(model, 2)
    generator = random.Random(0)
    pieces = [
        None,
        True,
        -1,
        0,
        1.5,
        1e39,
        10**30,
        "",
        "x",
        "FP32",
        "BYTES",
        [],
        [1],
        [[1]],
        {},
        {"name": "size"},
        [None] * 3,
    ]

    def damage(value):
        if generator.random() < 0.04:
            return copy.deepcopy(generator.choice(pieces))
        if isinstance(value, dict):
            return {name: damage(one) for name, one in value.items() if generator.random() > 0.02}
        if isinstance(value, list):
            return [damage(one) for one in value]
        return value

    refused = 0
    with requests.Session() as session:
        for _ in range(400):
            answer = session.post(server.url + PATH, json=damage({**right, "id": "a", "parameters": {}}), timeout=30)
            if answer.status_code != 200:
                refusal(answer)
                refused += 1
    assert 200 < refused < 400
    assert replay(golden, server.url).passed
