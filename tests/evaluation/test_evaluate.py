"""A model on test rows: figures, slices, importance, what is refused, and the page."""

import json
import re
import warnings
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from evaluation_models import make_model, make_table
from peaks import peak_mb
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from loopline.components.data.tables import read_table, table_writer, write_table
from loopline.components.errors import InputError
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.evaluation.page import evaluation_report
from loopline.components.evaluation.slices import MOST_SLICES, split_rows
from loopline.components.model.predictor import load_predictor

QUICK = Settings(bootstrap=50, importance_repeats=0)


def relabel(bench, path, change, task="binary"):
    """Write the test table of a task with its target changed by a function of the list of labels."""
    table = read_table(bench.test(task))
    column = pa.array(change(table.column("target").to_pylist()), table.schema.field("target").type)
    write_table(path, table.set_column(table.schema.get_field_index("target"), "target", column))
    return path


def test_figures_are_those_of_scikit_learn_on_the_models_predictions(bench):
    found = evaluate(bench.model(), bench.test(), QUICK)
    table = read_table(bench.test())
    truth = np.array(table.column("target").to_pylist()) == "ok"
    probability = load_predictor(bench.model()).predict(table)[:, 1]
    assert found.metrics["roc_auc"]["value"] == pytest.approx(roc_auc_score(truth, probability))
    assert found.metrics["log_loss"]["value"] == pytest.approx(log_loss(truth, probability), rel=1e-5)
    assert np.sum(found.confusion) == found.rows == 1500
    for entry in found.metrics.values():
        assert entry["low"] < entry["value"] < entry["high"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_evaluation_beats_its_baseline_and_is_plain_json(bench, task, tmp_path):
    found = evaluate(bench.model(task), bench.test(task), QUICK)
    main = "rmse" if task == "regression" else "log_loss"
    assert found.metrics[main]["high"] < found.baseline[main]
    found.save(tmp_path / "evaluation.json")
    saved = json.loads((tmp_path / "evaluation.json").read_text())
    assert saved["metrics"][main]["value"] == found.metrics[main]["value"]
    assert saved["rows"] == 1500
    assert all(np.isfinite(value) for value in found.flat_metrics().values())


def test_same_seed_same_figures(bench):
    settings = Settings(slices=("carrier",), bootstrap=50)
    first, second = (evaluate(bench.model(), bench.test(), settings).to_dict() for _ in range(2))
    assert first == second


def test_importance_finds_what_the_target_depends_on(bench):
    found = evaluate(bench.model(), bench.test(), Settings(bootstrap=0, importance_repeats=3))
    assert [one.feature for one in found.importance[:2]] == ["distance", "carrier"]
    assert abs(found.importance[2].value) < 0.01 < found.importance[1].value
    assert found.metrics["roc_auc"]["low"] is None


def test_slices_partition_the_rows_and_mark_small_ones(bench, tmp_path):
    rows = 130
    path = tmp_path / "few.parquet"
    write_table(path, make_table(rows, seed=3))
    slices = evaluate(bench.model(), path, Settings(("carrier",), bootstrap=50, importance_repeats=0)).slices
    assert sum(one.rows for one in slices) == rows
    assert sum(one.share for one in slices) == pytest.approx(1)
    assert {one.name for one in slices if one.small} >= {"UA", "DL"}
    assert all(one.low <= one.value <= one.high for one in slices if one.low is not None)


def test_many_categories_become_other_and_numbers_become_ranges():
    codes, names = split_rows(pa.chunked_array([[f"c{min(i, 14):02d}" for i in range(100)] + [None]]))
    assert len(names) == MOST_SLICES + 2
    assert names[-2:] == ["other (5 values)", "missing"]
    assert (codes == MOST_SLICES).sum() == 5
    assert (codes == MOST_SLICES + 1).sum() == 1
    codes, names = split_rows(pa.chunked_array([[*range(100), None]]))
    assert len(names) == 5
    assert np.bincount(codes).tolist() == [25, 25, 25, 25, 1]
    assert split_rows(pa.chunked_array([[3, 1, 1, 2, 2, 2]]))[1][:3] == ["1", "2", "3"]
    months = pa.chunked_array([pa.array([datetime(2026, 3, 1), datetime(2026, 2, 1), datetime(2026, 3, 9)])])
    assert split_rows(months)[1][:2] == ["2026-02", "2026-03"]


def test_rows_without_a_label_are_left_out_and_counted(bench, tmp_path):
    path = relabel(bench, tmp_path / "t.parquet", lambda labels: [None] * 100 + labels[100:])
    found = evaluate(bench.model(), path, QUICK)
    assert (found.rows, found.unlabeled) == (1400, 100)
    assert "100 rows without a label" in found.notes[0]


def test_one_class_only_still_gives_the_other_metrics(bench, tmp_path):
    path = relabel(bench, tmp_path / "t.parquet", lambda labels: ["ok"] * len(labels))
    found = evaluate(bench.model(), path, Settings(("carrier",), bootstrap=50, importance_repeats=1))
    assert found.metrics["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found.metrics["log_loss"]["low"] is not None
    assert "roc_auc" not in found.flat_metrics()
    assert any("No test row is of class late" in note for note in found.notes)
    evaluation_report(found).write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Undefined on these rows: ROC AUC" in page
    # The best constant is perfect by hindsight here: a percentage of its log loss would be one of nothing.
    assert "that of the best constant" not in page


@pytest.mark.parametrize(("task", "label"), [("multiclass", 1), ("regression", 5.0)])
def test_rows_of_one_label_still_make_a_page(bench, task, label, tmp_path):
    path = relabel(bench, tmp_path / "t.parquet", lambda labels: [label] * len(labels), task)
    found = evaluate(bench.model(task), path, QUICK)
    assert found.metrics["macro_roc_auc" if task == "multiclass" else "r2"]["value"] is None
    evaluation_report(found).write(tmp_path / "report.html")
    assert "Undefined on these rows" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_handful_of_rows_is_judged(bench, task, rows, tmp_path):
    write_table(tmp_path / "t.parquet", make_table(rows, task, seed=1))
    found = evaluate(bench.model(task), tmp_path / "t.parquet", Settings(("carrier",), bootstrap=50))
    assert found.rows == rows
    found.save(tmp_path / "evaluation.json")
    evaluation_report(found).write(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("task", "label"), [("binary", "'cancelled'"), ("multiclass", "7"), ("regression", "an infinite value")]
)
def test_a_label_the_model_does_not_know_is_refused(bench, task, label, tmp_path):
    strange = {"binary": "cancelled", "multiclass": 7, "regression": float("inf")}[task]
    path = relabel(bench, tmp_path / "t.parquet", lambda labels: [strange, *labels[1:]], task)
    with pytest.raises(InputError, match=label):
        evaluate(bench.model(task), path, QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: ["cancelled", *labels[1:]], "'cancelled', which is not among the classes 'late', 'ok'"),
        (lambda labels: [None] * len(labels), "missing in all 1,500 test rows"),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(bench, tmp_path, change, message):
    path = relabel(bench, tmp_path / "t.parquet", change)
    with pytest.raises(InputError, match=message):
        evaluate(bench.model(), path, QUICK)


def test_tables_that_do_not_fit_are_refused(bench, tmp_path):
    table = read_table(bench.test())
    write_table(tmp_path / "empty.parquet", table.slice(0, 0))
    write_table(tmp_path / "no-target.parquet", table.drop_columns(["target"]))
    write_table(tmp_path / "no-feature.parquet", table.drop_columns(["distance"]))
    for name, message in (("empty", "no rows"), ("no-target", "'target' is not in"), ("no-feature", "'distance' is")):
        with pytest.raises(InputError, match=message):
            evaluate(bench.model(), tmp_path / f"{name}.parquet", QUICK)
    with pytest.raises(InputError, match="'airline' is not in the test table"):
        evaluate(bench.model(), bench.test(), Settings(slices=("airline",)))


@pytest.mark.parametrize(
    "settings", [{"threshold": 0.0}, {"threshold": 1.5}, {"bootstrap": 3}, {"seed": -1}, {"importance_repeats": -1}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Settings(**settings)


def test_integer_and_boolean_classes_are_judged_like_text(tmp_path):
    table = make_table(600)
    late = [label == "late" for label in table.column("target").to_pylist()]
    figures = []
    for name, labels in (("integers", pa.array([int(one) for one in late])), ("booleans", pa.array(late))):
        relabeled = table.set_column(3, "target", labels)
        write_table(tmp_path / f"{name}.parquet", relabeled)
        model = make_model(tmp_path / name, relabeled, "binary")
        figures.append(evaluate(model, tmp_path / f"{name}.parquet", QUICK).metrics)
    assert figures[0] == figures[1]
    assert figures[0]["roc_auc"]["value"] > 0.7


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_model_that_is_certain_and_wrong_has_a_finite_loss(bench, task, tmp_path):
    model = make_model(tmp_path / "tree", make_table(2000, task), task, estimator=DecisionTreeClassifier())
    found = evaluate(model, bench.test(task), Settings(bootstrap=50, importance_repeats=1))
    assert found.metrics["log_loss"]["value"] > found.baseline["log_loss"]
    found.save(tmp_path / "evaluation.json")
    assert np.isfinite(list(found.flat_metrics().values())).all()
    evaluation_report(found).write(tmp_path / "report.html")
    assert "above that of the best constant" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_page_stands_alone_and_states_its_subject(bench, task, tmp_path):
    found = evaluate(bench.model(task), bench.test(task), Settings(("carrier",), bootstrap=50, importance_repeats=1))
    evaluation_report(found).write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    outside = [link for link in re.findall(r'(?:src|href)="([^"]+)"', page) if not link.startswith(("#", "data:"))]
    assert outside == []
    assert "<script" not in page
    for text in (found.manifest.digest, found.data_digest, "the tests want a pickle", "By carrier", "1,500"):
        assert text in page
    assert page.count("<svg") == (5 if task == "binary" else 3)


class Page(HTMLParser):
    """The elements and the text of a page as a browser would find them; ``drawn`` is the text inside plots."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.words, self.drawn, self.last = set(), [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags |= {tag, *(name for name, _ in attrs if name.startswith("on"))}
        self.last = tag

    def handle_data(self, data):
        self.words.append(data)
        if self.last == "text":
            self.drawn.append(data.strip())


HOSTILE = ["<script>alert(1)</script>", "</text></svg><img src=x onerror=alert(1)>", "a & \"b\" 'c'"]
FORMULAS = ["$x_{$", "$\\frac$ and more", "$5-$10"]
ODD = ["x" * 300, "_hidden", "\u4e2d\u6587\nand a line"]


@pytest.mark.parametrize("names", [HOSTILE, FORMULAS, ODD], ids=["markup", "formulas", "odd"])
def test_names_from_the_data_are_shown_and_never_obeyed(names, tmp_path):
    known = dict(zip(["AA", "DL", "UA"], names, strict=True))
    classes = {"late": names[0], "ok": names[1]}
    table = make_table(900)
    for column, mapping in (("carrier", known), ("target", classes)):
        changed = pa.array([mapping[one] for one in table.column(column).to_pylist()])
        table = table.set_column(table.schema.get_field_index(column), column, changed)
    table = table.rename_columns(["distance", names[2], "carrier", "target"])
    model = make_model(tmp_path / "model", table, "binary", features=("distance", names[2], "carrier"))
    write_table(tmp_path / "test.parquet", table)
    found = evaluate(model, tmp_path / "test.parquet", Settings(("carrier",), bootstrap=50, importance_repeats=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation_report(found).write(tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {"svg", "table"} <= page.tags
    assert not page.tags & {"script", "img", "onerror"}
    assert set(names) <= set(page.words)
    # In the plots each name keeps its first letters; taken for a formula or a hidden label it would lose them.
    drawn = [re.sub(r"\s+", " ", word).strip() for word in page.drawn]
    for name in names:
        assert any(word.startswith(re.sub(r"\s+", " ", name)[:12]) for word in drawn), name
    legend = [word for word in drawn if word.endswith(" rows)")]
    assert len(legend) == 2


@pytest.mark.parametrize("step", ["evaluate", "compare"])
def test_the_test_table_is_never_in_memory_whole(tmp_path, step):
    """The features of 400,000 more rows are 200 MB; truth, scores and the work on them some 30."""
    random = np.random.default_rng(0)
    features = [f"x{i}" for i in range(60)]
    table = make_table(50_000, "regression")
    for name in features:
        table = table.append_column(name, pa.array(random.random(50_000)))
    for number in range(2):
        make_model(tmp_path / f"model{number}", table[number : number + 5000], "regression", features)
    program = (
        "import sys; from loopline.components.evaluation.evaluate import Settings, evaluate;"
        "from loopline.components.evaluation.compare import Contest, compare;"
        "step, model, other, test = sys.argv[1:];"
        "evaluate(model, test, Settings(('carrier',), bootstrap=0)) if step == 'evaluate' else "
        "compare(model, other, test, Contest(bootstrap=50))"
    )
    peaks = []
    for blocks in (4, 12):
        with table_writer(tmp_path / "test.parquet", table.schema) as writer:
            for _ in range(blocks):
                writer.write_table(table)
        peaks.append(peak_mb(program, step, tmp_path / "model0", tmp_path / "model1", tmp_path / "test.parquet"))
    assert peaks[1] - peaks[0] < 120
