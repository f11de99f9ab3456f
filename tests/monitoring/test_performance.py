"""Verdicts on served predictions: where a retraining pays and where it does not."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from monitoring_collected import Server
from monitoring_models import START, TARGETS, make_events, write_traffic

from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.evaluation.metrics import METRICS
from loopline.components.evaluation.metrics import score as score_rows
from loopline.components.model.directory import HELD_OUT
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.performance import measure
from loopline.components.monitoring.performance_page import performance_report
from loopline.components.monitoring.window import Window
from loopline.components.registry.record import read_metrics

TASKS = ("binary", "multiclass", "regression")


@pytest.fixture(scope="module")
def servers(trained) -> dict[str, Server]:
    return {task: Server(trained(task)) for task in TASKS}


@pytest.fixture
def binary(servers) -> Server:
    return servers["binary"]


def register(server: Server, folder: Path, events: pa.Table) -> str:
    """Return what MLflow would hold of the model: evaluate_model on events, through the registry's own reader."""
    write_table(folder / "test.parquet", events)
    evaluate(server.model, folder / "test.parquet", Settings(importance_repeats=0)).save(folder / "metrics.json")
    return json.dumps(read_metrics(folder / "metrics.json"))


def measured(server: Server, folder: Path, events: pa.Table, registered: str = "{}", **arguments):
    path = server.serve(folder / "window.parquet", events)
    return measure(server.model, path, registered, **{"bootstrap": 100, **arguments})


def more_late(events: pa.Table, times: float, seed: int = 1) -> pa.Table:
    """Draw rows so that late ones come up more often, whatever their features."""
    weights = np.where(events.column("late").to_numpy(), times, 1.0)
    picked = np.random.default_rng(seed).choice(events.num_rows, events.num_rows, p=weights / weights.sum())
    return events.take(pa.array(picked))


@pytest.mark.parametrize("task", TASKS)
def test_figures_are_those_of_the_logged_predictions(servers, task, tmp_path):
    server = servers[task]
    events = make_events(1_000, 5)
    names = server.manifest.output_names
    constant = {name: np.full(1_000, 1 / len(names) if task != "regression" else 3.0, np.float32) for name in names}
    path = server.serve(tmp_path / "window.parquet", events, **constant)
    found = measure(server.model, path, bootstrap=100)
    target = events.column(TARGETS[task]).to_pylist()
    if task == "regression":
        expected = score_rows(task, np.array(target), np.full(1_000, 3.0))
    else:
        truth = np.array([server.manifest.classes.index(one) for one in target])
        expected = score_rows(task, truth, np.full((1_000, len(names)), 1 / len(names)))
    # Not predicted again: the model would have given other values than these.
    assert {name: entry["value"] for name, entry in found.metrics.items()} == pytest.approx(expected)
    assert found.verdict == "worse"


@pytest.mark.parametrize("task", TASKS)
def test_nothing_changes(servers, task, tmp_path):
    server = servers[task]
    registered = register(server, tmp_path, make_events(3_000, 6))
    for text in (registered, "{}"):
        found = measured(server, tmp_path, make_events(3_000, 7), text)
        assert found.verdict == "steady"
        metric = found.metric
        assert found.registered[metric]["value"] == pytest.approx(found.metrics[metric]["value"], rel=0.1)
        assert found.skill["registered"] == pytest.approx(found.skill["value"], abs=0.05)
        expected = found.expected[metric]
        assert expected["low"] < found.metrics[metric]["value"] < expected["high"]


@pytest.mark.parametrize("task", TASKS)
def test_the_meaning_of_a_feature_turns_around(servers, task, tmp_path):
    found = measured(servers[task], tmp_path, make_events(1_000, 8, flipped=True))
    assert found.verdict == "worse"
    assert found.skill["value"] < 0
    # Inputs and predictions are as ever: only the truth can tell, the estimate cannot.
    metric = found.metric
    assert found.estimate["metrics"][metric]["value"] == pytest.approx(found.registered[metric]["value"], rel=0.1)


