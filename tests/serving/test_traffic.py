"""The traffic log: what is in it, when rows are dropped, and that no file is ever seen half-written."""

import threading
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import requests
from object_stores import running_store
from serving_models import IMAGE, golden_request

from loopline.components.data.schema import Column, Schema
from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError
from loopline.components.serving import metrics, sinks, traffic
from loopline.components.serving.sinks import FolderSink, S3Sink, open_sink
from loopline.components.serving.traffic import Stamp, TrafficLog, open_traffic_log

STAMP = Stamp("m/1", "3", "sha256:a", "sha256:b", "")
FEATURES = Schema((Column("size", "number"), Column("color", "category"), Column("on", "boolean")))
OUTPUTS = ("probability_no", "probability_yes")


def rows(count: int) -> tuple[dict, np.ndarray]:
    columns = {
        "size": np.linspace(0, 1, count, dtype=np.float32),
        "color": np.array(["red"] * count, object),
        "on": np.ones(count, np.float32),
    }
    columns["size"][-1] = columns["on"][-1] = np.nan
    columns["color"][-1] = ""
    return columns, np.tile(np.float32([0.25, 0.75]), (count, 1))


class SlowSink:
    """A sink that waits to be let go, or fails."""

    def __init__(self):
        self.tables: list[pa.Table] = []
        self.open = threading.Event()
        self.fails = False

    def write(self, path: str, table: pa.Table) -> None:
        self.open.wait(20)
        if self.fails:
            raise InputError("The sink is full.")
        self.tables.append(table)


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dropped(reason: str) -> float:
    return metrics.TRAFFIC_DROPPED.labels(reason)._value.get()


def test_a_server_logs_every_row_it_predicted(model, tmp_path):
    folder = tmp_path / "traffic"
    golden, request = golden_request(model, 5)
    start = datetime.now(UTC)
    with serve(model, LOOPLINE_TRAFFIC_URI=str(folder), LOOPLINE_SITE="edge", LOOPLINE_IMAGE_DIGEST=IMAGE) as server:
        url = server.url + "/v2/models/small-late/infer"
        answers = [requests.post(url, json={**request, "id": name}, timeout=30).json() for name in ("a", "b")]
        assert requests.post(url, json={"inputs": []}, timeout=30).status_code == 400
        assert server.stop() == ""
    [file] = [path for path in folder.rglob("*") if path.is_file()]
    hour = f"{start:date=%Y-%m-%d/hour=%H}"
    assert str(file.parent.relative_to(folder)) == f"model=small-late/site=edge/{hour}"
    table = pq.read_table(file, partitioning=None)
    assert table.column_names == [
        "loopline_request_id", "loopline_row", "loopline_time", "loopline_latency_ms", "loopline_model_name",
        "loopline_model_version", "loopline_model_digest", "loopline_image_digest", "loopline_site",
        "size", "count", "color", "probability_False", "probability_True",
    ]  # fmt: skip
    assert table.column("loopline_request_id").to_pylist() == ["a"] * 5 + ["b"] * 5
    assert table.column("loopline_row").to_pylist() == [*range(5), *range(5)]
    assert start <= table.column("loopline_time").to_pylist()[0] <= datetime.now(UTC)
    assert min(table.column("loopline_latency_ms").to_pylist()) > 0
    first = table.to_pylist()[0]
    assert (first["loopline_model_version"], first["loopline_image_digest"]) == ("3", IMAGE)
    for name in ("size", "count"):
        logged, given = table.column(name).to_pylist()[:5], golden.rows.column(name).to_pylist()
        assert [value is None for value in logged] == [value is None for value in given]
        assert [v for v in logged if v is not None] == pytest.approx([v for v in given if v is not None], rel=1e-6)
    assert table.column("color").to_pylist()[:5] == golden.rows.column("color").to_pylist()
    scores = np.reshape(answers[0]["outputs"][1]["data"], (5, 2)).astype(np.float32)
    assert table.column("probability_True").to_pylist()[:5] == scores[:, 1].tolist()


