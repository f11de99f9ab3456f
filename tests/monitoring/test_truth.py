"""Truth that arrives late, twice, contradicting itself, in another spelling, or never."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from monitoring_models import START, TARGETS, make_events, write_traffic
from object_stores import running_store

from loopline.components.data.tables import read_table
from loopline.components.errors import InputError
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.window import Window, read_window

WINDOW = read_window(START.isoformat(), (START.replace(hour=START.hour + 2)).isoformat(), 0)


class Watched:
    """A model's traffic, and what its truth is collected to."""

    def __init__(self, model, folder, task, rows, **options):
        self.model, self.folder, self.target = model, folder, TARGETS[task]
        self.events = make_events(rows, seed=3)
        self.truth = write_traffic(folder / "log", model, self.events, **options)

    def collect(self, truth="", key="request_id,row", window: Window = WINDOW, csv: str = "{}"):
        truth = str(self.folder / truth) if truth and "://" not in truth else truth
        log = str(self.folder / "log")
        return collect(self.model, self.folder / "out", "flights", log, window, "", truth, key, csv)

    def labels(self) -> list:
        return read_table(self.folder / "out", [self.target]).column(0).to_pylist()

    def write(self, name: str, table: pa.Table | pd.DataFrame) -> None:
        table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        (pq.write_table if name.endswith("parquet") else pyarrow.csv.write_csv)(table, file)


@pytest.fixture
def watched(trained, tmp_path):
    return Watched(trained(), tmp_path, "binary", 200)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("name", ["truth.csv", "truth.parquet"])
def test_each_prediction_gets_its_own_truth(trained, tmp_path, task, name):
    """The truth comes in another order than the predictions, and there is more of it."""
    watched = Watched(trained(task), tmp_path, task, 300)
    order = np.random.default_rng(0).permutation(300)
    watched.write(name, watched.truth.take(pa.array(order)))
    found = watched.collect(name, window=Window(WINDOW.start, START.replace(minute=30)))
    assert watched.labels() == watched.events.column(watched.target).to_pylist()[:75]
    assert (found.rows, found.labeled, found.own_labeled) == (75, 75, 75)
    assert found.truth.to_dict() == {
        "rows": 300, "matched": 75, "duplicate": 0, "contradictory": 0, "ambiguous": 0, "without_prediction": 225,
        "unlabeled": 0, "unknown": 0,
    }  # fmt: skip
    types = {"binary": pa.bool_(), "multiclass": pa.string(), "regression": pa.float64()}
    assert read_table(tmp_path / "out").column(watched.target).type == types[task]


def test_truth_comes_in_many_files_some_of_them_empty(watched):
    watched.write("truth/day-1.csv", watched.truth.slice(0, 50))
    watched.write("truth/day-2.parquet", watched.truth.slice(50, 50))
    watched.write("truth/day-3.csv", watched.truth.slice(0, 0))
    (watched.folder / "truth" / "day-4.csv").touch()
    other_columns = watched.truth.slice(100, 50).append_column("who", pa.array(["x"] * 50))
    watched.write("truth/day-5.csv", other_columns)
    for truth in ("truth", "truth/day-*"):
        found = watched.collect(truth)
        assert (found.labeled, found.truth.rows) == (150, 150)
        assert watched.labels() == [*watched.events.column("late").to_pylist()[:150], *[None] * 50]


def test_truth_is_read_as_it_says(watched):
    """Notes in another encoding, beside what is joined, and values spelled in a way of their own."""
    rows = watched.truth.to_pandas().assign(note="sp\u00e4t")
    text = rows.to_csv(index=False, sep="#")
    (watched.folder / "truth.csv").write_bytes(text.encode("cp1252"))
    csv = '{"encoding": "cp1252", "delimiter": "#"}'
    assert watched.collect("truth.csv", csv=csv).labeled == 200
    with pytest.raises(InputError, match="csv gives 'sep': use delimiter"):
        watched.collect("truth.csv", csv='{"sep": "#"}')


def test_truth_on_s3(watched, monkeypatch):
    watched.write("truth.csv", watched.truth)
    with running_store(monkeypatch, "truth") as client:
        client.fput_object("truth", "late/1.csv", str(watched.folder / "truth.csv"))
        assert watched.collect("s3://truth/late/").labeled == 200
        assert watched.collect("s3://truth/none/").labeled == 0
        with pytest.raises(InputError, match="there is no such bucket"):
            watched.collect("s3://nowhere/late/")


