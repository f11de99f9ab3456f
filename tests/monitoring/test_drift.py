import importlib.util
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from drift_tables import SCHEMA, make_window, write_traffic_table
from monitoring_models import make_events

from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.monitoring.drift import Drift, DriftSettings, detect, judge
from loopline.components.monitoring.drift_page import drift_report
from loopline.components.monitoring.reference_table import reference_of_table
from loopline.components.monitoring.summary import summarize_traffic

SCIPY = DriftSettings(engine="scipy")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "table"
    write_table(path, make_window(20_000, 0))
    return reference_of_table(path, SCHEMA)


@pytest.fixture
def judged(reference, tmp_path):
    """Return the verdict on a table."""

    def look(table: pa.Table, settings: DriftSettings = SCIPY) -> Drift:
        write_table(tmp_path / "window", table)
        return judge(reference, summarize_traffic([tmp_path / "window"], reference, settings.sample), settings)

    return look


def drifted(found: Drift) -> list[str]:
    return found.to_dict()["drifted"]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rows", [300, 5_000])
def test_windows_like_the_reference(judged, seed, rows):
    found = judged(make_window(rows, seed))
    assert found.verdict == "none"
    assert drifted(found) == []
    assert found.score < (0.02 if rows == 5_000 else 0.1)


def test_harmless_shift_of_many_rows_is_significant_and_no_drift(judged):
    # 0.02 standard deviations in every row: of 200,000 rows that is a p-value of 1e-12 against the true mean.
    found = judged(make_window(200_000, 4, shift=0.02))
    assert found.verdict == "none"
    x0 = next(one for one in found.columns if one.column.name == "x0")
    assert 0.01 < x0.effects.wasserstein_sd < 0.04
    # Called drift by a test of all rows, or as soon as the sizes ask for less.
    eager = DriftSettings(engine="scipy", sample=200_000, shift=0.0, correlation=9, auc=0.99)
    assert "x0" in drifted(judged(make_window(200_000, 4, shift=0.04), eager))


@pytest.mark.parametrize(
    ("change", "names"),
    [({"shift": 0.1}, ["x0"]), ({"mix": 0.05}, ["kind"]), ({"missing": 0.05}, ["x3"])],
    ids=["shift", "mix", "missing"],
)
def test_what_moved_is_named(judged, change, names):
    found = judged(make_window(20_000, 5, **change))
    assert found.verdict == "drift"
    assert drifted(found) == names
    assert repr(names[0]) in found.reason
    assert found.columns[0].column.name == names[0]


def test_correlation_that_flips_is_found_though_no_column_moved(judged):
    found = judged(make_window(3_000, 6, correlation=-0.6))
    assert found.verdict == "drift"
    assert drifted(found) == []
    pair = found.pairs[0]
    assert {pair["first"], pair["second"]} == {"x1", "x2"}
    assert pair["drifted"]
    assert pair["reference"] == pytest.approx(0.58, abs=0.05)
    assert pair["current"] == pytest.approx(-0.58, abs=0.05)
    assert "'x1' and 'x2'" in found.reason


@pytest.mark.skipif(importlib.util.find_spec("alibi_detect") is None, reason="alibi-detect is not installed")
@pytest.mark.parametrize(
    "change", [{}, {"shift": 0.15}, {"missing": 0.4}, {"mix": 0.1}, {"correlation": -0.6}], ids=str
)
def test_both_engines_say_the_same(judged, change):
    table = make_window(2_000, 7, **change)
    documents = [judged(table, DriftSettings(engine=engine)).to_dict() for engine in ("alibi", "scipy")]
    for key in ("verdict", "drifted", "broken", "score", "rows"):
        assert documents[0][key] == documents[1][key], key
    for one, other in zip(*(document["columns"] for document in documents), strict=True):
        assert one["name"] == other["name"]
        assert one["adjusted_p"] == pytest.approx(other["adjusted_p"], abs=1e-6)


