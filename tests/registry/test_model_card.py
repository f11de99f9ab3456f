"""The card of a version: what was measured, what people said, who approved; and nothing a name can break."""

import html.parser
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from delivery_models import another_key

from loopline.components.data.periods import table_periods
from loopline.components.data.schema import Column, Schema
from loopline.components.delivery.approval import approve
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.keys import load_keys, load_signer, public_pem
from loopline.components.errors import InputError
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.model.directory import read_manifest
from loopline.components.registry.card_facts import CardFacts
from loopline.components.registry.card_render import card_markdown, card_page
from loopline.components.registry.card_sections import card_sections
from loopline.components.registry.model_card import Sources, write_card
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import promote

VERDICT = {
    "verdict": "promote", "reason": "The challenger is better.", "metric": "log_loss", "margin": 0.0,
    "champion": {"digest": "sha256:old", "value": 0.5}, "challenger": {"digest": "sha256:new", "value": 0.4},
    "difference": {"value": 0.1, "low": 0.08, "high": 0.12}, "rows": 300,
}  # fmt: skip


@pytest.fixture
def measured(trained, tmp_path) -> Sources:
    """What the real evaluation measured of the model, and a verdict."""
    from registry_models import make_rows

    from loopline.components.data.tables import write_table

    write_table(tmp_path / "test.parquet", make_rows(400, seed=9))
    settings = Settings(slices=("carrier",), bootstrap=50, importance_repeats=0)
    evaluate(trained.model, tmp_path / "test.parquet", settings).save(tmp_path / "evaluation.json")
    (tmp_path / "verdict.json").write_text(json.dumps(VERDICT))
    return Sources(str(tmp_path / "evaluation.json"), str(tmp_path / "verdict.json"))


def written(model, version: int, folder: Path, **sources: str) -> tuple[str, str]:
    write_card(model, "flights", version, folder / "card.html", folder / "card.md", Sources(**sources))
    return (folder / "card.html").read_text(), (folder / "card.md").read_text()


def kept(version: int) -> tuple:
    """The files of the card in the version's run, and the version."""
    with open_store() as store:
        found = store.client.get_model_version("flights", str(version))
        files = {one.path for one in store.client.list_artifacts(found.run_id, "model-card")}
    return files, found


def test_the_card_says_what_was_measured_and_is_kept_with_the_version(trained, measured, home, tmp_path):
    register(*trained.paths(), "flights", pipeline_run="run-7")
    page, text = written(
        trained.model, 1, tmp_path, metrics=measured.metrics, verdict=measured.verdict,
        data_uri="https://robot:pass@example.com/f.csv?X-Amz-Signature=secret", intended_use="Rank flights.",
    )  # fmt: skip
    evaluation, manifest = json.loads(Path(measured.metrics).read_text()), read_manifest(trained.model)
    entry = evaluation["metrics"]["roc_auc"]
    for shown in (page, text):
        for words in (
            "Model card: flights version 1", "Rank flights.", manifest.digest, manifest.provenance["data_digest"],
            f"{entry['value']:.4g}"[:5], f"{entry['low']:.4f}"[:5], "The challenger is better.", "Calibration",
            "By carrier", "UA", "0.055", "BSD-3-Clause", "https", "example.com/f.csv",
        ):  # fmt: skip
            assert words in shown, words
        assert "pass" not in shown.split("example.com")[0][-60:] and "Signature" not in shown
    files, version = kept(1)
    assert files == {"model-card/card.html", "model-card/card.md", "model-card/facts.json"}
    assert "Rank flights." in version.description and "model-card/card.html" in version.description
    assert "loopline.approved_by" not in version.tags


def test_what_is_not_said_is_said_to_be_missing(trained, home, tmp_path):
    register(*trained.paths(), "flights")
    _, text = written(trained.model, 1, tmp_path)
    assert "## Intended use\n\nNot stated." in text
    assert "No evaluation is recorded with this version." in text
    assert "No comparison is recorded with this version." in text
    assert "| Approved by | nobody |" in text


def test_a_later_card_keeps_what_is_known_and_a_new_version_what_is_stated(
    trained, retrained, measured, home, tmp_path
):
    register(*trained.paths(), "flights")
    first = written(
        trained.model, 1, tmp_path, metrics=measured.metrics, verdict=measured.verdict, intended_use="Rank flights.",
        limits="Not for charters.", data_uri="s3://bucket/a.csv",
    )  # fmt: skip
    assert written(trained.model, 1, tmp_path) == first
    promote("flights", 1)
    register(*retrained.paths(), "flights")
    _, text = written(retrained.model, 2, tmp_path)
    assert "Rank flights." in text and "Not for charters." in text
    assert "s3" not in text and "No evaluation is recorded" in text


def test_a_description_by_hand_stays(trained, home, tmp_path):
    register(*trained.paths(), "flights")
    with open_store() as store:
        store.client.update_model_version("flights", "1", "Ask Ana before use.")
    written(trained.model, 1, tmp_path)
    assert kept(1)[1].description == "Ask Ana before use."


