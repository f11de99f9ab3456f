"""What a real Prometheus saw of a real model server, and of counters that a test turns."""

import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from config_repositories import make_certificate
from monitoring_prometheus import Counters, answering, needs_prometheus, prometheus
from serving_models import golden_request

from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError
from loopline.components.monitoring import prometheus as module
from loopline.components.monitoring.service import check_service
from loopline.components.monitoring.service_page import service_report
from loopline.components.monitoring.slo import Slo
from loopline.components.monitoring.window import Window
from loopline.pipelines.sites.ports import free_port

#: Prometheus looks four times a second.
LOOK_S = 0.6
EMPTY = '{"status": "success", "data": {"resultType": "matrix", "result": []}}'


@pytest.fixture(scope="module")
def seen(tmp_path_factory, trained):
    """A Prometheus that saw the site edge answer, cloud fail and restart, and a site that names itself nowhere."""
    now = time.time()
    cloud, nameless = Counters("cloud", now), Counters("", now - 7200)
    nameless.grow(answered=10**6, failed=10**6)  # before anyone looked
    folder = tmp_path_factory.mktemp("prometheus")
    golden, request = golden_request(trained())
    with (
        serve(trained(), LOOPLINE_SITE="edge") as server,
        answering(cloud.show) as cloud_url,
        answering(nameless.show) as nameless_url,
    ):
        addresses = [urlsplit(url).netloc for url in (server.metrics, cloud_url, nameless_url)]
        targets = {addresses[0]: {}, addresses[1]: {}, addresses[2]: {"namespace": "loopline-plant"}}
        with prometheus(folder, targets) as url:
            for _ in range(40):
                answer = requests.post(f"{server.url}/v2/models/{golden.model}/infer", json=request, timeout=10)
                assert answer.ok
            cloud.grow(answered=1000, failed=200)
            time.sleep(LOOK_S)
            cloud.restart(time.time())
            time.sleep(LOOK_S)
            cloud.grow(answered=500, refused=30, slow=2)
            nameless.grow(answered=100)
            time.sleep(LOOK_S)
            yield url


