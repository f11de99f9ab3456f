"""Services judged by their counters: those of a real model server, and ones that a test turns."""

import json
import math
import re
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import requests
from config_repositories import make_repository
from monitoring_prometheus import Counters, answering
from serving_models import golden_request

from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError
from loopline.components.monitoring.activity import Look, grow
from loopline.components.monitoring.scrape import parse_metrics, read_look
from loopline.components.monitoring.service import _judge as judge
from loopline.components.monitoring.service import check_service, read_targets
from loopline.components.monitoring.service_page import service_report
from loopline.components.monitoring.slo import RULES, Slo, worst_burn
from loopline.components.monitoring.window import Window
from loopline.pipelines.sites.ports import free_port

HOUR = 3600.0


@pytest.fixture(autouse=True)
def no_prometheus(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_URL", raising=False)


@pytest.fixture(scope="module")
def server(trained):
    with serve(trained(), LOOPLINE_SITE="edge") as running:
        yield running


@pytest.fixture
def counters():
    """Counters of a site that started two hours ago, and its address."""
    turned = Counters("edge", time.time() - 2 * HOUR)
    with answering(turned.show) as url:
        turned.url = url
        yield turned


def last_hour() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(hours=1), now)


def ask(server, trained, times: int) -> None:
    golden, request = golden_request(trained())
    with requests.Session() as session:
        for _ in range(times):
            assert session.post(f"{server.url}/v2/models/{golden.model}/infer", json=request, timeout=10).ok


def test_a_real_server_from_run_to_run(server, trained, tmp_path):
    ask(server, trained, 30)
    targets = f"edge={server.metrics}"
    first = check_service(last_hour(), targets, slo=Slo(capacity="edge=1000000"))
    assert (first.verdict, first.source) == ("healthy", "metrics")
    ask(server, trained, 20)
    golden, _ = golden_request(trained())
    assert (
        requests.post(f"{server.url}/v2/models/{golden.model}/infer", json={"inputs": []}, timeout=10).status_code
        == 400
    )
    second = check_service(
        last_hour(), targets, slo=Slo(capacity="edge=1000000"), state=json.loads(json.dumps(first.state))
    )
    site = second.sites["edge"]
    assert (site.requests, site.errors, site.refused, site.restarts) == (21, 0, 1, 0)
    assert 0 < site.p50_ms <= site.p95_ms <= site.p99_ms
    assert site.rate > 0
    assert site.saturation == pytest.approx(site.rate_peak / 1e6)
    second.save(tmp_path / "service.json")
    saved = json.loads((tmp_path / "service.json").read_text())
    assert saved["sites"]["edge"]["requests"] == 21
    assert saved["state"] == second.state
    assert second.metrics["requests"] == 21
    service_report(second).write(tmp_path / "service.html")
    assert "healthy" in (tmp_path / "service.html").read_text()


def test_the_sites_of_the_configuration_repository(server, trained, tmp_path):
    """Each answers with its metrics where it answers with its predictions."""
    ask(server, trained, 1)
    repository = make_repository(tmp_path, url=server.url)
    found = check_service(last_hour(), "", str(repository))
    assert list(found.sites) == ["cloud", "datacenter", "edge"]
    assert found.verdict == "healthy"
    service_report(found).write(tmp_path / "service.html")  # of sites whose capacity nobody named
    assert list(check_service(last_hour(), "", str(repository), "edge").sites) == ["edge"]


def test_what_mlserver_counts_is_read_where_loopline_counts_nothing(server, trained):
    """The stock server shows the same text without our own lines."""
    ask(server, trained, 1)
    text = requests.get(f"{server.metrics}/metrics", timeout=10).text
    ours = read_look(parse_metrics(text), 0.0)
    lines = [line for line in text.splitlines() if not line.startswith("loopline_request")]
    stock = read_look(parse_metrics("\n".join(lines)), 0.0)
    assert (stock.answered, stock.failed, stock.started) == (ours.answered, ours.failed, ours.started)
    assert stock.buckets["inf"] == ours.buckets["inf"] == ours.answered


