"""A table that does not fit into memory is trained on from pages on disk: the same model, and nothing is left."""

import signal
import subprocess
import sys
from collections import namedtuple

import pyarrow as pa
import pytest
import xgboost
from training_tables import OTHERS, make_table

from loopline.components.data.tables import write_table
from loopline.components.errors import InputError
from loopline.components.training import batches, pages
from loopline.components.training.train import train_boosted_trees

#: Pages of 1,024 rows, so that small tables have several.
SMALL_PAGE = 4


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, empty; memory is short, and pages are small."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(batches, "_PAGE_BYTES", SMALL_PAGE)
    monkeypatch.setenv("LOOPLINE_MEMORY_LIMIT", "100Mi")
    return folder


def _train(tables, model, target="late", **options):
    return train_boosted_trees(
        tables.train, tables.validation, tables.schema, tables.folder / model, target=target, exclude=OTHERS[target],
        rounds=12, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("late", {"class_weight": "balanced"}),
        ("grade", {}),
        ("amount", {"early_stopping_rounds": 3}),
    ],
)
def test_pages_on_disk_give_the_same_model(tables, temporary, monkeypatch, caplog, target, options):
    seen = []
    train = xgboost.train

    def watched(*arguments, **named):
        seen.append([file.stat().st_size for file in temporary.glob("*/*.page")])
        return train(*arguments, **named)

    monkeypatch.setattr(xgboost, "train", watched)
    caplog.set_level("INFO", "loopline")
    paged = _train(tables, "paged", target, **options)
    assert "training from pages on disk: about 0.6 GiB" in caplog.text
    training, held_out = sorted(seen[-1], reverse=True)
    # Three features, a byte each by row and by column.
    assert training > 2 * 3 * 3000
    assert held_out > 2 * 3 * 600
    assert list(temporary.iterdir()) == []
    monkeypatch.setenv("LOOPLINE_MEMORY_LIMIT", "8Gi")
    assert _train(tables, "whole", target, **options).digest == paged.digest
    assert "training in memory" in caplog.text
    assert seen[-1] == []


def test_a_failure_removes_the_pages(tables, temporary):
    table = make_table(3000, 1)
    late = table.column("late").to_pylist()
    late[-1] = None
    write_table(tables.train, table.set_column(table.schema.names.index("late"), "late", pa.array(late)))
    with pytest.raises(InputError, match="missing in 1 row"):
        _train(tables, "model")
    assert list(temporary.iterdir()) == []


def test_a_killed_training_leaves_nothing_that_lasts(tables, temporary):
    program = (
        "import sys, time, xgboost; from loopline.components.training.train import train_boosted_trees;"
        "xgboost.train = lambda *a, **k: (print('training', flush=True), time.sleep(60)) if a[2] > 1 else None;"
        "train_boosted_trees(*sys.argv[1:5], target='late', exclude='grade,amount')"
    )
    command = [sys.executable, "-c", program, tables.train, tables.validation, tables.schema, tables.folder / "killed"]
    environment = {"LOOPLINE_MEMORY_LIMIT": "100Mi", "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout.readline() == "training\n"
            left = list(temporary.iterdir())
            assert len(left) == 1
            # Another training takes its own folder and leaves the one that is in use.
            _train(tables, "beside")
            assert list(temporary.iterdir()) == left
        finally:
            process.send_signal(signal.SIGKILL)
    assert list(temporary.iterdir()) == left
    _train(tables, "again")
    assert list(temporary.iterdir()) == []


def test_a_disk_without_room_is_refused_before_anything_is_read(tables, temporary, monkeypatch):
    _have_room(monkeypatch, [1000])
    monkeypatch.setattr(batches, "read_batches", None)
    with pytest.raises(InputError, match=r"The disk is full at .*TMPDIR"):
        _train(tables, "model")
    assert list(temporary.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_refused(tables, temporary, monkeypatch):
    """XGBoost would end the process."""
    _have_room(monkeypatch, [10**9] * 11 + [1000])  # three passes over three pages, and one page written
    with pytest.raises(InputError, match=r"The disk is full at .*TMPDIR"):
        _train(tables, "model")
    assert list(temporary.iterdir()) == []


def _have_room(monkeypatch, free: list[int]) -> None:
    """Let the disk say how much is free, once after the other; a disk that is really full takes an administrator."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(pages.shutil, "disk_usage", lambda path: usage(free.pop(0) if len(free) > 1 else free[0]))
