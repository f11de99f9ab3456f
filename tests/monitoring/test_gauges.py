"""Gauges at a real Pushgateway."""

import logging

import pytest
import requests
from monitoring_prometheus import needs_pushgateway, pushgateway

from loopline.components.monitoring.gauges import JOB, decision_gauges, push, with_labels
from loopline.components.monitoring.scrape import parse_metrics

DECISION = {
    "verdict": "retrain",
    "window": {"start": "2026-11-24T13:00:00+00:00", "end": "2026-11-24T14:00:00+00:00"},
    "drift_score": 0.31,
    "metric": {"name": "log_loss", "value": 0.61},
    "skill": None,
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pushgateway(tmp_path_factory.mktemp("gateway")) as url:
        yield url


def shown(url: str, model: str) -> dict[str, float]:
    samples = parse_metrics(requests.get(f"{url}/metrics", timeout=5).text)
    return {
        with_labels(sample.name, **{k: v for k, v in sample.labels.items() if k == "verdict"}): sample.value
        for sample in samples
        if sample.labels.get("model") == model and sample.name.startswith("loopline")
    }


@needs_pushgateway
@pytest.mark.parametrize("model", ["flights", 'a "b"/c\\d é'])
def test_a_decision_is_shown_and_the_next_replaces_it(gateway, monkeypatch, model):
    monkeypatch.setenv("PROMETHEUS_PUSHGATEWAY_URL", f"{gateway}/")
    assert push(JOB, {"model": model}, decision_gauges(DECISION))
    first = {
        "loopline_drift_score": 0.31,
        "loopline_model_loss": 0.61,
        "loopline_monitoring_last_window_timestamp_seconds": 1795528800.0,
        'loopline_monitoring_verdict{verdict="retrain"}': 1.0,
        'loopline_monitoring_verdict{verdict="wait"}': 0.0,
        'loopline_monitoring_verdict{verdict="alert"}': 0.0,
    }
    assert shown(gateway, model) == first
    later = {"verdict": "wait", "drift_columns": 2, "skill": {"value": 0.2}}
    assert push(JOB, {"model": model}, decision_gauges(later))
    now = shown(gateway, model)
    assert "loopline_drift_score" not in now
    assert (now["loopline_drift_columns"], now["loopline_model_skill"]) == (2.0, 0.2)
    assert now['loopline_monitoring_verdict{verdict="wait"}'] == 1.0


@needs_pushgateway
def test_what_the_gateway_refuses_is_a_warning(gateway, monkeypatch, caplog):
    monkeypatch.setenv("PROMETHEUS_PUSHGATEWAY_URL", gateway)
    with caplog.at_level(logging.WARNING, "loopline"):
        assert not push(JOB, {"model": "x"}, {'loopline_drift_score{a="1",a="2"} 1\nbroken': 1.0})
    assert "HTTP 400" in caplog.text


def test_without_a_gateway_nothing_is_done(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_PUSHGATEWAY_URL", raising=False)
    assert not push(JOB, {"model": "flights"}, {"loopline_drift_score": 1.0})


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:9", "127.0.0.1:9091", "http://[::1"])
def test_a_gateway_that_is_away_is_a_warning_without_its_password(monkeypatch, caplog, url):
    monkeypatch.setenv("PROMETHEUS_PUSHGATEWAY_URL", url)
    with caplog.at_level(logging.WARNING, "loopline"):
        assert not push(JOB, {"model": "flights"}, {"loopline_drift_score": 1.0})
    assert "gauges were not pushed" in caplog.text
    assert "secret" not in caplog.text
