"""Ask a model server over the Open Inference Protocol (version 2), REST or gRPC.

Protocol: https://github.com/kserve/open-inference-protocol, specification/protocol. ``LOOPLINE_SITE_TOKEN`` is sent as
a bearer token for services that ask for one, over https or on this machine.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pyarrow as pa
import requests

from loopline.components import certificates
from loopline.components.addresses import guard
from loopline.components.data.schema import Schema
from loopline.components.data.sources import LOCAL_HOSTS, is_private
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import feature_columns
from loopline.components.secrecy import hide

#: Outputs that hold scores: of a classification, of a regression.
_SCORES = ("probabilities", "prediction")


class UnreachableError(InputError):
    """No model server answers there, or not in time."""


class RefusedError(InputError):
    """A model server answered with an error.

    Attributes:
        status: The HTTP status or the name of the gRPC status.
        reason: What the server said.
    """

    def __init__(self, message: str, status: int | str, reason: str):
        super().__init__(message)
        self.status = status
        self.reason = hide(reason)


@dataclass(frozen=True)
class Answer:
    """What a model server answered.

    Attributes:
        scores: Probabilities, shape (rows, classes), or values, shape (rows,); single precision.
        model: The model's name.
        version: The model's version.
        parameters: What the server says of itself: model digest, image digest, site.
    """

    scores: np.ndarray
    model: str
    version: str
    parameters: dict


def load_features(model: str | Path) -> Schema:
    """Return the schema of a model directory without its target: what the server must be sent.

    Args:
        model: The model directory.

    Raises:
        InputError: There is no model.
    """
    return Schema.load(Path(model) / "schema.json").without(read_manifest(model).target)


def build_request(table: pa.Table, features: Schema) -> dict:
    """Write rows as an inference request.

    Args:
        table: Rows with at least the model's features.
        features: The features' schema.

    Returns:
        The request as plain JSON values: one input a feature, shape (rows, 1). Numbers are FP32, missing ones null;
        text is BYTES, missing text is empty.

    Raises:
        InputError: A feature is missing or has the wrong type.
    """
    inputs = []
    for name, values in feature_columns(table, features).items():
        text = values.dtype == object
        data = values.tolist() if text else [None if np.isnan(value) else float(value) for value in values]
        inputs.append(
            {"name": name, "shape": [table.num_rows, 1], "datatype": "BYTES" if text else "FP32", "data": data}
        )
    return {"inputs": inputs}


def predict_rest(address: str, model: str, table: pa.Table, features: Schema, timeout_s: float = 10.0) -> Answer:
    """Predict rows over REST.

    Args:
        address: Where the server answers: ``http://host:port`` or ``https://host``.
        model: The model's name.
        table: Rows with at least the model's features.
        features: The features' schema.
        timeout_s: Seconds to wait for the connection, and for each part of the answer.

    Returns:
        The server's answer.

    Raises:
        UnreachableError: Nothing answers there in time.
        RefusedError: The server answered with an error.
        InputError: The answer is not one of the protocol, or a feature is missing.
    """
    answer = call_rest(address, infer_path(model), build_request(table, features), timeout_s)
    return read_answer(answer, address, table.num_rows)


def infer_path(model: str) -> str:
    """Return the path of a model's inference requests.

    Args:
        model: The model's name.
    """
    return f"/v2/models/{quote(model, safe='')}/infer"


def read_answer(answer: Mapping, address: str, rows: int) -> Answer:
    """Read what a model server answered to an inference request over REST.

    Args:
        answer: The JSON object.
        address: Where it comes from, for the message.
        rows: Rows of the request.

    Returns:
        The answer.

    Raises:
        InputError: It is not one of the protocol, or not for as many rows.
    """
    try:
        outputs = {output["name"]: output for output in answer["outputs"]}
        found = next(outputs[name] for name in _SCORES if name in outputs)
        values = np.asarray(found["data"], np.float32).reshape(found["shape"])
        return Answer(
            _shape_scores(values, found["name"], rows),
            str(answer["model_name"]),
            str(answer.get("model_version") or ""),
            dict(answer.get("parameters") or {}),
        )
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise InputError(f"The answer of {address} holds no predictions ({type(error).__name__}: {error}).") from None


def predict_grpc(address: str, model: str, table: pa.Table, features: Schema, timeout_s: float = 10.0) -> Answer:
    """Predict rows over gRPC, without encryption.

    Args:
        address: Where the server answers: ``host:port``.
        model: The model's name.
        table: Rows with at least the model's features.
        features: The features' schema.
        timeout_s: Seconds to wait for the answer.

    Returns:
        The server's answer.

    Raises:
        UnreachableError: Nothing answers there in time.
        RefusedError: The server answered with an error.
        InputError: The answer is not one of the protocol, or a feature is missing.
    """
    answer = call_grpc(address, "ModelInfer", build_grpc_request(model, table, features), timeout_s)
    positions = {output.name: position for position, output in enumerate(answer.outputs)}
    name = next((name for name in _SCORES if name in positions), None)
    if name is None:
        raise InputError(f"The answer of {address} holds no predictions: its outputs are {', '.join(positions)}.")
    output = answer.outputs[positions[name]]
    raw = answer.raw_output_contents
    try:
        values = np.frombuffer(raw[positions[name]], "<f4") if raw else np.asarray(output.contents.fp32_contents, "<f4")
        scores = _shape_scores(values.reshape(list(output.shape)), name, table.num_rows)
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(f"The answer of {address} contradicts itself ({error}).") from None
    chosen = {key: value.WhichOneof("parameter_choice") for key, value in answer.parameters.items()}
    parameters = {key: getattr(answer.parameters[key], choice) for key, choice in chosen.items() if choice}
    return Answer(scores, answer.model_name, answer.model_version, parameters)


def build_grpc_request(model: str, table: pa.Table, features: Schema):
    """Write rows as a ``ModelInferRequest`` of gRPC; missing numbers are NaN.

    Args:
        model: The model's name.
        table: Rows with at least the model's features.
        features: The features' schema.
    """
    from mlserver.grpc import dataplane_pb2 as pb

    request = pb.ModelInferRequest(model_name=model)
    for name, values in feature_columns(table, features).items():
        text = values.dtype == object
        tensor = request.inputs.add(name=name, datatype="BYTES" if text else "FP32", shape=[table.num_rows, 1])
        if text:
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
        else:
            tensor.contents.fp32_contents.extend(values.tolist())
    return request


def open_session(address: str) -> requests.Session:
    """Open a session whose connections to a model server are kept, for many requests from one thread.

    Args:
        address: Where the server answers.
    """
    session = guard(requests.Session())
    # A proxy does not know this machine's own servers.
    session.trust_env = urlsplit(address).hostname not in LOCAL_HOSTS
    return session


def call_rest(
    address: str,
    path: str,
    body: Mapping | None = None,
    timeout_s: float = 10.0,
    session: requests.Session | None = None,
) -> dict:
    """Call one method of the protocol over REST.

    Args:
        address: Where the server answers.
        path: The method, e.g. ``/v2/models/flights``.
        body: What to post; None to get.
        timeout_s: Seconds to wait for the connection, and for each part of the answer.
        session: What ``open_session`` gave; a new one when None.

    Returns:
        The JSON object answered.

    Raises:
        UnreachableError: Nothing answers there in time.
        RefusedError: The server answered with an error.
        InputError: The answer is not a JSON object.
    """
    with contextlib.nullcontext(session) if session else open_session(address) as opened:
        answer = _request(opened, address, path, body, timeout_s)
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        found = None
    if answer.status_code != 200:
        reason = str(found.get("error") or found) if isinstance(found, dict) else hide(answer.text)[:200]
        raise RefusedError(f"{answer.url} answered HTTP {answer.status_code}: {reason}", answer.status_code, reason)
    if not isinstance(found, dict):
        raise InputError(f"{answer.url} did not answer with a JSON object: is this a model server?")
    return found


def is_ready(address: str, model: str = "", timeout_s: float = 2.0) -> bool:
    """Return whether a model server says over REST that it is ready; False where none answers.

    Args:
        address: Where the server answers.
        model: The model that has to be ready as well: a server without any model is ready, too.
        timeout_s: Seconds to wait for each answer.
    """
    paths = ["/v2/health/ready"] + ([f"/v2/models/{quote(model, safe='')}/ready"] if model else [])
    try:
        with open_session(address) as session:
            return all(_request(session, address, path, None, timeout_s).status_code == 200 for path in paths)
    except UnreachableError:
        return False


def call_grpc(address: str, method: str, request, timeout_s: float = 10.0):
    """Call one method of the protocol over gRPC.

    Args:
        address: Where the server answers: ``host:port``.
        method: The method's name, e.g. ``ModelInfer``.
        request: Its protocol buffer message.
        timeout_s: Seconds to wait for the answer.

    Returns:
        The protocol buffer message answered.

    Raises:
        UnreachableError: Nothing answers there in time.
        RefusedError: The server answered with an error.
    """
    import grpc
    from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return getattr(GRPCInferenceServiceStub(channel), method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            status = error.code().name
            if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise UnreachableError(f"No model server answers at {address} ({status}).") from None
            reason = error.details() or ""
            raise RefusedError(f"{address} answered {method} with {status}: {reason}", status, reason) from None


def _request(
    session: requests.Session, address: str, path: str, body: Mapping | None, timeout_s: float
) -> requests.Response:
    url = address.rstrip("/") + path
    verify = ca_bundle() or True
    try:
        method = "GET" if body is None else "POST"
        return session.request(
            method, url, json=body, auth=_authorize, timeout=timeout_s, verify=verify, allow_redirects=False
        )
    except requests.exceptions.SSLError as error:
        raise UnreachableError(certificates.explain(address, str(error), "SSL_CERT_FILE")) from None
    except requests.exceptions.RequestException as error:
        raise UnreachableError(f"No model server answers at {address} ({type(error).__name__}).") from None
    except OSError:
        raise InputError(f"The certificate authorities in {verify} cannot be read: name a PEM file.") from None


def site_token(address: str) -> dict[str, str]:
    """Return the header with the token of a protected service; none where somebody on the way could read it.

    Args:
        address: Where the request goes.
    """
    token = os.environ.get("LOOPLINE_SITE_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token and is_private(address) else {}


def _authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add the token of a protected service, where nobody on the way can read it."""
    request.headers.update(site_token(request.url))
    return request


def _shape_scores(values: np.ndarray, name: str, rows: int) -> np.ndarray:
    """Give scores the shape a predictor gives them."""
    values = np.asarray(values, np.float32)
    scores = values.reshape(len(values), -1) if name == "probabilities" else values.reshape(-1)
    if len(scores) != rows:
        raise InputError(f"A model server answered {len(scores)} predictions for {rows} rows.")
    return scores