@pytest.mark.parametrize("truth", ["none.csv", "none/*.csv", "none/**/*.parquet", "header.csv", "empty.csv"])
def test_truth_that_has_not_arrived_is_no_error(watched, truth):
    watched.write("header.csv", watched.truth.slice(0, 0))
    (watched.folder / "empty.csv").touch()
    found = watched.collect(truth)
    assert (found.rows, found.labeled, found.truth.rows) == (200, 0, 0)
    assert found.notes == [f"No truth has arrived at {watched.folder / truth} yet."]


def test_a_later_row_corrects_an_earlier_one(watched):
    late = watched.truth.to_pandas()
    wrong = late.head(30).assign(late=lambda frame: ~frame.late)
    watched.write("truth/1.csv", pd.concat([wrong, late.tail(20)]))
    watched.write("truth/2.csv", late)
    found = watched.collect("truth")
    assert watched.labels() == late.late.tolist()
    counts = found.truth.to_dict()
    assert (counts["rows"], counts["matched"], counts["contradictory"], counts["duplicate"]) == (250, 200, 30, 20)


def test_the_counts_of_truth_add_up(watched):
    frame = watched.truth.to_pandas().astype({"late": object})
    frame.loc[:9, "late"] = None
    frame.loc[10:14, "late"] = "perhaps"
    unknown = frame.head(20).assign(request_id="nobody")
    watched.write("truth.csv", pd.concat([frame, frame.tail(40), unknown]).astype({"late": "string"}))
    counts = watched.collect("truth.csv").truth.to_dict()
    assert counts.pop("rows") == sum(counts.values()) == 260
    assert (counts["unlabeled"], counts["unknown"], counts["duplicate"]) == (20, 5, 40)
    assert counts["without_prediction"] == 10


def test_what_other_windows_hold_is_not_held_against_this_one(watched):
    """A file with the truth of many months, in some of which flights were canceled."""
    others = pd.DataFrame({"request_id": [f"old-{i}" for i in range(500)], "row": 0, "late": "canceled"})
    watched.write("truth.csv", pd.concat([others, watched.truth.to_pandas().astype({"late": "string"})]))
    found = watched.collect("truth.csv")
    assert found.labeled == 200
    assert (found.truth.unknown, found.truth.without_prediction) == (0, 500)


@pytest.mark.parametrize(
    ("task", "spell"),
    [
        ("binary", lambda values: pc.cast(values, pa.int64())),
        ("binary", lambda values: pc.cast(pc.cast(values, pa.int64()), pa.float64())),
        ("binary", lambda values: pc.if_else(values, "TRUE", "False")),
        ("binary", lambda values: pc.if_else(values, "1", "0")),
        ("multiclass", lambda values: values.dictionary_encode()),
        ("multiclass", lambda values: pc.cast(values, pa.large_string())),
        ("regression", lambda values: pc.cast(values, pa.float32())),
        ("regression", lambda values: pc.cast(values, pa.string())),
        ("regression", lambda values: pc.cast(pc.round(values), pa.int32())),
    ],
)
def test_truth_of_another_type_is_read_as_the_model_means_it(trained, tmp_path, task, spell):
    watched = Watched(trained(task), tmp_path, task, 100)
    spelled = watched.truth.set_column(2, watched.target, spell(watched.truth.column(2)))
    watched.write("truth.parquet", spelled)
    assert watched.collect("truth.parquet").labeled == 100
    expected = watched.events.column(watched.target).to_pylist()
    if task == "regression":
        assert watched.labels() == pytest.approx(expected, abs=0.51)
    else:
        assert watched.labels() == expected


@pytest.mark.parametrize(
    ("task", "values", "words"),
    [
        ("binary", ["yes", "no"], "'late' is 'yes' where it should be one of False, True"),
        ("binary", [0.3, 0.7], "'late' is 0.3"),
        ("binary", [2, 3], "'late' is 2"),
        ("multiclass", ["HIGH", "LOW"], "'grade' is 'HIGH' where it should be one of 'high', 'low', 'middle'; name"),
        ("regression", ["soon", "never"], "'minutes' is 'soon' where it should be a number"),
        ("regression", [np.inf, -np.inf], "'minutes' is inf"),
    ],
)
def test_truth_of_something_else_is_refused(trained, tmp_path, task, values, words):
    watched = Watched(trained(task), tmp_path, task, 20)
    watched.write("truth.parquet", watched.truth.set_column(2, watched.target, pa.array(values * 10)))
    with pytest.raises(InputError, match=f"never holds what the model predicts: {words}"):
        watched.collect("truth.parquet")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".collect-*"))


