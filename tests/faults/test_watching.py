"""Faults between monitoring and a real Prometheus (Debian's), and the API of a pipeline server."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from faults_proxy import HttpProxy, TcpProxy
from faults_steps import NONE, Ended, Fault
from monitoring_prometheus import Counters, answering, needs_prometheus, prometheus
from pipeline_server import Fault as ServerFault
from pipeline_server import pipeline_server

from loopline.pipelines.spec import compiled_folder


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A Prometheus that watches one site."""
    counters = Counters("edge", datetime.now(UTC).timestamp() - 3600)
    counters.grow(answered=100)
    with answering(counters.show) as site, prometheus(tmp_path_factory.mktemp("prometheus"), {site[7:]: {}}) as url:
        yield url


@pytest.fixture
def check(world):
    """Run check_service on the last half hour, asking an address."""

    def run(url: str, fault: Fault = NONE) -> Ended:
        now = datetime.now(UTC)
        window = {"start": (now - timedelta(minutes=30)).isoformat(), "end": now.isoformat()}
        variables = {"PROMETHEUS_URL": url, **fault.variables}
        fault = Fault(fault.death, fault.calls, variables=variables, seconds=fault.seconds)
        return world.steps.run("check_service", fault, name="m", **window)

    return run


def _sees_the_site(ended: Ended) -> None:
    assert ended.status == 0, ended.said
    service = json.loads((ended.out / "service").read_text())
    assert (service["source"], list(service["sites"])) == ("prometheus", ["edge"])


@needs_prometheus
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_prometheus_that_is_busy_or_broken(watched, check, status):
    with HttpProxy(watched) as proxy:
        proxy.answer(status, times=1, retry_after="3600")
        ended = check(proxy.url)
        assert proxy.met == 1
        assert ended.status == 1
        assert f"Prometheus is busy or away (HTTP {status}): try again." in ended.sentence
        _sees_the_site(check(proxy.url))


@needs_prometheus
@pytest.mark.parametrize("fault", ["cut", "stall", "refuse"])
def test_a_prometheus_that_is_away(watched, check, fault):
    with TcpProxy(watched) as proxy:
        {"cut": lambda: proxy.cut(down=200), "stall": lambda: proxy.stall(down=200), "refuse": proxy.refuse}[fault]()
        ended = check(proxy.url, Fault(seconds=0.5))
        assert ended.status == 1 and "Nothing answers at" in ended.sentence
        proxy.heal()
        _sees_the_site(check(proxy.url))


@needs_prometheus
def test_a_slow_prometheus(watched, check):
    with TcpProxy(watched) as proxy:
        proxy.slow(20_000)
        _sees_the_site(check(proxy.url))


@needs_prometheus
def test_killed_after_any_question(watched, check):
    for death in itertools.count(1):
        ended = check(watched, Fault(death=death, calls="requests"))
        if not ended.killed:
            break
    assert death > 3
    _sees_the_site(ended)


@pytest.fixture
def pipelines(tmp_path):
    """A pipeline server that holds a pipeline: the server, and the environment that leads to it."""
    with pipeline_server(tmp_path) as (server, variables):
        server.hold("training", (compiled_folder() / "training.yaml").read_text())
        yield server, {**variables, "HOME": str(tmp_path)}


@pytest.fixture
def trigger(world):
    """Run trigger_pipeline for one event."""

    def run(variables: dict, fault: Fault = NONE, times: int = 1, **inputs) -> list[Ended]:
        parameters = '{"uri": "x.csv", "target": "late", "name": "flights"}'
        given = {"pipeline": "training", "parameters": parameters, "event": "event 1", **inputs}
        fault = Fault(fault.death, fault.calls, variables={**variables, **fault.variables}, seconds=fault.seconds)
        return world.steps.run_together([("trigger_pipeline", fault, None, given)] * times)

    return run


def _runs(server) -> list[dict]:
    return [run for run in server.runs if run.get("state") not in ("CANCELING", "CANCELED")]


def test_killed_after_any_request_starts_one_run(pipelines, trigger):
    server, variables = pipelines
    for death in itertools.count(1):
        server.runs.clear()
        [ended] = trigger(variables, Fault(death=death, calls="writes"))
        if not ended.killed:
            break
        assert len(_runs(server)) <= 1
        [again] = trigger(variables)
        assert again.value() == _runs(server)[0]["run_id"]
        assert len(_runs(server)) == 1
    assert death > 1, "there was nothing to be killed at"


@pytest.mark.parametrize("taken", [False, True])
def test_a_run_whose_answer_is_lost_is_started_once(pipelines, trigger, taken):
    """503, once for a request that was not looked at and once for one that was done."""
    server, variables = pipelines
    server.faults.append(ServerFault("POST", "/runs", taken=taken))
    [ended] = trigger(variables)
    if ended.status:
        assert ended.status == 1 and ended.sentence
    [again] = trigger(variables)
    assert [run["run_id"] for run in _runs(server)] == [again.value()]


def test_two_at_once_start_one_run(pipelines, trigger):
    server, variables = pipelines
    one, two = trigger(variables, times=2)
    assert one.value() == two.value()
    assert [run["run_id"] for run in _runs(server)] == [one.value()]


@pytest.mark.parametrize("fault", ["cut", "stall", "refuse"])
def test_a_pipeline_server_that_is_away_and_back(pipelines, trigger, fault):
    server, variables = pipelines
    with TcpProxy(variables["KF_PIPELINES_ENDPOINT"]) as proxy:
        {"cut": lambda: proxy.cut(down=2_500), "stall": lambda: proxy.stall(up=1_500), "refuse": proxy.refuse}[fault]()
        away = {**variables, "KF_PIPELINES_ENDPOINT": proxy.url}
        [ended] = trigger(away, Fault(seconds=1))
        assert ended.status == 1 and ended.sentence
        proxy.refuse()
        proxy.heal()
        [again] = trigger(away)
    assert [run["run_id"] for run in _runs(server)] == [again.value()]