def test_column_that_is_mostly_missing_is_seen(judged):
    found = judged(make_window(2_000, 8, missing=0.6))
    assert found.verdict == "drift"
    assert drifted(found) == ["x3"]
    assert found.columns[0].effects.missing == pytest.approx(0.6, abs=0.05)


def test_same_input_gives_the_same_verdict(judged):
    table = make_window(2_000, 9, shift=0.1)
    assert judged(table).to_dict() == judged(table).to_dict()


def test_predictions_of_the_model_are_compared_with_its_scores(trained, tmp_path):
    model = trained("binary")
    events = make_events(4_000, 11)
    path = write_traffic_table(tmp_path / "same", model, events)
    assert detect(model, path, SCIPY).verdict == "none"
    # The log says that the model has become sure of itself, though it was asked the same.
    table = read_table(path)
    high = pc.power(table.column("probability_True"), pa.scalar(0.5, pa.float32()))
    position = table.schema.get_field_index("probability_True")
    write_table(tmp_path / "sure", table.set_column(position, "probability_True", high))
    found = detect(model, tmp_path / "sure", SCIPY)
    assert found.verdict == "drift"
    assert drifted(found) == ["probability_True"]
    assert found.columns[0].column.role == "prediction"


def test_predictions_of_other_models_do_not_count(trained, tmp_path):
    model = trained("binary")
    path = write_traffic_table(tmp_path / "other", model, make_events(1_000, 12), digest="sha256:other")
    found = detect(model, path, SCIPY)
    assert (found.summary.rows, found.summary.own_rows) == (1_000, 0)
    score = next(one for one in found.columns if one.column.role == "prediction")
    assert (score.p_value, score.effects.psi) == (None, None)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_moved_inputs_move_predictions_of_every_task(trained, tmp_path, task):
    model = trained(task)
    found = detect(model, write_traffic_table(tmp_path / "window", model, make_events(3_000, 13, shift=0.6)), SCIPY)
    assert found.verdict == "drift"
    assert drifted(found)[0] == "distance"
    assert {one.column.role for one in found.columns if one.drifted} == {"input", "prediction"}


def test_document_and_page(trained, tmp_path):
    model = trained("binary")
    events = make_events(2_000, 14, shift=0.5, carriers=(0.1, 0.6, 0.3))
    found = detect(model, write_traffic_table(tmp_path / "window", model, events), SCIPY)
    found.save(tmp_path / "drift.json")
    document = json.loads((tmp_path / "drift.json").read_text())
    assert document["verdict"] == "drift"
    assert [one["name"] for one in document["columns"]][:2] == document["drifted"][:2]
    assert set(document["drifted"]) == {"distance", "carrier", "probability_True"}
    assert document["score"] == max(one["psi"] for one in document["columns"] if one["role"] == "input")
    assert found.metrics["columns_drifted"] == 3
    drift_report(found).write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    for text in ("distance", "carrier", "Before and after", "at training", found.reason.replace("'", "&#x27;")):
        assert text in page


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 0.0), ("alpha", float("nan")), ("min_rows", 0), ("shift", -1.0), ("auc", 1.0)]
)
def test_settings_that_make_no_sense(name, value):
    with pytest.raises(InputError, match=f"{name} is .*: set it to"):
        DriftSettings(**{name: value})


def test_reference_that_cannot_be_used(tmp_path, trained):
    with pytest.raises(InputError, match="There is no model"):
        detect(tmp_path, tmp_path / "window", SCIPY)
    path = write_traffic_table(tmp_path / "window", trained("binary"), make_events(300))
    with pytest.raises(InputError, match="no drift engine 'other'"):
        detect(trained("binary"), path, DriftSettings(engine="other"))


def test_all_columns_moving_a_little(judged):
    table = make_window(10_000, 15)
    for position in range(6):
        moved = pc.add(table.column(position), 0.08)
        table = table.set_column(position, f"x{position}", moved)
    found = judged(table)
    assert found.joint["drifted"]
    assert found.joint["shift"] == pytest.approx(0.08, abs=0.03)
    assert np.isfinite(list(found.metrics.values())).all()
