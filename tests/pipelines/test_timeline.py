"""The timeline: figures that are right, intervals that keep what they promise, and a page that hides nothing."""

import datetime
import html.parser
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from replay_timeline import make_timeline
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error

from loopline.components.delivery.inference import Answer
from loopline.components.errors import InputError
from loopline.pipelines.replay.request import Request
from loopline.pipelines.replay.scores import Interval, MonthScores, pool, score_month
from loopline.pipelines.replay.send import Reply, Sent
from loopline.pipelines.replay.timeline import Commit, Timeline, describe_month
from loopline.pipelines.replay.timeline_page import timeline_page
from loopline.pipelines.replay.timeline_words import headline, timeline_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def probabilities(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


@pytest.fixture(scope="module")
def rows():
    """Truth, a good and a worse model's probabilities, and days that have a weather of their own."""
    rng = np.random.default_rng(0)
    days = np.repeat(np.arange(30), 60)
    chance = 1 / (1 + np.exp(-(rng.normal(size=1800) + rng.normal(size=30)[days])))
    truth = rng.random(1800) < chance
    worse = np.clip(chance + rng.normal(0, 0.25, 1800), 0.02, 0.98)
    return truth, probabilities(chance), probabilities(worse), days


def test_figures_are_those_of_scikit_learn(rows):
    truth, good, worse, days = rows
    scores = score_month(truth, good, worse, groups=days, replicates=100)
    for side, values in ((scores.loop, good), (scores.control, worse)):
        assert side["log_loss"].value == pytest.approx(log_loss(truth, values))
        assert side["roc_auc"].value == pytest.approx(roc_auc_score(truth, values[:, 1]))
        constant = log_loss(truth, np.full(len(truth), truth.mean()))
        assert side["skill"].value == pytest.approx(1 - side["log_loss"].value / constant)
    assert (scores.rows, scores.same, scores.metric) == (1800, False, "log_loss")


def test_gain_is_positive_where_the_loop_is_better_whatever_the_metric(rows):
    truth, good, worse, days = rows
    better, harm = score_month(truth, good, worse, groups=days), score_month(truth, worse, good, groups=days)
    for name in ("log_loss", "roc_auc", "skill"):
        assert better.gain[name].value == pytest.approx(abs(better.loop[name].value - better.control[name].value))
        assert 0 < better.gain[name].low < better.gain[name].value < better.gain[name].high
        assert harm.gain[name].high < 0
        assert harm.gain[name].value == pytest.approx(-better.gain[name].value)


def test_one_model_on_both_sides_gains_exactly_nothing(rows):
    truth, good, _, days = rows
    scores = score_month(truth, good, good.astype(np.float32).astype(np.float64), groups=days)
    assert scores.same
    same = score_month(truth, good, good, groups=days)
    assert same.gain["log_loss"] == Interval(0.0, 0.0, 0.0)


def test_rows_are_paired(rows):
    """Two models that err on the same rows differ for sure long before their own intervals part."""
    truth, good, _, days = rows
    slightly = probabilities(np.clip(0.97 * good[:, 1] + 0.03 * 0.9, 0.02, 0.98))
    scores = score_month(truth, good, slightly, groups=days)
    gain, loop = scores.gain["log_loss"], scores.loop["log_loss"]
    assert gain.high - gain.low < (loop.high - loop.low) / 4


def test_intervals_of_days_that_hang_together_hold_what_they_promise():
    """Days whose rows share an error: drawing days covers the truth, drawing rows does not come close."""
    rng = np.random.default_rng(1)
    covered = {"days": 0, "rows": 0}
    for trial in range(100):
        days = np.repeat(np.arange(30), 20)
        truth, errors = np.zeros(600), rng.normal(size=30)[days] * 0.5 + rng.normal(size=600) * 0.2
        # The true mean of both squared errors is the same: the true gain is nothing.
        other = rng.normal(size=30)[days] * 0.5 + rng.normal(size=600) * 0.2
        for kind, groups in (("days", days), ("rows", None)):
            gain = score_month(truth, errors, other, trial, groups, "regression", 100).gain["rmse"]
            covered[kind] += gain.low <= 0 <= gain.high
    assert covered["days"] >= 85
    assert covered["rows"] <= 60


def test_too_few_days_say_nothing_of_how_days_differ(rows):
    truth, good, worse, days = rows
    first = days < 9
    gain = score_month(truth[first], good[first], worse[first], groups=days[first]).gain["log_loss"]
    assert gain.value > 0
    assert (gain.low, gain.high) == (None, None)


def test_numbers_and_several_classes_are_compared_too():
    rng = np.random.default_rng(2)
    truth = rng.normal(10, 2, 500)
    near, far = truth + rng.normal(size=500), truth + rng.normal(0, 1.5, 500)
    scores = score_month(truth, near, far, task="regression", replicates=100)
    assert scores.loop["rmse"].value == pytest.approx(root_mean_squared_error(truth, near))
    assert scores.gain["rmse"].low > 0 and scores.gain["r2"].low > 0 and scores.gain["skill"].low > 0
    labels = rng.integers(0, 3, 500)
    sure = np.full((500, 3), 0.1)
    sure[np.arange(500), labels] = 0.8
    scores = score_month(labels, sure, np.full((500, 3), 1 / 3), task="multiclass", replicates=100)
    assert scores.gain["log_loss"].low > 0 and scores.gain["accuracy"].low > 0


def test_a_month_of_one_class_has_no_ranking(rows):
    _, good, worse, days = rows
    scores = score_month(np.zeros(len(days), bool), good, worse, groups=days, replicates=50)
    assert scores.loop["roc_auc"] == scores.gain["roc_auc"] == Interval(None, None, None)
    assert scores.gain["log_loss"].value is not None


@pytest.mark.parametrize("cut", [0, 5])
def test_as_many_scores_as_rows(rows, cut):
    truth, good, worse, _ = rows
    with pytest.raises(InputError, match=r"give as many of each"):
        score_month(truth[:cut], good[: 2 * cut], worse[:cut])


def test_months_are_averaged_as_independent():
    both = pool([(1.0, Interval(0.1, 0.07, 0.14)), (3.0, Interval(0.2, 0.16, 0.23)), (5.0, Interval(None))])
    assert both.value == pytest.approx(0.175)
    assert both.value - both.low == pytest.approx(np.hypot(0.25 * 0.03, 0.75 * 0.04))
    assert both.high - both.value == pytest.approx(np.hypot(0.25 * 0.04, 0.75 * 0.03))
    assert pool([(1.0, Interval(0.1)), (1.0, Interval(0.3, 0.2, 0.4))]) == Interval(0.2)
    assert pool([]) == Interval(None)


def test_what_is_saved_is_read_again(tmp_path):
    timeline, file = make_timeline(), tmp_path / "deep" / "timeline.json"
    timeline.save(file)
    assert Timeline.load(file) == timeline
    assert [path.name for path in file.parent.iterdir()] == ["timeline.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "a", "target": "b", "months": [{"label": 1}]}'])
def test_what_is_no_timeline(tmp_path, content):
    file = tmp_path / "timeline.json"
    with pytest.raises(InputError, match="no timeline at"):
        Timeline.load(file)
    file.write_text(content)
    with pytest.raises(InputError, match="is not a timeline"):
        Timeline.load(file)


def test_outcomes_say_only_what_is_sure():
    timeline = make_timeline()
    assert [month.outcome for month in timeline.months] == [
        "same", "better", "worse", "better", "better", "unclear", "worse",
    ]  # fmt: skip
    unknown = replace(timeline.months[1].scores, gain={"log_loss": Interval(0.02)})
    assert replace(timeline.months[1], scores=unknown).outcome == "unknown"
    overall = timeline.overall()
    weights = [month.rows for month in timeline.months]
    gains = [month.gain.value for month in timeline.months]
    assert overall.gain["log_loss"].value == pytest.approx(np.average(gains, weights=weights))
    assert (overall.retrained, overall.promoted, overall.commits) == (
        ["June", "September", "December"], ["June", "September"], 6,
    )  # fmt: skip


def with_gains(low: float, value: float, high: float) -> Timeline:
    timeline = make_timeline(2)
    scores = MonthScores(
        100, {"log_loss": Interval(0.5 - value)}, {"log_loss": Interval(0.5)}, {"log_loss": Interval(value, low, high)},
        False, "log_loss",
    )  # fmt: skip
    return replace(timeline, months=[replace(month, scores=scores) for month in timeline.months])


@pytest.mark.parametrize(
    ("gains", "says", "tone"),
    [
        ((0.01, 0.02, 0.03), "Retraining paid", "good"),
        ((-0.03, -0.02, -0.01), "Retraining did harm", "bad"),
        ((-0.02, 0.002, 0.02), "Retraining gained nothing that is sure", "note"),
    ],
)
def test_the_headline_is_honest(gains, says, tone):
    sentence, found = headline(with_gains(*gains))
    assert sentence.startswith(says)
    assert found == tone
    assert ("worse by 0.0200, 4.0%" in sentence) == (gains[1] < 0 and tone == "bad")


def test_the_headline_of_a_loop_that_never_changed_anything():
    sentence, _ = headline(make_timeline(1))
    assert sentence.startswith("Retraining gained nothing: the model was retrained once")
    assert headline(Timeline("flights", "late"))[0] == "No month has been replayed yet."


class _Page(html.parser.HTMLParser):
    """Collects the elements and the addresses of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.addresses = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        assert not any(name.startswith("on") for name, _ in attributes)


BITE = "<script>alert(1)</script>\"'&amp;$x$"


def test_page_has_no_script_asks_nobody_and_escapes_every_value():
    page = timeline_page(make_timeline(bite=BITE))
    found = _Page(page)
    assert "script" not in found.tags and found.addresses == []
    assert {"svg", "table", "h1"} <= found.tags
    assert not re.search(r"@import|url\(", page)
    assert "&lt;script&gt;alert(1)" in page


def test_page_shows_good_and_bad_months_alike():
    page = timeline_page(make_timeline())
    assert "surely better in 3 (July, September, October); surely worse in 2 (August, December)" in page
    for words in ("+0.0210", "\u22120.0170", "same model", "retrain, not better, kept", "Log loss is 0.561 on 25,310"):
        assert words in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ElementTree.fromstring(drawing)
        texts = [element.text for element in root.iter() if element.text]
        assert {"\u22120.017", "+0.021", "retrain", "alert"} <= set(texts)
        assert root[0].text == "Timeline of flights"


@pytest.mark.parametrize("months", [0, 1, 2, 7])
def test_page_and_text_of_any_number_of_months(months):
    timeline = make_timeline(months)
    assert "</html>" in timeline_page(timeline)
    assert len(timeline_text(timeline).splitlines()) == (4 + months if months else 3)


def test_what_is_undefined_or_lost_is_shown_as_such():
    timeline = make_timeline(3)
    empty = {name: Interval(None) for name in ("log_loss", "roc_auc", "skill")}
    months = list(timeline.months)
    months[1] = replace(months[1], scores=MonthScores(0, empty, empty, empty, False, "log_loss"))
    months[2] = replace(months[2], drift=replace(months[2].drift, verdict="too_few", score=None, columns=[]))
    edge = months[2].sites["edge"]
    traffic = replace(edge.traffic, failed=9, problem="No model server answers at <nowhere>", p50_ms=None, p99_ms=None)
    months[2].sites["edge"] = replace(edge, traffic=traffic)
    page = timeline_page(replace(timeline, months=months))
    assert "9 requests lost" in page
    assert "No model server answers at &lt;nowhere&gt;" in page
    assert "too few" in page
    assert not re.search(r"\bnan\b|None", page)


def test_text_is_plain_and_its_columns_stand_under_one_another():
    text = timeline_text(make_timeline())
    assert text.isascii()
    lines = text.splitlines()[:8]
    assert all(line.index(word) + len(word) == lines[0].index("control") + len("control")
               for line, word in zip(lines[2:4], ("0.5820", "0.4960"), strict=True))  # fmt: skip
    assert "-0.0170  -0.0250 to -0.0090  worse" in lines[7]


def test_a_month_is_put_together_from_what_was_sent_and_decided():
    table = pa.table({"size": [1.0, 2.0]})
    day = datetime.date(2013, 6, 1)
    image = "sha256:" + "a" * 64
    replies = []
    for number, version in enumerate(["1", "2", "2"]):
        request = Request(f"r{number}", "edge", day, table, np.array([True, False]))
        answer = Answer(np.full((2, 2), 0.5, np.float32), "flights", version, {"image_digest": image})
        replies.append(Reply(request, answer, 5.0 + number, 1, ""))
    replies.append(Reply(replace(replies[0].request, site="cloud"), None, 0.0, 7, "gone"))
    sent = Sent(replies, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.datetime.now(datetime.UTC))
    scores = score_month(sent.truth, sent.scores, sent.scores, groups=sent.days)
    drift = {
        "verdict": "drift", "score": 0.4, "drifted": ["size"],
        "columns": [{"name": "other", "psi": 0.9}, {"name": "size", "psi": 0.4}],
    }  # fmt: skip
    decision = {"verdict": "retrain", "reasons": ["worse"], "alerts": [], "labeled": 5}
    month = describe_month(
        "June", sent, scores, drift, decision, {"edge": ("3", "oci://x@sha256:" + "b" * 64)},
        retrained=True, promoted=True, commits=[Commit("c" * 40, "edge", "Serve it")], seconds={"send": 1.0},
    )  # fmt: skip
    edge, cloud = month.sites["edge"], month.sites["cloud"]
    assert (edge.version, edge.image, edge.after, edge.after_image) == ("2", image, "3", "sha256:" + "b" * 64)
    assert (cloud.version, cloud.traffic.failed, cloud.traffic.problem) == ("", 1, "gone")
    assert (month.rows, month.labeled, month.lost, month.outcome) == (6, 5, 1, "same")
    assert [(one.name, one.effect) for one in month.drift.columns] == [("size", 0.4)]
    page = timeline_page(Timeline("flights", "late", [month]))
    assert "Serve it" in page


@pytest.mark.skipif(not CHROMIUM, reason="needs a browser: install Debian's package chromium")
def test_page_in_a_browser(tmp_path):
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.html").write_text(timeline_page(make_timeline()), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            for width in (1200, 600):
                page = browser.new_page(viewport={"width": width, "height": 900})
                said, asked = [], []
                page.on("console", lambda message, said=said: said.append(message.text))
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.goto(f"file://{tmp_path}/page.html")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                shown = page.locator("svg:visible")
                assert shown.count() == 1
                box = shown.bounding_box()
                # A drawing that is scaled down much has letters too small to read.
                drawn = float(shown.get_attribute("viewBox").split()[2])
                assert 0.9 < box["width"] / drawn <= 1.25
                outside = shown.evaluate(
                    "svg => [...svg.querySelectorAll('text')].filter(t => { const b = t.getBBox();"
                    " return b.x < 0 || b.x + b.width > svg.viewBox.baseVal.width; }).map(t => t.textContent)"
                )
                assert outside == []
                assert said == [] and asked == [f"file://{tmp_path}/page.html"]
        finally:
            browser.close()
