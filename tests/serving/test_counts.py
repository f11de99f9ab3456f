"""Every inference request is counted once, whichever way it took, by what became of it."""

import asyncio
import contextlib
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import requests
from grpc import aio
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import (
    GRPCInferenceServiceStub,
    add_GRPCInferenceServiceServicer_to_server,
)
from prometheus_client import REGISTRY
from serving_models import golden_request

from loopline.components.delivery.inference import RefusedError, build_grpc_request, call_grpc, predict_grpc
from loopline.components.monitoring.scrape import parse_metrics
from loopline.components.serving.metrics import RequestCounts
from loopline.components.serving.rest import Front, ShortRoute
from loopline.components.serving.rpc import Servicer

OUTCOMES = ("answered", "refused", "failed")


def count(url: str) -> dict[tuple[str, str], float]:
    """Return what a server counted by protocol and outcome, and how many it timed."""
    found = {}
    for sample in parse_metrics(requests.get(f"{url}/metrics", timeout=10).text):
        if sample.name == "loopline_requests_total":
            found[sample.labels["protocol"], sample.labels["outcome"]] = sample.value
        if sample.name == "loopline_request_seconds_count":
            found[sample.labels["protocol"], "timed"] = sample.value
    return found


def outcomes(model: str, protocol: str) -> dict[str, float]:
    """Return what this process counted for a model."""
    return {
        outcome: REGISTRY.get_sample_value(
            "loopline_requests_total", {"model": model, "site": "", "protocol": protocol, "outcome": outcome}
        )
        for outcome in OUTCOMES
    }


@contextlib.contextmanager
def growing(server, protocol: str, **expected: float):
    before = count(server.metrics)
    yield
    after = count(server.metrics)
    grown = {outcome: after[protocol, outcome] - before[protocol, outcome] for outcome in (*OUTCOMES, "timed")}
    assert grown == {"answered": 0, "refused": 0, "failed": 0, "timed": expected.get("answered", 0)} | expected


def test_all_outcomes_are_there_before_they_happen(server):
    protocols = {(protocol, outcome) for protocol in ("rest", "grpc") for outcome in (*OUTCOMES, "timed")}
    assert set(count(server.metrics)) == protocols


def test_answers_over_rest(server, model):
    _, request = golden_request(model)
    url = f"{server.url}/v2/models/small-late/infer"
    with growing(server, "rest", answered=3):
        assert requests.post(url, json=request, timeout=10).ok
        assert requests.post(url, json={**request, "parameters": {"contributions": True}}, timeout=10).ok
        assert requests.post(url.replace("/infer", "/versions/3/infer"), json=request, timeout=10).ok
        assert requests.get(f"{server.url}/v2/models/small-late", timeout=10).ok


def test_refusals_over_rest(server, model):
    _, request = golden_request(model)
    url = f"{server.url}/v2/models/small-late/infer"
    with growing(server, "rest", refused=5):
        for body in (b"{", b'{"inputs": []}', b'{"inputs": [%s]}' % b",".join([b"{}"] * 100_000)):
            assert requests.post(url, data=body, timeout=10).status_code == 400
        assert requests.post(url, data=b"1", headers={"Content-Encoding": "br"}, timeout=10).status_code == 415
        assert requests.post(f"{url}_stream", json=request, timeout=10).status_code == 404


def test_grpc(server, model):
    golden, _ = golden_request(model)
    message = build_grpc_request("small-late", golden.rows, golden.features)
    with growing(server, "grpc", answered=1, refused=2):
        predict_grpc(server.grpc, "small-late", golden.rows, golden.features)
        with pytest.raises(RefusedError):
            call_grpc(server.grpc, "ModelInfer", build_grpc_request("other", golden.rows, golden.features))
        del message.inputs[0]
        with pytest.raises(RefusedError):
            call_grpc(server.grpc, "ModelInfer", message)


@pytest.mark.parametrize("raises", [True, False])
def test_what_mlserver_cannot_answer_has_failed(raises):
    """An application that breaks stands for MLServer, which cannot be made to break from outside."""

    async def broken(scope, receive, send):
        if raises:
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        pass

    front, name = Front(broken), f"broken-{raises}"
    front.counted = RequestCounts(name, "", "rest")
    scope = {"type": "http", "method": "POST", "path": "/v2/models/broken/infer", "headers": []}
    with contextlib.suppress(RuntimeError):
        asyncio.run(front(scope, receive, send))
    assert outcomes(name, "rest") == {"answered": 0, "refused": 0, "failed": 1}


def test_a_model_that_breaks_on_the_short_way_has_failed():
    """A model that cannot be made to break from outside, and counters of MLServer that nobody reads."""

    class Broken:
        name, ready = "breaks", True

        @property
        def served(self):
            return self

        async def infer(self, request):
            raise RuntimeError("broken")

    model, counted = Broken(), RequestCounts("breaks", "", "rest")
    plane = SimpleNamespace(_ModelInferRequestSuccess=MagicMock(), _ModelInferRequestDuration=MagicMock())
    front = Front(None)
    path = "/v2/models/breaks/infer"
    front.counted, front.routes[path] = counted, ShortRoute(model, path, None, plane, [], counted)

    async def receive():
        return {"type": "http.request", "body": b'{"inputs": [{"name": "x"}]}', "more_body": False}

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(front(scope, receive, None))
    assert outcomes("breaks", "rest") == {"answered": 0, "refused": 0, "failed": 1}


@pytest.mark.parametrize(("deadline_s", "expected"), [(0.2, "failed"), (None, "refused")])
def test_a_call_whose_time_is_over_has_failed_and_one_that_is_given_up_has_not(deadline_s, expected):
    """Real gRPC in front of a model that never answers."""
    name = f"stalls-{expected}"

    async def stall(payload, name, version):
        await asyncio.sleep(60)

    async def ask() -> None:
        server = aio.server()
        plane = SimpleNamespace(infer=stall)
        add_GRPCInferenceServiceServicer_to_server(Servicer(plane, None, RequestCounts(name, "", "grpc")), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = GRPCInferenceServiceStub(channel).ModelInfer(
                pb.ModelInferRequest(model_name="m"), timeout=deadline_s
            )
            if deadline_s is None:
                await asyncio.sleep(0.3)
                call.cancel()
            with contextlib.suppress(aio.AioRpcError, asyncio.CancelledError):
                await call
            for _ in range(100):
                if any(outcomes(name, "grpc").values()):
                    break
                await asyncio.sleep(0.05)
        await server.stop(None)

    asyncio.run(ask())
    assert outcomes(name, "grpc") == {"answered": 0, "refused": 0, "failed": 0} | {expected: 1}


def test_the_metrics_stand_beside_the_predictions_too(server):
    assert count(server.url) == count(server.metrics)