def test_ids_of_digits_are_text(trained, tmp_path):
    """A CSV would give 007 as 7."""
    watched = Watched(trained(), tmp_path, "binary", 30, prefix="00")
    ids = [f"00{i}" for i in range(6)]
    for file in (tmp_path / "log").rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        renamed = pc.replace_substring(table.column("loopline_request_id"), "-", "")
        pq.write_table(table.set_column(0, "loopline_request_id", renamed), file)
    late = watched.truth.column("late").to_pylist()
    watched.write("truth.csv", pa.table({"request_id": np.repeat(ids, 5), "row": [*range(5)] * 6, "late": late}))
    assert watched.collect("truth.csv").labeled == 30
    assert watched.labels() == late


def test_a_retried_request_is_labeled_and_a_reused_id_is_not(trained, tmp_path):
    """A client retried ten requests; another gave the ids of the next ten to requests of its own."""
    watched = Watched(trained(), tmp_path, "binary", 150)
    write_traffic(tmp_path / "log", watched.model, watched.events.slice(0, 50), START.replace(hour=11), 0.5)
    write_traffic(
        tmp_path / "log", watched.model, pa.concat_tables([watched.events.slice(0, 50), make_events(50, seed=9)]),
        START.replace(hour=11, minute=40), 0.2, site="cloud", prefix="edge",
    )  # fmt: skip
    watched.write("truth.csv", watched.truth)
    found = watched.collect("truth.csv")
    table = read_table(tmp_path / "out")
    number = pc.cast(pc.replace_substring(table.column("loopline_request_id"), "edge-", ""), pa.int64())
    shared = np.asarray(pc.and_(pc.greater_equal(number, 10), pc.less(number, 20)))
    labeled = np.asarray(table.column("late").is_valid())
    assert (shared == ~labeled).all()
    assert (found.rows, found.labeled, found.truth.ambiguous, found.truth.matched) == (300, 200, 50, 100)
    # With the site in the key, the same ids are told apart.
    watched.write("truth.csv", watched.truth.append_column("site", pa.array(["edge"] * 150)))
    found = watched.collect("truth.csv", "request_id,row,site")
    assert (found.labeled, found.truth.ambiguous) == (200, 0)


def test_any_columns_can_be_the_key(watched):
    """A feature, or the log's own names: what the business calls the row."""
    frame = watched.events.select(["wind", "late"])
    watched.write("truth.parquet", frame)
    assert watched.collect("truth.parquet", "wind").labeled == 200
    assert watched.labels() == frame.column("late").to_pylist()
    watched.write("truth.csv", watched.truth.rename_columns(["loopline_request_id", "loopline_row", "late"]))
    assert watched.collect("truth.csv", "loopline_request_id, loopline_row").labeled == 200


@pytest.mark.parametrize(
    ("columns", "key", "words"),
    [
        (["id", "row", "late"], "request_id,row", "Column 'request_id' is not in .*truth.csv"),
        (["request_id", "row", "delayed"], "request_id,row", "Column 'late' is not in .*truth.csv"),
        (
            ["request_id", "row", "late"],
            "flight,row",
            "no column of the predictions: 'flight'; they have request_id",
        ),
        (["request_id", "row", "late"], " ", "truth_key ' ' names no column of the predictions; they"),
    ],
)
def test_keys_and_columns_that_are_not_there(watched, columns, key, words):
    watched.write("truth.csv", watched.truth.rename_columns(columns))
    with pytest.raises(InputError, match=words):
        watched.collect("truth.csv", key)
    assert sorted(path.name for path in watched.folder.iterdir()) == ["log", "truth.csv"]


def test_a_broken_file_of_truth_is_named(watched):
    watched.write("truth.parquet", watched.truth)
    content = (watched.folder / "truth.parquet").read_bytes()
    (watched.folder / "truth.parquet").write_bytes(content[:-50])
    with pytest.raises(InputError, match=r"truth\.parquet is not a Parquet file"):
        watched.collect("truth.parquet")
    (watched.folder / "truth.parquet").write_bytes(content[:40] + b"?" * 200 + content[240:])
    with pytest.raises(InputError, match=r"truth\.parquet is damaged"):
        watched.collect("truth.parquet")


def test_truth_before_any_prediction(watched):
    watched.write("truth.csv", watched.truth)
    shutil.rmtree(watched.folder / "log")
    found = watched.collect("truth.csv")
    assert (found.rows, found.labeled, found.truth.without_prediction) == (0, 0, 200)
