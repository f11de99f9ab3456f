"""What the server answers: the golden predictions, over both protocols and both ways through REST."""

import json

import numpy as np
import pytest
import requests
from delivery_models import train_small
from serving_models import IMAGE, golden_request, many_rows

from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import (
    build_grpc_request,
    build_request,
    call_grpc,
    call_rest,
    predict_grpc,
    predict_rest,
)
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import load_predictor

PATH = "/v2/models/small-late/infer"


def the_long_way(request: dict) -> dict:
    """Return the same request in a form that only MLServer's own application reads."""
    return {**request, "inputs": [{**tensor, "parameters": {"content_type": "np"}} for tensor in request["inputs"]]}


def post(server, request: dict, path: str = PATH) -> requests.Response:
    return requests.post(server.url + path, json=request, timeout=30)


@pytest.mark.parametrize("predict", [predict_rest, predict_grpc])
def test_golden_predictions_and_who_made_them(server, model, predict):
    golden = read_golden(model)
    address = server.url if predict is predict_rest else server.grpc
    found = replay(golden, address, predict)
    assert found.passed
    assert found.rows == golden.rows.num_rows > 1
    assert (found.answer.model, found.answer.version) == ("small-late", "3")
    assert found.answer.parameters == {"model_digest": golden.digest, "image_digest": IMAGE, "site": "edge"}


@pytest.mark.parametrize("rows", [1, 2, 40, 3000])
def test_both_ways_through_rest_answer_the_same(server, model, rows):
    golden, _ = golden_request(model, 64)
    request = {"id": "a-1", **build_request(many_rows(golden, rows), golden.features)}
    short, long = post(server, request), post(server, the_long_way(request))
    assert short.status_code == long.status_code == 200
    assert short.text == long.text
    keep = {name: value for name, value in short.headers.items() if name != "date"}
    assert keep == {name: value for name, value in long.headers.items() if name != "date"}
    outputs = {output["name"]: output for output in short.json()["outputs"]}
    assert outputs["label"]["data"] == np.reshape(outputs["probabilities"]["data"], (rows, 2)).argmax(1).tolist()


def test_the_short_way_is_taken_and_counted_like_the_long_one(server, model):
    """A request id is made for a request without one, by both."""
    _, request = golden_request(model)

    def counts() -> dict[str, float]:
        text = requests.get(server.metrics + "/metrics", timeout=10).text
        wanted = (
            'rest_server_requests_total{app_name="mlserver",method="POST",path="/v2/models/{model_name}/infer",status',
            'rest_server_request_duration_seconds_count{app_name="mlserver",method="POST",path="/v2/models/{model_name}/',
            'model_infer_request_success_total{model="small-late",version="None"}',
            'model_infer_request_duration_count{model="small-late",version="None"}',
            'rest_server_requests_in_progress{app_name="mlserver",method="POST"}',
            'loopline_predictions_total{label="False",model="small-late"}',
            'loopline_predictions_total{label="True",model="small-late"}',
        )
        lines = [line for line in text.splitlines() if line.startswith(wanted)]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    post(server, request)
    changes = []
    for form in (request, the_long_way(request)):
        before = counts()
        answers = [post(server, form).json() for _ in range(3)]
        assert len({answer["id"] for answer in answers}) == 3
        after = counts()
        changes.append({name: after[name] - before.get(name, 0) for name in after})
    assert changes[0] == changes[1]
    assert sorted(set(changes[0].values())) == [0.0, 3.0]
    assert len(changes[0]) >= 6


def test_the_forms_a_value_may_take(server, model):
    """One prediction, whatever datatype and shape its numbers and text come in."""
    golden, request = golden_request(model, 5)
    expected = post(server, request).json()["outputs"]
    kinds = {column.name: column.kind for column in golden.features.columns}

    def changed(change) -> list:
        form = json.loads(json.dumps(request))
        for tensor in form["inputs"]:
            change(tensor)
        return post(server, form).json()["outputs"]

    def nest(tensor):
        tensor["data"] = [[value] for value in tensor["data"]]

    def whole(tensor):
        if kinds[tensor["name"]] == "integer":
            tensor.update(datatype="INT64", data=[None if v is None else int(v) for v in tensor["data"]])

    assert changed(lambda tensor: tensor.update(shape=[5])) == expected
    assert changed(nest) == expected
    assert changed(whole) == expected
    assert changed(lambda tensor: tensor.update(datatype=tensor["datatype"].replace("FP32", "FP64"))) == expected
    gaps = [value for tensor in request["inputs"] for value in tensor["data"] if value == ""]
    assert gaps, "the rows have to have missing text"
    assert changed(lambda tensor: tensor.update(data=[None if v == "" else v for v in tensor["data"]])) == expected
    request["inputs"].reverse()
    assert post(server, request).json()["outputs"] == expected


