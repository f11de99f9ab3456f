"""What a notebook shows of results: word, reason and figures, everything escaped, the notebook left as it was."""

import dataclasses
import json
import shutil
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from drift_tables import SCHEMA, make_window
from evaluation_models import make_model, make_table
from monitoring_documents import make_documents, write_documents

from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import write_table
from loopline.components.data.validate import validate
from loopline.components.display import Card, Page
from loopline.components.evaluation.compare import Contest, compare
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.evaluation.select import select
from loopline.components.model.directory import read_manifest
from loopline.components.monitoring.decide import decide
from loopline.components.monitoring.drift import DriftSettings, judge
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.performance import Performance
from loopline.components.monitoring.policy import Policy
from loopline.components.monitoring.reference_table import reference_of_table
from loopline.components.monitoring.service import Service, SiteService
from loopline.components.monitoring.slo import Slo
from loopline.components.monitoring.summary import summarize_traffic
from loopline.components.report import Report
from loopline.pipelines.run import Run
from loopline.pipelines.sites.process import Agent, Followed
from loopline.pipelines.sites.state import SiteState
from loopline.pipelines.sites.status import Status

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror='document.title = 1'>"
#: What a notebook with a dark theme looks like, as far as it matters to what is shown in it.
DARK = """<title>notebook</title><style>.notebook { background: #111; color: #fff }
.notebook table { color: #fff; font-size: 12px } .notebook td { text-align: right }
.notebook tbody tr:nth-child(odd) { background: #222 }</style>"""
LOOKS = """[...document.querySelectorAll("#p, #t, #d")].map(one => JSON.stringify({...getComputedStyle(one)}))"""
WINDOW = {"start": "2026-03-09T00:00:00+00:00", "end": "2026-03-10T00:00:00+00:00"}


