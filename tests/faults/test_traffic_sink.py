"""The traffic log of a model server to a real S3 server that goes away, and a clock that jumps while it is written."""

import itertools
import time
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from faults_proxy import HttpProxy, TcpProxy
from faults_steps import Fault
from faults_world import s3_client
from monitoring_models import START, make_events

from loopline.components.data import s3 as s3_module
from loopline.components.environment import environment
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import feature_columns, load_predictor
from loopline.components.serving import metrics, traffic
from loopline.components.serving.sinks import open_sink
from loopline.components.serving.traffic import Stamp, TrafficLog

_numbers = itertools.count(1)


@pytest.fixture
def server(world, s3, monkeypatch):
    """What a model server does for its log: opens it at an address of the store, records rows, collects them again."""
    model = world.out("train_xgboost", "model")
    manifest, predictor = read_manifest(model), load_predictor(model, threads=1)
    bucket = f"log-{next(_numbers)}"
    client = s3_client(s3, bucket)
    clock = SimpleNamespace(now=START, time_ns=lambda: round(clock.now.timestamp() * 1e6) * 1000)
    monkeypatch.setattr(traffic, "time", clock)
    monkeypatch.setattr(s3_module, "TIMEOUT", (0.5, 0.5))
    events = make_events(5, seed=7)
    columns, scores = feature_columns(events, predictor.features), predictor.predict(events)

    def open_log(url: str, **options) -> TrafficLog:
        with environment({**s3, "AWS_S3_ENDPOINT": url}):
            sink = open_sink(f"s3://{bucket}")
        stamp = Stamp(manifest.name, "1", manifest.digest, "", "edge")
        return TrafficLog(sink, stamp, predictor.features, manifest.output_names, flush_s=0.05, **options)

    def collect(hours: float = 2.0) -> int:
        window = {"start": START.isoformat(), "end": (START + timedelta(hours=hours)).isoformat()}
        fault = Fault(variables=s3)
        ended = world.steps.run(
            "collect_traffic", fault, model=model, name=manifest.name, uri=f"s3://{bucket}", **window
        )
        return int(ended.value())

    return SimpleNamespace(
        url=s3["AWS_S3_ENDPOINT"], open=open_log, collect=collect, clock=clock,
        record=lambda log, name: log.record(name, columns, scores, 0.001),
        files=lambda: [one.object_name for one in client.list_objects(bucket, recursive=True)],
    )  # fmt: skip


def _until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _logged() -> float:
    return metrics.TRAFFIC_LOGGED._value.get()


@pytest.mark.parametrize("fault", ["refuse", "cut", "stall", "503", "429"])
def test_rows_wait_while_the_store_is_away(server, fault):
    before = _logged()
    with HttpProxy(server.url) as http, TcpProxy(http.url) as proxy:
        log = server.open(proxy.url)
        {
            "refuse": proxy.refuse, "cut": lambda: proxy.cut(up=500), "stall": lambda: proxy.stall(up=500),
            "503": lambda: http.answer(503, retry_after="3600"), "429": lambda: http.answer(429, retry_after="3600"),
        }[fault]()  # fmt: skip
        server.record(log, "while away")
        _until(lambda: log._failing)
        server.record(log, "later")
        assert _logged() == before
        http.heal()
        proxy.heal()
        _until(lambda: _logged() == before + 10)
        log.close()
    assert server.collect() == 10


def test_rows_whose_answer_is_lost_count_once(server):
    """The store has the file, and the server writes its rows again under another name."""
    before = _logged()
    with HttpProxy(server.url) as proxy:
        log = server.open(proxy.url)
        proxy.lose(method="PUT")
        server.record(log, "one")
        _until(lambda: log._failing)
        proxy.heal()
        _until(lambda: _logged() == before + 5)
        log.close()
    assert len(server.files()) >= 2, "there was nothing that is there twice"
    assert server.collect() == 5


def test_more_than_fits_is_dropped_and_counted(server):
    dropped = metrics.TRAFFIC_DROPPED.labels("full")._value.get()
    with TcpProxy(server.url) as proxy:
        log = server.open(proxy.url, max_rows=10)
        proxy.refuse()
        for name in ("one", "two", "three"):
            server.record(log, name)
        assert metrics.TRAFFIC_DROPPED.labels("full")._value.get() == dropped + 5
        proxy.heal()
        log_before = _logged()
        _until(lambda: _logged() >= log_before + 10 or not log._waiting_rows)
        log.close()
    assert server.collect() == 10


@pytest.mark.parametrize("jump_h", [-25, 25])
def test_a_clock_that_jumps(server, jump_h):
    """Rows go to the hours that the clock told; none is lost, and none hinders another."""
    log = server.open(server.url)
    server.record(log, "before")
    server.clock.now = START + timedelta(hours=jump_h)
    server.record(log, "after the jump")
    server.clock.now = START + timedelta(minutes=1)
    server.record(log, "after the way back")
    log.close()
    assert server.collect() == 10
    assert len({name.rpartition("/")[0] for name in server.files()}) == 2
    assert np.isfinite(_logged())
