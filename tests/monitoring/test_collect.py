"""The rows of a window: which are taken, which are not and why, from a folder and from S3."""

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from monitoring_models import START, make_events, write_traffic
from object_stores import running_store

from loopline.components.data.tables import read_table
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.collected import Collected
from loopline.components.monitoring.window import Window

HOUR = timedelta(hours=1)
#: All that `write_traffic` logs by default.
BOTH = Window(START, START + 2 * HOUR)
OTHER = "sha256:" + "2" * 64


@pytest.fixture
def model(trained) -> Path:
    return trained()


def _parts(log: Path) -> list[Path]:
    return sorted(log.rglob("part-*.parquet"))


def _rewrite(file: Path, change) -> None:
    pq.write_table(change(pq.read_table(file, partitioning=None)), file)


def _set(table: pa.Table, column: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def test_every_row_of_every_site_comes_in_the_order_of_time(model, tmp_path):
    log, events = tmp_path / "log", {site: make_events(400, seed) for seed, site in enumerate(("edge", "cloud"))}
    for site, table in events.items():
        write_traffic(log, model, table, site=site)
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH)
    table = read_table(tmp_path / "out")
    assert found.by_site == {"edge": 400, "cloud": 400}
    assert (found.rows, found.own, found.labeled, found.files) == (800, 800, 0, 4)
    assert found.by_version == {"1": 800}
    times = table.column("loopline_time").to_pylist()
    assert times == sorted(times)
    assert (found.first, found.last) == (times[0], times[-1])
    assert table.column_names[-4:] == ["wind", "probability_False", "probability_True", "late"]
    assert table.column("late").type == pa.bool_()
    assert table.column("late").null_count == 800
    edge = table.filter(pc.equal(table.column("loopline_site"), "edge"))
    assert edge.column("carrier").to_pylist() == events["edge"].column("carrier").to_pylist()
    assert edge.column("holiday").to_pylist() == events["edge"].column("holiday").to_pylist()
    given = events["edge"].column("distance").cast(pa.float32())
    assert edge.column("distance").to_pylist() == given.to_pylist()


@pytest.mark.parametrize(
    ("start", "end"),
    [(0.0, 2.0), (0.25, 1.5), (0.999, 1.001), (1.0, 2.0), (-5.0, 0.5), (1.999, 30.0)],
)
def test_a_window_holds_its_start_and_not_its_end(model, tmp_path, start, end):
    log = tmp_path / "log"
    write_traffic(log, model, make_events(480), per_request=1)
    every = np.array([START + 2 * HOUR * (i / 480) for i in range(480)])
    window = Window(START + start * HOUR, START + end * HOUR)
    found = collect(model, tmp_path / "out", "flights", str(log), window)
    wanted = every[(every >= window.start) & (every < window.end)]
    assert read_table(tmp_path / "out").column("loopline_time").to_pylist() == wanted.tolist()
    assert found.rows == len(wanted)


def test_hours_outside_the_window_are_not_opened(model, tmp_path):
    """The files of other hours are no Parquet here: opening one would show."""
    log = tmp_path / "log"
    write_traffic(log, model, make_events(300), hours=3)
    first, second, third = _parts(log)
    first.write_bytes(b"never")
    third.write_bytes(b"never")
    found = collect(model, tmp_path / "out", "flights", str(log), Window(START + HOUR, START + 2 * HOUR))
    assert (found.rows, found.files, found.broken_files) == (100, 1, {})
    assert second.is_file()


def test_sites_can_be_chosen(model, tmp_path):
    log = tmp_path / "log"
    for site in ("edge", "cloud", "datacenter"):
        write_traffic(log, model, make_events(50), site=site)
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH, sites="edge, cloud")
    assert found.by_site == {"edge": 50, "cloud": 50}
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH, sites="edge,moon")
    assert found.notes == ["Site 'moon' has logged nothing; there are 'cloud', 'datacenter', 'edge'."]