class Elements(HTMLParser):
    """The elements of some markup by name, and its text without that of style sheets."""

    def __init__(self, markup: str):
        super().__init__()
        self.names, self.text, self._open = [], "", []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += f"{data} "


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Test rows with a hostile class, and two models of them."""
    folder = tmp_path_factory.mktemp("models")
    table = make_table(600)
    labels = [HOSTILE if label == "late" else label for label in table["target"].to_pylist()]
    table = table.set_column(3, "target", pa.array(labels))
    write_table(folder / "test", table)
    scores = {"validation": {"log_loss": 0.5}, "params": {"note": HOSTILE}, "rows": 600}
    first = make_model(folder / "first", table, "binary", **scores)
    second = make_model(folder / "second", table, "binary", ("distance", "carrier"), **scores)
    return folder / "test", first, second


def show_evaluation(models, folder):
    found = evaluate(models[1], models[0], Settings(bootstrap=50, importance_repeats=0))
    return dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, name=HOSTILE))


def show_comparison(models, folder):
    verdict, _ = compare(models[2], models[1], models[0], Contest(bootstrap=50))
    return dataclasses.replace(verdict, reason=f"{verdict.reason} {HOSTILE}")


def show_model(models, folder):
    return read_manifest(models[1])


def show_trials(models, folder):
    return select([models[1], models[2]])


def show_validation(models, folder):
    write_table(folder / "data", pa.table({HOSTILE: [HOSTILE, None] * 200, "y": list(range(400))}))
    return validate(
        folder / "data", folder / "valid", folder / "bad", folder / "schema.json", folder / "page.html", target="y",
        expectations=json.dumps({HOSTILE: {"nullable": False}}),
        on_error="quarantine",
    )  # fmt: skip


def show_drift(models, folder):
    for name, seed, shift in (("reference", 0, 0.0), ("window", 1, 2.0)):
        table = make_window(2_000, seed, shift)
        write_table(folder / name, table.rename_columns([HOSTILE, *table.column_names[1:]]))
    schema = Schema((Column(HOSTILE, "number"), *SCHEMA.columns[1:]))
    reference = reference_of_table(folder / "reference", schema)
    settings = DriftSettings(engine="scipy")
    return judge(reference, summarize_traffic([folder / "window"], reference, settings.sample), settings)


def show_performance(models, folder):
    figure = {"value": 0.6, "low": 0.58, "high": 0.62}
    return Performance(
        "worse", f"Worse. {HOSTILE}", "binary", {"name": HOSTILE, "target": "late"}, 5_000, 3_000, "log_loss", True,
        metrics={"log_loss": figure}, registered={"log_loss": figure}, skill={"value": 0.1, "registered": 0.2},
        labels={"share": 0.6, "last_row": WINDOW["end"]}, notes=[HOSTILE],
    )  # fmt: skip


def show_service(models, folder):
    sites = {HOSTILE: SiteService("burning", "It fails.", requests=100, errors=9, error_share=0.09, p99_ms=12.0)}
    return Service("burning", f"Site edge burns. {HOSTILE}", "metrics", WINDOW, sites, Slo())


def show_decision(models, folder):
    worse = {"verdict": "worse", "reason": f"Worse by log loss. {HOSTILE}"}
    return decide(read_evidence(*write_documents(folder, make_documents(performance=worse))), [], Policy())


def show_run(models, folder):
    (folder / "evaluate.html").write_text(f"<!DOCTYPE html><title>A page</title>{HOSTILE}", encoding="utf-8")
    return Run(folder, {"verdict": HOSTILE}, [folder / "evaluate.html"], {"say": {HOSTILE: None}}, {"say": 1.25}, 1.5)


def show_sites(models, folder):
    agent = Agent(1, "1", f"/srv/{HOSTILE}", "main")
    return Status(agent, Followed("a" * 40, HOSTILE), [SiteState("edge", "degraded", reason=HOSTILE)])


def show_page(models, folder):
    report = Report(HOSTILE)
    report.write(folder / "report.html")
    return Page(folder / "report.html")


#: By what is shown the words that must be there, beside the hostile ones.
CARDS = {
    show_evaluation: ("Log loss is", "ROC AUC", " to "),
    show_comparison: ("Verdict keep", "Champion", "Challenger", "Improvement", "95%:"),
    show_model: ("log loss 0.5 on the validation rows", "rows 600 learned from"),
    show_trials: ("Trials: number 1 of 2 is best", "best"),
    show_validation: ("Verdict quarantined", "200 50.0%", "Rows set aside 200"),
    show_drift: ("Verdict drift", "Columns moved 1 of 8", "Largest PSI", "drifted"),
    show_performance: ("Verdict worse", "0.5800 to 0.6200", "registered 0.200"),
    show_service: ("Verdict burning", "9.0%", "12 ms"),
    show_decision: ("Verdict", "0.5400 to 0.5800; registered 0.55"),
    show_run: ("1 steps in 2 s", "verdict", "1.2", "Report of evaluate"),
    show_sites: ("Not every site does what the repository says.", "degraded"),
}


@pytest.mark.parametrize("show", CARDS, ids=lambda show: show.__name__.removeprefix("show_"))
def test_a_card_says_what_was_found_and_escapes_what_others_wrote(show, models, tmp_path):
    markup = show(models, tmp_path)._repr_html_()
    found = Elements(markup)
    assert not {"script", "img"} & set(found.names)
    text = " ".join(found.text.split())
    assert HOSTILE in text
    for words in CARDS[show]:
        assert words in text


def test_a_report_is_shown_in_a_frame_that_runs_nothing():
    report = Report("Evaluation", "of something")
    report.text(HOSTILE)
    markup = report._repr_html_()
    assert Elements(markup).names == ["div", "iframe"]
    attributes = {}

    class Frame(HTMLParser):
        def handle_starttag(self, tag, attrs):
            attributes.update(attrs if tag == "iframe" else ())

    Frame().feed(markup)
    assert attributes["srcdoc"] == report.markup()
    assert attributes["sandbox"] is None, "nothing is allowed"


@pytest.mark.skipif(not CHROMIUM, reason="needs a browser: install Debian's package chromium")
def test_a_browser_runs_nothing_and_leaves_the_notebook_its_looks(models, tmp_path):
    """The notebook around is what it was before the cards came, and the cards have their own look inside."""
    sync_api = pytest.importorskip("playwright.sync_api")
    shown = []
    for number, show in enumerate([*CARDS, show_page]):
        (tmp_path / str(number)).mkdir()
        shown.append(show(models, tmp_path / str(number))._repr_html_())
    mine = "<h1>Mine</h1><p id=p class=lead>x</p><table id=t><tr><td id=d class=good>1</td></tr></table>"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.set_content(f"{DARK}<body class=notebook>{mine}")
        before = page.evaluate(LOOKS)
        page.set_content(f"{DARK}<body class=notebook>{mine}{''.join(shown)}")
        page.wait_for_timeout(300)
        assert page.evaluate(LOOKS) == before
        assert page.title() == "notebook"
        cell = page.locator(".loopline tbody td").first.evaluate("cell => ({...getComputedStyle(cell)})")
        assert (cell["color"], cell["textAlign"]) == ("rgb(27, 31, 36)", "left"), "the notebook's own rules lose"
        word = page.locator(".loopline b.warn", has_text="keep")
        assert word.evaluate("word => getComputedStyle(word).color") == "rgb(138, 90, 0)"
        assert page.evaluate("document.documentElement.scrollWidth") <= 1000
        browser.close()


def test_a_card_without_a_title_has_no_headline():
    card = Card()
    card.table(["Step"], [["say"]])
    assert "h4" not in Elements(card.markup()).names