def test_missing_values_are_null_and_odd_names_are_quoted(tmp_path):
    log = TrafficLog(FolderSink(tmp_path), STAMP, FEATURES, OUTPUTS)
    log.record("r", *rows(3), 0.001)
    log.close()
    [file] = tmp_path.rglob("*.parquet")
    assert file.relative_to(tmp_path).parts[:2] == ("model=m%2F1", "site=unknown")
    table = pq.read_table(file, partitioning=None)
    assert table.column("size").to_pylist() == [0.0, 0.5, None]
    assert table.column("color").to_pylist() == ["red", "red", None]
    assert table.column("on").to_pylist() == [True, True, None]
    found = ds.dataset(tmp_path, partitioning="hive").to_table()
    assert found.column("model").to_pylist() == ["m/1"] * 3


def test_many_small_requests_become_few_files(tmp_path):
    log = TrafficLog(FolderSink(tmp_path), STAMP, FEATURES, OUTPUTS, flush_rows=1000, flush_s=60)
    for number in range(2500):
        log.record(str(number), *rows(1), 0.001)
    log.close()
    files = list(tmp_path.rglob("*.parquet"))
    assert len(files) <= 4
    ids = [name for file in files for name in pq.read_table(file, partitioning=None)["loopline_request_id"].to_pylist()]
    assert sorted(ids, key=int) == [str(number) for number in range(2500)]


def test_rows_of_two_hours_go_to_two_folders(tmp_path, monkeypatch):
    log = TrafficLog(FolderSink(tmp_path), STAMP, FEATURES, OUTPUTS, flush_s=60)
    for hour in (23, 24):
        monkeypatch.setattr(time, "time_ns", lambda hour=hour: hour * 3_600 * 10**9)
        log.record(str(hour), *rows(1), 0.001)
    log.close()
    folders = {"/".join(file.parts[-3:-1]) for file in tmp_path.rglob("*.parquet")}
    assert folders == {"date=1970-01-01/hour=23", "date=1970-01-02/hour=00"}


def test_a_full_queue_drops_and_counts_and_never_waits():
    sink = SlowSink()
    log = TrafficLog(sink, STAMP, FEATURES, OUTPUTS, max_rows=100, flush_rows=10, flush_s=60)
    before = dropped("full")
    for _ in range(30):
        log.record("r", *rows(10), 0.001)  # returns though the sink stands still
    assert dropped("full") - before == 200
    sink.open.set()
    log.close()
    assert sum(table.num_rows for table in sink.tables) == 100


def test_a_failing_sink_is_tried_again_and_nothing_is_lost(caplog):
    sink = SlowSink()
    sink.fails = True
    sink.open.set()
    log = TrafficLog(sink, STAMP, FEATURES, OUTPUTS, flush_rows=5, flush_s=0.05)
    log.record("first", *rows(5), 0.001)
    until(lambda: "The sink is full." in caplog.text)
    log.record("second", *rows(5), 0.001)
    sink.fails = False
    until(lambda: sum(table.num_rows for table in sink.tables) == 10)
    log.close()
    assert caplog.text.count("The sink is full.") == 1
    names = {name for table in sink.tables for name in table["loopline_request_id"].to_pylist()}
    assert names == {"first", "second"}


def test_what_cannot_be_written_at_shutdown_is_counted(caplog):
    sink = SlowSink()
    sink.fails = True
    sink.open.set()
    log = TrafficLog(sink, STAMP, FEATURES, OUTPUTS)
    before = dropped("shutdown")
    log.record("r", *rows(7), 0.001)
    log.close()
    assert dropped("shutdown") - before == 7
    assert "lost 7 rows" in caplog.text


def test_a_share_of_the_requests_is_logged_whole(tmp_path):
    log = TrafficLog(FolderSink(tmp_path), STAMP, FEATURES, OUTPUTS, sample=0.3)
    for number in range(1000):
        log.record(str(number), *rows(2), 0.001)
    log.close()
    table = ds.dataset(tmp_path).to_table()
    _, counts = np.unique(table["loopline_request_id"].to_pylist(), return_counts=True)
    assert set(counts) == {2}
    assert 200 < len(counts) < 400  # 0.3 of 1000, seven standard deviations either way


