import itertools
import json
from dataclasses import asdict

import pytest
from monitoring_documents import DIGEST, earlier, make_documents, span, write_documents

from loopline.components.errors import InputError
from loopline.components.monitoring.decide import decide
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.policy import Policy

WORSE = {"verdict": "worse", "reason": "Worse by log loss."}
UNKNOWN = {"verdict": "unknown", "reason": "0 rows have a label.", "metrics": {}}
DRIFT = {"verdict": "drift", "reason": "2 columns moved.", "drifted": ["hour", "carrier"], "score": 0.3}
BROKEN = {"verdict": "broken", "reason": "1 column is broken.", "broken": ["Column 'hour' is 1,000 times as large."]}
BURNING = {"verdict": "burning", "reason": "edge: 3 of 10 requests failed."}
ESTIMATE = {
    "is_estimate": True,
    "estimate": {"method": "confidence", "metrics": {"log_loss": {"value": 0.7, "low": 0.68, "high": 0.72}}},
}
OTHER = "sha256:" + "b" * 64


@pytest.fixture
def judge(tmp_path):
    """Decide about a window that differs from a good one by what is given."""

    def run(history=(), policy=None, **changes):
        paths = write_documents(tmp_path / "window", make_documents(**changes))
        return decide(read_evidence(*paths), history, policy or Policy())

    return run


@pytest.mark.parametrize("data", ["ok", "broken"])
@pytest.mark.parametrize("trigger", ["performance", "drift", "either"])
@pytest.mark.parametrize("service", ["healthy", "unknown", "burning"])
@pytest.mark.parametrize(
    ("drift", "performance"),
    list(itertools.product(["none", "drift", "too_few"], ["worse", "steady", "better", "unknown"])),
)
def test_every_combination_of_signals_has_its_verdict(judge, data, trigger, service, drift, performance):
    counts = {"ok": {}, "broken": {"dropped": {"clock_ahead": 5_000}}}[data]
    found = judge(
        policy=Policy(trigger=trigger, drift_patience=1),
        counts=counts, drift={"verdict": drift}, performance={"verdict": performance}, service={"verdict": service},
    )  # fmt: skip
    called = {
        "performance": performance == "worse",
        "drift": drift == "drift",
        "either": performance == "worse" or drift == "drift",
    }[trigger]
    unheard = trigger == "drift" and performance == "worse"
    if data == "broken":
        expected = "alert"
    elif called:
        expected = "retrain"
    else:
        expected = "alert" if service == "burning" or unheard else "wait"
    assert found.verdict == expected
    assert found.signals == {"data": data, "drift": drift, "performance": performance, "service": service}
    # Who is on call hears of a burning service whatever is decided about the model.
    assert any("objectives" in alert for alert in found.alerts) == (service == "burning")
    assert found.verdict != "alert" or found.alerts
    assert found.reasons


def days(*said, first=-24, **values):
    """Return windows of a day each, the newest last and ended just before this one began."""
    total = len(said)
    return [
        earlier(first - 24 * (total - i), first - 24 * (total - i - 1), performance=one, **values)
        for i, one in enumerate(said)
    ]


