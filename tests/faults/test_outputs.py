"""Disks that are full or closed, and deaths while files are written, for every component that writes files.

A full disk is a real one where this account may mount a small one (ENOSPC). Everywhere it is a limit of the size of a
file (EFBIG), which an account of a pod meets in the same call. A closed folder is one of another user's, for an account
without capabilities (EACCES), and where this account may mount one, a read-only file system (EROFS).
"""

import contextlib
import itertools
import os
import subprocess
from pathlib import Path

import pytest
from faults_chosen import ALL, chosen, deaths
from faults_steps import Fault

from loopline.components import STAGES
from loopline.components.data.tables import read_table
from loopline.components.interface import describe
from loopline.components.model.directory import verify_model

#: Those of delivery have tests of their own; training on several machines and the probe of a service write as others.
WRITERS = [
    name
    for name, stage in STAGES.items()
    if stage != "delivery"
    and name not in ("train_distributed", "probe_capacity")
    and any(port.artifact for port in describe(name).outputs)
]
pytestmark = pytest.mark.skipif(not ALL, reason="python3 make.py faults tries these: they take long")
_USER = 1_000_680_000
_numbers = itertools.count(1)


@pytest.fixture
def out(world):
    """A folder for the outputs of one component."""
    return world.folder / f"outputs-{next(_numbers)}"


def _inputs(world, component: str, out: Path) -> dict:
    """Inputs of a component, with predictions beside its outputs."""
    inputs = dict(world.inputs(component))
    return {**inputs, "output": out / "predictions"} if component == "score_partition" else inputs


def _run_again(world, component: str, out: Path) -> None:
    again = world.steps.run(component, out=out, **_inputs(world, component, out))
    assert again.status == 0, again.said
    for port in describe(component).outputs:
        if port.artifact:
            assert (out / port.name).exists()
    _see_no_half(component, out)
    if component == "score_partition":
        assert len([path for path in (out / "predictions").iterdir() if not path.name.startswith(".")]) == 1


def _see_no_half(component: str, out: Path) -> None:
    """A table or a model is whole where it is seen."""
    for port in describe(component).outputs:
        if port.artifact and (out / port.name).exists():
            if port.type == "Dataset":
                read_table(out / port.name)
            if port.type == "Model":
                verify_model(out / port.name)
    for path in (out / "predictions").glob("[!.]*"):
        read_table(path)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int, *options: str):
    """Mount a small disk in memory; the test is skipped where this account may not."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={kilobytes}k", *options]), "loopline", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"this account may not mount a disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("component", chosen("limit", WRITERS, 8))
def test_a_file_that_cannot_grow(world, component, out):
    """EFBIG: what a quota of a file's size gives."""
    inputs = _inputs(world, component, out)
    ended = world.steps.run(component, Fault(file_bytes=64), out=out, **inputs)
    assert "The disk is full" in ended.sentence
    _see_no_half(component, out)
    _run_again(world, component, out)


@pytest.mark.parametrize("component", chosen("full", WRITERS, 8))
def test_a_full_disk(world, component, out):
    """ENOSPC, on a disk that is full: outputs, temporary files and what this machine keeps."""
    inputs = _inputs(world, component, out)
    with small_disk(out, 4):
        (out / "filler").write_bytes(b"x" * 4096)
        variables = {"TMPDIR": str(out), "LOOPLINE_HOME": str(out)}
        ended = world.steps.run(component, Fault(variables=variables), out=out, **inputs)
        assert "The disk is full" in ended.sentence or "no folder for temporary files" in ended.sentence
        _see_no_half(component, out)
    _run_again(world, component, out)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a step as another user")
@pytest.mark.parametrize("component", chosen("closed", WRITERS, 8))
def test_a_folder_of_another_user(world, component, out):
    """EACCES: a random user without capabilities, and outputs where it may not write."""
    world.out(component, "")  # what is imported by a first run: another user may not read this machine's Python
    ended = world.steps.run(component, Fault(user=_USER), out=out, **_inputs(world, component, out))
    assert "Permission denied" in ended.sentence
    assert list(out.iterdir()) == []
    _run_again(world, component, out)


@pytest.mark.parametrize("component", chosen("read-only", WRITERS, 12))
def test_a_read_only_file_system(world, component, out):
    """EROFS, for whoever writes."""
    inputs = _inputs(world, component, out)
    with small_disk(out, 64, "ro"):
        ended = world.steps.run(component, out=out, **inputs)
        assert "Read-only file system" in ended.sentence
    _run_again(world, component, out)


@pytest.mark.parametrize(
    "component", chosen("killed", ["ingest_data", "split_data", "train_xgboost", "train_sklearn", "score_partition",
                                   "collect_traffic", "load_model", "extend_data"], 4)
)  # fmt: skip
def test_killed_at_any_change_of_a_file(world, component, out):
    """Run again in the same folder: what a death left there hinders nobody and is never taken for an output."""
    inputs = _inputs(world, component, out)
    for death in deaths():
        ended = world.steps.run(component, Fault(death=death, calls="files"), out=out, **inputs)
        if not ended.killed:
            assert ended.status == 0, ended.said
            break
        _see_no_half(component, out)
    assert death > 1, "there was nothing to be killed at"
    _run_again(world, component, out)


def test_no_room_for_the_pages_of_a_training(world, out):
    """A table that does not fit into memory, and a disk in which its pages do not fit."""
    inputs = world.inputs("train_xgboost")
    with small_disk(out, 16):
        variables = {"TMPDIR": str(out), "LOOPLINE_MEMORY_LIMIT": "1Mi"}
        place = world.folder / f"paged-{next(_numbers)}"
        ended = world.steps.run("train_xgboost", Fault(variables=variables), out=place, **inputs)
        assert "The disk is full" in ended.sentence
        assert [path for path in out.iterdir() if path.name.startswith("loopline-pages")] == []
        assert not (place / "model").exists()
    _run_again(world, "train_xgboost", place)


def test_no_folder_for_temporary_files(world, out):
    """Not even four bytes can be written to any of the folders that Python tries."""
    inputs = world.inputs("register_model")
    ended = world.steps.run("register_model", Fault(file_bytes=1), out=out, **inputs)
    assert "There is no folder for temporary files" in ended.sentence or "The disk is full" in ended.sentence
    _run_again(world, "register_model", out)


def test_two_at_once_write_to_places_of_their_own(world):
    """The same training twice at the same time: the same model, twice whole."""
    one, two = world.steps.run_twice("train_xgboost", **world.inputs("train_xgboost"))
    assert (one.status, two.status) == (0, 0), one.said + two.said
    assert verify_model(one.out / "model").digest == verify_model(two.out / "model").digest