def test_the_card_names_who_approved_the_image(trained, home, tmp_path, monkeypatch):
    register(*trained.paths(), "flights")
    image = build_image(trained.model, version=1)
    attest_tested(image, {"result": "PASSED", "passedTests": ["start"]})
    key = another_key()
    monkeypatch.setenv("LOOPLINE_APPROVERS_KEYS", "# Board\n" + public_pem(load_signer(key, "k").public).decode())
    assert "| Approved by | nobody |" in written(trained.model, 1, tmp_path, image=image)[1]
    approve(image, load_keys(), key, "ana", "Model board 12", "flights version 1")
    page, text = written(trained.model, 1, tmp_path, image=image)
    for shown in (page, text):
        assert image.rpartition("@")[2] in shown and "Board (key sha256:" in shown.replace("\\", "")
        assert "Model board 12" in shown
    tags = kept(1)[1].tags
    assert tags["loopline.image"] == image and tags["loopline.approved_by"].startswith("Board (key sha256:")


def test_a_card_is_of_the_model_that_is_registered(trained, retrained, home, tmp_path):
    register(*trained.paths(), "flights")
    with pytest.raises(InputError, match="Version 7 of 'flights' is not registered: give the model that"):
        written(trained.model, 7, tmp_path)
    with pytest.raises(InputError, match=r"Version 1 of 'flights' holds sha256:.*: give the model that"):
        written(retrained.model, 1, tmp_path)
    image = build_image(retrained.model, version=2)
    attest_tested(image, {"result": "PASSED"})
    with pytest.raises(InputError, match="holds another model than the one whose card is to be written"):
        written(trained.model, 1, tmp_path, image=image)
    assert not (tmp_path / "card.html").exists()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "is no evaluation"),
        ("{", "is no evaluation"),
        ('{"metrics": 1}', "is no evaluation"),
        ('{"metrics": {"log_loss": {}}, "slices": [1]}', "has another form"),
    ],
)
def test_an_evaluation_that_is_none_is_refused(document, words, trained, home, tmp_path):
    register(*trained.paths(), "flights")
    (tmp_path / "metrics.json").write_text(document)
    with pytest.raises(InputError, match=words):
        written(trained.model, 1, tmp_path, metrics=str(tmp_path / "metrics.json"))


class _Elements(html.parser.HTMLParser):
    """Collects the elements of a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


HOSTILE = "<img src=x onerror=alert(1)>|`x`[a](javascript:alert(2))\n# {{7*7}} \"'&amp;"


def test_names_and_categories_stay_text(trained, measured, tmp_path):
    evaluation = json.loads(Path(measured.metrics).read_text())
    evaluation["notes"] = [HOSTILE]
    for one in evaluation["slices"]:
        one["column"] = one["name"] = HOSTILE
    manifest = read_manifest(trained.model)
    manifest.target = manifest.name = HOSTILE
    manifest.training["left_out"] = {HOSTILE: HOSTILE}
    facts = CardFacts(
        "flights", 1, manifest, Schema((Column(HOSTILE, "category"),), ""),
        {"rows": 3, "columns": {HOSTILE: {"missing": 0, "counts": {HOSTILE: 3}}}},
        evaluation, {**VERDICT, "reason": HOSTILE}, {"intended_use": HOSTILE, "data_uri": HOSTILE}, HOSTILE, HOSTILE,
        (HOSTILE,),
    )  # fmt: skip
    sections = card_sections(facts)
    elements = _Elements()
    elements.feed(card_page(facts, sections).markup())
    assert not {"img", "script", "a", "iframe"} & {tag for tag, _ in elements.found}
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    text = card_markdown(facts, sections)
    assert "<" not in text.replace("&lt;", "")
    # No link, no code, no new row: every mark of Markdown's is escaped, and every table keeps its width.
    assert "[a](" not in text and "`x`" not in text
    for line in text.splitlines():
        assert not line.startswith("# ") or line.startswith("# Model card: flights")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows and {len(line.replace("\\|", "").split("|")) for line in rows} <= {4, 5, 6, 7, 8}


def test_periods_come_from_footers_alone(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array(np.array(["2013-01-01T05:00", "2013-05-15T23:00", "2013-02-01T00:00"], "datetime64[us]"))
    pq.write_table(pa.table({"when": times, "x": [1, 2, 3]}), tmp_path / "a.parquet", row_group_size=1)
    assert table_periods(tmp_path / "a.parquet") == {"when": "2013-01-01T05:00:00/2013-05-15T23:00:00"}
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(tmp_path / "a.parquet", folder / "0.parquet")
    later = pa.array(np.array(["2014-01-01T00:00"], "datetime64[us]"))
    pq.write_table(pa.table({"when": later, "x": [4]}), folder / "1.parquet")
    assert table_periods(folder) == {"when": "2013-01-01T05:00:00/2014-01-01T00:00:00"}
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    assert table_periods(tmp_path / "b.parquet") == {}
