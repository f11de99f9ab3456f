"""The probe against servers whose limits are known, and against a real model server."""

import asyncio
import contextlib
import json
import threading
import time

import numpy as np
import pytest
from delivery_models import train_small
from monitoring_prometheus import answering

from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError
from loopline.components.monitoring.load import Load, Tally, Target
from loopline.components.monitoring.probe import judge, probe
from loopline.components.monitoring.probe_page import capacity_report
from loopline.pipelines.sites.ports import free_port


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("trained"))


class Limited:
    """A server that takes a fixed time for each request, one at a time; or fails when too many wait.

    It stands for a model server whose capacity is known: nobody knows that of a real one.
    """

    def __init__(self, model, service_s: float, most_waiting: float = 1e9, refusal: str = "503"):
        golden = read_golden(model).slice(0, 1)
        outputs = [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": golden.scores[0].tolist()}]
        self.answer = json.dumps({"model_name": golden.model, "outputs": outputs}).encode()
        self.service_s, self.most_waiting, self.refusal = service_s, most_waiting, refusal
        self.requests, self.after_failure, self.failed = 0, 0, False

    async def handle(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]))
                self.requests += 1
                self.after_failure += self.failed
                status = await self.work()
                body = self.answer if status == "200" else b"{}"
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def work(self) -> str:
        now = asyncio.get_running_loop().time()
        self.free = max(now, getattr(self, "free", 0.0)) + self.service_s
        if self.requests > 1 and (self.free - now) / self.service_s > self.most_waiting:
            self.failed = True
            return self.refusal
        await asyncio.sleep(self.free - now)
        return "200"

    @contextlib.contextmanager
    def running(self):
        loop, port = asyncio.new_event_loop(), free_port()
        server = loop.run_until_complete(asyncio.start_server(self.handle, "127.0.0.1", port))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def test_it_finds_the_rate_of_a_server_that_is_known(model):
    """10 ms a request: 100 a second is all there is, and p99 within 100 ms is had a little below."""
    with Limited(model, 0.010).running() as url:
        for _ in range(3):
            found = probe(url, model, p99_ms=100, most_rate=1000, seconds=0.6, budget_s=30)
            if found.limit != "generator":
                break  # else this machine had other work, and the probe says that it could not keep its rate
    assert 60 <= found.rate <= 110
    assert (found.limit, found.at_least) == ("latency", False)
    assert all(trial.rate < 300 for trial in found.trials)


def test_it_leaves_a_service_alone_at_the_first_error(model):
    server = Limited(model, 0.010, most_waiting=20)
    with server.running() as url:
        found = probe(url, model, p99_ms=1000, most_rate=1000, seconds=1.0, budget_s=40)
        time.sleep(0.3)
    assert found.limit == "errors"
    assert "503" in found.reason
    assert 0 < found.rate < found.trials[-1].rate
    assert server.after_failure < 60  # what was on its way
    # And not until the end of the trial.
    assert found.trials[-1].requests < 0.9 * found.trials[-1].rate


def test_a_real_model_server_within_limits(model, tmp_path):
    with serve(model) as server:
        found = probe(server.url, model, p99_ms=500, most_rate=60, seconds=0.5, budget_s=20)
    assert (found.rate, found.limit, found.at_least) == (60, "most_rate", True)
    assert max(trial.rate for trial in found.trials) == 60
    assert found.metrics["rate"] == 60
    found.save(tmp_path / "capacity.json")
    saved = json.loads((tmp_path / "capacity.json").read_text())
    assert saved["rate"] == 60
    assert saved["trials"][-1]["held"]
    capacity_report(found).write(tmp_path / "capacity.html")
    assert "at least 60/s" in (tmp_path / "capacity.html").read_text()


def test_the_time_is_kept(model):
    with Limited(model, 0.010).running() as url:
        found = probe(url, model, p99_ms=100, most_rate=1000, seconds=0.5, budget_s=2.0)
    assert (found.limit, found.at_least) == ("time", True)


def test_what_a_router_tells_an_idle_connection_is_no_error_of_the_service(caplog):
    """It ends connections without a request, one that was never used and those that were, and says so."""
    told = []

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n{}"), 0.05)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        told.append(writer)
        writer.write(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def run():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            load = Load(Target(f"http://127.0.0.1:{port}/infer", [b"{}"], {}, 2))
            await load._open()  # for a request that another connection took meanwhile
            tally = await load.run(rate=5, seconds=1.0, patience_s=1.0, random=np.random.default_rng(2))
            load.close()
            await asyncio.sleep(0.2)  # the server ends, too
            return tally

    tally = asyncio.run(run())
    assert (tally.failure, tally.unanswered, caplog.text) == ("", 0, "")
    assert len(told) > 1


def test_no_redirect_is_followed(model):
    asked = []

    def elsewhere(handler):
        asked.append(handler.path)
        return 200, "{}"

    with (
        answering(elsewhere) as other,
        answering(lambda handler: (302, f"{other}/v2")) as url,
        pytest.raises(InputError, match="302"),
    ):
        probe(url, model)
    assert not asked


def test_a_redirect_under_load_is_an_error(model):
    with Limited(model, 0.001, most_waiting=0.5, refusal="302").running() as url:
        found = probe(url, model, seconds=0.2)
    assert found.limit == "errors"
    assert "pointed elsewhere (HTTP 302" in found.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "ftp://127.0.0.1"}, "http:// or https://"),
        ({"url": "http://user:secret@127.0.0.1:9"}, "scheme, host, port and path"),
        ({"url": "http://127.0.0.1:9"}, "No model server answers"),
        ({"most_rate": 1e6}, "most_rate is 1000000.0"),
        ({"seconds": 0}, "seconds is 0"),
        ({"p99_ms": float("nan")}, "p99_ms is nan"),
    ],
)
def test_what_cannot_be_probed_is_said_in_a_sentence(model, change, message):
    with pytest.raises(InputError, match=message) as caught:
        probe(**{"url": "http://127.0.0.1:9", "model_dir": model} | change)
    assert "secret" not in str(caught.value)


def test_another_model_is_not_probed(model):
    server = Limited(model, 0.001)
    server.answer = server.answer.replace(b'"data": [', b'"data": [0.123, ').replace(b"]}]}", b"]}]}")
    answer = json.loads(server.answer)
    answer["outputs"][0]["data"] = [0.5, 0.5]
    server.answer = json.dumps(answer).encode()
    with server.running() as url, pytest.raises(InputError, match="this very model"):
        probe(url, model)
    assert server.requests == 1


def tally(latencies_ms, late_ms=0.1, due=None, **others) -> Tally:
    latencies = [value / 1e3 for value in latencies_ms]
    return Tally(100, 1.0, due or len(latencies), latencies, [late_ms / 1e3] * len(latencies), 1, **others)


@pytest.mark.parametrize(
    ("came", "limit"),
    [
        (tally([5.0] * 100), ""),
        (tally([5.0] * 98 + [300.0] * 2), "latency"),
        (tally([5.0] * 100, due=150, overrun=True), "latency"),
        (tally(np.linspace(1, 120, 100)), "latency"),  # within the budget, and not for long
        (tally([300.0] * 100, late_ms=100), "generator"),
        (tally([5.0] * 100, failure="the server answered HTTP 500"), "errors"),
    ],
)
def test_what_is_in_the_way_of_a_higher_rate(came, limit):
    assert judge(came, 250.0).limit == limit
