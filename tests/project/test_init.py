"""``loopline init`` as a person uses it: what it says, what it writes, what it refuses."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from project_tables import CASES, as_csv, base, text

from loopline.pipelines.cli import main

BASE = text(base())


def loopline(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("loopline")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=dict(os.environ))


def test_it_says_what_it_saw_and_what_comes_next(tmp_path):
    data = CASES["columns that know the target"].write(tmp_path)
    done = loopline("init", "churn", "--data", Path(data).name, "--target", "y", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "'table.csv': 300 rows, 7 columns; commas between the fields"
    assert lines[1] == "  target     'y', binary: 2 classes, 'no' 50.0%, 'yes' 50.0%"
    assert lines[-2:] == [
        "Wrote churn: params.yaml, monitoring.yaml, explore.ipynb",
        "Next:  loopline run training -f churn/params.yaml",
    ]
    assert len(lines) < 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["churn", "table.csv"]
    assert sorted(path.name for path in (tmp_path / "churn").iterdir()) == [
        "explore.ipynb",
        "monitoring.yaml",
        "params.yaml",
    ]


def test_help_says_what_is_written(tmp_path):
    text = loopline("init", "--help", cwd=tmp_path).stdout
    for word in ("params.yaml", "monitoring.yaml", "explore.ipynb", "--data FILE", "--target COLUMN", "examples:"):
        assert word in text


def test_an_empty_folder_is_filled_and_the_name_may_be_given(tmp_path):
    (tmp_path / "My Project!").mkdir()
    as_csv(base())(tmp_path)
    words = ("--data", "table.csv", "--target", "y")
    done = loopline("init", "My Project!", *words, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith("loopline run training -f 'My Project!/params.yaml'\n")
    assert "\nname: my-project\n" in (tmp_path / "My Project!" / "params.yaml").read_text()
    for command, file in (("training", "params"), ("monitoring", "monitoring")):
        text = (tmp_path / "My Project!" / f"{file}.yaml").read_text()
        assert f"loopline run {command} -f 'My Project!/{file}.yaml'" in text
    assert "'My Project!/monitoring.yaml'" in (tmp_path / "My Project!" / "explore.ipynb").read_text()
    assert loopline("init", "deep/er", *words, "--name", "Churn v2", cwd=tmp_path).returncode == 0
    assert "\nname: Churn v2\n" in (tmp_path / "deep" / "er" / "params.yaml").read_text()


def test_an_encoding_that_no_guess_finds_can_be_given(tmp_path, refused):
    (tmp_path / "t.csv").write_bytes(BASE.replace("red", "\u69cb").encode("shift-jis"))
    words = ("project", "--data", "t.csv", "--target", "y")
    refused('name its encoding in csv, e.g. {"encoding": "cp1252"}', *words)
    refused("encoding 'klingon' is unknown", *words, "--csv", '{"encoding": "klingon"}')
    given = {"encoding": "shift-jis", "column_types": {"count": "category"}}
    assert main(["init", *words, "--csv", json.dumps(given)]) == 0
    text = (tmp_path / "project" / "params.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["csv"] == given
    [line] = [line for line in text.splitlines() if line.startswith("  count: {")]
    assert line.endswith("# text, 40 different")
    assert "\u69cb" in text


def test_the_folder_a_terminal_stands_in_stays_that_folder(tmp_path):
    as_csv(base())(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    same = here.stat().st_ino
    done = loopline("init", ".", "--data", "../table.csv", "--target", "y", cwd=here)
    assert (done.returncode, done.stderr) == (0, "") and "loopline run training -f ./params.yaml" in done.stdout
    assert here.stat().st_ino == same
    assert sorted(file.name for file in here.iterdir()) == ["explore.ipynb", "monitoring.yaml", "params.yaml"]


def _write(path: Path, content: object) -> None:
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _columns(**columns: object) -> str:
    rows = max(len(values) for values in columns.values())
    return text({name: list(values) * (rows // len(values)) for name, values in columns.items()})


REFUSED = {
    # what is wrong: the file, its content, the target, words of the sentence
    "no target": ("t.csv", BASE, "", "No target is named: give the column to predict with --target, perhaps 'y';"),
    "a likely target": ("t.csv", BASE.replace("count", "Churned", 1), "", "perhaps 'Churned' or 'y';"),
    "misspelled": ("t.csv", BASE.replace("y\n", "churned\n", 1), "chruned", "no column 'chruned': give the column"),
    "another case": ("t.csv", BASE, "Color", "perhaps 'color'; the columns are 'size', 'weight', "),
    "a timestamp": ("t.csv", _columns(x=[1, 2], y=["2024-01-01", "2024-01-02"] * 9), "y", "'y' holds timestamps"),
    "constant": ("t.csv", _columns(x=[1, 2], y=[3] * 20), "y", "'y' is the same in every row"),
    "no value": ("t.csv", _columns(x=[1, 2], y=[None] * 20), "y", "'y' has no value at all"),
    "free text": ("t.csv", _columns(x=[1, 2], y=[f"text {i}" for i in range(90)]), "y", "'y' holds 90 different texts"),
    "too much text": (
        "t.csv", _columns(x=[1], y=[f"text {i}" for i in range(9000)]), "y", "more than 2,000 different texts",
    ),
    "one row of a class": ("t.csv", _columns(x=[1], y=["a"] + ["b"] * 19), "y", "'y' is 'a' in a single row"),
    "few rows": ("t.csv", _columns(x=[1, 2], y=["a", "b"] * 4), "y", "has 8 row(s) with a value of 'y'"),
    "few labels": ("t.csv", _columns(x=[1, 2], y=["a", "b", *[None] * 30]), "y", "has 2 row(s) with a value of 'y'"),
    "nothing to learn from": (
        "t.csv", _columns(id=range(40), same=[1], y=["a", "b"] * 20), "y", "No column of t.csv is left to predict 'y'",
    ),
    "the target alone": ("t.csv", _columns(y=["a", "b"] * 20), "y", "(there is no other)"),
    "no header": ("t.csv", "5.1,3.5,1.4,0.2,setosa\n" * 20, "species", "no line of column names, it begins with '5.1'"),
    "empty": ("t.csv", "", "y", "t.csv is empty"),
    "a header alone": ("t.csv", "a,y\n", "y", "has a header but no rows"),
    "JSON": ("t.json", '[{"a": 1, "y": 2}]', "y", "is JSON, not a table"),
    "lines of JSON": ("t.jsonl", '{"a": 1, "y": 2}\n' * 9, "y", "is JSON, not a table"),
    "a web page": ("t.csv", "<!DOCTYPE html><p>Sign in</p>", "y", "is a web page or XML, not a table"),
    "a spreadsheet": ("t.xlsx", b"PK\x03\x04...", "y", "is a spreadsheet: save its sheet as CSV"),
    "a ragged row": ("t.csv", "a,y\n1,2\n1,2,3\n", "y", "has 3 fields on line 3 where its header has 2"),
    "one name twice": ("t.csv", "a,a,y\n1,2,3\n", "y", "more than one column named 'a'"),
    "cut off": ("t.csv.gz", gzip.compress(BASE.encode())[:900], "y", "cannot be unpacked"),
    "no text": ("t.csv", b"\x89PNG\0\0,\n\0\0", "y", "is not text"),
    "no Parquet": ("t.parquet", "a,y\n1,2\n", "y", "is not a Parquet file"),
    "nested alone": ("t.parquet", pa.table({"a": [[1]] * 20}), "a", "has no column of numbers, text, booleans"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_one_sentence_and_nothing_is_written(name, tmp_path, refused):
    file, content, target, words = REFUSED[name]
    _write(tmp_path / file, content)
    target = ("--target", target) if target else ()
    refused(words, "project", "--data", file, *target)
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere.csv", "There is no file at "),
        ("nowhere/*.csv", "No file matches "),
        ("gs://bucket/t.csv", "Cannot read gs://bucket/t.csv"),
        ("http://example.com/t.csv", "unencrypted connection: use https://"),
        ("https://alice:secret@example.com/t.csv", "holds a user name or password"),
        ("https://example.com/t.csv?X-Amz-Signature=secret", "carries 'X-Amz-Signature', which may be a secret"),
        ("https://example.com/t.csv?design=1&sig=secret", "carries 'sig', which may be a secret"),
    ],
)
def test_data_that_is_not_there_or_must_not_be_named_is_one_sentence(data, words, tmp_path, refused):
    said = refused(words, "project", "--data", data, "--target", "y")
    assert "secret@" not in said and "=secret" not in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_files_is_never_touched(tmp_path, refused):
    as_csv(base())(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mine.txt").write_text("mine")
    words = ("--data", "table.csv", "--target", "y")
    refused("project holds files already: give another folder, or remove it first.", "project", *words)
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["mine.txt"]
    refused("table.csv is no folder: give another one.", "table.csv", *words)
    refused("table.csv/project cannot be written (Not a directory)", "table.csv/project", *words)
    refused("The model name 'a/b' cannot be used", "other", *words, "--name", "a/b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "table.csv"]


def test_a_refusal_ends_the_program_with_2(tmp_path):
    done = loopline("init", "project", "--data", "nowhere.csv", "--target", "y", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("loopline: There is no file at ")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Give words to ``loopline init`` in the test's folder; what it says must be one sentence."""
    monkeypatch.chdir(tmp_path)

    def run(sentence: str, *words: str) -> str:
        assert main(["init", *words]) == 2
        said = capsys.readouterr()
        assert sentence in said.err
        assert len(said.err.splitlines()) == 1, said.err
        assert said.out == ""
        return said.err

    return run
