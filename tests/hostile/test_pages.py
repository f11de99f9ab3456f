"""Column names, categories and reasons that are HTML: the reports of a model's life, read and opened in a browser."""

import html.parser
import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hostile_samples import FILES, run
from monitoring_models import START, write_traffic

from loopline.components.data.tables import read_table, write_table
from loopline.components.environment import environment
from loopline.components.model.directory import read_manifest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCRIPT = "<script>document.title='taken'</script>"
IMAGE = "<img src=x onerror=\"document.title='taken'\">"
#: What ends an attribute, a figure's text, a style and a comment before it.
BREAKOUTS = (
    '"><svg/onload="document.title=\'taken\'">',
    "</text></svg>" + IMAGE,
    "</style>" + SCRIPT,
    "-->" + SCRIPT,
    "javascript:alert(1)",
    "${alert(1)}",
)
TARGET = "late" + IMAGE
WINDOW = {"start": START.isoformat(), "end": (START + timedelta(hours=2)).isoformat()}


def make_table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    number, kind = random.normal(size=rows), random.choice([*BREAKOUTS, SCRIPT], rows)
    late = number + (kind == SCRIPT) + random.normal(0, 0.5, rows) > 0.2
    words = np.where(late, SCRIPT, IMAGE)
    return pa.table({SCRIPT: number, IMAGE: kind, BREAKOUTS[0]: random.normal(size=rows), TARGET: words.tolist()})


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The HTML reports of one life, of a table whose every name is hostile."""
    folder = tmp_path_factory.mktemp("life")
    with environment({"LOOPLINE_HOME": str(folder / "home")}):
        write_table(folder / "table.parquet", make_table(600, 1))
        run(folder, "validate_data", data=folder / "table.parquet", target=TARGET, schema_out=folder / "schema.json",
        report=folder / "validated.html",
            valid=folder / "valid.parquet", quarantined=folder / "bad.parquet")  # fmt: skip
        # What breaks the rules is shown, too.
        kinds = make_table(50, 2).column(IMAGE).to_pylist()[10:] + [f"{SCRIPT}{number}" for number in range(10)]
        other = make_table(50, 2).set_column(1, IMAGE, pa.array(kinds))
        write_table(folder / "other.parquet", other)
        run(folder, "validate_data", data=folder / "other.parquet", schema=folder / "schema.json",
        on_error="quarantine", report=folder / "broken.html",
            valid=folder / "valid-2.parquet", quarantined=folder / "bad-2.parquet",
            schema_out=folder / "schema-2.json")  # fmt: skip
        run(folder, "split_data", data=folder / "valid.parquet")
        run(folder, "train_xgboost", rounds=5, name="cells")
        run(folder, "evaluate_model", bootstrap=50, slices=f'"{IMAGE.replace(chr(34), chr(34) * 2)}"')
        given = {"challenger": folder / "model", "champion": folder / "model", "verdict": folder / "verdict.json"}
        run(folder, "compare_models", bootstrap=50, report=folder / "compared.html", **given)
        run(folder, "select_model", models=folder / "model", best=folder / "best", trials=folder / "selected.html")
        _watch(folder)
    return sorted(folder.glob("*.html"))


def _watch(folder: Path) -> None:
    events = make_table(400, 3)
    truth = write_traffic(folder / "log", folder / "model", events, site=f"{SCRIPT}-site", version=IMAGE)
    write_table(folder / "truth.parquet", truth)
    run(
        folder,
        "collect_traffic",
        name="cells",
        uri=folder / "log",
        truth=folder / "truth.parquet",
        report=folder / "collected.html",
        **WINDOW,
    )
    run(folder, "detect_drift", engine="scipy", report=folder / "drift.html")
    run(folder, "measure_performance", report=folder / "performance.html")
    run(
        folder,
        "check_service",
        name="cells",
        targets="edge=http://127.0.0.1:9",
        report=folder / "service.html",
        **WINDOW,
    )
    service = json.loads((folder / FILES["service"]).read_text())
    service["reasons"] = [SCRIPT, IMAGE]
    (folder / FILES["service"]).write_text(json.dumps(service))
    run(folder, "decide_retraining", name="cells", report=folder / "decided.html")


class Reader(html.parser.HTMLParser):
    """Notes what in a page could run."""

    def __init__(self):
        super().__init__()
        self.running, self.text = [], []

    def handle_starttag(self, tag, attrs):
        bad = [
            name
            for name, value in attrs
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:")
        ]
        if bad or tag in ("script", "img", "iframe", "object", "embed", "link", "base", "form", "foreignobject"):
            self.running.append(self.get_starttag_text())

    def handle_data(self, data):
        self.text.append(data)


def test_every_report_of_the_life_is_there(pages):
    names = {page.stem for page in pages}
    assert names == {
        "validated", "broken", "report", "compared", "selected", "collected", "drift", "performance", "service",
        "decided"
    }  # fmt: skip


def test_nothing_in_a_report_could_run(pages):
    shown = 0
    for page in pages:
        reader = Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.running == [], page.name
        shown += SCRIPT in "".join(reader.text) or IMAGE in "".join(reader.text)
    assert shown >= 7  # the names stand there, as text


@pytest.mark.skipif(not CHROMIUM, reason="needs a browser: install Debian's package chromium")
def test_nothing_in_a_report_runs_in_a_browser(pages):
    from playwright.sync_api import sync_playwright

    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
        opened.on("request", lambda request: request.url.startswith("file:") or faults.append(request.url))
        # A page that would run what is in a name has this title afterwards.
        opened.set_content(IMAGE)
        opened.wait_for_function("document.title == 'taken'")
        faults.clear()
        for page in pages:
            opened.goto(page.as_uri())
            opened.wait_for_timeout(50)
            if opened.title() == "taken":
                faults.append(page.name)
        browser.close()
    assert faults == []


def test_predictions_name_the_classes_as_they_are(pages):
    folder = pages[0].parent
    assert read_manifest(folder / "model").classes == sorted([SCRIPT, IMAGE])
    assert read_table(folder / "traffic.parquet").num_rows == 400