def test_a_file_that_cannot_be_finished_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(table, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sinks.pq, "write_table", full)
    with pytest.raises(InputError, match="No space left on device"):
        FolderSink(tmp_path).write("a/part.parquet", pa.table({"x": [1]}))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_a_file_is_said_in_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"The traffic log .*taken cannot be written"):
        FolderSink(tmp_path / "taken").write("part.parquet", pa.table({"x": [1]}))


def test_names_that_the_log_needs_are_refused_as_features(tmp_path):
    for name in ("loopline_time", "probability_yes"):
        with pytest.raises(InputError, match=f"'{name}'"):
            TrafficLog(FolderSink(tmp_path), STAMP, Schema((Column(name, "number"),)), OUTPUTS)


@pytest.mark.parametrize(("uri", "said"), [("ftp://x", "folder or s3"), ("s3:///prefix", "names no bucket")])
def test_addresses_that_make_no_sense(uri, said):
    with pytest.raises(InputError, match=said):
        open_sink(uri)


def test_the_environment_decides(monkeypatch, tmp_path):
    assert open_traffic_log(STAMP, FEATURES, OUTPUTS) is None
    monkeypatch.setenv("LOOPLINE_TRAFFIC_URI", str(tmp_path))
    monkeypatch.setenv("LOOPLINE_TRAFFIC_SAMPLE", "0")
    assert open_traffic_log(STAMP, FEATURES, OUTPUTS) is None
    for wrong in ("1.5", "nan", "half", "-1"):
        monkeypatch.setenv("LOOPLINE_TRAFFIC_SAMPLE", wrong)
        with pytest.raises(InputError, match="from 0 to 1"):
            open_traffic_log(STAMP, FEATURES, OUTPUTS)
    monkeypatch.setenv("LOOPLINE_TRAFFIC_SAMPLE", "1")
    for wrong in ("0", "soon"):
        monkeypatch.setenv("LOOPLINE_TRAFFIC_FLUSH_S", wrong)
        with pytest.raises(InputError, match=r"LOOPLINE_TRAFFIC_FLUSH_S is '.+': set it to a number from 0.1 to 3600"):
            open_traffic_log(STAMP, FEATURES, OUTPUTS)


def test_waiting_rows_are_written_as_soon_as_the_environment_asks(monkeypatch, tmp_path):
    monkeypatch.setenv("LOOPLINE_TRAFFIC_URI", str(tmp_path))
    monkeypatch.setenv("LOOPLINE_TRAFFIC_FLUSH_S", "0.1")
    monkeypatch.setattr(traffic, "FLUSH_S", 3600.0)
    log = open_traffic_log(STAMP, FEATURES, OUTPUTS)
    try:
        log.record("r", *rows(1), 0.001)
        until(lambda: list(tmp_path.rglob("part-*.parquet")))
    finally:
        log.close()


@pytest.fixture
def bucket(monkeypatch):
    """A real S3 server in memory with the bucket ``traffic``; yields a client."""
    with running_store(monkeypatch, "traffic") as client:
        yield client


def test_objects_of_s3(bucket, caplog):
    log = TrafficLog(open_sink("s3://traffic/some/prefix"), STAMP, FEATURES, OUTPUTS)
    log.record("r", *rows(4), 0.001)
    log.close()
    [found] = [item.object_name for item in bucket.list_objects("traffic", recursive=True)]
    assert found.startswith("some/prefix/model=m%2F1/site=")
    table = pq.read_table(pa.BufferReader(bucket.get_object("traffic", found).read()), partitioning=None)
    assert table.num_rows == 4
    with pytest.raises(InputError, match="Cannot write s3://absent/: there is no such bucket"):
        S3Sink("absent", "").write("part.parquet", table)