def test_what_openvino_counts_is_read():
    """Text as its documentation shows it: the server itself is not on this machine."""
    labels = 'api="KServe",interface="REST",method="ModelInfer",name="flights",version="1"'
    text = f"""# TYPE ovms_requests_success counter
ovms_requests_success{{{labels}}} 90
ovms_requests_success{{api="KServe",interface="REST",method="ModelReady",name="flights"}} 7
ovms_requests_fail{{{labels}}} 10
ovms_request_time_us_bucket{{interface="REST",name="flights",version="1",le="18"}} 40
ovms_request_time_us_bucket{{interface="REST",name="flights",version="1",le="324000"}} 90
ovms_request_time_us_bucket{{interface="REST",name="flights",version="1",le="+Inf"}} 90
ovms_current_requests{{name="flights",version="1"}} 3
"""
    look = read_look(parse_metrics(text), 5.0)
    assert (look.answered, look.failed, look.open, look.started) == (90, 10, 3, None)
    assert look.buckets == {"1.8e-05": 40, "0.324": 90, "inf": 90}


def test_failures_that_mlserver_times_are_judged_without_an_answer():
    """Its gRPC histogram has no status: calls that failed stand in it, too."""

    def look(failed: int, time_: float) -> Look:
        call = 'grpc_method="ModelInfer"'
        return read_look(
            parse_metrics(
                f'rest_server_requests_total{{path="/v2/models/m/infer",status_code="200"}} 0\n'
                f'grpc_server_handled_total{{{call},grpc_code="INTERNAL"}} {failed}\n'
                f'grpc_server_handling_seconds_bucket{{{call},le="1.0"}} 0\n'
                f'grpc_server_handling_seconds_bucket{{{call},le="+Inf"}} {failed}\n'
            ),
            time_,
        )

    site = judge("edge", grow([look(0, 0.0), look(900, HOUR)]), Slo())
    assert (site.requests, site.errors, site.verdict) == (900, 900, "burning")
    assert "900 of 900 requests failed" in site.problem
    assert "100.0% of the answers took longer than 250 ms" in site.problem


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('loopline_requests_total{outcome="answered"} NaN', "is no count"),
        ('loopline_requests_total{outcome="failed"} -1', "is no count"),
        ('loopline_request_seconds_bucket{le="soon"} 1', "'soon', which is no number"),
    ],
)
def test_counters_that_cannot_be_hinder_that_site_alone(counters, line, words):
    text = f'loopline_requests_total{{outcome="refused"}} 1\n{line}\n'
    with answering(lambda handler: (200, text)) as url:
        found = check_service(last_hour(), f"edge={counters.url},cloud={url}")
    assert words in found.sites["cloud"].problem
    assert found.sites["edge"].since


def test_a_class_may_hold_what_ends_a_line_elsewhere():
    text = 'loopline_predictions_total{label="a\u2028b"} 2\nloopline_requests_total{outcome="answered"} 3\n'
    assert [sample.labels for sample in parse_metrics(text)] == [{"label": "a\u2028b"}, {"outcome": "answered"}]


def check(counters, state=None, **slo):
    return check_service(last_hour(), f"edge={counters.url}", slo=Slo(**slo), state=state)


def test_failures_burn(counters):
    state = check(counters).state
    counters.grow(answered=900, failed=100)
    found = check(counters, aged(state, 1800))
    site = found.sites["edge"]
    assert found.verdict == site.verdict == "burning"
    assert site.burn_fast == pytest.approx(100, rel=0.01)
    assert site.error_share == pytest.approx(0.1)
    assert "100 of 1,000 requests failed" in found.reason


@pytest.mark.parametrize("looked", [False, True])
def test_what_happened_long_before_the_window_is_not_judged(counters, looked):
    """A month of slow answers is no reason to call people about the last hour."""
    counters.restart(time.time() - 720 * HOUR)
    state = aged(check(counters).state, 100 * HOUR) if looked else None
    counters.grow(answered=10**6, slow=10**5)
    found = check(counters, state)
    assert (found.verdict, found.sites["edge"].requests) == ("unknown", 0)
    assert "the next run knows more" in found.reason
    counters.grow(answered=900)
    assert check(counters, aged(found.state, 1800)).verdict == "healthy"


def test_a_password_in_an_address_is_not_kept(counters):
    counters.grow(answered=10)
    url = counters.url.replace("://", "://user:a-secret@")
    first = check_service(last_hour(), f"edge={url}")
    assert "a-secret" not in json.dumps(first.state)
    counters.grow(answered=5)
    assert check_service(last_hour(), f"edge={url}", state=first.state).sites["edge"].requests == 5