def test_base_rate_that_follows_from_the_features_is_no_decay(binary, tmp_path):
    seldom = make_events(4_000, 9, shift=-1.5)
    registered = register(binary, tmp_path, seldom)
    found = measured(binary, tmp_path, make_events(4_000, 10), registered)
    # Twice as many are late as when the model was registered, and every loss is larger by a third.
    assert np.mean(seldom.column("late").to_numpy()) < 0.25
    assert found.metrics["log_loss"]["low"] > 1.2 * found.registered["log_loss"]["high"]
    assert found.skill["value"] > found.skill["registered"] - 0.05
    assert found.verdict == "steady"


def test_base_rate_that_no_feature_explains_is_decay(binary, tmp_path):
    for times in (4.0, 0.25):
        found = measured(binary, tmp_path, more_late(make_events(3_000, 11), times))
        assert found.verdict == "worse"
        assert found.skill["high"] < found.skill["registered"] - 0.05


def test_base_rate_that_flatters_hides_no_decay(binary, tmp_path):
    """As in a September of few late flights: a lower loss than registered, and no better than a constant."""
    events = make_events(6_000, 12, shift=-2)
    guess = np.random.default_rng(0).beta(2, 8, 6_000)
    columns = {"probability_False": (1 - guess).astype(np.float32), "probability_True": guess.astype(np.float32)}
    path = binary.serve(tmp_path / "window.parquet", events, **columns)
    found = measure(binary.model, path, bootstrap=100)
    assert found.metrics["log_loss"]["high"] < found.registered["log_loss"]["low"]
    assert found.verdict == "worse"
    assert "Worse by skill" in found.reason


def test_shift_of_the_inputs_alone_is_no_decay(binary, tmp_path):
    assert measured(binary, tmp_path, make_events(4_000, 13, carriers=(0.1, 0.3, 0.6))).verdict == "steady"


def test_harder_rows_are_no_decay(binary, tmp_path):
    events = make_events(12_000, 14)
    near = pc.less(pc.abs(pc.subtract(events.column("distance"), 500.0)), 40.0)
    found = measured(binary, tmp_path, events.filter(near))
    assert found.skill["high"] < found.skill["registered"] - 0.05
    assert found.verdict == "steady"
    assert "harder" in found.reason
    # The same fall without harder rows is one.
    assert measured(binary, tmp_path, make_events(3_000, 15, flipped=True)).verdict == "worse"


def test_many_rows_make_no_alarm_of_a_tiny_change(binary, tmp_path):
    """As in the census: with 30,000 rows a fall of three percent is sure, and too small to act on."""
    events = make_events(30_000, 16)
    path = binary.serve(tmp_path / "window.parquet", events)
    table = read_table(path)
    odds = np.log(table.column("probability_True").to_numpy() / table.column("probability_False").to_numpy()) - 0.5
    late = (1 / (1 + np.exp(-odds))).astype(np.float32)
    path = binary.serve(path, events, probability_True=late, probability_False=1 - late)
    found = measure(binary.model, path, register(binary, tmp_path, make_events(30_000, 17)), bootstrap=100)
    assert found.metrics["log_loss"]["low"] > found.registered["log_loss"]["high"]
    assert found.verdict == "steady"


@pytest.mark.parametrize("rows", [200, 1_000])
def test_false_alarms_are_rare(binary, rows, tmp_path):
    """Of 200 such windows of 200 rows one was called worse, of 200 with 2,000 rows three."""
    registered = register(binary, tmp_path, make_events(3_000, 18))
    windows = (make_events(rows, 100 + trial) for trial in range(10))
    verdicts = [measured(binary, tmp_path, window, registered, bootstrap=50).verdict for window in windows]
    assert verdicts.count("worse") <= 1


def test_a_loss_ten_percent_worse_is_seen_in_2000_rows(binary, tmp_path):
    registered = register(binary, tmp_path, make_events(4_000, 19))
    verdicts = []
    for trial in range(4):
        events = make_events(2_000, 200 + trial)
        late = events.column("late").to_numpy().copy()
        # A share of the labels turned around at random.
        turned = np.random.default_rng(trial).random(2_000) < 0.05
        late[turned] = ~late[turned]
        events = events.set_column(events.schema.get_field_index("late"), "late", pa.array(late))
        found = measured(binary, tmp_path, events, registered)
        verdicts.append(found.verdict)
    assert found.metrics["log_loss"]["value"] < 1.25 * found.registered["log_loss"]["value"]
    assert verdicts.count("worse") >= 3