def test_chosen_outputs_and_version_in_the_path(server, model):
    _, request = golden_request(model)
    answer = post(server, {**request, "outputs": [{"name": "probabilities"}]}).json()
    assert [output["name"] for output in answer["outputs"]] == ["probabilities"]
    refused = post(server, {**request, "outputs": [{"name": "odds"}]})
    assert refused.status_code == 400
    assert "'odds'" in refused.json()["error"]
    assert post(server, request, "/v2/models/small-late/versions/3/infer").json()["model_version"] == "3"
    assert post(server, request, "/v2/models/small-late/versions/4/infer").status_code == 404


def test_metadata_names_version_digests_and_classes(server, model):
    from mlserver.grpc import dataplane_pb2 as pb

    found = call_rest(server.url, "/v2/models/small-late")
    digest = read_manifest(model).digest
    assert found["versions"] == ["3"]
    assert found["parameters"] == {
        "model_digest": digest,
        "image_digest": IMAGE,
        "site": "edge",
        "classes": [False, True],
    }
    assert [output["name"] for output in found["outputs"]] == ["label", "probabilities"]
    message = call_grpc(server.grpc, "ModelMetadata", pb.ModelMetadataRequest(name="small-late"))
    assert list(message.versions) == ["3"]
    assert message.parameters["model_digest"].string_param == digest
    assert json.loads(message.parameters["classes"].string_param) == [False, True]


def test_raw_contents_over_grpc(server, model):
    """What Triton's clients send: little-endian bytes, and text with its length before it."""
    golden, _ = golden_request(model, 4)
    request = build_grpc_request("small-late", golden.rows, golden.features)
    for tensor in request.inputs:
        if tensor.datatype == "BYTES":
            values = list(tensor.contents.bytes_contents)
            raw = b"".join(len(value).to_bytes(4, "little") + value for value in values)
        else:
            raw = np.array(tensor.contents.fp32_contents, "<f4").tobytes()
        tensor.ClearField("contents")
        request.raw_input_contents.append(raw)
    answer = call_grpc(server.grpc, "ModelInfer", request)
    position = [output.name for output in answer.outputs].index("probabilities")
    scores = np.frombuffer(answer.raw_output_contents[position], "<f4").reshape(4, 2)
    np.testing.assert_allclose(scores, golden.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["grade", "amount"])
@pytest.mark.parametrize("kind", ["onnx", "xgboost", "skops", "joblib"])
def test_every_format_and_task_has_the_same_contract(tmp_path, monkeypatch, target, kind):
    """In the class that MLServer loads, without a server around it."""
    import asyncio

    from mlserver.types import InferenceRequest
    from training_tables import OTHERS

    from loopline.components.serving.server import OneModel
    from loopline.components.training import write
    from loopline.components.training.train import train_estimator

    if kind in ("skops", "xgboost"):
        monkeypatch.setattr(write, "_try_onnx", lambda *arguments: "the test wants another format")
    folder = train_small(tmp_path, target)
    if kind in ("skops", "joblib"):
        folder = tmp_path / "sklearn"
        train_estimator(
            tmp_path / "train.parquet", None, tmp_path / "schema.json", folder, target=target, exclude=OTHERS[target],
            estimator="DecisionTreeRegressor" if target == "amount" else "DecisionTreeClassifier",
            name=f"small-{target}", allow_pickle=kind == "joblib",
        )  # fmt: skip
    assert read_manifest(folder).format == kind
    golden, request = golden_request(folder, 7)

    async def ask():
        [settings] = await OneModel(str(folder)).list()
        found = settings.implementation(settings)
        assert await found.load()
        return await found.predict(InferenceRequest(**request)), await found.metadata()

    answer, metadata = asyncio.run(ask())
    expected = load_predictor(folder).predict(golden.rows)
    outputs = {output.name: np.reshape(output.data.root, output.shape) for output in answer.outputs}
    if target == "amount":
        assert list(outputs) == ["prediction"]
        np.testing.assert_allclose(outputs["prediction"], expected.reshape(-1, 1), rtol=1e-6)
    else:
        assert list(outputs) == ["label", "probabilities"]
        np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-6)
        assert outputs["label"].tolist() == expected.argmax(1).tolist()
    assert [output.name for output in metadata.outputs] == list(outputs)
    assert answer.model_version == read_manifest(folder).digest  # there is no release beside it