def test_a_few_failures_do_not(counters):
    state = check(counters).state
    counters.grow(answered=99_950, refused=5000, failed=50)
    assert check(counters, aged(state, 1800)).verdict == "healthy"


def test_one_failure_of_few_requests_may_be_chance(counters):
    """One of three is 333 times the budget, and as likely as not at a rate far below the limit."""
    state = check(counters).state
    counters.grow(answered=2, failed=1)
    found = check(counters, aged(state, 3500))
    assert found.sites["edge"].burn_fast > 300
    assert found.verdict == "healthy"


def test_slow_answers_burn(counters):
    state = check(counters).state
    counters.grow(answered=1000, slow=50)
    found = check(counters, aged(state, 1800), p99_ms=250)
    assert found.verdict == "burning"
    assert "5.0% of the answers took longer than 250 ms" in found.reason
    assert check(counters, aged(state, 1800), p99_ms=10_000).verdict == "burning"  # slower than any bucket tells


def test_a_site_near_its_capacity_burns(counters):
    state = check(counters).state
    counters.grow(answered=1800)
    found = check(counters, aged(state, 1800), capacity="edge=1.1,cloud=9")
    assert found.sites["edge"].saturation == pytest.approx(1 / 1.1, rel=0.01)
    assert "give it more replicas" in found.reason
    assert check(counters, aged(state, 1800), capacity="3").verdict == "healthy"


def test_restarts_are_counted_and_what_came_since(counters):
    state = check(counters).state
    for number in range(4):
        counters.restart(time.time() - 100 + number * 20)
        counters.grow(answered=10)
        found = check(counters, state)
        state = found.state
    site = found.sites["edge"]
    assert (site.requests, site.restarts, site.verdict) == (40, 4, "burning")
    assert "restarted 4 times" in site.problem


def test_another_release_is_no_restart():
    looks = [Look(0.0, 0.0, 5, 0, 0, {}, release="a"), Look(9.0, 8.0, 2, 0, 0, {}, release="b")]
    assert (grow(looks).restarts, grow(looks).requests.tolist()) == (0, [2])


def test_several_processes_at_one_address_are_not_mixed_up(counters):
    state = check(counters).state
    counters.restart(counters.started - HOUR)
    counters.grow(answered=10**6)
    found = check(counters, state)
    assert (found.verdict, found.sites["edge"].requests) == ("unknown", 0)
    assert "PROMETHEUS_URL" in found.reason


def test_a_site_that_is_away_does_not_hide_the_others(counters):
    counters.grow(answered=10)
    targets = f"edge={counters.url},cloud=http://127.0.0.1:{free_port()}"
    found = check_service(last_hour(), targets)
    assert (found.verdict, found.sites["edge"].verdict, found.sites["cloud"].verdict) == (
        "unknown",
        "healthy",
        "unknown",
    )
    assert "Nothing answers" in found.sites["cloud"].problem
    with answering(lambda handler: (200, "<html>\n")) as other:
        assert "is this /metrics" in check_service(last_hour(), f"edge={other}").reason


def test_a_site_that_answered_before_and_does_not_now_burns():
    counters = Counters("edge", time.time() - HOUR)
    with answering(counters.show) as url:
        state = check_service(last_hour(), f"edge={url}").state
    found = check_service(last_hour(), f"edge={url}", state=state)
    assert (found.verdict, found.state) == ("burning", state)
    assert "It answered before and does not now" in found.reason


def test_an_idle_site_is_no_problem(counters):
    counters.grow(answered=10)
    with answering(Counters("cloud", time.time() - HOUR).show) as idle:
        found = check_service(last_hour(), f"edge={counters.url},cloud={idle}")
    assert (found.verdict, found.sites["cloud"].idle) == ("healthy", True)
    assert check(counters, check(counters).state).verdict == "unknown"  # all are idle


def test_counters_of_now_say_nothing_about_yesterday(counters):
    counters.grow(answered=10)
    yesterday = Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) - timedelta(hours=20))
    found = check_service(yesterday, f"edge={counters.url}")
    assert found.verdict == "unknown"
    assert "the window ended" in found.reason