def test_better_than_registered(binary, tmp_path):
    worse = more_late(make_events(3_000, 20), 4.0)
    found = measured(binary, tmp_path, make_events(3_000, 21), register(binary, tmp_path, worse))
    assert found.verdict == "better"


@pytest.mark.parametrize("metric", [metric.name for metric in METRICS["binary"]])
def test_any_metric_can_decide(binary, metric, tmp_path):
    steady = measured(binary, tmp_path, make_events(2_000, 22), metric=metric)
    assert steady.verdict in ("steady", "better")
    assert measured(binary, tmp_path, make_events(2_000, 22, flipped=True), metric=metric).verdict == "worse"


def test_too_few_labels_give_an_estimate_that_says_so(binary, tmp_path):
    path = binary.serve(tmp_path / "window.parquet", make_events(2_000, 23), labeled=0.05)
    found = measure(binary.model, path)
    assert (found.verdict, found.labeled, found.rows, found.is_estimate) == ("unknown", 100, 2_000, True)
    assert "100 of 2,000 rows have a label" in found.reason
    assert not found.metrics
    assert found.estimate["metrics"]["log_loss"]["low"] < found.registered["log_loss"]["high"]
    assert "JAIR 2025" in found.estimate["paper"]
    flat = found.flat_metrics
    assert "log_loss" not in flat
    assert flat["estimated_log_loss"] == found.estimate["metrics"]["log_loss"]["value"]
    performance_report(found).write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Log loss, ESTIMATE" in page
    assert "estimated, not measured" in page


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        (0, {}, "There are 0 rows with a prediction, and the window is empty."),
        (1, {}, "1 of 1 rows have a label"),
        (300, {"loopline_model_digest": "sha256:other"}, "none of them was predicted by this model"),
    ],
)
def test_windows_that_cannot_tell(binary, rows, columns, reason, tmp_path):
    path = binary.serve(tmp_path / "window.parquet", make_events(rows, 24), **columns)
    found = measure(binary.model, path)
    assert found.verdict == "unknown"
    assert reason in found.reason
    found.save(tmp_path / "performance.json")
    assert json.loads((tmp_path / "performance.json").read_text())["verdict"] == "unknown"
    performance_report(found).write(tmp_path / "page.html")


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_window_of_one_class(servers, task, tmp_path):
    events = make_events(3_000, 25)
    first = servers[task].manifest.classes[0]
    found = measured(servers[task], tmp_path, events.filter(pc.equal(events.column(TARGETS[task]), first)))
    assert found.skill["value"] is None
    assert found.verdict in ("steady", "worse", "better")
    found.save(tmp_path / "performance.json")
    performance_report(found).write(tmp_path / "page.html")


def test_rows_without_prediction_and_strange_labels_are_left_out_and_counted(servers, tmp_path):
    server = servers["multiclass"]
    events = make_events(1_000, 26)
    scores = np.full(1_000, 0.3, np.float32)
    scores[:40] = np.nan
    grade = events.column("grade").to_pylist()
    grade[100:107] = ["excellent"] * 7
    path = server.serve(tmp_path / "window.parquet", events, probability_high=scores, grade=grade)
    found = measure(server.model, path, bootstrap=100)
    assert (found.rows, found.labeled) == (960, 953)
    assert found.notes[:2] == [
        "40 rows without a prediction were left out.",
        "7 rows whose truth is none of the model's classes count as not labeled.",
    ]


def test_sites_versions_and_time(binary, tmp_path):
    """One site answers with the wrong model's numbers, and half the rows come from the version before."""
    events = make_events(4_000, 27)
    half = np.arange(4_000) % 2 == 0
    site = ["edge" if row % 4 < 2 else "cloud" for row in range(4_000)]
    digests = [binary.manifest.digest if own else "sha256:before" for own in half]
    path = binary.serve(
        tmp_path / "window.parquet", events, labeled=0.75, loopline_site=site, loopline_model_digest=digests,
        loopline_model_version=["2" if own else "1" for own in half],
    )  # fmt: skip
    broken = read_table(path)
    turned = np.array([name == "edge" for name in site])
    names = ("probability_False", "probability_True")
    scores = [broken.column(name).to_numpy() for name in names]
    swapped = {name: np.where(turned, scores[1 - k], scores[k]) for k, name in enumerate(names)}
    for name, values in swapped.items():
        broken = broken.set_column(broken.schema.get_field_index(name), name, pa.array(values))
    write_table(path, broken)
    found = measure(binary.model, path, bootstrap=100)
    assert (found.rows, found.labeled) == (2_000, 1_500)
    assert {name: entry["rows"] for name, entry in found.by_site.items()} == {"cloud": 750, "edge": 750}
    assert found.by_site["edge"]["low"] > found.by_site["cloud"]["high"]
    assert {name: entry["rows"] for name, entry in found.by_version.items()} == {"1": 1_500, "2": 1_500}
    assert found.labels["share"] == 0.75
    assert found.labels["behind_s"] == pytest.approx(0.25 * 86_400, abs=60)
    assert sum(span["served"] for span in found.by_time) == 2_000
    assert sum(span["rows"] for span in found.by_time) == 1_500
    assert found.by_time[0]["start"] == "2026-03-01T00:00:00+00:00"
    assert "2,000 rows were predicted by another model and do not count." in found.notes
    performance_report(found).write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "site edge (750)" in page
    assert "<script" not in page


