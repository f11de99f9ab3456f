import datetime
import decimal
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from peaks import peak_mb

from loopline.components.data import ranking, split
from loopline.components.data.hashing import row_hashes, seeded
from loopline.components.data.split import split_table
from loopline.components.data.tables import table_writer, write_table
from loopline.components.errors import InputError

ROWS = 3000


@pytest.fixture
def table(tmp_path):
    generator = np.random.default_rng(0)
    minutes = generator.integers(0, 300, ROWS)
    when = np.datetime64("2024-05-01T00:00:00") + minutes.astype("timedelta64[m]").astype("timedelta64[s]")
    data = pa.table(
        {
            "id": range(ROWS),
            "label": generator.choice(["a", "b", "rare"], ROWS, p=[0.7, 0.29, 0.01]),
            "group": generator.integers(0, 200, ROWS),
            "when": pa.array(when.astype("datetime64[us]")),
        }
    )
    write_table(tmp_path / "data", data)
    return data


@pytest.fixture
def parts(table, tmp_path):
    def run(**options) -> list[pa.Table]:
        paths = [tmp_path / name for name in ("train", "validation", "test")]
        metadata = split_table(tmp_path / "data", *paths, **options)
        tables = [pq.read_table(path) for path in paths]
        assert [entry["rows"] for entry in metadata] == [len(part) for part in tables]
        return tables

    return run


def _ids(part: pa.Table) -> list[int]:
    return part["id"].to_pylist()


@pytest.mark.parametrize("options", [
    {}, {"method": "stratified", "column": "label"}, {"method": "group", "column": "group"},
    {"method": "time", "column": "when"},
])  # fmt: skip
def test_every_row_is_on_one_side_and_a_seed_repeats(parts, table, options):
    first = parts(**options, seed=3)
    assert sorted(row for part in first for row in _ids(part)) == list(range(ROWS))
    assert all(_ids(part) == sorted(_ids(part)) for part in first)
    assert all(part.schema == table.schema for part in first)
    assert [_ids(part) for part in parts(**options, seed=3)] == [_ids(part) for part in first]
    if options.get("method") != "time":
        assert [_ids(part) for part in parts(**options, seed=4)] != [_ids(part) for part in first]


def test_random_shares_are_exact(parts):
    assert [len(part) for part in parts(test_size=0.25, validation_size=0.15)] == [1800, 450, 750]


def test_without_validation_its_table_is_empty(parts, table):
    train, validation, test = parts(validation_size=0)
    assert (len(train), len(validation), len(test)) == (2400, 0, 600)
    assert validation.schema == table.schema


def test_stratified_shares_hold_in_every_class(parts, table):
    whole = Counter(table["label"].to_pylist())
    train, validation, test = (
        Counter(part["label"].to_pylist()) for part in parts(method="stratified", column="label")
    )
    for label, count in whole.items():
        assert test[label] == round(0.2 * count)
        assert validation[label] == round(0.1 * count)
        assert train[label] == count - test[label] - validation[label]


def test_a_group_is_on_one_side_whatever_the_table(parts, table):
    sides = [set(part["group"].to_pylist()) for part in parts(method="group", column="group")]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    # Half of the rows, as integers of another width and in another order: the groups stay where they were.
    half = table["group"].cast(pa.int32()).take(pa.array(range(ROWS - 1, ROWS // 2, -1)))
    again = split.assign_groups(half, 0.2, 0.1, 0)
    for group, side in zip(half.to_pylist(), again, strict=True):
        assert group in sides[side]


def test_time_is_in_order_and_ties_stay_together(parts):
    # Ten rows share each minute, so a cut by row number alone would part some.
    train, validation, test = (part["when"].to_pylist() for part in parts(method="time", column="when"))
    assert max(train) < min(validation)
    assert max(validation) < min(test)
    assert abs(len(test) - 600) < 30
    assert abs(len(validation) - 300) < 30


@pytest.mark.parametrize("start", ["2024-05-01T04:00:00", "2024-05-01T06:00:00+02:00"])
def test_test_start_is_the_first_instant_of_the_test(parts, table, start):
    train, validation, test = parts(method="time", column="when", test_start=start)
    late = [row["id"] for row in table.to_pylist() if row["when"].hour >= 4]
    assert _ids(test) == late
    assert len(train) > len(validation) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "sorted"}, "'sorted' is unknown"),
        ({"method": "time"}, "needs a column"),
        ({"method": "time", "column": "label"}, "type string"),
        ({"method": "group", "column": "nobody"}, "'nobody'"),
        ({"test_size": 0}, "test_size 0 "),
        ({"test_size": 1.5}, "test_size 1.5"),
        ({"validation_size": -0.1}, "validation_size -0.1"),
        ({"test_size": 0.6, "validation_size": 0.4}, "no row to train on"),
        ({"test_size": 0.0001}, "test side would be empty"),
        ({"method": "time", "column": "when", "test_start": "2031-01-01"}, "test side would be empty"),
        ({"method": "time", "column": "when", "test_start": "2001-01-01"}, "train side would be empty"),
        ({"method": "time", "column": "when", "test_start": "May"}, "ISO 8601"),
        ({"test_start": "2024-05-01"}, "goes with method 'time'"),
        ({"method": "stratified", "column": "id"}, "1 row"),
    ],
)
def test_refusals_leave_nothing(table, tmp_path, options, words):
    paths = [tmp_path / name for name in ("train", "validation", "test")]
    with pytest.raises(InputError, match=words):
        split_table(tmp_path / "data", *paths, **options)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["data"]


