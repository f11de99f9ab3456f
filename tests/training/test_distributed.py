"""Training on several workers of this machine: the model, the shares of the rows, and deaths."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_tables import OTHERS, make_table

from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.training.distributed.shares import copy_share, cut_share, list_parts
from loopline.components.training.distributed.train import train_on_workers
from loopline.components.training.train import train_boosted_trees

PROGRAM = """
import json, logging, sys
from loopline.components.training.distributed.train import train_on_workers
from loopline.components.errors import InputError
logging.basicConfig(level=logging.INFO, format="%(message)s")
try:
    train_on_workers(*json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
except InputError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def _train(function, tables, target: str, **changes):
    arguments = {"target": target, "exclude": OTHERS[target], "rounds": 60, **changes}
    return function(tables.train, tables.validation, tables.schema, tables.model, **arguments)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("files", [1, 3])
def test_shares_are_all_rows_once(tmp_path, workers, files):
    """Whatever the row groups are; a file in a folder may be empty."""
    table = pa.table({"row": range(1003), "text": [str(row) for row in range(1003)]})
    place = tmp_path / "one.parquet"
    if files == 1:
        pq.write_table(table, place, row_group_size=170)
    else:
        place = tmp_path / "many"
        place.mkdir()
        for number, (start, stop) in enumerate([(0, 5), (5, 5), (5, 900), (900, 1003)]):
            pq.write_table(table.slice(start, stop - start), place / f"{number}.parquet", row_group_size=64)
    parts = list_parts(place, str(place))
    assert sum(part.rows for part in parts) == 1003
    shares = []
    for worker in range(workers):
        share = tmp_path / f"share-{worker}.parquet"
        rows = copy_share(cut_share(parts, worker, workers), ["text", "row"], share)
        assert rows in (1003 // workers, 1003 // workers + 1)
        shares.append(read_table(share))
    assert pa.concat_tables(shares).equals(table.select(["text", "row"]))


def test_parts_of_one_table_must_agree(tmp_path):
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.5, 2.5]}), tmp_path / "2.parquet")
    parts = list_parts(tmp_path, str(tmp_path))
    with pytest.raises(InputError, match=r"2\.parquet are of other types than those of .*1\.parquet\."):
        copy_share(cut_share(parts, 0, 1), ["a"], tmp_path / "share")


@pytest.mark.parametrize("target", ["grade", "amount"])
def test_the_model_is_that_of_one_machine(tables, target, caplog):
    caplog.set_level("INFO", "loopline")
    weights = {"class_weight": "balanced"} if target == "grade" else {}
    alone = _train(train_boosted_trees, tables, target, **weights)
    files = {file.name for file in tables.model.iterdir()}
    tables.model = tables.folder / "together"
    here = Path.cwd()
    together = _train(train_on_workers, tables, target, **weights)
    assert Path.cwd() == here
    assert {file.name for file in tables.model.iterdir()} == files
    assert read_manifest(tables.model).digest == together.digest
    assert together.training["component"] == "train_distributed"
    assert together.training["workers"] == 2
    assert together.training["params"] == alone.training["params"] == {}
    assert together.provenance["data_digest"] == alone.provenance["data_digest"]
    metric = {"grade": "log_loss", "amount": "rmse"}[target]
    assert sum(_rows_by_worker(caplog.text)) == 3000
    found = together.training["validation"][metric], alone.training["validation"][metric]
    assert found[0] == pytest.approx(found[1], rel=0.03), found


def _rows_by_worker(log: str) -> list[int]:
    """Return what the workers together counted."""
    return [int(count.replace(",", "")) for count in re.search(r"trained on (.*) rows", log)[1].split(" + ")]


def test_one_worker_is_this_process(tables):
    tables.validation = None
    alone = _train(train_boosted_trees, tables, "late", rounds=10)
    tables.model = tables.folder / "together"
    together = _train(train_on_workers, tables, "late", rounds=10, workers=1)
    assert (tables.folder / "model" / "model.onnx").read_bytes() == (tables.model / "model.onnx").read_bytes()
    assert together.training["validation"] == alone.training["validation"] == {}


def test_more_workers_than_rows(tables, caplog):
    write_table(tables.validation, make_table(1, 2))
    with caplog.at_level("INFO", "loopline"):
        manifest = _train(train_on_workers, tables, "late", workers=5)
    assert "a table has only 1 row(s): 1 worker(s) instead of 5" in caplog.text
    assert manifest.training["workers"] == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"workers": 0}, "workers must be at least 1, not 0."),
        ({"start_minutes": 0}, "start_minutes must be at least 1, not 0."),
        ({"cpu": "two"}, "cpu 'two' is no number of CPUs: write it like 2 or 500m."),
        ({"params": '{"depth": 3}'}, 'XGBoost has no parameter "depth"'),
        ({"rounds": 0}, "Rounds must be at least 1, not 0."),
    ],
)
def test_refusals(tables, changes, sentence):
    with pytest.raises(InputError) as caught:
        _train(train_on_workers, tables, "late", **changes)
    assert sentence in str(caught.value)
    assert not tables.model.exists()


def test_a_worker_says_what_is_wrong_with_its_rows(tables):
    """Only the second worker sees it: the target of the last row is no number."""
    table = make_table(3000, 1)
    amount = table["amount"].to_pylist()
    amount[-1] = None
    write_table(tables.train, table.set_column(table.column_names.index("amount"), "amount", pa.array(amount)))
    with pytest.raises(InputError) as caught:
        _train(train_on_workers, tables, "amount")
    assert str(caught.value) == "Target 'amount' is missing in 1 row(s): leave out rows without one."
    assert not tables.model.exists()


@pytest.fixture
def endless(tables, tmp_path):
    """A step that trains until somebody ends it; its temporary files are under ``temporary``."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    paths = [str(path) for path in (tables.train, tables.validation, tables.schema, tables.model)]
    arguments = {"target": "late", "exclude": OTHERS["late"], "rounds": 1_000_000, "early_stopping_rounds": 0}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(paths), json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    process.temporary = temporary
    process.model = tables.model
    said = []
    for line in process.stdout:
        said.append(line)
        if sum("got rank" in line for line in said) == 2:
            break
    else:
        raise AssertionError("".join(said))
    yield process
    process.kill()
    process.wait()


def _processes(folder: Path, module: str = "") -> list[int]:
    """Return the processes whose command line names a folder and a module."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words) and (not module or f"loopline.{module}" in " ".join(words)):
            found.append(int(entry.parent.name))
    return sorted(found)


def _none_left(folder: Path) -> bool:
    end = time.monotonic() + 20
    while _processes(folder) and time.monotonic() < end:
        time.sleep(0.1)
    return not _processes(folder)


WORKER = "components.training.distributed.worker"


def test_a_worker_that_is_killed(endless):
    workers = _processes(endless.temporary, WORKER)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    said, _ = endless.communicate(timeout=60)
    assert endless.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("TemporaryError: Training on several machines failed. Worker ")
    assert last.endswith("was ended by SIGKILL, as the system does when memory runs out.")
    assert _none_left(endless.temporary)
    assert list(endless.temporary.iterdir()) == []
    assert not endless.model.exists()


def test_workers_end_with_their_step(endless):
    endless.kill()
    endless.communicate(timeout=60)
    assert _none_left(endless.temporary)


def test_workers_end_with_their_launcher(endless):
    (launcher,) = _processes(endless.temporary, "components.training.distributed.launcher")
    os.kill(launcher, signal.SIGKILL)
    endless.communicate(timeout=60)
    assert endless.returncode == 1
    assert _none_left(endless.temporary)
