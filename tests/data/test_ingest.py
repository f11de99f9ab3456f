import bz2
import datetime
import gzip
import io
import json
import lzma
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.components.data import csv_blocks, csv_format, ingest_parquet
from loopline.components.data.ingest import ingest
from loopline.components.data.tables import BATCH_ROWS, file_digest
from loopline.components.errors import InputError

UTC = datetime.UTC


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes, so that a few hundred bytes take the way of a few hundred megabytes."""
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 64)


def _types(table: pa.Table) -> dict:
    return {field.name: str(field.type) for field in table.schema}


def _failure(load, content, **options) -> str:
    with pytest.raises(InputError) as caught:
        load(content, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_types_and_missing_values(load):
    table = load(
        "i,f,b,t,z,d,s,e\n"
        "1,1.5,true,2024-01-02 03:04:05,2024-01-02T03:04:05Z,2024-01-02,x,\n"
        "NA,NaN,,,,,NA,\n"
        "-3,2,False,2024-01-02T03:04:05.25,2024-01-02T05:04:05+02:00,2024-02-29,,\n"
    )
    assert _types(table) == {
        "i": "int64",
        "f": "double",
        "b": "bool",
        "t": "timestamp[us]",
        "z": "timestamp[us, tz=UTC]",
        "d": "timestamp[us]",
        "s": "string",
        "e": "string",
    }
    at = datetime.datetime(2024, 1, 2, 3, 4, 5)
    assert table.to_pydict() == {
        "i": [1, None, -3],
        "f": [1.5, None, 2.0],
        "b": [True, None, False],
        "t": [at, None, at.replace(microsecond=250000)],
        "z": [at.replace(tzinfo=UTC), None, at.replace(tzinfo=UTC)],
        "d": [datetime.datetime(2024, 1, 2), None, datetime.datetime(2024, 2, 29)],
        # NA may be Namibia: text is missing only where there is none.
        "s": ["x", "NA", None],
        "e": [None, None, None],
    }


@pytest.mark.parametrize(
    "values",
    [["007", "12"], ["0x1F", "2"], ["12345678901234567890", "1"], ["9007199254740993.5", "9007199254740993"]],
)
def test_no_digit_is_lost(load, values):
    table = load("code,n\n" + "".join(f"{value},1\n" for value in values))
    assert table["code"].to_pylist() == values


def test_own_null_values_count_in_text_too(load):
    table = load("n,s\n-999,-\n5,a\n", csv='{"null_values": ["-999", "-"]}')
    assert table.to_pydict() == {"n": [None, 5], "s": [None, "a"]}


def test_declared_types_and_columns(load):
    table = load("a,b,c\n1,2,3\n4,5,6\n", columns="c, a", csv='{"column_types": {"a": "category", "c": "number"}}')
    assert table.column_names == ["c", "a"]
    assert table.to_pydict() == {"c": [3.0, 6.0], "a": ["1", "4"]}


def test_a_value_that_breaks_a_declared_type_names_column_and_line(load):
    message = _failure(load, "a,b\n1,2\n3,x\n", csv='{"column_types": {"b": "integer"}}')
    assert "'b'" in message
    assert "line 3" in message
    assert "'x'" in message


@pytest.mark.parametrize(
    ("late", "expected"),
    [("2.5", 2.5), ("abc", "abc"), ("007", 7), ("9223372036854775808", "9223372036854775808"), ("", None)],
)
def test_types_widen_when_a_later_block_contradicts(load, small_blocks, caplog, late, expected):
    caplog.set_level("INFO", "loopline")
    early = "".join(f"{i},x\n" for i in range(300))
    table = load(f"n,s\n{early}{late},y\n1,z\n")
    values = table["n"].to_pylist()
    as_expected = type(expected) if isinstance(expected, str | float) else int
    assert values == [*(as_expected(i) for i in range(300)), expected, as_expected(1)]
    assert ("'n'" in caplog.text) == (as_expected is not int)


def test_widening_never_rounds_large_integers(load, small_blocks):
    numbers = [str(2**53 + 1 + i) for i in range(40)]
    table = load("n,s\n" + "".join(f"{n},x\n" for n in [*numbers, "0.5"]))
    assert table["n"].to_pylist() == [*numbers, "0.5"]


def test_a_column_empty_at_first_takes_the_type_that_comes_later(load, small_blocks):
    table = load("a,b\n" + "".join(f"{i},\n" for i in range(200)) + "200,2024-05-01T00:00:00Z\n201,NA\n")
    assert table["b"].to_pylist() == [None] * 200 + [datetime.datetime(2024, 5, 1, tzinfo=UTC), None]


def test_every_block_size_gives_the_same_table(load, monkeypatch):
    rows = [(i, "a,b" if i % 3 else 'say "hi"\nthen\r\ngo', '5" nail' if i % 5 == 0 else "") for i in range(200)]
    text = "i,q,stray\r\n" + "".join(f'{i},"{q.replace(chr(34), chr(34) * 2)}",{s}\r\n' for i, q, s in rows)
    for size in (16, 61, 64, 997, 2**20):
        monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", size)
        monkeypatch.setattr(csv_blocks, "LONGEST_ROW", 2**20)
        table = load(text)
        assert [tuple(row.values()) for row in table.to_pylist()] == [(i, q, s or None) for i, q, s in rows], size


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines_byte_order_mark_and_missing_last_newline(load, newline):
    table = load(b"\xef\xbb\xbf" + f"a,b{newline}1,\u00e9{newline}2,x".encode())
    assert table.to_pydict() == {"a": [1, 2], "b": ["\u00e9", "x"]}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
def test_encodings(load, encoding):
    table = load("stra\u00dfe,n\nK\u00f6ln \u20ac,1\n".encode(encoding), csv=json.dumps({"encoding": encoding}))
    assert table.to_pydict() == {"stra\u00dfe": ["K\u00f6ln \u20ac"], "n": [1]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_an_encoding_that_the_file_names_itself_need_not_be_given(load, encoding):
    table = load("stra\u00dfe;n\nK\u00f6ln \u20ac;1,5\n".encode(encoding))
    assert table.to_pydict() == {"stra\u00dfe": ["K\u00f6ln \u20ac"], "n": [1.5]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b\n1,5;x,y\n-2;z\n", {"a": [1.5, -2.0], "b": ["x,y", "z"]}),
        ("a\tb, c\n1.5\tx\n2\ty\n", {"a": [1.5, 2.0], "b, c": ["x", "y"]}),
        ("a|b\n1|2\n", {"a": [1], "b": [2]}),
        # A semicolon within text is none between fields, nor is a comma that groups thousands the start of decimals.
        ('a,b\n1,"x;y"\n2,z\n', {"a": [1, 2], "b": ["x;y", "z"]}),
        ('a,b\n"1,234",x\n"2,000",y\n', {"a": ["1,234", "2,000"], "b": ["x", "y"]}),
        # More columns have points than commas: the one with commas holds codes.
        ("a;b;c\n1.5;2.5;1,2\n3.5;4.5;3,4\n", {"a": [1.5, 3.5], "b": [2.5, 4.5], "c": ["1,2", "3,4"]}),
        # A point among decimal commas groups thousands: as text nothing is misread.
        ("a;b\n1.000;2,5\n", {"a": ["1.000"], "b": [2.5]}),
        # Between tabs a comma may group thousands; between semicolons it starts decimals, be they three.
        ("a\tb\n1,234\tx\n12,345\ty\n", {"a": ["1,234", "12,345"], "b": ["x", "y"]}),
        ("a\tb\n0,234\tx\n12,345\ty\n", {"a": [0.234, 12.345], "b": ["x", "y"]}),
        ("a;b\n1,234;x\n12,345;y\n", {"a": [1.234, 12.345], "b": ["x", "y"]}),
        # A comma in each row and in the header does not make a delimiter of it where there is another.
        ("City, State\tn\nAustin, TX\t1\n", {"City, State": ["Austin, TX"], "n": [1]}),
        ("Price, EUR;n\n1,5;2\n", {"Price, EUR": [1.5], "n": [2]}),
        ("lat;lon,n,m\n1;2,3,4\n", {"lat;lon": ["1;2"], "n": [3], "m": [4]}),
        ("a\nx;y\n", {"a": ["x;y"]}),
        (" a , b\n1,2\n", {"a": [1], "b": [2]}),
    ],
)
def test_the_first_lines_tell_how_a_file_is_written(load, content, expected):
    assert load(content).to_pydict() == expected


def test_a_row_that_the_first_look_cuts_does_not_confuse_it(load, monkeypatch):
    monkeypatch.setattr(csv_format, "_HEAD", 64)
    text = "a;b\n" + "".join(f'{i};"first\nsecond, {i}"\n' for i in range(9))
    assert load(text)["b"].to_pylist() == [f"first\nsecond, {i}" for i in range(9)]


@pytest.mark.parametrize("mark", ["?", "-", ".", "None", "n.a.", "\\N", "#DIV/0!"])
def test_what_people_write_for_a_missing_number_is_missing(load, mark):
    table = load(f"n,t,b,s\n1,2024-05-01,true,x\n{mark},{mark},{mark},{mark}\n")
    assert [column[1].as_py() for column in table.columns] == [None, None, None, mark]


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_a_look_reads_no_more_than_asked_for(tmp_path, small_blocks, monkeypatch, name):
    monkeypatch.setattr(ingest_parquet, "BATCH_ROWS", 100)
    table = pa.table({"a": range(5000)})
    (tmp_path / "in.csv").write_text("a\n" + "\n".join(map(str, range(5000))))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    result = ingest(str(tmp_path / name), tmp_path / "out", most_bytes=640)
    assert 10 < result["rows"] < 2000
    assert not result["whole"]
    assert pq.read_table(tmp_path / "out")["a"].to_pylist() == list(range(result["rows"]))
    whole = ingest(str(tmp_path / name), tmp_path / "out", most_bytes=10**6)
    assert (whole["rows"], whole["whole"]) == (5000, True)


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/in.csv", data)
    return buffer.getvalue()


def _gzip_in_two(data: bytes) -> bytes:
    return gzip.compress(data[:1000]) + gzip.compress(data[1000:])


def _zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize("pack", [gzip.compress, _gzip_in_two, bz2.compress, lzma.compress, _zstd, _zip])
def test_compressed_csv_gives_the_same_bytes(load, tmp_path, pack):
    data = ("a,b\n" + "".join(f"{i},v{i}\n" for i in range(5000))).encode()
    load(data)
    plain = file_digest(tmp_path / "out.parquet")
    # The name does not say so: what a download is called is anyone's guess.
    load(pack(data), name="download")
    assert file_digest(tmp_path / "out.parquet") == plain


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, _zip])
def test_a_truncated_archive_is_refused(load, tmp_path, pack):
    data = ("a,b\n" + "".join(f"{i},v{i * 7919 % 1000}\n" for i in range(5000))).encode()
    packed = pack(data)
    message = _failure(load, packed[: len(packed) // 2])
    assert "cannot be unpacked" in message
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.csv"]


def test_row_groups_are_even_and_the_metadata_is_right(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("a\n" + "1\n" * (BATCH_ROWS + 5))
    result = ingest(str(source), tmp_path / "out")
    metadata = pq.ParquetFile(tmp_path / "out").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [BATCH_ROWS, 5]
    assert result == {
        "rows": BATCH_ROWS + 5,
        "columns": 1,
        "digest": file_digest(tmp_path / "out"),
        "source": str(source),
    }


def test_globs_and_folders_are_read_as_one_table(load, tmp_path):
    folder = tmp_path / "parts"
    (folder / "b").mkdir(parents=True)
    (folder / "a.csv").write_text("x,y\n1,a\n")
    (folder / "b" / "c.csv").write_text("y,x\nb,2.5\n")
    (folder / "_SUCCESS").write_text("")
    expected = {"x": [1.0, 2.5], "y": ["a", "b"]}
    assert load(folder).to_pydict() == expected
    assert load(folder / "**" / "*.csv").to_pydict() == expected


def test_parquet_files_are_read_as_one_table(load, tmp_path):
    day = datetime.date(2024, 5, 1)
    plain = pa.table({"i": pa.array([1], pa.int32()), "s": ["a"], "d": [day], "n": pa.nulls(1)})
    pq.write_table(plain, tmp_path / "1.parquet")
    other = {"s": pa.array(["b"]).dictionary_encode(), "n": [0.5], "d": [day], "i": pa.array([2**40], pa.int64())}
    pq.write_table(pa.table(other), tmp_path / "2.parquet")
    table = load(tmp_path / "[12].parquet", columns="s,i,n,d")
    midnight = datetime.datetime(2024, 5, 1)
    assert table.to_pydict() == {"s": ["a", "b"], "i": [1, 2**40], "n": [None, 0.5], "d": [midnight, midnight]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["in.csv", "empty"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["header but no rows"]),
        ("a,b\n1,2\n3\n4,5\n", ["1 fields", "line 3", "2"]),
        ('a,b\n"x\ny",2\n3,4,5\n', ["3 fields", "line 4"]),
        ("a,b,a\n1,2,3\n", ["more than one column", "'a'"]),
        ('a,b\n1,"x\n2,y\n', ["line 2", "never closed"]),
        ("a;b\n1;2\n3\n", ["delimiter", '{"delimiter": ";"}']),
        ("sep=;\na;b\n1;2\n", ["begins with the line 'sep=;'", "take it out"]),
        ("sep=,\na,b\n1,2\n", ["begins with the line 'sep=,'"]),
        (b"name,n\nK\xf6ln,1\n", ["UTF-8", "byte 8", "encoding"]),
        (b"n\xf6me,n\nK,1\n", ["UTF-8", "byte 1"]),
        (b"\x89PNG\0\0,\n\0\0", ["not text"]),
    ],
)
def test_broken_csv_is_one_sentence_and_leaves_nothing(load, tmp_path, content, words):
    message = _failure(load, content)
    assert all(word in message for word in words), message
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.csv"]


def test_a_broken_row_far_down_has_its_line(load, small_blocks, tmp_path):
    lines = ["a,b", *(f"{i},x" for i in range(500)), "1,2,3", *(f"{i},y" for i in range(9))]
    assert "line 502" in _failure(load, "\n".join(lines))
    bad = "\n".join(lines[:-10]).encode() + b"\n1,\xff\n"
    assert f"byte {len(bad) - 2:,}" in _failure(load, bad)
    assert not (tmp_path / "out.parquet.part").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": "a,z"}, ["'z'", "'a', 'b'"]),
        ({"columns": "a,a"}, ["'a'", "twice"]),
        ({"csv": '{"column_types": {"z": "integer"}}'}, ["'z'"]),
        ({"csv": '{"column_types": {"a": "int"}}'}, ["'int'", "integer"]),
        ({"csv": '{"column_types": [1]}'}, ["column_types", "category"]),
        ({"csv": '{"null_values": "-"}'}, ["null_values", "list"]),
        ({"csv": '{"delimiter": "||"}'}, ["'||'"]),
        ({"csv": '{"delimiter": 1}'}, ["delimiter", "1"]),
        ({"csv": '{"decimal_point": "\'"}'}, ["decimal_point"]),
        ({"csv": '{"encoding": "latin-99"}'}, ["latin-99"]),
        ({"csv": '{"encoding": "base64"}'}, ["base64"]),
        ({"csv": '{"separator": ";"}'}, ["'separator'", "delimiter"]),
        ({"csv": "[1]"}, ["JSON"]),
    ],
)
def test_wrong_parameters(load, options, words):
    message = _failure(load, "a,b\n1,2\n", **options)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("uri", ["nowhere/in.csv", "nowhere/*.csv", "gs://bucket/x.csv", " "])
def test_nothing_there(tmp_path, uri):
    with pytest.raises(InputError, match=r"no file|No file|Cannot read|empty"):
        ingest(uri, tmp_path / "out")


def test_files_that_do_not_go_together(load, tmp_path):
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")
    message = _failure(load, tmp_path / "?.csv")
    assert "'b'" in message
    assert "2.csv" in message
    pq.write_table(pa.table({"a": [1]}), tmp_path / "3.parquet")
    assert "two steps" in _failure(load, tmp_path / "[13].*")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "4.parquet")
    message = _failure(load, tmp_path / "*.parquet")
    assert "4.parquet" in message
    assert "'a'" in message


def test_bad_parquet(load, tmp_path):
    assert "not a Parquet file" in _failure(load, "a,b\n1,2\n", name="x.parquet")
    pq.write_table(pa.table({"a": range(1000)}), tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    assert "not a Parquet file" in _failure(load, whole[:500], name="cut.parquet")


def test_columns_of_parquet_that_no_step_can_use_are_left_out_unless_asked_for(load, tmp_path, caplog):
    caplog.set_level("INFO", "loopline")
    times = pa.array([1], pa.time64("us"))
    pq.write_table(pa.table({"a": [[1]], "b": [{"c": 1}], "d": [b"x"], "e": times, "n": [1]}), tmp_path / "in.parquet")
    assert load(tmp_path / "in.parquet").column_names == ["n"]
    assert "left out a" in caplog.text
    message = _failure(load, tmp_path / "in.parquet", columns="n,a")
    assert "'a'" in message
    assert "list" in message
    pq.write_table(pa.table({"a": [[1]]}), tmp_path / "in.parquet")
    assert "no column of numbers" in _failure(load, tmp_path / "in.parquet")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, name):
    (tmp_path / "in.csv").write_text("a\n" + "\n".join(map(str, range(1000))))
    pq.write_table(pa.table({"a": range(1000)}), tmp_path / "in.parquet")
    (tmp_path / "out.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"disk is full at .*storage"):
        ingest(str(tmp_path / name), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["in.csv", "in.parquet"]


def test_an_earlier_result_survives_a_failure(load, tmp_path):
    load("a,b\n1,2\n")
    _failure(load, "a,b\n1,2,3\n")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {"a": [1], "b": [2]}


def test_https_is_streamed(load, web, tmp_path):
    folder, address = web
    data = "a,b\n" + "".join(f"{i},v{i}\n" for i in range(3000))
    (folder / "in.csv").write_text(data)
    (folder / "in.csv.gz").write_bytes(gzip.compress(data.encode()))
    (folder / "in.zip").write_bytes(_zip(data.encode()))
    pq.write_table(load(data), folder / "in.parquet")
    expected = file_digest(tmp_path / "out.parquet")
    for name in ("in.csv", "in.csv.gz", "in.zip", "in.parquet"):
        result = ingest(f"{address}/{name}?token=secret", tmp_path / "out.parquet")
        assert result["source"] == f"{address}/{name}"
        assert result["digest"] == expected, name
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_https_failures(web, tmp_path):
    folder, address = web
    (folder / "cut.csv").write_text("a,b\n" + "1,2\n" * 1000)
    shutil.copy(folder / "cut.csv", folder / "cut.parquet")
    cases = {
        f"{address}/none.csv?token=secret": "HTTP 404",
        f"{address}/401": "credentials",
        f"{address}/503": "HTTP 503",
        f"{address}/cut.csv": "broke after",
        "http://127.0.0.1:9/x.csv": "Connection refused",
        "http://example.com/x.csv": "unencrypted",
        f"https{address[4:]}/x.csv": "does not speak TLS as it should",
        address.replace("//", "//me:secret@"): "netrc",
    }
    for uri, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            ingest(uri, tmp_path / "out")
        assert "secret" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_https_is_never_left_for_plain_http(web_tls, tmp_path):
    address = web_tls
    assert ingest(f"{address}/moved/secure", tmp_path / "out")["rows"] == 2
    (tmp_path / "out").unlink()
    # At the end of the way, and in the middle of it.
    for path in ("/down/plain", "/down/up/secure"):
        with pytest.raises(InputError, match=r"redirects to http://127\.0\.0\.1:.*unencrypted") as caught:
            ingest(f"{address}{path}?token=secret", tmp_path / "out")
        assert "secret" not in str(caught.value)
        assert not (tmp_path / "out").exists()
