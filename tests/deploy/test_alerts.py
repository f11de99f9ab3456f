"""The alerts: each fires when it should, and is silent when it should be. Run by promtool."""

import re

import pytest
import yaml
from alert_rules import FILES, firing, groups, promtool, rules, run_rules

from loopline.components.monitoring.gauges import JOB, decision_gauges

SITE = 'model="flights",site="edge"'
DECISION = {"verdict": "wait", "window": {"end": "2026-11-24T14:00:00+00:00"}}


@pytest.mark.parametrize("place", FILES)
def test_promtool_accepts_the_rules(place, tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups(place)}))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", FILES)
def test_an_alert_says_what_to_do(place):
    for alert in (rule for rule in rules(place) if "alert" in rule):
        assert set(alert["annotations"]) == {"summary", "description"}, alert["alert"]
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert alert["labels"].get("loopline_starts", "monitoring") in ("monitoring", "training")


@pytest.mark.parametrize("place", FILES)
def test_the_metrics_exist(place):
    """Rules over metrics that nobody shows would be silent for ever."""
    prometheus_client = pytest.importorskip("prometheus_client")
    from loopline.components.serving import metrics

    shown = {gauge.partition("{")[0] for gauge in decision_gauges(DECISION)}
    for value in vars(metrics).values():
        if isinstance(value, prometheus_client.metrics.MetricWrapperBase):
            shown |= {sample.name for family in value.describe() for sample in _samples(family)}
    recorded = {rule["record"] for kind in FILES for rule in rules(kind) if "record" in rule}
    for rule in rules(place):
        text = re.sub(r'"[^"]*"', "", rule["expr"])
        used = set(re.findall(r"\bloopline[_:][\w:]+", text))
        assert used <= shown | recorded, rule


def _samples(family):
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
    for suffix in suffixes:
        family.add_sample(family.name + suffix, {}, 0)
    return family.samples


def _requests(failed: str, answered: str, refused: str = "0x10000") -> dict[str, str]:
    """Return the counters of requests: each a start and what comes every minute, in promtool's notation."""
    outcomes = {"failed": failed, "answered": answered, "refused": refused}
    return {f'loopline_requests_total{{{SITE},protocol="rest",outcome="{o}"}}': v for o, v in outcomes.items()}


def _latency(within: str, count: str) -> dict[str, str]:
    labels = f'{SITE},protocol="rest"'
    return {
        f'loopline_request_seconds_bucket{{{labels},le="0.25"}}': within,
        f'loopline_request_seconds_bucket{{{labels},le="+Inf"}}': count,
        f"loopline_request_seconds_count{{{labels}}}": count,
    }


# Steps of a minute, of five where there are three days.
BUDGETS = {
    "nothing fails": (_requests("0x600", "0+1000x600"), [("10h", [])]),
    "what the client got wrong": (_requests("0x600", "0+1000x600", "0+1000x600"), [("10h", [])]),
    "2 % for an hour": (
        _requests("0+20x130 2600x60", "0+980x190"),
        [
            ("10m", ["LooplineErrorBudgetBurnsFast"]),
            ("2h", ["LooplineErrorBudgetBurns", "LooplineErrorBudgetBurnsFast"]),
            # Over for 15 minutes: nobody need get up any more, and the budget is still spent.
            ("2h25m", ["LooplineErrorBudgetBurns"]),
        ],
    ),
    "0.8 % for hours": (_requests("0+8x420", "0+992x420"), [("7h", ["LooplineErrorBudgetBurns"])]),
    "0.15 % for hours after three good days": (
        _requests("0x864 0+3x60", "0+2000x924"),
        [("77h", [])],
    ),
    "0.15 % for three days": (
        _requests("0+3x880", "0+1997x880"),
        [("72h", ["LooplineErrorBudgetBurns"])],
    ),
    "3 of 60 requests": (_requests("0x10 1x10 2x10 3x100", "0+1x130"), [("1h", [])]),
    "no requests": (_requests("0x600", "0x600"), [("10h", [])]),
    "20 % are slow": (
        _latency("0+80x130", "0+100x130"),
        [
            ("10m", ["LooplineLatencyBudgetBurnsFast"]),
            ("2h", ["LooplineLatencyBudgetBurns", "LooplineLatencyBudgetBurnsFast"]),
        ],
    ),
    "8 % are slow": (_latency("0+92x420", "0+100x420"), [("7h", ["LooplineLatencyBudgetBurns"])]),
    "0.5 % are slow": (_latency("0+995x600", "0+1000x600"), [("10h", [])]),
    "few are slow": (_latency("0+0x130", "0+0.5x130"), [("2h", [])]),
}  # fmt: skip