def test_the_environment_names_the_log(model, tmp_path, monkeypatch):
    assert collect(model, tmp_path / "out", "flights", "", BOTH).rows == 0
    write_traffic(home() / "traffic", model, make_events(10))
    assert collect(model, tmp_path / "out", "flights", "", BOTH).rows == 10
    write_traffic(tmp_path / "other", model, make_events(20))
    monkeypatch.setenv("LOOPLINE_TRAFFIC_URI", str(tmp_path / "other"))
    assert collect(model, tmp_path / "out", "flights", "", BOTH).rows == 20


def test_a_pod_must_be_told_where_the_log_is(model, tmp_path, monkeypatch):
    """It would watch a folder of its own, in which there is never any traffic."""
    monkeypatch.delenv("LOOPLINE_HOME")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(InputError, match="No traffic log is named: give s3://bucket/prefix"):
        collect(model, tmp_path / "out", "flights", "", BOTH)
    monkeypatch.setenv("LOOPLINE_TRAFFIC_URI", str(tmp_path / "log"))
    assert collect(model, tmp_path / "out", "flights", "", BOTH).rows == 0


def test_s3_gives_what_the_folder_gives(model, tmp_path, monkeypatch):
    write_traffic(tmp_path / "log", model, make_events(300), hours=3)
    window = Window(START + HOUR / 2, START + 2 * HOUR)
    local = collect(model, tmp_path / "local", "flights", str(tmp_path / "log"), window)
    with running_store(monkeypatch, "logs") as client:
        for file in _parts(tmp_path / "log"):
            key = f"deep/log/{file.relative_to(tmp_path / 'log')}"
            client.fput_object("logs", key, str(file))
            client.put_object("logs", f"{Path(key).parent}/_SUCCESS", io.BytesIO(), 0)
        remote = collect(model, tmp_path / "remote", "flights", "s3://logs/deep/log", window)
        assert remote.to_dict() == local.to_dict()
        assert local.rows == 150
        assert (tmp_path / "remote").read_bytes() == (tmp_path / "local").read_bytes()
        assert collect(model, tmp_path / "none", "absent", "s3://logs/deep/log", window).rows == 0
        with pytest.raises(InputError, match=r"Cannot read s3://nowhere/.*: there is no such bucket"):
            collect(model, tmp_path / "none", "flights", "s3://nowhere/log", window)


def _empty_hour(log: Path) -> None:
    for file in _parts(log):
        file.unlink()


def _one_row(log: Path) -> None:
    first, second = _parts(log)
    second.unlink()
    _rewrite(first, lambda table: table.slice(0, 1))


def _copied(log: Path) -> None:
    for file in _parts(log):
        shutil.copy(file, file.with_name(f"part-0copy-{file.name}"))


def _overlapping(log: Path) -> None:
    file = _parts(log)[0]
    pq.write_table(pq.read_table(file, partitioning=None).slice(90), file.with_name("part-z.parquet"))


def _half_written(log: Path) -> None:
    first = _parts(log)[0]
    (first.parent / f".{first.name}.123").write_bytes(first.read_bytes()[:500])
    (first.parent / f".{first.name}").write_bytes(first.read_bytes()[:500])
    (first.parent / "_SUCCESS").touch()
    (log / "model=flights" / "site=edge" / "date=today" / "hour=99").mkdir(parents=True)
    (log / "model=flights" / "site=edge" / "date=today" / "hour=99" / "part-a.parquet").touch()


def _truncated(log: Path) -> None:
    first = _parts(log)[0]
    first.write_bytes(first.read_bytes()[:-100])


def _garbled(log: Path) -> None:
    first = _parts(log)[0]
    content = bytearray(first.read_bytes())
    content[50:400] = b"?" * 350
    first.write_bytes(content)


def _foreign(log: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), _parts(log)[0])


def _column_twice(log: Path) -> None:
    _rewrite(_parts(log)[0], lambda table: table.append_column("wind", table.column("wind")))