@pytest.mark.parametrize(
    ("targets", "sites", "message"),
    [
        ("edge", "", "targets has 'edge'"),
        ("edge=ftp://a", "", "http:// or https://"),
        ("edge=http://a,edge=http://b", "", "'edge' twice"),
        ("Edge=http://a", "", "'Edge' is not a name of a site"),
        ("edge=http://a", "cloud", "no address of cloud"),
    ],
)
def test_targets_that_cannot_be_used(targets, sites, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_service(last_hour(), targets, "", sites)


def test_targets():
    assert read_targets(" edge=http://a:1/ , cloud=https://b ") == {"edge": "http://a:1", "cloud": "https://b"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"availability": 1.0}, "availability is 1.0"),
        ({"p99_ms": math.nan}, "p99_ms is nan"),
        ({"capacity": "edge=fast"}, "capacity has 'edge=fast'"),
        ({"restarts": -1}, "restarts is -1"),
    ],
)
def test_objectives_that_make_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        Slo(**values)


def aged(state: dict, seconds: float) -> dict:
    """Return a state as it would be if the run before had been earlier."""
    state = json.loads(json.dumps(state))
    for site in state["sites"].values():
        for look in site["looks"]:
            look["time"] -= seconds
    return state


def minutes(total_h: float, bad: dict[tuple[float, float], float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return looks each minute at 1,000 requests, of which a share is bad between two hours."""
    times = np.arange(0, total_h * HOUR + 1, 60.0)
    failures = np.zeros(len(times) - 1)
    for (first, last), share in bad.items():
        failures[int(first * 60) : int(last * 60)] = share * 1000
    return times, np.full(len(times) - 1, 1000.0), failures


@pytest.mark.parametrize(
    ("total_h", "bad", "burning"),
    [
        (24, {}, set()),
        (24, {(0, 24): 0.0009}, set()),  # within the objective
        (24, {(12, 12.2): 1.0}, {"fast", "slow"}),  # twelve minutes without any answer, at noon
        (24, {(12, 13): 0.016}, {"fast"}),  # 16 times the budget for an hour
        (24, {(6, 24): 0.0065}, {"slow", "long"}),  # 6.5 times the budget, for long
        (24, {(6, 24): 0.0045}, {"long"}),
        (0.1, {(0, 0.1): 0.1}, set()),  # not 2% of the month's budget in six minutes
        (0.1, {(0, 0.1): 0.6}, {"fast", "slow", "long"}),
    ],
)
def test_the_rules_of_the_workbook(total_h, bad, burning):
    found = {rule.name: worst_burn(rule, *minutes(total_h, bad), 0.001, 720.0) for rule in RULES}
    assert {name for name, burn in found.items() if burn.burning} == burning


def test_an_outage_that_is_over_is_dated():
    burn = worst_burn(RULES[0], *minutes(24, {(12, 13): 0.5}), 0.001, 720.0)
    assert 12 < burn.at / HOUR <= 13.1
    assert burn.limit == pytest.approx(14.4)


def test_looks_too_far_apart_say_nothing_about_an_hour():
    times, total, bad = np.array([0.0, 24 * HOUR]), np.array([1e6]), np.array([5000.0])
    found = {rule.name: worst_burn(rule, times, total, bad, 0.001, 720.0) for rule in RULES}
    assert (found["fast"], found["slow"]) == (None, None)
    assert (found["long"].rate, found["long"].limit, found["long"].burning) == (
        pytest.approx(5),
        pytest.approx(3),
        True,
    )


def test_percentiles_of_a_histogram():
    looks = [
        Look(0.0, None, 0, 0, 0, {"0.1": 0, "0.2": 0, "inf": 0}),
        Look(9.0, None, 100, 0, 0, {"0.1": 50, "0.2": 90, "inf": 100}),
    ]
    activity = grow(looks)
    assert activity.percentile_ms(25) == pytest.approx(50)
    assert activity.percentile_ms(70) == pytest.approx(150)
    assert activity.percentile_ms(99) == pytest.approx(200)  # no more is known
    assert activity.slower_than(0.15) == pytest.approx([30])
    assert activity.slower_than(0.1).tolist() == [50]
    assert activity.slower_than(9.0).tolist() == [10]  # they may be