@pytest.mark.parametrize("case", BUDGETS)
def test_budgets(tmp_path, case):
    series, expected = BUDGETS[case]
    chosen = groups("site", "loopline-shares") + groups("site", "loopline-budgets")
    run_rules(tmp_path, chosen, series, firing(expected), "5m" if "three" in case else "1m")


def _info(version: str) -> str:
    return f'loopline_model_info{{{SITE},version="{version}",image_digest="sha256:{version}"}}'


STARTED = 'process_start_time_seconds{service="model-internal",pod="model-7f"}'
LOGGED = 'loopline_traffic_rows_logged_total{namespace="loopline-edge"}'
DROPPED = 'loopline_traffic_rows_dropped_total{namespace="loopline-edge",reason="full"}'
# Steps of a minute, of ten where it is long.
SERVICE = {
    "served": ({_info("1"): "1x600"}, [("10h", [])]),
    "a new version": ({_info("1"): "1x60 stale", _info("2"): "_x58 1x600"}, [("2h", [])]),
    "gone": ({_info("1"): "1x60 stale"}, [("1h3m", []), ("1h10m", ["LooplineModelAway"])]),
    "gone long ago": ({_info("1"): "1x60 stale"}, [("20h", ["LooplineModelAway"]), ("190h", [])]),
    "never served": ({}, [("10h", [])]),
    "one restart": ({STARTED: "1x60 5x60"}, [("1h30m", [])]),
    "restarts": ({STARTED: "1x10 2x10 3x10 4x10 5x60"}, [("50m", ["LooplineModelRestarts"])]),
    "traffic logged": ({LOGGED: "0+1000x120", DROPPED: "0x120"}, [("2h", [])]),
    "traffic lost": ({LOGGED: "0+900x120", DROPPED: "0+100x120"}, [("2h", ["LooplineTrafficLost"])]),
    "nothing to log": ({LOGGED: "0x120", DROPPED: "0x120"}, [("2h", [])]),
}


@pytest.mark.parametrize("case", SERVICE)
def test_service(tmp_path, case):
    series, expected = SERVICE[case]
    run_rules(tmp_path, groups("site", "loopline-service"), series, firing(expected), "10m" if "long" in case else "1m")


def _labels(late: str, in_time: str) -> dict[str, str]:
    name = 'loopline_predictions_total{namespace="loopline-edge",model="flights",label='
    return {f'{name}"True"}}': late, f'{name}"False"}}': in_time}