@pytest.mark.parametrize(
    ("patience", "history", "verdict"),
    [
        (1, [], "retrain"),
        (2, [], "wait"),
        (2, days("worse"), "retrain"),
        (2, days("worse", "steady"), "wait"),
        (2, days("worse", "better"), "wait"),
        (2, days("worse", "unknown"), "retrain"),  # no labels: no evidence against it
        (2, days("worse", data="broken"), "wait"),  # what broken data say does not count
        (2, days("worse", model_digest=OTHER), "wait"),  # another model's failing
        (3, days("worse", "worse"), "retrain"),
        # A retraining begins a new count.
        (3, [*days("worse", first=-48), *days("worse", verdict="retrain", labeled=0)], "wait"),
        # Windows of a day that begin every hour show the same rows: one finding, not three.
        (2, [earlier(-26, -2, performance="worse"), earlier(-25, -1, performance="worse")], "wait"),
        (2, [earlier(-49, -25, performance="worse"), earlier(-25, -1, performance="worse")], "retrain"),
        # A schedule that is late by a minute: not the same rows.
        (2, [earlier(-47.98, -23.98, performance="worse")], "retrain"),
    ],
)
def test_performance_must_be_worse_for_windows_in_a_row(judge, patience, history, verdict):
    found = judge(history, Policy(patience=patience, cooldown_h=0), performance=WORSE)
    assert found.verdict == verdict
    assert any(f"and it takes {patience}." in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("said", "trigger", "verdict"),
    [
        (["drift"], "drift", "retrain"),
        (["drift"], "either", "retrain"),
        (["drift"] * 5, "performance", "wait"),
        ([], "drift", "wait"),
        (["drift", "none"], "drift", "wait"),
        (["drift", "too_few"], "drift", "retrain"),
    ],
)
def test_drift_alone_takes_longer_and_only_where_asked_for(judge, said, trigger, verdict):
    windows = days(*["steady"] * len(said))
    for window, one in zip(windows, said, strict=True):
        window["signals"]["drift"] = one
    found = judge(windows, Policy(trigger=trigger), drift=DRIFT)
    assert found.verdict == verdict
    assert any("2 columns moved." in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("hours", "cooldown_h", "verdict"),
    [(24, 24.0, "retrain"), (24, 24.5, "wait"), (200, 24.5, "retrain"), (24, 0.0, "retrain")],
)
def test_after_a_retraining_there_is_a_while_none(judge, hours, cooldown_h, verdict):
    history = [earlier(-hours - 24, -hours, verdict="retrain")]
    found = judge(history, Policy(cooldown_h=cooldown_h), performance=WORSE)
    assert found.verdict == verdict
    if verdict == "wait":
        assert "24 h ago" in found.reasons[1]
        assert "cooldown is 24.5 h: a window that ends at 2026-03-10T00:30:00+00:00 or later" in found.reasons[1]


@pytest.mark.parametrize(
    ("labeled", "history", "new_labels"),
    [
        (600, [], 600),
        (600, days("steady", labeled=700), 1_300),
        (600, days("steady", "steady", labeled=300), 1_200),
        # What was there before the last retraining has been learned from.
        (600, [*days("steady", labeled=9_000, first=-48), *days("steady", verdict="retrain", labeled=9_000)], 600),
        # Overlapping windows: a quarter of the one before is older than this one.
        (600, [earlier(-30, -6, labeled=400)], 700),
        # This window's first half was there when the last retraining was called for.
        (600, [earlier(-36, -12, verdict="retrain", labeled=9_000)], 300),
    ],
)
def test_a_retraining_needs_new_truth(judge, labeled, history, new_labels):
    for min_labels, verdict in ((new_labels, "retrain"), (new_labels + 1, "wait")):
        policy = Policy(min_labels=min_labels, cooldown_h=0)
        found = judge(history, policy, performance=WORSE, counts={"labeled": labeled})
        assert (found.verdict, found.new_labels) == (verdict, new_labels)
    assert f"{new_labels:,} labeled rows are new" in found.reasons[1]
    assert f"{min_labels:,}" in found.reasons[1]


def test_truth_of_windows_that_waited_adds_up_to_a_retraining(judge):
    policy = Policy(min_labels=1_000, cooldown_h=0)
    history = days(*["worse"] * 3, labeled=300)
    assert judge(history[2:], policy, performance=WORSE, counts={"labeled": 300}).verdict == "wait"
    assert judge(history, policy, performance=WORSE, counts={"labeled": 300}).verdict == "retrain"


@pytest.mark.parametrize(
    ("changes", "alert"),
    [
        ({"drift": BROKEN}, "Column 'hour' is 1,000 times as large."),
        (
            {"counts": {"dropped": {"clock_ahead": 1_300}}},
            "1,300 of 6,300 logged rows cannot be used (clock_ahead 1,300)",
        ),
        ({"counts": {"rows": 0, "dropped": {"unidentified": 7}}}, "7 of 7 logged rows cannot be used"),
        (
            {"counts": {"nulled": {"hour": 1_001}}},
            "1,001 of 5,000 values of 'hour' are not of its type, and 20% may be",
        ),
        ({"counts": {"broken_files": [f"part-{i}" for i in range(11)]}}, "11 of 51 files of the traffic log"),
        (
            {"counts": {"truth": {"rows": 4_000, "without_prediction": 1_000, "contradictory": 601}}},
            "in 601 of 3,000 rows (601 contradictory), and 20% may",
        ),
        ({"counts": {"truth": {"rows": 10, "unknown": 2, "ambiguous": 3}}}, "in 5 of 10 rows (3 ambiguous, 2 unknown)"),
    ],
)
@pytest.mark.parametrize("performance", ["worse", "steady"])
def test_broken_data_call_for_people_and_teach_nothing(judge, changes, alert, performance):
    found = judge(performance={"verdict": performance}, **changes)
    assert found.verdict == "alert"
    assert found.signals["data"] == "broken"
    assert any(alert in sentence for sentence in found.alerts)
    assert "1 finding to mend" in found.reasons[0]


