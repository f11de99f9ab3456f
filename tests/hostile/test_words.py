"""Texts that a shell, a store of runs, git, a terminal or a spreadsheet would obey."""

import ast
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from config_repositories import git, make_repository, message

from loopline.components.command import main
from loopline.components.data.ingest import ingest
from loopline.components.delivery.config_repository import write_message
from loopline.components.delivery.git import locate_repository
from loopline.components.delivery.git_repository import Change, open_repository
from loopline.components.errors import InputError, plain
from loopline.components.registry.versions import promote
from loopline.components.training.space import read_space
from loopline.components.training.sweep import plan_sweep

ROOT = Path(__file__).parents[2]
PRODUCT = ("components", "pipelines", "deploy", "examples")


@pytest.mark.parametrize(
    "repository",
    [
        "--upload-pack=touch x", "-uexec", "ext::sh -c 'touch x'", "ext::sh -c touch% x", "fd::7", "file::x",
        "ssh://-oProxyCommand=touch x/y",
        "-oProxyCommand=touch@host:path", "git@-oProxyCommand=touch:x", "transport::http://a/b", "git://127.0.0.1/a",
        "ftp://a/b", "https://a:b@c/d",
        "http://[::1/x", "https://a:99999999/b", "a\nb", "~nobody-here/x",
    ],
)  # fmt: skip
def test_no_address_of_a_repository_is_an_option_or_a_command(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        locate_repository(repository)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "branch",
    [
        "--upload-pack=touch x",
        "-f",
        "a..b",
        "a b",
        "a\nb",
        "refs/heads/../x",
        "a^{commit}",
        "@{-1}",
        "a:b",
        "",
        "a~1",
        "*",
    ],
)
def test_no_branch_is_an_option_or_an_expression(branch, tmp_path):
    bare = make_repository(tmp_path)
    with pytest.raises(InputError, match="is not a name of a branch"), open_repository(str(bare), branch):
        pass


def test_a_reason_adds_no_trailer_and_no_command_to_a_commit(tmp_path):
    bare = make_repository(tmp_path)
    reason = (
        "bad\n\nModel-Version: 99\nfrom refs/heads/other\nM 100644 inline x\ndata 1\nx\n$(touch x) `touch x` \x1b[31m"
    )
    with open_repository(str(bare), "main") as repository:
        text = write_message("Roll back edge", ["edge"], [("Model", "flights")], reason)
        commit = repository.commit(Change({"sites/edge/release.env": b"MODEL_NAME=\n"}, text))
        repository.push(commit)
        repository.fetch(history=True)
        [version, *_] = repository.versions(["sites/edge/release.env"])["sites/edge/release.env"]
    assert dict(version.trailers) == {"Model": "flights"}
    assert git(bare, "ls-tree", "-r", "--name-only", "main").count("\n") == 5
    assert "\n\nModel-Version" not in message(bare)


@pytest.mark.parametrize(
    "name", ["a' OR name LIKE '%", 'a" OR 1=1', "a`b`", "a'; DROP TABLE runs; --", "a%", "a/b", "a:b"]
)
def test_no_name_changes_what_is_asked_of_the_model_store(name):
    with pytest.raises(InputError, match="cannot be used"):
        promote(name, 1)


@pytest.mark.parametrize("run", ["x' AND tags.`loopline.sweep` != '", "x'", 'x"', "a b", "a`b"])
def test_no_run_changes_what_is_asked_of_the_model_store(run):
    with pytest.raises(InputError, match="pipeline_run is"):
        plan_sweep("flights", read_space("", "", 2), pipeline_run=run)


def test_a_line_of_the_log_is_one_line(tmp_path, caplog):
    """The header names a column whose name begins a line, and one that turns a terminal red."""
    caplog.set_level(logging.INFO, "loopline")
    file = tmp_path / "table.csv"
    file.write_text('"a\nloopline: all is well","\x1b[31mb"\n1,\n2,\n')
    ingest(str(file), tmp_path / "table.parquet")
    logging.getLogger("loopline").info("left out %s: %r", "a\nloopline: all is well \x1b[31m", "b")
    assert all(line.isprintable() for record in caplog.records for line in [record.getMessage()])
    assert "a\\nloopline: all is well \\x1b[31m" in caplog.records[-1].getMessage()


def test_an_error_is_one_line_on_a_terminal(tmp_path):
    words = ["ingest_data", "--uri", "no\nloopline: all is well\x1b]0;taken\x07\u202e", "--data", str(tmp_path / "x")]
    done = subprocess.run([sys.executable, "-m", "loopline.components", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.rstrip("\n").isprintable()
    assert "no\\nloopline: all is well\\x1b]0;taken\\x07\\u202e" in done.stderr


def test_a_message_of_any_length_says_what_to_do():
    error = InputError(f"{'x' * 100_000}: write it anew.")
    assert len(str(error)) < 4_000 and str(error).endswith(": write it anew.")
    assert plain("caf\u00e9 \u4e2d") == "caf\u00e9 \u4e2d"


def test_nothing_is_exported_as_csv():
    """Spreadsheets run cells that begin with = + - @: Loopline writes tables as Parquet, which nobody opens in one.

    Whoever adds an export has to put an apostrophe before such a cell, and a test beside this one.
    """
    writers = {"to_csv", "DictWriter", "writer", "CSVWriter"}
    found = []
    for folder in PRODUCT:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in writers:
                    owner = ast.unparse(node.value)
                    if node.attr != "writer" or owner == "csv":
                        found.append((file.relative_to(ROOT).as_posix(), ast.unparse(node)))
    # The example's own table, of a package on PyPI, for the tutorial.
    assert found == [("examples/flights/prepare.py", "rows.to_csv")]


def test_options_of_a_component_are_values_whatever_they_begin_with(tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("-rf,--help\n1,2\n")
    assert (
        main(["ingest_data", "--uri", str(table), "--columns", "--help", "--data", str(tmp_path / "out.parquet")]) == 0
    )
    assert main(["ingest_data", "--uri", "-rf", "--data", str(tmp_path / "x")]) == 2
