import re

import pytest
from monitoring_documents import earlier, make_documents, write_documents

from loopline.components.monitoring.decide import decide
from loopline.components.monitoring.decision_page import decision_report
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.policy import Policy

FIGURES = {
    "drift_score": 0.02,
    "metric": {"name": "log_loss", "value": 0.56, "low": 0.54, "high": 0.58, "registered": 0.55},
    "skill": {"value": 0.2},
}
UNKNOWN = {
    "drift_score": None,
    "metric": {"name": "log_loss", "value": None, "low": None, "high": None, "registered": None},
    "skill": {"value": None},
}


@pytest.fixture
def draw(tmp_path):
    """Return the page of a decision after some windows as text."""

    def run(history=(), policy=None, **changes):
        paths = write_documents(tmp_path / "window", make_documents(**changes))
        policy = policy or Policy()
        decision_report(decide(read_evidence(*paths), history, policy), history).write(tmp_path / "page.html")
        return (tmp_path / "page.html").read_text()

    return run


def test_a_page_says_what_and_why_and_draws_the_windows(draw):
    history = [
        earlier(-72, -48, **FIGURES, drift="drift"),
        earlier(-48, -24, **FIGURES, verdict="retrain", model_digest="sha256:" + "b" * 64),
    ]
    page = draw(history, performance={"verdict": "worse", "reason": "Worse by log loss."})
    assert '<b class="warn">retrain</b>' in page
    assert "Worse by log loss. That holds for 1 window, and it takes 1." in page
    assert "For people to look at" not in page
    assert page.count("2026-03-08T00:00:00+00:00") == 1  # the table's row
    assert "drift: drift" in page
    legend = set(re.findall(r">(measured|registered|retrain|wait|alert)</text>", page))
    assert legend == {"measured", "registered", "retrain", "wait"}


def test_a_page_of_nothing_known_can_be_drawn(draw):
    unknown = {"verdict": "unknown", "reason": "The window is empty.", "metrics": {}, "registered": {}, "skill": {}}
    counts = {"rows": 0, "labeled": 0, "own": 0, "own_labeled": 0, "by_site": {}}
    for history in ([], [earlier(-48, -24, **UNKNOWN)]):
        page = draw(history, counts=counts, performance=unknown, drift={"verdict": "too_few", "score": None})
        assert "NaN" not in page
        assert "<svg" in page


def test_what_comes_from_data_is_text(draw):
    page = draw(drift={"verdict": "broken", "broken": ["Column '<script>alert(1)</script>' is $broken$."]})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert '<b class="bad">alert</b>' in page


@pytest.mark.parametrize(
    ("trigger", "says"),
    [
        ("performance", "by performance that is worse in 1 window(s) in a row."),
        ("drift", "by drift in 2 window(s) in a row."),
        ("either", "by performance that is worse in 1 window(s) in a row, or by drift in 2."),
    ],
)
def test_a_page_says_what_was_agreed(draw, trigger, says):
    assert says in draw(policy=Policy(trigger=trigger))


def test_a_page_is_the_same_every_time(draw):
    history = [earlier(-48, -24, **FIGURES)]
    assert draw(history) == draw(history)