@pytest.mark.parametrize(
    "counts",
    [
        {"dropped": {"duplicate": 50_000}},  # a log copied ten times over is whole
        {"dropped": {"clock_ahead": 1_200}},
        {"nulled": {"hour": 1_000}},
        {"broken_files": ["part-1"] * 10},
        {"truth": {"rows": 40_000, "without_prediction": 37_000, "contradictory": 600}},
    ],
)
def test_a_little_that_does_not_fit_breaks_nothing(judge, counts):
    found = judge(counts=counts, performance=WORSE)
    assert (found.verdict, found.alerts) == ("retrain", [])


def test_an_estimate_never_retrains_but_calls_for_people(judge):
    found = judge(days("steady"), Policy(trigger="either", min_labels=0), performance={**UNKNOWN, **ESTIMATE})
    assert found.verdict == "alert"
    assert found.estimate == {"method": "confidence", "value": 0.7, "low": 0.68, "high": 0.72}
    [alert] = found.alerts
    assert "log loss is estimated, not measured, at 0.7 where 0.55 was registered" in alert
    assert "bring the truth" in alert


@pytest.mark.parametrize(
    ("low", "registered", "lower_is_better", "alerts"),
    [
        (0.57, 0.55, True, 0),  # within the margin
        (0.58, 0.55, True, 1),
        (None, 0.55, True, 0),
        (0.58, None, True, 0),
        (0.68, 0.60, False, 0),  # higher is better here
        (0.68, 0.80, False, 1),
    ],
)
def test_an_estimate_must_be_surely_and_much_worse(judge, low, registered, lower_is_better, alerts):
    figures = {"value": 0.7, "low": low, "high": 0.72}
    performance = {
        **UNKNOWN, "is_estimate": True, "lower_is_better": lower_is_better,
        "estimate": {"metrics": {"log_loss": figures}}, "registered": {"log_loss": {"value": registered}},
    }  # fmt: skip
    assert len(judge(performance=performance).alerts) == alerts


def test_an_estimate_beside_a_measurement_is_not_looked_at(judge):
    found = judge(performance={**ESTIMATE, "is_estimate": False})
    assert (found.verdict, found.alerts, found.estimate) == ("wait", [], None)


def test_silence_after_traffic_calls_for_people(judge):
    nothing = {"rows": 0, "labeled": 0, "own": 0, "by_site": {}}
    assert judge(counts=nothing).verdict == "wait"
    before = [*days("steady", "steady"), *days("unknown", first=0, rows=0, by_site={})]
    for history in (before[:2], before):
        found = judge(history, counts=nothing)
        assert found.verdict == "alert"
        assert found.signals["data"] == "empty"
        assert (
            "There is no traffic, and the window that ended at 2026-03-09T00:00:00+00:00 had 5,000 rows"
            in found.alerts[0]
        )


@pytest.mark.parametrize(
    ("by_site", "before", "silent"),
    [
        ({"cloud": 5_000}, {"cloud": 3_000, "edge": 2_000}, ["edge"]),
        ({"cloud": 5_000, "edge": 1}, {"cloud": 3_000, "edge": 2_000}, []),
        ({"cloud": 5_000}, {"cloud": 3_000, "edge": 40}, []),  # so few that none is no wonder
    ],
)
def test_a_site_that_fell_silent_calls_for_people(judge, by_site, before, silent):
    found = judge(days("steady", by_site=before), counts={"by_site": by_site})
    assert found.verdict == ("alert" if silent else "wait")
    assert [site for site in before if any(f"Site {site!r}" in alert for alert in found.alerts)] == silent