def _misplaced(log: Path) -> None:
    first, second = _parts(log)
    shutil.copy(first, second.with_name("part-a.parquet"))


def _unidentified(log: Path) -> None:
    def change(table):
        ids = pa.array([None, *table.column("loopline_request_id").to_pylist()[1:]], pa.string())
        times = table.column("loopline_time").to_pylist()
        times = pa.array([times[0], None, *times[2:]], pa.timestamp("us", "UTC"))
        return _set(_set(table, "loopline_request_id", ids), "loopline_time", times)

    _rewrite(_parts(log)[0], change)


def _impossible(log: Path) -> None:
    def change(table):
        scores = [None, np.nan, 1.5, *table.column("probability_True").to_pylist()[3:]]
        return _set(table, "probability_True", pa.array(scores, pa.float32()))

    _rewrite(_parts(log)[0], change)


def _as_text(log: Path) -> None:
    def change(table):
        texts = [str(value) for value in table.column("wind").to_pylist()]
        table = _set(table, "wind", pa.array(["a lot", *texts[1:]]))
        holidays = pa.array([2.0, *(float(value) for value in table.column("holiday").to_pylist()[1:])])
        return _set(_set(table, "holiday", holidays), "carrier", table.column("carrier").dictionary_encode())

    _rewrite(_parts(log)[0], change)


def _other_clock_units(log: Path) -> None:
    def change(table):
        return _set(table, "loopline_time", table.column("loopline_time").cast(pa.timestamp("ns")))

    _rewrite(_parts(log)[0], change)


def _new_column(log: Path) -> None:
    _rewrite(_parts(log)[0], lambda table: table.append_column("humidity", pa.nulls(table.num_rows, pa.float32())))


def _lost_in_one_part(log: Path) -> None:
    _rewrite(_parts(log)[0], lambda table: table.drop_columns("wind"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_empty_hour, {"rows": 0, "files": 0, "first": None, "last": None, "by_site": {}}),
        (_one_row, {"rows": 1, "files": 1}),
        (_copied, {"rows": 200, "files": 4, "dropped": {"duplicate": 200}}),
        (_overlapping, {"rows": 200, "files": 3, "dropped": {"duplicate": 10}}),
        (_half_written, {"rows": 200, "files": 2, "broken_files": []}),
        (_truncated, {"rows": 100, "files": 1, "broken_files": [0]}),
        (_garbled, {"rows": 100, "files": 1, "broken_files": [0]}),
        (_foreign, {"rows": 100, "files": 1, "broken_files": [0]}),
        (_column_twice, {"rows": 100, "files": 1, "broken_files": [0]}),
        (_misplaced, {"rows": 200, "files": 3, "dropped": {"misplaced": 100}}),
        (_unidentified, {"rows": 198, "dropped": {"unidentified": 2}}),
        (_impossible, {"rows": 197, "dropped": {"impossible_prediction": 3}}),
        (_as_text, {"rows": 200, "nulled": {"wind": 1, "holiday": 1}}),
        (_other_clock_units, {"rows": 200, "dropped": {}}),
        (_new_column, {"rows": 200, "unknown_columns": ["humidity"], "incomplete": {}}),
        (_lost_in_one_part, {"rows": 200, "unknown_columns": [], "incomplete": {"wind": 100}}),
    ],
)
def test_bad_windows_are_counted_and_the_good_rows_kept(model, tmp_path, spoil, expected):
    log, out = tmp_path / "log", tmp_path / "out"
    write_traffic(log, model, make_events(200))
    clean = collect(model, out, "flights", str(log), BOTH).to_dict()
    columns = read_table(out).schema
    parts = _parts(log)
    spoil(log)
    found = collect(model, out, "flights", str(log), BOTH)
    found.save(tmp_path / "counts.json")
    written = json.loads((tmp_path / "counts.json").read_text())
    if expected.get("broken_files"):
        expected = {**expected, "broken_files": [str(parts[i]) for i in expected["broken_files"]]}
    # What is not expected to differ does not.
    assert {key: written[key] for key in expected} == expected
    assert {key: written[key] for key in ("dropped", "nulled") if key not in expected} == {
        key: clean[key] for key in ("dropped", "nulled") if key not in expected
    }
    table = read_table(out)
    assert table.schema == columns
    assert (table.num_rows, found.own) == (found.rows, found.rows)
    assert found.metrics["dropped"] == sum(written["dropped"].values())