@pytest.mark.parametrize(
    ("method", "column"), [("random", ""), ("stratified", "label"), ("group", "id"), ("time", "id")]
)
def test_an_empty_table_is_refused(tmp_path, method, column):
    write_table(tmp_path / "data", pa.table({"id": pa.array([], pa.int64()), "label": pa.array([], pa.string())}))
    with pytest.raises(InputError, match="data has no rows"):
        split_table(tmp_path / "data", *(tmp_path / name for name in "abc"), method=method, column=column)


def test_null_timestamps_are_counted(table, tmp_path):
    when = table["when"].to_pylist()
    when[5] = when[9] = None
    write_table(tmp_path / "data", table.set_column(3, "when", pa.array(when)))
    with pytest.raises(InputError, match="2 null"):
        split_table(tmp_path / "data", *(tmp_path / name for name in "abc"), method="time", column="when")


def test_nan_times_are_counted():
    times = pa.chunked_array([[float(i) for i in range(50)], [float("nan"), None, 51.0]])
    with pytest.raises(InputError, match="2 null or NaN"):
        split.assign_by_time(times, 0.2, 0.1)


def test_a_class_of_three_rows_is_on_every_side(tmp_path):
    labels = pa.chunked_array([["a"] * 50 + ["b"] * 3])
    for test_size, validation_size in ((0.2, 0.1), (0.1, 0.85), (0.85, 0.1)):
        sides = split.assign_stratified(labels, _hashes(pa.table({"id": range(53)})), test_size, validation_size)
        assert sorted(sides[50:]) == [0, 1, 2]
    with pytest.raises(InputError, match="'b' has 2 row"):
        split.assign_stratified(labels[:52], _hashes(pa.table({"id": range(52)})), 0.1, 0.85)


def _hashes(table: pa.Table, seed: int = 0) -> np.ndarray:
    return np.concatenate([seeded(row_hashes(batch), seed) for batch in table.to_batches(max_chunksize=1000)])


def _by_content(tables: list[pa.Table]) -> dict[int, int]:
    return {row: side for side, part in enumerate(tables) for row in _ids(part)}


@pytest.fixture(params=[{}, {"method": "stratified", "column": "label"}], ids=["random", "stratified"])
def options(request):
    return request.param


@pytest.mark.parametrize("validation_size", [0.1, 0])
def test_rows_keep_their_side_when_the_table_grows_or_shrinks(parts, table, tmp_path, options, validation_size):
    before = _by_content(parts(**options, validation_size=validation_size))
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    more = table.slice(0, ROWS // 10).set_column(0, "id", pa.array(range(ROWS, ROWS + ROWS // 10)))
    for changed in (pa.concat_tables([more, table]), pa.concat_tables([table, more]), table.slice(1)):
        write_table(tmp_path / "data", changed)
        after = _by_content(parts(**options, validation_size=validation_size))
        for label in ("a", "b"):
            old = [row for row in before if labels[row] == label and row in after]
            assert np.mean([before[row] == after[row] for row in old]) >= 0.97
        # What was trained on is not tested on: between the two lies validation.
        if validation_size:
            assert not [row for row in after if before.get(row) == split.TRAIN and after[row] == 2]


def test_the_order_of_rows_and_columns_does_not_matter(parts, table, tmp_path, options):
    before = _by_content(parts(**options))
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(ROWS)))
    write_table(tmp_path / "data", shuffled.select(table.column_names[::-1]))
    assert _by_content(parts(**options)) == before