def test_a_champion_that_no_site_serves_calls_for_people_the_second_time(judge):
    counts = {"own": 0, "own_labeled": 0, "by_version": {"7": 5_000}}
    assert judge(days("steady", model_digest=OTHER), performance=UNKNOWN, counts=counts).verdict == "wait"
    found = judge(days("unknown"), performance=UNKNOWN, counts=counts)
    assert found.verdict == "alert"
    assert f"No site answers with the champion, {DIGEST[:19]}; they serve version 7" in found.alerts[0]


def test_retrainings_that_change_nothing_call_for_people(judge):
    history = days("worse", "worse", verdict="retrain")
    found = judge(history, Policy(cooldown_h=0), performance=WORSE)
    assert found.verdict == "retrain"
    assert "2 retrainings in a row gave no better model" in found.alerts[0]
    history[0]["model_digest"] = OTHER  # that one did
    assert judge(history, Policy(cooldown_h=0), performance=WORSE).alerts == []


def test_what_came_later_is_not_seen(judge):
    later = [earlier(-24, 0, verdict="retrain"), earlier(0, 24, verdict="retrain"), earlier(-5, 5, performance="worse")]
    alone, found = (judge(history, Policy(), performance=WORSE) for history in ([], later))
    assert found == alone
    assert found.verdict == "retrain"


def test_the_order_of_the_history_does_not_matter(judge):
    history = days("worse", "steady", "worse", "worse")
    policy = Policy(patience=4)
    assert judge(history, policy, performance=WORSE) == judge(history[::-1], policy, performance=WORSE)


def test_a_decision_holds_what_dashboards_and_the_next_window_read(judge, tmp_path):
    found = judge(drift=DRIFT)
    found.save(tmp_path / "decision.json")
    document = json.loads((tmp_path / "decision.json").read_text())
    assert document == asdict(found)
    assert document["window"] == span()
    assert (document["drift_score"], document["drift_columns"], document["drifted"]) == (0.3, 2, ["hour", "carrier"])
    assert document["metric"] == {
        "name": "log_loss", "lower_is_better": True, "value": 0.56, "low": 0.54, "high": 0.58, "registered": 0.55,
    }  # fmt: skip
    assert document["skill"] == {"value": 0.19, "low": 0.17, "high": 0.21, "registered": 0.2}
    assert document["policy"]["trigger"] == "performance"
    assert (
        found.metadata.items() >= {"verdict": "wait", "rows": 5_000, "log_loss": 0.56, "signal_drift": "drift"}.items()
    )
    # It is what the next window's history holds.
    assert judge([document], performance=WORSE).verdict == "retrain"


def test_what_is_unknown_is_null(judge):
    found = judge(performance={**UNKNOWN, "skill": {}}, drift={"verdict": "too_few", "score": None})
    assert found.metric["value"] is found.skill["value"] is found.drift_score is found.drift_columns is None
    assert "log_loss" not in found.metadata


@pytest.mark.parametrize(
    ("document", "text", "message"),
    [
        ("drift", None, "There is nothing at .*drift: pass the drift output of detect_drift"),
        ("drift", "<html>", "is not what detect_drift writes"),
        ("performance", '{"verdict": "worse"}', r"is not what measure_performance writes \(no metric\)"),
        ("counts", "[1]", r"is not what collect_traffic writes \(ValueError: it is a JSON list\)"),
        ("service", "7", r"is not what check_service writes \(ValueError: it is a JSON int\)"),
    ],
)
def test_what_no_step_wrote_is_refused(tmp_path, document, text, message):
    paths = write_documents(tmp_path, make_documents())
    (tmp_path / document).unlink()
    if text is not None:
        (tmp_path / document).write_text(text)
    with pytest.raises(InputError, match=message):
        decide(read_evidence(*paths), [], Policy())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trigger": "labels"}, "trigger is 'labels': use 'performance', 'drift' or 'either'"),
        ({"patience": 0}, "patience is 0: use a whole number of 1 or more"),
        ({"drift_patience": 1.5}, "drift_patience is 1.5"),
        ({"min_labels": -1}, "min_labels is -1: use a whole number of 0 or more"),
        ({"cooldown_h": float("nan")}, "cooldown_h is nan"),
        ({"max_dropped": 20}, "max_dropped is 20: use a share between 0 and 1"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Policy(**values)