def test_rows_that_fit_keep_their_values(model, tmp_path):
    log = tmp_path / "log"
    write_traffic(log, model, make_events(200))
    collect(model, tmp_path / "clean", "flights", str(log), BOTH)
    _as_text(log)
    collect(model, tmp_path / "spoilt", "flights", str(log), BOTH)
    clean, spoilt = read_table(tmp_path / "clean"), read_table(tmp_path / "spoilt")
    assert spoilt.column("wind").to_pylist() == [None, *clean.column("wind").to_pylist()[1:]]
    assert spoilt.column("holiday").to_pylist() == [None, *clean.column("holiday").to_pylist()[1:]]
    assert spoilt.slice(1).drop_columns(["wind", "holiday"]) == clean.slice(1).drop_columns(["wind", "holiday"])


def test_a_log_without_one_readable_file_is_refused(model, tmp_path):
    log = tmp_path / "log"
    write_traffic(log, model, make_events(20))
    for file in _parts(log):
        file.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"None of the 2 file.* can be read, such as .*part-.*parquet"):
        collect(model, tmp_path / "out", "flights", str(log), BOTH)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("truth", ["", "nowhere.csv"])
def test_a_renamed_feature_is_refused_and_nothing_is_written(model, tmp_path, truth):
    log = tmp_path / "log"
    write_traffic(log, model, make_events(200))
    for file in _parts(log):
        _rewrite(file, lambda table: table.rename_columns({"wind": "wind_speed"}))
    with pytest.raises(InputError, match="Feature 'wind' is in no file of the traffic log, which has 'wind_speed'"):
        collect(model, tmp_path / "out", "flights", str(log), BOTH, truth=truth)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_feature_that_some_files_have_is_not_missed(model, tmp_path):
    """The file without it was copied: as many rows lack it as the window has."""
    log = tmp_path / "log"
    write_traffic(log, model, make_events(200))
    _lost_in_one_part(log)
    first = _parts(log)[0]
    shutil.copy(first, first.with_name("part-copy.parquet"))
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH)
    assert (found.rows, found.own, found.dropped) == (200, 200, {"duplicate": 100})
    assert read_table(tmp_path / "out").column("wind")[100:].null_count < 100


def test_before_a_new_model_has_answered_its_new_feature_is_not_missed(model, tmp_path):
    """The champion was promoted a moment ago, and all rows are those of the one before."""
    log = tmp_path / "log"
    write_traffic(log, model, make_events(50), digest=OTHER)
    for file in _parts(log):
        _rewrite(file, lambda table: table.drop_columns("wind"))
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH)
    assert (found.rows, found.own) == (50, 0)
    assert found.notes == ["Feature 'wind' is in no file, as no row is of this model's version yet."]


def test_versions_are_told_apart(model, tmp_path):
    log = tmp_path / "log"
    write_traffic(log, model, make_events(60), version="1", digest=OTHER)
    write_traffic(log, model, make_events(40), version="2", start=START + HOUR)
    found = collect(model, tmp_path / "out", "flights", str(log), Window(START, START + 3 * HOUR))
    assert found.by_version == {"1": 60, "2": 40}
    assert (found.rows, found.own) == (100, 40)
    digests = read_table(tmp_path / "out").column("loopline_model_digest")
    assert pc.sum(pc.equal(digests, read_manifest(model).digest)).as_py() == 40


