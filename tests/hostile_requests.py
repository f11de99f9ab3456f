"""Hostile requests to a real model server, over REST and gRPC: it refuses each in one sentence and goes on."""

import functools
import json
from pathlib import Path

import grpc
import requests
from hostile_inputs import damaged, documents
from hostile_runs import SentenceError, Target
from hypothesis import strategies as st

from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.inference import build_grpc_request, build_request
from loopline.components.errors import InputError

#: Where the server that is asked answers: ``url``, ``grpc`` and its model.
SERVER = "server.json"


def targets(samples: Path) -> dict[str, Target]:
    """What is sent to the server."""
    server = json.loads((samples / SERVER).read_text())
    golden = read_golden(server["model"]).slice(0, 3)
    right = build_request(golden.rows, golden.features)
    message = build_grpc_request(golden.model, golden.rows, golden.features).SerializeToString()
    headers = st.dictionaries(
        st.sampled_from(("Content-Type", "Content-Encoding", "Inference-Header-Content-Length", "Accept")),
        st.sampled_from(
            ("application/json", "text/html", "gzip", "br", "-1", "1", "application/octet-stream", "a" * 300)
        ),
        max_size=2,
    )
    paths = st.sampled_from(
        ("infer", "infer", "infer", "versions/x/infer", "infer_stream", "ready", "../../x", "%2e%2e/%00")
    )
    return {
        "REST requests": Target(st.tuples(documents([right]), headers, paths), functools.partial(_post, server), 150),
        "gRPC messages": Target(damaged([message]), functools.partial(_send, server["grpc"]), 80),
    }


@functools.cache
def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def _post(server: dict, request: tuple) -> None:
    body, headers, path = request
    answer = _session().post(
        f"{server['url']}/v2/models/{server['name']}/{path}", data=body, headers=headers, timeout=15
    )
    if answer.status_code >= 500:
        raise SentenceError(f"HTTP {answer.status_code}: {answer.text[:500]}")
    if answer.status_code != 200:
        raise InputError(_reason(answer))


def _reason(answer: requests.Response) -> str:
    try:
        reason = answer.json()["error"]
    except (ValueError, LookupError, TypeError):
        # Before a request reaches the application, uvicorn says what is wrong with it as HTTP.
        reason = answer.text.strip()
    if not isinstance(reason, str) or "Traceback" in reason:
        raise SentenceError(f"HTTP {answer.status_code}: {answer.text[:500]}")
    return reason


@functools.cache
def _infer(address: str):
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    return channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


def _send(address: str, message: bytes) -> None:
    try:
        _infer(address)(message, timeout=15)
    except grpc.RpcError as error:
        # gRPC answers itself what is no message at all: nothing of the server has seen it.
        if "DecodeError" in error.details():
            raise InputError(error.details()) from None
        if error.code().name in ("UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED") or "Traceback" in error.details():
            raise SentenceError(f"{error.code().name}: {error.details()[:500]}") from None
        raise InputError(f"{error.code().name}: {error.details()}") from None
