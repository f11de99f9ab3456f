"""Preparation in partitions gives what preparation in one piece gives, whatever the partitions."""

import datetime
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from partitioned import in_one_piece, in_partitions

from loopline.components.data.partition_gather import gather_partitions
from loopline.components.data.partition_plan import Plan
from loopline.components.data.partition_rows import prepare_partition
from loopline.components.data.partitions import divide_table, find_partition
from loopline.components.data.row_kinds import RowKinds
from loopline.components.data.split import SIDES
from loopline.components.data.tables import read_table, table_digest, write_table
from loopline.components.errors import InputError

SPLITS = {
    "random": {},
    "other shares": {"test_size": 0.5, "validation_size": 0.0, "seed": 7},
    "stratified": {"split_method": "stratified", "split_column": "y"},
    "group": {"split_method": "group", "split_column": "group", "test_size": 0.3, "validation_size": 0.3},
    "time": {"split_method": "time", "split_column": "when"},
    "numbers as time": {"split_method": "time", "split_column": "x"},
    "test_start": {"split_method": "time", "split_column": "when", "test_start": "2023-06-01"},
}


def make_table(rows: int, seed: int = 0) -> pa.Table:
    """Return rows of every kind; ``row`` tells them apart."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    seconds = random.integers(1_670_000_000, 1_700_000_000, rows)
    return pa.table(
        {
            "row": np.arange(rows),
            "x": pa.array(x, mask=random.random(rows) < 0.05),
            "whole": random.integers(-5, 1000, rows),
            "flag": random.random(rows) < 0.3,
            "group": random.choice(list("abcdefghij"), rows),
            "when": pa.array(seconds, pa.timestamp("s")),
            "y": np.where(x + random.normal(size=rows) > 0, "yes", "no"),
        }
    )


def write_parts(folder: Path, table: pa.Table, count: int, kind: str = "csv", seed: int = 0) -> Path:
    """Write a table as so many files, of any number of rows each, none included."""
    folder.mkdir(parents=True)
    cuts = np.sort(np.random.default_rng(seed).integers(0, table.num_rows + 1, count - 1))
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, table.num_rows], strict=True)):
        part = table.slice(start, end - start)
        if kind == "csv":
            pa.csv.write_csv(part, folder / f"{number:04}.csv")
        else:
            write_table(folder / f"{number:04}.parquet", part)
    return folder


def same_rows(one: pa.Table, other: pa.Table, by: str = "row") -> bool:
    return one.sort_by(by).equals(other.sort_by(by))


CASES = [*((split, 7) for split in SPLITS), ("random", 1), ("random", 100), ("stratified", 2), ("time", 100)]


@pytest.mark.parametrize(("split", "count"), CASES)
def test_schema_and_sides_are_those_of_the_whole_table(tmp_path, split, count):
    settings = {"target": "y", **SPLITS[split]}
    if split == "numbers as time":
        settings["columns"] = "row,whole,group,when,y"
        settings["split_column"] = "whole"
    files = write_parts(tmp_path / "files", make_table(3000), count)
    whole = in_one_piece(files, tmp_path / "whole", **settings)
    parts = in_partitions(files, tmp_path / "parts", most=40, shuffled=True, **settings)
    assert parts.schema == whole.schema
    for side in SIDES:
        assert same_rows(parts.table(side), whole.table(side)), side
        assert parts.metadata[side]["rows"] == whole.metadata[side]["rows"]


def test_a_large_table_is_split_as_in_one_piece(tmp_path):
    """Where most rows know their side at once, and only some are placed later."""
    files = write_parts(tmp_path / "files", make_table(400_000), 5, "parquet")
    whole = in_one_piece(files, tmp_path / "whole", target="y")
    parts = in_partitions(files, tmp_path / "parts", target="y")
    late = sum(read_table(path, ["row"]).num_rows for path in (tmp_path / "parts").glob("prepared-*/late.parquet"))
    assert 0 < late < 0.06 * 400_000
    for side in SIDES:
        assert same_rows(parts.table(side), whole.table(side)), side


@pytest.mark.parametrize("seed", range(6))
def test_copies_of_rows_stay_on_one_side_across_partitions(tmp_path, seed):
    """Few rows, many of them copies: the cut moves out of them as it does in one piece."""
    random = np.random.default_rng(seed)
    rows = make_table(40, seed).take(random.integers(0, 40, 120))
    files = write_parts(tmp_path / "files", rows, 6, seed=seed)
    whole = in_one_piece(files, tmp_path / "whole", target="y", seed=seed)
    parts = in_partitions(files, tmp_path / "parts", target="y", seed=seed)
    assert {side: sorted(parts.table(side)["row"].to_pylist()) for side in SIDES} == {
        side: sorted(whole.table(side)["row"].to_pylist()) for side in SIDES
    }


def test_every_side_gets_its_share_of_rows_of_a_few_kinds(tmp_path):
    """In a narrow table most rows are repeated: all of a kind on one side would be a bad split."""
    random = np.random.default_rng(1)
    table = pa.table({"a": random.integers(0, 5, 8000), "y": random.choice(["no", "yes"], 8000)})
    files = write_parts(tmp_path / "files", table, 6)
    parts = in_partitions(files, tmp_path / "parts", target="y")
    whole = in_one_piece(files, tmp_path / "whole", target="y")
    assert [len(parts.table(side)) for side in SIDES] == [len(whole.table(side)) for side in SIDES]
    kinds = {kind["a"]: kind["a_count"] for kind in _count(table)}
    for kind in _count(parts.table("test")):
        assert kind["a_count"] / kinds[kind["a"]] == pytest.approx(0.2, abs=0.05)


def test_rows_that_are_repeated_are_found_among_many_that_are_not():
    random = np.random.default_rng(0)
    kinds = RowKinds.empty()
    for _ in range(6):
        others = random.integers(0, 2**63, 100_000, dtype=np.uint64)
        kinds = kinds.merged(RowKinds.empty().add(np.append(others, np.full(5, 7, np.uint64))).most_frequent())
    assert kinds.often(10).tolist() == [7]
    assert kinds.counts[kinds.hashes == 7] == [30]


def _count(table: pa.Table) -> list[dict]:
    found = table.group_by("a").aggregate([("a", "count")]).to_pylist()
    assert len(found) == 5
    return found


ODD = {
    "integers, then decimals": ["a\n1\n2\n", "a\n2.5\n3\n"],
    "decimals, then integers": ["a\n2.5\n", "a\n1\n"],
    "large integers and decimals": ["a\n9007199254740993\n", "a\n2.5\n"],
    "numbers, then text": ["a\n1\n007\n", "a\n2\n", "a\nnone\nx\n"],
    "numbers with a few spellings, text later": ["a\n1.50\n1.5\n", "a\n7\n", "a\nseven\n"],
    "NA is missing in numbers and not in text": ["a\nNA\n1\n", "a\nNA\nNA\n", "a\nword\n"],
    "missing in one partition": ['a\n""\n""\n', "a\n1\n", "a\n2\n"],
    "missing text in one partition": ['a\n""\n""\n', "a\nword\n"],
    "missing everywhere but once": ["a\nNA\n", "a\n-\n", "a\n3\n"],
    "true and numbers": ["a\ntrue\n", "a\n1\n"],
    "dates and instants": ["a\n2024-01-01\n", "a\n2024-01-01 10:00:00.123456789\n"],
    "dates and words": ["a\n2024-01-01\n", "a\nsoon\n"],
    "a category that one partition has": ["a\nred\nblue\n", "a\ngreen\n", "a\nred\n"],
    "no rows in one file": ["a\n1\n", "a\n", "a\n2\n"],
    "no rows in the first file": ["a\n", "a\n2\n", "a\n3\n"],
    "semicolons and decimal commas": ["b;a\n1;1,5\n", "b;a\n1;2\n2;7\n"],
    "columns in another order": ["a,b\n1,x\n", "b,a\ny,2\n"],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_come_out_as_in_one_piece(tmp_path, name):
    files = write_odd(tmp_path / "files", name)
    whole = in_one_piece(files, tmp_path / "whole", expectations='{"a": {"nullable": true}}')
    parts = in_partitions(files, tmp_path / "parts", expectations='{"a": {"nullable": true}}')
    assert parts.schema == whole.schema
    for side in SIDES:
        assert same_rows(parts.table(side), whole.table(side)), side


@pytest.mark.parametrize("name", ODD)
def test_odd_targets_come_out_as_in_one_piece(tmp_path, name):
    files = write_odd(tmp_path / "files", name)
    settings = {"target": "a", "split_method": "stratified", "split_column": "a"}
    settings |= {"on_error": "quarantine", "validation_size": 0.0}
    said = []
    for prepare, where in ((in_one_piece, "whole"), (in_partitions, "parts")):
        try:
            found = prepare(files, tmp_path / where, **settings)
            said.append([found.schema, *(sorted(found.table(side)["row"].to_pylist()) for side in SIDES)])
        except InputError as error:
            said.append(str(error).partition("; the report")[0].rstrip("."))
    assert said[0] == said[1]


def write_odd(files: Path, name: str) -> Path:
    """Write the files of an odd case, ten rows at least, with a number for each row to compare by."""
    files.mkdir()
    for number, text in enumerate(ODD[name]):
        head, _, body = text.partition("\n")
        delimiter = ";" if ";" in head else ","
        lines = [f"{line}{delimiter}{number * 1000 + i}" for i, line in enumerate(body.splitlines() * 6)]
        (files / f"{number}.csv").write_text("\n".join([f"{head}{delimiter}row", *lines, ""]))
    return files


def test_parquet_types_merge_as_in_one_piece(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    rows = np.arange(20)
    columns = [
        {"a": pa.array(rows, pa.int32()), "b": pa.nulls(20), "c": pa.array(rows * 1.5), "d": pa.array([[1]] * 20)},
        {"a": pa.array(rows + 20, pa.int64()), "b": pa.array(["x"] * 20), "c": pa.array(rows), "d": pa.array(rows)},
        {"a": pa.array([], pa.int8()), "b": pa.array([], pa.string()), "c": pa.array([], pa.float32()),
         "d": pa.array([], pa.int8())},
    ]  # fmt: skip
    for number, part in enumerate(columns):
        write_table(files / f"{number}.parquet", pa.table(part))
    whole = in_one_piece(files, tmp_path / "whole")
    parts = in_partitions(files, tmp_path / "parts")
    assert parts.schema == whole.schema
    for side in SIDES:
        assert same_rows(parts.table(side), whole.table(side), "a"), side
        assert read_table(tmp_path / "parts" / f"{side}.parquet").schema == whole.table(side).schema


def test_rows_that_break_a_rule_are_told_as_in_one_piece(tmp_path):
    """The same sentence, or the same rows set aside."""
    files = write_parts(tmp_path / "files", make_table(500), 4)
    broken = {"target": "y", "expectations": '{"whole": {"minimum": 100}, "x": {"nullable": false}}'}
    said = []
    for prepare, name in ((in_one_piece, "whole"), (in_partitions, "parts")):
        with pytest.raises(InputError) as caught:
            prepare(files, tmp_path / name, **broken)
        said.append(str(caught.value).replace(str(tmp_path / name), ""))
    assert said[0] == said[1]
    assert "2 rules are broken, first: column 'whole' must be at least 100" in said[0]
    whole = in_one_piece(files, tmp_path / "whole-2", on_error="quarantine", **broken)
    parts = in_partitions(files, tmp_path / "parts-2", on_error="quarantine", **broken)
    for side in SIDES:
        assert same_rows(parts.table(side), whole.table(side)), side
    assert same_rows(parts.table("quarantined"), whole.table("quarantined"))
    pages = [(tmp_path / name / "report.html").read_text() for name in ("whole-2", "parts-2")]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "z"}, "The target 'z' is not a column: choose one of 'row', "),
        ({"target": "same"}, "The target 'same' is 1 in every row"),
        ({"columns": "row,z"}, "Column 'z' is not in "),
        ({"target": "y", "split_method": "group", "split_column": "z"}, "Column 'z' is not in "),
        ({"target": "y", "split_method": "time", "split_column": "y"}, "Cannot split by time on a column of type str"),
        ({"target": "y", "split_method": "time", "split_column": "x"}, "The time column has "),
        ({"target": "y", "split_method": "time", "split_column": "when", "test_start": "2050-01-01"},
         "The test side would be empty"),
        ({"target": "y", "split_method": "nearest"}, "method 'nearest' is unknown"),
        ({"target": "y", "test_size": 1.5}, "test_size 1.5 must lie between 0 and 1"),
        ({"target": "y", "expectations": '{"whole": {"minimum": 5000}}'}, "Column 'whole' would have the minimum"),
        ({"target": "y", "expectations": '{"whole": {"minimum": 5000, "maximum": 6000}}'}, ""),
        ({"target": "y", "on_error": "quarantine", "expectations": '{"whole": {"minimum": 5000, "maximum": 6000}}'},
         "Every row breaks a rule"),
        ({"target": "y", "split_method": "stratified", "split_column": "row"}, "Class "),
        ({"target": "x", "task": "binary"}, "Class "),
    ],
)  # fmt: skip
def test_what_is_refused_in_one_piece_is_refused_in_partitions(tmp_path, settings, words):
    table = make_table(60).append_column("same", pa.array([1] * 60))
    files = write_parts(tmp_path / "files", table, 3)
    said = []
    for prepare, name in ((in_one_piece, "whole"), (in_partitions, "parts")):
        with pytest.raises(InputError) as caught:
            prepare(files, tmp_path / name, **settings)
        said.append(str(caught.value))
    assert said[0].startswith(words)
    # Which of several classes, and which file, is named first is another matter.
    assert said[1][: len(words) or 40] == said[0][: len(words) or 40]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("row,z\n1,2\n", "is in .*0000.csv and not in .*zz.csv"),
        ("", "zz.csv is empty: it needs a line of column names"),
        ("row,x,whole,flag,group,when,y\n1,2\n", "zz.csv has 2 fields on line 2 where its header has 7"),
        ("PAR1", "zz.csv is not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, other, words):
    files = write_parts(tmp_path / "files", make_table(60), 3)
    (files / "zz.csv").write_text(other)
    with pytest.raises(InputError, match=words):
        in_partitions(files, tmp_path / "parts", target="y")


@pytest.mark.parametrize("most", [1, 64])
def test_csv_and_parquet_do_not_mix(tmp_path, most):
    files = write_parts(tmp_path / "files", make_table(60), 3)
    write_table(files / "zz.parquet", make_table(60))
    with pytest.raises(InputError, match=r"zz.parquet is Parquet and .*0000.csv is not"):
        in_partitions(files, tmp_path / "parts", most=most, target="y")


def test_files_of_one_name_in_different_folders_are_different_partitions(tmp_path):
    table = make_table(90)
    for month in range(3):
        folder = tmp_path / "files" / f"month={month}"
        folder.mkdir(parents=True)
        pa.csv.write_csv(table.slice(month * 30, 30), folder / "data.csv")
    parts = in_partitions(tmp_path / "files", tmp_path / "parts", target="y")
    rows = [row for side in SIDES for row in parts.table(side)["row"].to_pylist()]
    assert sorted(rows) == list(range(90))


def test_many_files_share_few_partitions_in_order(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for number in range(10):
        (files / f"{number}.csv").write_text("a\n1\n")
    found = [find_partition(str(files), each) for each in divide_table(str(files), 4)]
    names = [[Path(source.name).stem for source in partition.sources] for partition in found]
    assert [name for part in names for name in part] == list("0123456789")
    assert sorted(map(len, names)) == [2, 2, 3, 3]
    assert {Path(partition.first.name).stem for partition in found} == {"0"}
    for most in (0, 257):
        with pytest.raises(InputError, match=f"most {most} must be 1 to 256"):
            divide_table(str(files), most)


def test_files_that_come_or_go_meanwhile_are_noticed(tmp_path):
    files = write_parts(tmp_path / "files", make_table(60), 2)
    partition = divide_table(str(files))[0]
    (files / "more.csv").write_text("row\n1\n")
    with pytest.raises(InputError, match="are not those that were divided into partitions"):
        find_partition(str(files), partition)
    with pytest.raises(InputError, match="partition '1' is none that divide_table gave"):
        find_partition(str(files), "1")


def test_the_same_rows_give_the_same_digest_again(tmp_path):
    files = write_parts(tmp_path / "files", make_table(300), 3)
    first = in_partitions(files, tmp_path / "first", target="y")
    again = in_partitions(files, tmp_path / "again", target="y", shuffled=True)
    assert first.metadata == again.metadata
    for side in SIDES:
        assert first.metadata[side]["digest"] == table_digest(tmp_path / "first" / f"{side}.parquet")
    other = in_partitions(files, tmp_path / "other", target="y", seed=1)
    assert first.metadata["train"]["digest"] != other.metadata["train"]["digest"]
    copied = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "first" / "train.parquet", copied)
    assert table_digest(copied) == first.metadata["train"]["digest"]


def test_a_table_of_more_instants_than_are_counted_is_cut_close_to_its_share(tmp_path):
    rows = 300_000
    random = np.random.default_rng(3)
    seconds = random.permutation(rows) + random.choice([0, 10**8], rows)
    table = pa.table({"when": pa.array(seconds, pa.timestamp("s")), "row": np.arange(rows)})
    settings = {"split_method": "time", "split_column": "when"}
    counts = []
    for count in (2, 5):
        files = write_parts(tmp_path / f"files-{count}", table, count, "parquet")
        parts = in_partitions(files, tmp_path / f"parts-{count}", **settings)
        counts.append([parts.metadata[side]["rows"] for side in SIDES])
        newest = [parts.table(side)["when"].to_pylist() for side in SIDES]
        assert max(newest[0]) < min(newest[1]) and max(newest[1]) < min(newest[2])
    assert counts[0] == counts[1]
    assert np.array(counts[0]) / rows == pytest.approx([0.7, 0.1, 0.2], abs=0.001)
    assert isinstance(newest[0][0], datetime.datetime)


_KILLED = """
import sys
from loopline.components.data.partition_plan import Plan
from loopline.components.data.partition_rows import prepare_partition
from loopline.components.data.partitions import find_partition
uri, partition, plan, folder = sys.argv[1:]
prepare_partition(find_partition(uri, partition), Plan.load(plan), folder)
"""


def test_a_partition_whose_step_was_killed_is_prepared_again(tmp_path):
    """The engine starts a step again where what the first one wrote may still be."""
    files = write_parts(tmp_path / "files", make_table(400_000), 2)
    expected = in_partitions(files, tmp_path / "parts", target="y")
    folder = tmp_path / "again"
    partition = divide_table(str(files))[1]
    command = [sys.executable, "-c", _KILLED, str(files), partition, str(tmp_path / "parts" / "plan.json"), str(folder)]
    with subprocess.Popen(command) as process:
        while not any(folder.glob("*.part")):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "report.json").exists()
    subprocess.run(command, check=True)
    plan = Plan.load(tmp_path / "parts" / "plan.json")
    tables = {name: tmp_path / "gathered" / name for name in (*SIDES, "quarantined")}
    for table in tables.values():
        # What is left of an attempt to gather is written anew, too.
        table.mkdir(parents=True)
        (table / "00002-1.parquet").write_bytes(b"half")
    written = gather_partitions([tmp_path / "parts" / "prepared-0", folder], plan, tables, tmp_path / "report.html")
    assert written["train"] == expected.metadata["train"]
    with pytest.raises(InputError, match="results of the partitions 2, 2 where each of 1 to 2 is needed once"):
        gather_partitions([folder, folder], plan, tables, tmp_path / "report.html")


def test_a_file_that_grew_since_it_was_profiled_is_noticed(tmp_path):
    files = write_parts(tmp_path / "files", make_table(60), 2)
    in_partitions(files, tmp_path / "parts", target="y")
    first = sorted(files.iterdir())[0]
    first.write_text(first.read_text() + "60,0.5,7,true,a,2023-01-01 00:00:00,yes\n")
    plan = Plan.load(tmp_path / "parts" / "plan.json")
    with pytest.raises(InputError, match=r"0000.csv has \d+ row\(s\) where it had \d+ a moment ago"):
        prepare_partition(find_partition(str(files), divide_table(str(files))[0]), plan, tmp_path / "prepared")