@pytest.fixture
def found(seen, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_URL", seen)
    now = datetime.now(UTC)
    return check_service(Window(now - timedelta(minutes=30), now), slo=Slo(capacity="edge=100"))


@needs_prometheus
def test_every_site_that_prometheus_watches(found, tmp_path):
    assert (found.source, found.state) == ("prometheus", {})
    assert list(found.sites) == ["cloud", "edge", "loopline-plant"]
    edge = found.sites["edge"]
    assert (edge.requests, edge.errors, edge.restarts, edge.verdict) == (40, 0, 0, "healthy")
    assert 0 < edge.p50_ms <= edge.p99_ms
    assert edge.saturation == pytest.approx(40 / 300 / 100, rel=0.2)
    service_report(found).write(tmp_path / "service.html")
    assert "cloud: " in (tmp_path / "service.html").read_text()


@needs_prometheus
def test_what_a_process_did_before_it_restarted_counts(found):
    """Prometheus looked between the restart and the failures, and the check looks at far fewer moments."""
    cloud = found.sites["cloud"]
    assert (cloud.verdict, cloud.restarts) == ("burning", 1)
    assert cloud.errors == pytest.approx(200, rel=0.3)
    assert cloud.requests == pytest.approx(1730, rel=0.3)
    assert cloud.open == 2


@needs_prometheus
def test_what_was_counted_before_anyone_looked_is_not_of_the_window(found):
    """A site without a name of its own is called after its namespace."""
    plant = found.sites["loopline-plant"]
    assert plant.requests == pytest.approx(100, rel=0.3)
    assert plant.errors == 0


@needs_prometheus
def test_a_site_that_prometheus_does_not_watch(seen, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_URL", seen)
    now = datetime.now(UTC)
    service = check_service(Window(now - timedelta(hours=1), now), "", "", "edge,datacenter")
    assert (list(service.sites), service.verdict) == (["edge", "datacenter"], "unknown")
    assert "Prometheus has no count" in service.sites["datacenter"].problem
    # The window before any of this.
    before = check_service(Window(now - timedelta(hours=3), now - timedelta(hours=2)))
    assert (before.verdict, before.reason) == ("unknown", "No site was found.")


@needs_prometheus
def test_servers_of_other_models_do_not_count(seen, trained, monkeypatch):
    """The server of edge counts in MLServer's words, too, and the test's counters serve a model of another name."""
    monkeypatch.setenv("PROMETHEUS_URL", seen)
    now = datetime.now(UTC)
    window = Window(now - timedelta(minutes=30), now)
    golden, _ = golden_request(trained())
    own = check_service(window, model=golden.model)
    assert (list(own.sites), own.sites["edge"].requests) == (["edge"], 40)
    assert list(check_service(window, model="m").sites) == ["cloud", "loopline-plant"]
    assert not check_service(window, model='m"} or up{job="x').sites


@needs_prometheus
def test_targets_go_before_prometheus(seen, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_URL", seen)
    now = datetime.now(UTC)
    service = check_service(Window(now - timedelta(hours=1), now), f"edge=http://127.0.0.1:{free_port()}")
    assert service.source == "metrics"


def window() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(hours=24), now)


def ask(monkeypatch, url: str, token: str = ""):
    monkeypatch.setenv("PROMETHEUS_URL", url)
    monkeypatch.setenv("PROMETHEUS_TOKEN", token)
    return check_service(window())


def test_the_token_is_sent_over_tls_to_whom_the_authority_vouches_for(monkeypatch, tmp_path):
    certificate, asked = make_certificate(tmp_path / "server.pem"), []

    def answer(handler):
        asked.append((handler.path, handler.headers["Authorization"], parse_qs(handler.body.decode())))
        return 200, EMPTY

    with answering(answer, certificate) as url:
        with pytest.raises(InputError, match="is not trusted: set SSL_CERT_FILE"):
            ask(monkeypatch, url, "a-token")
        assert not asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(monkeypatch, url, "a-token").verdict == "unknown"
    assert {(path, token) for path, token, _ in asked} == {("/api/v1/query_range", "Bearer a-token")}
    # At most 11,000 values a series, which is what Prometheus gives.
    assert 3600 * 24 / float(asked[0][2]["step"][0]) < 11_000


def test_the_service_accounts_token_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_TOKEN_FILE", tmp_path / "token")
    (tmp_path / "token").write_text("of-the-pod\n")
    tokens = set()

    def answer(handler):
        tokens.add(handler.headers["Authorization"])
        return 200, EMPTY

    with answering(answer) as url:
        ask(monkeypatch, url)
    assert tokens == {"Bearer of-the-pod"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, "no"), "set PROMETHEUS_TOKEN"),
        ((403, "no"), "set PROMETHEUS_TOKEN"),
        ((422, '{"error": "too many samples"}'), "HTTP 422: .*too many samples"),
        ((200, "<html>"), "does not answer as Prometheus does"),
        ((200, '{"data": {"resultType": "vector", "result": []}}'), "does not answer as Prometheus does"),
        ((302, "http://127.0.0.1:9/"), "HTTP 302"),
    ],
)
def test_what_is_no_answer_is_said_in_a_sentence(monkeypatch, answer, message):
    with answering(lambda handler: answer) as url, pytest.raises(InputError, match=message) as caught:
        ask(monkeypatch, url, "a-token")
    assert "a-token" not in str(caught.value)


def test_what_is_not_known_of_a_moment_is_left_out(monkeypatch):
    """Whoever shows NaN for a count hinders nobody else."""

    def answer(handler):
        start, step = (float(parse_qs(handler.body.decode())[name][0]) for name in ("start", "step"))
        found = [
            {"metric": {"site": site, "instance": site}, "values": [[start, "1"], [start + step, value]]}
            for site, value in (("edge", "NaN"), ("cloud", "3"))
        ]
        return 200, json.dumps({"data": {"resultType": "matrix", "result": found}})

    with answering(answer) as url:
        sites = ask(monkeypatch, url).sites
    assert sites["edge"].requests == 0
    assert sites["cloud"].requests > 0


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://prometheus", "http://127.0.0.1:9"])
def test_a_prometheus_that_is_not_there(monkeypatch, url):
    with pytest.raises(InputError, match=r"PROMETHEUS_URL is|Nothing answers at"):
        ask(monkeypatch, url)