def test_skill_of_old_registrations_comes_from_the_reference_rows(binary, tmp_path):
    registered = json.loads(register(binary, tmp_path, make_events(3_000, 28)))
    before = {name: value for name, value in registered.items() if not name.startswith("baseline_")}
    found = measured(binary, tmp_path, make_events(1_000, 29), json.dumps(before))
    assert found.skill["registered"] == pytest.approx(0.3, abs=0.05)
    assert any("stands in for it" in note for note in found.notes)
    assert found.registered_source == "the test rows at registration"


def test_model_without_held_out_rows_makes_no_promise(binary, tmp_path):
    """Rows the model was trained on flatter it: held against them every window would be worse."""
    model = tmp_path / "model"
    shutil.copytree(binary.model, model)
    (model / HELD_OUT).unlink()
    path = binary.serve(tmp_path / "window.parquet", make_events(1_000, 30))
    found = measure(model, path, bootstrap=100)
    assert (found.verdict, found.estimate, found.registered) == ("unknown", None, {})
    assert measure(model, path, register(binary, tmp_path, make_events(1_000, 31)), bootstrap=100).verdict == "steady"
    path = binary.serve(tmp_path / "window.parquet", make_events(1_000, 30, flipped=True))
    found = measure(model, path, bootstrap=100)
    assert found.verdict == "worse"
    assert "worse than the best constant" in found.reason


def test_same_input_gives_the_same_document(binary, tmp_path):
    path = binary.serve(tmp_path / "window.parquet", make_events(1_000, 32))
    for name in ("first", "second"):
        measure(binary.model, path, bootstrap=100, seed=3).save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"metric": "rmse"}, "Metric 'rmse' is unknown for a binary model"),
        ({"registered": "log_loss=0.5"}, "registered is 'log_loss=0.5'"),
        ({"registered": '{"log_loss": "low"}'}, "give the metrics of the registered version as JSON"),
        ({"confidence": 95}, "confidence is 95"),
        ({"bootstrap": 0}, "bootstrap is 0"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"min_rows": 0}, "min_rows is 0"),
    ],
)
def test_wrong_parameters_are_refused(binary, arguments, problem, tmp_path):
    path = binary.serve(tmp_path / "window.parquet", make_events(300, 33))
    with pytest.raises(InputError, match=problem) as refused:
        measure(binary.model, path, **arguments)
    assert str(refused.value).count(". ") == 0


def test_table_of_another_kind_is_refused(binary, tmp_path):
    write_table(tmp_path / "events.parquet", make_events(10))
    with pytest.raises(InputError, match=r"'loopline_time'.*is not in the collected traffic"):
        measure(binary.model, tmp_path / "events.parquet")


def test_what_collect_writes_can_be_measured(binary, tmp_path):
    truth = write_traffic(tmp_path / "log", binary.model, make_events(1_000, 34))
    write_table(tmp_path / "truth.parquet", truth)
    window = Window(START, START + timedelta(hours=3))
    collect(
        binary.model, tmp_path / "traffic.parquet", "flights", str(tmp_path / "log"), window,
        truth=str(tmp_path / "truth.parquet"),
    )  # fmt: skip
    found = measure(binary.model, tmp_path / "traffic.parquet", bootstrap=100)
    assert (found.verdict, found.rows, found.labeled) == ("steady", 1_000, 1_000)