@pytest.mark.parametrize("copies", [2, 7])
def test_equal_rows_are_on_one_side(table, parts, tmp_path, options, copies):
    # Not the rare class: where a side is to have fewer rows than there are copies, it cannot be had whole.
    distinct = table.filter(pc.not_equal(table["label"], "rare")).slice(0, 503)
    write_table(tmp_path / "data", pa.concat_tables([distinct] * copies))
    sides = [set(_ids(part)) for part in parts(**options)]
    assert all(sides)
    assert sum(map(len, sides)) == 503


def test_rows_of_a_few_kinds_are_on_every_side_in_their_shares(tmp_path, options):
    random = np.random.default_rng(2)
    kinds = {name: random.random(1000) < share for name, share in (("x", 0.5), ("y", 0.2))}
    table = pa.table({**kinds, "label": np.where(random.random(1000) < 0.5, "a", "b")})
    found = []
    for rows in (table, table.take(pa.array(random.permutation(1000)))):
        write_table(tmp_path / "data", rows)
        paths = [tmp_path / name for name in ("train", "validation", "test")]
        split_table(tmp_path / "data", *paths, **options)
        found.append([Counter(map(str, pq.read_table(path).to_pylist())) for path in paths])
    assert found[0] == found[1]
    for kind, rows in Counter(map(str, table.to_pylist())).items():
        # The smallest kind has some 50 rows: a fifth of it is ten, give or take.
        assert found[0][2][kind] == pytest.approx(0.2 * rows, rel=0.5, abs=6), kind
        assert found[0][0][kind] == pytest.approx(0.7 * rows, rel=0.25, abs=6), kind


def test_a_row_repeated_too_often_is_parted_rather_than_a_side_left_empty(parts, table, tmp_path, options):
    write_table(tmp_path / "data", pa.concat_tables([table.slice(0, 1)] * 100))
    assert [len(part) for part in parts(**options)] == [70, 10, 20]


def test_hashes_are_the_same_in_every_process_and_release():
    # Other numbers would put the rows of every table elsewhere than where past champions were trained on them.
    batch = pa.record_batch({"id": [1, None], "name": ["x", None], "share": [0.5, None], "yes": [True, None]})
    assert [hex(value) for value in seeded(row_hashes(batch), 3)] == ["0x9cace33b022d8748", "0x4dd1438a41cf21b4"]


def test_hashes_of_every_type_go_by_content_alone():
    days = [datetime.date(2024, 5, day) for day in (1, 2, 1)]
    columns = {
        "date": pa.array([*days, None]),
        "price": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.50"), decimal.Decimal("1.50"), None]),
        "list": pa.array([[1, 2], [3], [1, 2], None]),
        "bytes": pa.array([b"a", b"b", b"a", None]),
        "word": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "flag": pa.array([True, False, True, None]),
        "count": pa.array([1, 2, 1, None]),
    }
    for name, values in columns.items():
        whole = row_hashes(pa.record_batch({name: values}))
        assert whole[0] == whole[2], name
        assert len(set(whole)) == 3, name
        assert list(whole) == [row_hashes(pa.record_batch({name: values[i : i + 1]}))[0] for i in range(4)], name


def test_the_lowest_hashes_are_found_as_by_sorting_them(monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK", 100)
    random = np.random.default_rng(0)
    for kinds in (1, 3, 50, 5000):
        hashes = random.integers(0, 2**64, kinds, dtype=np.uint64)[random.integers(0, kinds, 1000)]
        order = np.argsort(hashes, kind="stable")
        for count in (0, 1, 200, 999, 1000):
            expected = np.zeros(1000, bool)
            expected[order[:count]] = True
            assert (ranking.mark_lowest(hashes, count) == expected).all()
        repeated, counts = np.unique(hashes, return_counts=True)
        assert (ranking.find_repeated(hashes, 10) == repeated[counts > 10]).all()


def test_no_table_is_in_memory_whole(tmp_path):
    """1.2 million more rows of this table are 180 MB; their hashes, classes and sides are 30."""
    random = np.random.default_rng(0)
    values = {f"x{i}": random.random(200_000) for i in range(16)}
    labels = pa.array(["a rather long label", "another label"]).take(pa.array(random.integers(0, 2, 200_000)))
    block = pa.table({**values, "label": labels})
    program = (
        "import sys; from loopline.components.data.split import split_table;"
        "split_table(*sys.argv[1:], method='stratified', column='label')"
    )
    peaks = []
    for blocks in (4, 10):
        with table_writer(tmp_path / "data", block.schema) as writer:
            for number in range(blocks):
                writer.write_table(block.set_column(0, "x0", pa.array(values["x0"] + number)))
        peaks.append(peak_mb(program, *(tmp_path / name for name in ("data", "train", "validation", "test"))))
    assert peaks[1] - peaks[0] < 80
