"""Scoring tables partition by partition: right, resumable, whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from monitoring_models import TARGETS, make_events, make_model
from object_stores import running_store

from loopline.components.data.tables import read_table
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import agree, load_predictor
from loopline.components.scoring.partitions import list_partitions
from loopline.components.scoring.score import score_partition


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {task: make_model(tmp_path_factory.mktemp(task), task) for task in TARGETS}


@pytest.fixture
def model(models):
    return models["binary"]


def _features(rows: int, seed: int = 3) -> pa.Table:
    return make_events(rows, seed).drop_columns(list(TARGETS.values()))


def _set(table: pa.Table, column: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_partitions_are_files_in_order(tmp_path, monkeypatch):
    for name in ("b.csv", "a/day 1.parquet", "a/_SUCCESS", "odd [1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    expected = [str(tmp_path / name) for name in ("a/day 1.parquet", "b.csv", "odd [1].csv")]
    assert list_partitions(str(tmp_path)) == expected
    monkeypatch.chdir(tmp_path)
    # Each step has a working directory of its own.
    assert list_partitions(".") == expected
    assert [list_partitions(uri) for uri in expected] == [[uri] for uri in expected]
    assert list_partitions("*.csv") == expected[1:]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("none/*.csv", "No file matches none"),
        ("none", "There is no file at none"),
        (" ", "uri is empty"),
        ("FOLDER", "has 3 files and each would be a step of its own, of which 2 are allowed"),
    ],
)
def test_lists_that_make_no_sense(tmp_path, uri, words):
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        list_partitions(uri.replace("FOLDER", str(tmp_path)), most=2)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("name", ["part.csv", "part.parquet"])
def test_every_row_is_predicted_beside_its_columns(models, tmp_path, task, name):
    table = _features(500).append_column("customer", pa.array([f"{i:04}" for i in range(500)]))
    write = pq.write_table if name.endswith("parquet") else pyarrow.csv.write_csv
    write(table, tmp_path / name)
    scored = score_partition(models[task], str(tmp_path / name), str(tmp_path / "out"), "flights", 7)
    assert (scored.rows, scored.skipped, scored.dropped, scored.unfit) == (500, False, 0, {})
    found = read_table(scored.uri)
    manifest = read_manifest(models[task])
    stamps = ["loopline_model_name", "loopline_model_version", "loopline_model_digest"]
    assert found.column_names == [*table.column_names, *stamps, *manifest.output_names]
    assert found.column("customer").to_pylist() == table.column("customer").to_pylist()
    assert found.select(stamps).to_pylist()[499] == dict(zip(stamps, ("flights", "7", manifest.digest), strict=True))
    expected = load_predictor(models[task]).predict(table).reshape(500, -1)
    assert agree(np.column_stack([found.column(output) for output in manifest.output_names]), expected).all()


def test_a_partition_is_scored_once_for_each_content_and_model(models, tmp_path):
    file, out = tmp_path / "part.parquet", tmp_path / "out"
    pq.write_table(_features(300), file)
    first = score_partition(models["binary"], str(file), str(out))
    before = Path(first.uri).stat()
    again = score_partition(models["binary"], str(file), str(out))
    assert (again.skipped, again.uri, again.rows, again.dropped) == (True, first.uri, 300, 0)
    assert (Path(first.uri).stat().st_mtime_ns, Path(first.uri).stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    others = [
        score_partition(models["regression"], str(file), str(out)),
        score_partition(models["binary"], str(file), str(out), keep="wind"),
        score_partition(models["binary"], str(file), str(out), version=2),
    ]
    pq.write_table(_features(300, seed=4), file)
    others.append(score_partition(models["binary"], str(file), str(out)))
    # A file of the same name and content in another folder is another partition.
    (tmp_path / "two").mkdir()
    pq.write_table(_features(300, seed=4), tmp_path / "two" / "part.parquet")
    others.append(score_partition(models["binary"], str(tmp_path / "two" / "part.parquet"), str(out)))
    assert not any(scored.skipped for scored in others)
    assert len({first.uri, *(scored.uri for scored in others)}) == len(_files(out)) == 6


def test_a_partition_with_nested_columns_is_scored_once(model, tmp_path):
    notes = pa.array([{"probability_False": None}] * 50, pa.struct({"probability_False": pa.string()}))
    pq.write_table(_features(50).append_column("notes", notes), tmp_path / "part.parquet")
    first, second = (score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out")) for _ in range(2))
    assert (first.skipped, second.skipped) == (False, True)
    assert (second.rows, second.dropped) == (50, 0)
    assert read_table(second.uri).column("notes").to_pylist() == notes.to_pylist()


def test_csv_is_read_as_it_says(model, tmp_path):
    table = _features(30)
    table = table.append_column("city", pa.array(["M\u00fcnchen"] * 30))
    text = ["|".join(table.column_names), *("|".join(map(str, row.values())) for row in table.to_pylist())]
    (tmp_path / "part.csv").write_bytes("\n".join(text).replace("None", "").encode("cp1252"))
    with pytest.raises(InputError, match=r'name its encoding in csv, e\.g\. \{"encoding": "cp1252"\}'):
        score_partition(model, str(tmp_path / "part.csv"), str(tmp_path / "out"))
    written = [
        score_partition(model, str(tmp_path / "part.csv"), str(tmp_path / "out"), csv=f'{{"encoding": "{encoding}"}}')
        for encoding in ("cp1252", "cp437")
    ]
    # What was read in another way is another file.
    assert [scored.skipped for scored in written] == [False, False]
    found = [read_table(scored.uri) for scored in written]
    assert found[0].column("city").to_pylist() == ["M\u00fcnchen"] * 30 != found[1].column("city").to_pylist()
    expected = load_predictor(model).predict(table)[:, 1]
    assert agree(found[0].column("probability_True").to_numpy(), expected).all()


def test_only_the_columns_wanted_are_kept(model, tmp_path):
    table = _features(20).append_column("a,b", pa.array(range(20)))
    pq.write_table(table, tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"), keep='carrier, "a,b"')
    assert read_table(scored.uri).column_names[:3] == ["carrier", "a,b", "loopline_model_name"]
    with pytest.raises(InputError, match=r"Column 'who' is not in .*part\.parquet"):
        score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"), keep="who")


def test_rows_that_do_not_fit_stay_without_prediction(model, tmp_path):
    table = _features(100)
    texts = pc.cast(table.column("wind"), pa.string()).to_pylist()
    wind = ["calm", "inf", "", *texts[3:]]
    hour = pa.array([1e300, *map(float, table.column("hour").to_pylist()[1:])])
    carrier = pa.array([*table.column("carrier").to_pylist()[:99], "never seen"])
    spoilt = _set(_set(_set(table, "wind", pa.array(wind)), "hour", hour), "carrier", carrier)
    pq.write_table(spoilt, tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"))
    assert (scored.rows, scored.dropped, scored.unfit) == (100, 3, {"wind": 3, "hour": 1})
    found = read_table(scored.uri)
    assert found.column("wind").to_pylist() == wind
    late = found.column("probability_True")
    assert late.is_null().to_pylist() == [True] * 3 + [False] * 97
    # Those that fit are predicted as if the others were not there, also a category that training never saw.
    expected = load_predictor(model).predict(_set(table, "carrier", carrier).slice(3))[:, 1]
    assert agree(late.to_numpy()[3:], expected).all()
    assert score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out")).dropped == 3


def test_missing_values_are_the_models_business(model, tmp_path):
    table = pa.table({field.name: pa.nulls(5, field.type) for field in _features(5).schema})
    pq.write_table(table, tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"))
    assert (scored.rows, scored.dropped) == (5, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns("wind"), r"Column 'wind' is not in .*part\.parquet"),
        (
            lambda table: _set(table, "wind", pa.array(["calm"] * 50)),
            "No row of .*part.parquet can be scored: feature 'wind' should be of kind number and is string",
        ),
        (
            lambda table: table.append_column("probability_True", pa.array([0.5] * 50)),
            "Column 'probability_True' of .*part.parquet has the name of a column of predictions: rename it",
        ),
        (
            lambda table: table.append_column("wind", pa.array([0.5] * 50)),
            "part.parquet has more than one column named 'wind': rename one of them",
        ),
    ],
)
def test_partitions_that_cannot_be_scored(model, tmp_path, change, words):
    pq.write_table(change(_features(50)), tmp_path / "part.parquet")
    with pytest.raises(InputError, match=words):
        score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"))
    assert _files(tmp_path / "out") == []


def test_a_damaged_partition_is_named(model, tmp_path):
    file = tmp_path / "part.parquet"
    pq.write_table(_features(500), file)
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"?" * 100 + content[104:])
    with pytest.raises(InputError, match=r"part\.parquet is damaged"):
        score_partition(model, str(file), str(tmp_path / "out"))
    file.write_bytes(content[:-9])
    with pytest.raises(InputError, match=r"part\.parquet is not a Parquet file|part\.parquet is damaged"):
        score_partition(model, str(file), str(tmp_path / "out"))
    assert _files(tmp_path / "out") == []


def test_a_partition_without_rows(model, tmp_path):
    pq.write_table(_features(0), tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"))
    assert (scored.rows, read_table(scored.uri).num_rows) == (0, 0)
    assert score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out")).skipped
    pyarrow.csv.write_csv(_features(0), tmp_path / "part.csv")
    assert score_partition(model, str(tmp_path / "part.csv"), str(tmp_path / "out")).uri == ""


def test_a_partition_larger_than_a_batch(model, tmp_path):
    table = _features(150_000)
    pq.write_table(table, tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out"), keep="distance")
    found = read_table(scored.uri)
    assert found.column("distance").to_pylist() == table.column("distance").to_pylist()
    picked = [0, 65_535, 65_536, 131_072, 149_999]
    expected = load_predictor(model).predict(table.take(picked))[:, 1]
    assert agree(found.column("probability_True").to_numpy()[picked], expected).all()


def test_from_s3_to_s3(model, tmp_path, monkeypatch):
    pq.write_table(_features(100), tmp_path / "part.parquet")
    pyarrow.csv.write_csv(_features(50), tmp_path / "more.csv")
    with running_store(monkeypatch, "tables") as client:
        client.fput_object("tables", "in/part.parquet", str(tmp_path / "part.parquet"))
        client.fput_object("tables", "in/more [2].csv", str(tmp_path / "more.csv"))
        uris = list_partitions("s3://tables/in/")
        assert uris == ["s3://tables/in/more [2].csv", "s3://tables/in/part.parquet"]
        first = [score_partition(model, uri, "s3://tables/out") for uri in uris]
        assert [scored.rows for scored in first] == [50, 100]
        again = [score_partition(model, uri, "s3://tables/out") for uri in uris]
        assert [(scored.skipped, scored.rows, scored.uri) for scored in again] == [
            (True, scored.rows, scored.uri) for scored in first
        ]
        key = first[1].uri.removeprefix("s3://tables/")
        found = pq.read_table(pa.BufferReader(client.get_object("tables", key).read()))
        local = read_table(score_partition(model, str(tmp_path / "part.parquet"), str(tmp_path / "out")).uri)
        assert found == local
        client.fput_object("tables", "in/part.parquet", str(tmp_path / "more.csv"))
        with pytest.raises(InputError, match="named so"):
            score_partition(model, uris[1], "s3://tables/out")
        with pytest.raises(InputError, match="there is no such bucket"):
            score_partition(model, uris[0], "s3://nowhere/out")
    assert _files(tmp_path) == ["more.csv", "out", "part.parquet"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("ftp://host", "cannot go to ftp://"),
        ("s3:///a", "names no bucket"),
        ("/proc/none", "cannot be written to /proc"),
    ],
)
def test_places_that_take_no_predictions(model, tmp_path, output, words):
    pq.write_table(_features(5), tmp_path / "part.parquet")
    with pytest.raises(InputError, match=words):
        score_partition(model, str(tmp_path / "part.parquet"), output)


def test_a_pod_must_be_told_where_to(model, tmp_path, monkeypatch):
    pq.write_table(_features(5), tmp_path / "part.parquet")
    scored = score_partition(model, str(tmp_path / "part.parquet"), "", "late flights")
    assert Path(scored.uri).parent == home() / "scores" / "late flights"
    monkeypatch.delenv("LOOPLINE_HOME")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(InputError, match="output is empty: name s3://"):
        score_partition(model, str(tmp_path / "part.parquet"), "")


def test_a_killed_step_leaves_nothing_to_see_and_the_next_completes(model, tmp_path):
    pq.write_table(_features(400_000), tmp_path / "part.parquet")
    out = tmp_path / "out"
    program = (
        "import sys; from loopline.components.scoring.score import score_partition; score_partition(*sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, model, tmp_path / "part.parquet", out], env=dict(os.environ)
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(".scoring-*/*.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [name for name in _files(out) if not name.startswith(".")] == []
    scored = score_partition(model, str(tmp_path / "part.parquet"), str(out))
    assert (scored.rows, scored.skipped) == (400_000, False)
    assert [name for name in _files(out) if not name.startswith(".")] == [Path(scored.uri).name]