def test_only_impossible_predictions_of_this_model_are_dropped(model, tmp_path):
    """Another version may predict other classes: its rows still say what the inputs are."""
    log = tmp_path / "log"
    write_traffic(log, model, make_events(60), digest=OTHER)
    for file in _parts(log):
        _rewrite(file, lambda table: table.drop_columns(["probability_True", "probability_False"]))
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH)
    assert (found.rows, found.dropped) == (60, {})
    assert found.incomplete == {"probability_True": 60, "probability_False": 60}


def test_rows_dated_after_now_are_dropped(model, tmp_path):
    """The clock of one site is three hours ahead; its rows would otherwise turn up in a window to come."""
    now = datetime.now(UTC)
    write_traffic(tmp_path / "log", model, make_events(100), start=now - HOUR, hours=0.9)
    write_traffic(tmp_path / "log", model, make_events(40), start=now + 3 * HOUR, hours=0.1, site="skewed")
    found = collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), Window(now - 2 * HOUR, now))
    assert (found.rows, found.dropped) == (100, {"clock_ahead": 40})
    write_traffic(tmp_path / "log", model, make_events(20), start=now + HOUR / 12, hours=0.01, site="fast")
    # A window that ended long ago has no future.
    old = Window(START, START + HOUR)
    assert collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), old).dropped == {}
    # Also where the window itself reaches into the future, within the hour that is now or beyond it.
    found = collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), Window(now - 2 * HOUR, now + 9 * HOUR))
    assert (found.rows, found.dropped) == (100, {"clock_ahead": 60})


def test_requests_of_one_id_at_other_times_are_no_duplicates(model, tmp_path):
    for start in (START, START + HOUR / 2):
        write_traffic(tmp_path / "log", model, make_events(10), start=start, hours=0.1)
    found = collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), BOTH)
    assert (found.rows, found.dropped) == (20, {})


def test_a_sampled_site_logs_whole_requests(model, tmp_path):
    write_traffic(tmp_path / "log", model, make_events(2000), sample=0.1, site="edge")
    write_traffic(tmp_path / "log", model, make_events(300), site="cloud")
    found = collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), BOTH)
    assert found.by_site["cloud"] == 300
    assert 100 < found.by_site["edge"] < 320
    assert found.by_site["edge"] % 5 == 0


def test_another_models_log_is_named(model, tmp_path):
    write_traffic(tmp_path / "log", model, make_events(10), name="odd/name")
    found = collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), BOTH)
    assert found.notes == ["The traffic log has nothing of model 'flights'; it has 'odd/name'."]
    assert collect(model, tmp_path / "out", "odd/name", str(tmp_path / "log"), BOTH).rows == 10


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/log", "cannot be at ftp://"),
        ("s3:///log", "names no bucket"),
        ("FILE", "is a file: name the folder"),
    ],
)
def test_places_that_are_no_log(model, tmp_path, uri, words):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=words):
        collect(model, tmp_path / "out", "flights", uri.replace("FILE", str(tmp_path / "file")), BOTH)


def test_the_same_log_gives_the_same_bytes(model, tmp_path):
    for site in ("edge", "cloud"):
        write_traffic(tmp_path / "log", model, make_events(300), site=site, per_request=3)
    for out in ("one", "two"):
        collect(model, tmp_path / out, "flights", str(tmp_path / "log"), BOTH)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "one", "two"]


def test_the_page_says_what_was_left_out(model, tmp_path):
    log = tmp_path / "log"
    for site in ("edge", "<b>cloud</b>"):
        write_traffic(log, model, make_events(200), site=site)
    _copied(log)
    found = collect(model, tmp_path / "out", "flights", str(log), BOTH)
    assert isinstance(found, Collected)
    found.report().write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;cloud&lt;/b&gt;" in page
    assert "<b>cloud</b>" not in page
    assert "400 rows that were there twice" in page
    assert "<svg" in page


def test_the_page_of_an_empty_window_says_so(model, tmp_path):
    collect(model, tmp_path / "out", "flights", str(tmp_path / "log"), BOTH).report().write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "There are no rows in the window" in page
    assert "it has no model at all" in page
