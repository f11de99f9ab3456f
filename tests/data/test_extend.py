import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.components.data.components import extend_data
from loopline.components.data.extend import extend
from loopline.components.data.split import split_table
from loopline.components.data.tables import write_table
from loopline.components.errors import InputError

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")


def instants(rows, start=START):
    return pa.array([start + timedelta(seconds=row) for row in range(rows)], INSTANT)


def make_history(rows=20, start=datetime(2026, 1, 1)):
    return pa.table(
        {
            "when": pa.array([start + timedelta(minutes=row) for row in range(rows)], pa.timestamp("us")),
            "distance": pa.array(np.arange(rows) + 0.1),
            "hour": pa.array(np.arange(rows) % 24),
            "holiday": pa.array([row % 2 == 0 for row in range(rows)]),
            "carrier": pa.array(["AA", None] * (rows // 2)),
            "note": pa.array(["known only later"] * rows),
            "late": pa.array([row % 3 == 0 for row in range(rows)]),
        }
    )


def make_recent(rows=10, labeled=None, **columns):
    late = [row % 2 == 0 if labeled is None or row in labeled else None for row in range(rows)]
    values = {
        "loopline_request_id": pa.array([f"r-{row}" for row in range(rows)]),
        "loopline_time": instants(rows),
        "distance": pa.array([1.5, None] * (rows // 2), pa.float32()),
        "hour": pa.array(np.full(rows, 7), pa.float32()),
        "holiday": pa.array([True] * rows),
        "carrier": pa.array(["UA"] * rows),
        "probability_False": pa.array(np.full(rows, 0.25), pa.float32()),
        "probability_True": pa.array(np.full(rows, 0.75), pa.float32()),
        "late": pa.array(late, pa.bool_()),
    }
    return pa.table(values | columns)


@pytest.fixture
def run(tmp_path):
    """Extend one table by another and return what was said and what was written."""

    def extended(history, recent, **options):
        write_table(tmp_path / "history.parquet", history)
        write_table(tmp_path / "recent.parquet", recent)
        paths = [tmp_path / f"{name}.parquet" for name in ("history", "recent", "out")]
        found = extend(*paths, "late", **options)
        return found, pq.read_table(paths[2])

    return extended


def test_recent_labeled_rows_follow_the_history_in_its_types(run):
    history = make_history()
    found, table = run(history, make_recent(labeled={0, 3, 4, 9}), time_column="when", test_share=0.5)
    assert (found.rows, found.added, found.left_out) == (24, 4, 0)
    assert table.schema.names == ["distance", "hour", "holiday", "carrier", "late", "loopline_time"]
    for name in ("distance", "hour", "holiday", "carrier", "late"):
        assert table.schema.field(name).type == history.schema.field(name).type
        assert table.column(name)[:20].to_pylist() == history.column(name).to_pylist()
    assert table.slice(20).to_pydict() == {
        "distance": [1.5, None, 1.5, None],
        "hour": [7] * 4,
        "holiday": [True] * 4,
        "carrier": ["UA"] * 4,
        "late": [True, False, True, False],
        "loopline_time": [START + timedelta(seconds=second) for second in (0, 3, 4, 9)],
    }
    assert table.column("loopline_time")[1].as_py() == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert found.test_start == "2026-03-01T10:00:04+00:00"


@pytest.mark.parametrize("time_column", ["when", ""])
def test_the_split_that_follows_tests_on_the_newest_recent_rows_alone(run, tmp_path, time_column):
    found, _ = run(make_history(200), make_recent(10), time_column=time_column, test_share=0.3)
    sides = [tmp_path / f"{name}.parquet" for name in ("train", "validation", "test")]
    split_table(
        tmp_path / "out.parquet", *sides, method="time", column="loopline_time", validation_size=0.1,
        test_start=found.test_start,
    )  # fmt: skip
    train, validation, test = (pq.read_table(side) for side in sides)
    assert test.column("loopline_time").to_pylist() == instants(10).to_pylist()[7:]
    assert validation.num_rows == 21
    assert train.num_rows == 200 + 10 - 21 - 3
    # The rows just before the test: what the history has last, and the recent rows before the test.
    assert validation.column("distance").to_pylist()[:14] == [row + 0.1 for row in range(186, 200)]


def test_rows_of_the_history_as_new_as_the_test_are_left_out(run):
    history = make_history(10, start=datetime(2026, 3, 1, 9, 53))  # 9:53 to 10:02
    found, table = run(history, make_recent(10), time_column="when", test_share=0.3)
    assert (found.rows, found.added, found.left_out) == (8 + 10, 10, 2)
    assert max(table.column("loopline_time").to_pylist()[:8]) == START


def test_rows_of_the_history_without_time_are_the_oldest(run):
    history = make_history(4)
    times = pa.array([None, *history.column("when").to_pylist()[1:]], pa.timestamp("us"))
    _, table = run(history.set_column(0, "when", times), make_recent(), time_column="when")
    assert table.column("loopline_time").null_count == 0
    assert min(table.column("loopline_time").to_pylist()) == table.column("loopline_time")[0].as_py()


def test_rows_of_one_instant_stay_together(run):
    recent = make_recent(4, loopline_time=pa.array([START, *[START + timedelta(seconds=1)] * 3], INSTANT))
    assert run(make_history(), recent, test_share=0.25)[0].test_start == "2026-03-01T10:00:01+00:00"


def test_a_number_that_is_missing_as_nan_is_missing(run):
    _, table = run(make_history(), make_recent(hour=pa.array([np.nan, 3] * 5, pa.float32())))
    assert table.column("hour").to_pylist()[20:] == [None, 3] * 5


def test_a_few_odd_rows_are_left_out_and_counted(run):
    hours = pa.array([7.5, np.nan, *[3.0] * 18], pa.float32())
    found, table = run(make_history(), make_recent(20, hour=hours), test_share=0.5)
    assert (found.rows, found.added, found.odd) == (20 + 19, 19, 1)
    assert table.column("hour").to_pylist()[20:] == [None] + [3] * 18
    assert table.column("loopline_time")[20].as_py() == START + timedelta(seconds=1)
    assert found.test_start == "2026-03-01T10:00:10+00:00"


def test_more_than_one_odd_row_in_twenty_is_too_many(run):
    hours = pa.array([7.5, 8.5, *[3.0] * 18], pa.float32())
    with pytest.raises(InputError, match=r"7\.5 in the traffic cannot be that; 2 of 20 labeled rows do not fit"):
        run(make_history(), make_recent(20, hour=hours))


def test_odd_rows_without_truth_count_for_nothing(run):
    hours = pa.array([7.5, *[3.0] * 9], pa.float32())
    assert run(make_history(), make_recent(10, labeled=set(range(1, 10)), hour=hours))[0].odd == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"hour": pa.array([7.5] * 10, pa.float32())}, "Column 'hour' is int64 in the history, and 7.5 in the traffic"),
        ({"holiday": pa.array(["maybe"] * 10)}, "Column 'holiday' is bool in the history, and 'maybe' in the traffic"),
        ({"late": pa.nulls(10, pa.bool_())}, "None of the 10 rows of traffic has a value of 'late'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(run, tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        run(make_history(), make_recent(**columns))
    assert sorted(file.name for file in tmp_path.glob("*.p*")) == ["history.parquet", "recent.parquet"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 1.0}, "test_share 1.0 must lie between 0 and 1"),
        ({"time_column": "date"}, "Column 'date' is not in the history"),
        ({"time_column": "hour"}, "Column 'hour' of the history holds int64 and no timestamps"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(run, options, message):
    with pytest.raises(InputError, match=message):
        run(make_history(), make_recent(), **options)


def test_tables_that_have_nothing_in_common_are_refused(run):
    with pytest.raises(InputError, match="no feature in common"):
        run(make_history().select(["when", "note", "late"]), make_recent())
    with pytest.raises(InputError, match="All 20 rows of the history are at or after 2026-03-01T10:00:07"):
        run(make_history(start=datetime(2027, 1, 1)), make_recent(), time_column="when")
    with pytest.raises(InputError, match="'late' is not in the history"):
        run(make_history().drop_columns(["late"]), make_recent())


def test_a_table_that_was_extended_before_is_extended_again(run):
    _, first = run(make_history(), make_recent(), time_column="when")
    later = make_recent(loopline_time=instants(10, START + timedelta(days=1)))
    found, second = run(first, later, time_column="loopline_time")
    assert (found.rows, found.left_out) == (40, 0)
    assert second.column("loopline_time").to_pylist()[:30] == first.column("loopline_time").to_pylist()


def test_memory_does_not_grow_with_the_history(tmp_path):
    wide = {f"x{i}": np.random.default_rng(i).random(200_000) for i in range(8)}
    recent = {name: pa.array(values[:10], pa.float32()) for name, values in wide.items()}
    write_table(tmp_path / "recent.parquet", make_recent(**recent))
    block = pa.table({**wide, "late": [True, False] * 100_000})
    peaks = []
    for blocks in (1, 10):
        with pq.ParquetWriter(tmp_path / "history.parquet", block.schema) as writer:
            for _ in range(blocks):
                writer.write_table(block)
        program = (
            "import resource, sys; from loopline.components.data.extend import extend; extend(*sys.argv[1:4], 'late');"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        paths = [str(tmp_path / f"{name}.parquet") for name in ("history", "recent", "out")]
        done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
    # 1.8 million more rows of eight columns are 115 MB.
    assert peaks[1] - peaks[0] < 50e6


def test_the_component_says_what_it_wrote(run, tmp_path):
    write_table(tmp_path / "history.parquet", make_history())
    write_table(tmp_path / "recent.parquet", make_recent())
    data = SimpleNamespace(path=str(tmp_path / "out.parquet"), metadata={})
    start = extend_data.python_func(
        history=SimpleNamespace(path=str(tmp_path / "history.parquet")),
        recent=SimpleNamespace(path=str(tmp_path / "recent.parquet")), data=data, target="late", time_column="when",
    )  # fmt: skip
    assert start == "2026-03-01T10:00:07+00:00"
    assert data.metadata.items() >= {"rows": 30, "added": 10, "left_out": 0}.items()
    assert data.metadata["digest"].startswith("sha256:")