# Steps of 10 minutes: 1008 of them are a week.
PREDICTIONS = {
    "as ever": (_labels("0+40x1050", "0+160x1050"), [("172h", [])]),
    "late": (_labels("0+40x1008 40400+120x50", "0+160x1008 161400+80x50"), [("170h", ["LooplinePredictionsShifted"])]),
    "few": (_labels("0+4x1008 4040+12x50", "0+16x1008 16140+8x50"), [("170h", [])]),
    "a little": (_labels("0+40x1008 40400+60x50", "0+160x1008 161400+140x50"), [("170h", [])]),
    "a number has no class": ({'loopline_predictions_total{model="fares",label=""}': "0+100x1050"}, [("172h", [])]),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_predictions(tmp_path, case):
    series, expected = PREDICTIONS[case]
    run_rules(tmp_path, groups("site", "loopline-predictions"), series, firing(expected), "10m")


GATEWAY = 'up{job="loopline-pushgateway"}'


def _pushed(name: str, values: str, **labels: str) -> dict[str, str]:
    shown = {"job": JOB, "model": "flights"} | labels
    return {f"{name}{{{','.join(f'{k}={v!r}' for k, v in shown.items())}}}".replace("'", '"'): values}


def _window(values: str) -> dict[str, str]:
    return _pushed("loopline_monitoring_last_window_timestamp_seconds", values)


OVERDUE, DEAD, AWAY = "LooplineMonitoringOverdue", "LooplineMonitoringDead", "LooplinePushgatewayAway"
# Steps of 2 minutes. Time begins at 0 for promtool, so a window that ended at 0 is as old as the test.
MONITORING = {
    "a window a day": (_window("0x722 86400x720 172800x300"), [("47h", []), ("50h", [])]),
    "a day was left out": (_window("0x2000"), [("25h", []), ("27h", [OVERDUE]), ("51h", [DEAD, OVERDUE])]),
    "overdue and mended": (_window("0x810 97200x500"), [("26h50m", [OVERDUE]), ("27h10m", [])]),
    "the Pushgateway began anew": (_window("0x30 stale"), [("2h", []), ("27h", [OVERDUE])]),
    "nothing was ever watched": ({}, [("60h", [])]),
    "a little drift": (_pushed("loopline_drift_score", "0.1x50"), [("1h", [])]),
    "drift": (_pushed("loopline_drift_score", "0.6x50"), [("1h", ["LooplineDrift"])]),
    "skill": (_pushed("loopline_model_skill", "0.3x2000"), [("60h", [])]),
    "no skill": (_pushed("loopline_model_skill", "0x50"), [("1h", ["LooplineSkillLost"])]),
    "less skill": (_pushed("loopline_model_skill", "0.3x1500 0.2x150"), [("54h", ["LooplineSkillFell"])]),
    "a little less skill": (_pushed("loopline_model_skill", "0.3x1500 0.27x150"), [("54h", [])]),
    "wait": (_pushed("loopline_monitoring_verdict", "1x50", verdict="wait"), [("1h", [])]),
    "alert": (_pushed("loopline_monitoring_verdict", "1x50", verdict="alert"), [("1h", ["LooplinePeopleNeeded"])]),
    "retrain": (
        _pushed("loopline_monitoring_verdict", "0x30 1x50", verdict="retrain"),
        [("58m", []), ("2h", ["LooplineRetrainingDue"])],
    ),
    "no Pushgateway": ({GATEWAY: "_x50"}, [("6m", []), ("20m", [AWAY])]),
    "the Pushgateway is down": ({GATEWAY: "1x30 0x30"}, [("1h30m", [AWAY])]),
}


@pytest.mark.parametrize("case", MONITORING)
def test_monitoring(tmp_path, case):
    series, expected = MONITORING[case]
    run_rules(tmp_path, groups("monitoring"), {GATEWAY: "1x2000"} | series, firing(expected), "2m")


@pytest.mark.parametrize("place", FILES)
def test_every_alert_is_seen_to_fire(place):
    cases = {"site": [BUDGETS, SERVICE, PREDICTIONS], "monitoring": [MONITORING]}[place]
    fired = {alert for case in cases for _, expected in case.values() for _, alerts in expected for alert in alerts}
    assert fired == {rule["alert"] for rule in rules(place) if "alert" in rule}


def test_an_alert_names_the_model_and_the_figure(tmp_path):
    told = {
        "exp_labels": {"severity": "critical", "model": "flights", "site": "edge"},
        "exp_annotations": {
            "summary": "flights at edge fails 2% of its requests.",
            "description": "At this rate the errors of 30 days happen in two. Roll back the release if it is new.",
        },
    }
    expected = {"eval_time": "1h", "alertname": "LooplineErrorBudgetBurnsFast", "exp_alerts": [told]}
    series = _requests("0+20x130", "0+980x130")
    run_rules(tmp_path, groups("site", "loopline-"), series, {"alert_rule_test": [expected]})


def test_the_rules_can_be_seen_to_be_wrong(tmp_path):
    """What is said here of silence is seen by promtool: an alert that fires unexpectedly is a failure."""
    series, expected = MONITORING["drift"]
    assert expected[0][1]
    with pytest.raises(AssertionError, match="LooplineDrift"):
        run_rules(tmp_path, groups("monitoring"), {GATEWAY: "1x2000"} | series, firing([("1h", [])]), "2m")
