"""Delivery where there is no room, and where it may not write: nothing is lost, and with room it goes on."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from config_repositories import git, history, make_repository, show
from delivery_faults import call_apart, let_in
from promoted_images import PREDICATE

from loopline.components.delivery.attestation import attest_tested, verify_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, resolve
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.rollback import rollback
from loopline.components.errors import InputError

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.mark.parametrize("file_bytes", [1_000, 100_000, 1_315_640])
def test_a_layout_without_room_is_completed_when_there_is_some(file_bytes, small_model, tmp_path):
    image = f"oci:{tmp_path}/layout"
    kind, said = call_apart(lambda: build_image(small_model, image, version=1), file_bytes=file_bytes)
    assert (kind, "cannot be written" in said) == ("refused", True), said
    with pytest.raises(InputError, match="There is no image"):
        resolve(f"{image}:v1")
    assert not (tmp_path / "layout" / ".partial").exists()
    built = build_image(small_model, image, version=1)
    assert fetch_image(built, tmp_path / "fetched").reference == built == resolve(f"{image}:v1")


def test_a_fetch_without_room_leaves_nothing(images, tmp_path):
    folder = tmp_path / "fetched"
    kind, said = call_apart(lambda: fetch_image(images.tested[1], folder), file_bytes=2_000)
    assert (kind, "make room" in said) == ("refused", True), said
    assert list(tmp_path.iterdir()) == []
    assert fetch_image(images.tested[1], folder).folder.is_dir()


def test_a_test_result_without_room_is_attached_when_there_is_some(small_model, tmp_path):
    built = build_image(small_model, f"oci:{tmp_path}/layout", version=1)
    kind, said = call_apart(lambda: attest_tested(built, PREDICATE), file_bytes=500)
    assert (kind, "cannot be written" in said) == ("refused", True), said
    with pytest.raises(InputError):
        verify_tested(built)
    attest_tested(built, PREDICATE)
    verify_tested(built)


@pytest.mark.parametrize("size", [4_096, 40_960])
def test_a_promotion_without_room_for_its_copy_is_none(size, images, tmp_path, monkeypatch):
    bare, temporary = make_repository(tmp_path), tmp_path / "temporary"
    before = history(bare)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    kind, said = call_apart(lambda: promote(str(bare), "edge", images.tested[1]), disk=(temporary, size))
    assert kind == "refused" and "\n" not in said, said
    assert "there is no space left" in said or "failed to write" in said
    assert history(bare) == before
    promote(str(bare), "edge", images.tested[1])
    assert len(history(bare)) == len(before) + 1


def test_a_repository_without_room_takes_nothing(images, tmp_path):
    """Git's own server side meets the full disk."""
    start, full = make_repository(tmp_path), tmp_path / "full"
    full.mkdir()

    def step() -> str:
        bare = shutil.copytree(start, full / "config.git")
        before = history(bare)
        filler = full / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 512)
        try:
            promote(str(bare), "edge", images.tested[1])
        except InputError as error:
            said = str(error)
        assert history(bare) == before
        git(bare, "fsck", "--strict", "--no-dangling")
        filler.unlink()
        promote(str(bare), "edge", images.tested[1])
        assert len(history(bare)) == len(before) + 1
        return said

    kind, said = call_apart(step, disk=(full, 400_000))
    assert kind == "returned" and "there is no space left" in said, said


def layout_of(image: str) -> Path:
    return Path(image.removeprefix("oci:").partition("@")[0])


@as_root
def test_a_repository_that_may_not_be_written(images, tmp_path):
    bare = make_repository(tmp_path)
    for version in (1, 2):
        promote(str(bare), "edge", images.tested[version])
    before = history(bare)
    let_in(bare, layout_of(images.tested[1]))
    for step in (
        lambda: promote(str(bare), "edge", images.tested[3]),
        lambda: rollback(str(bare), "edge"),
    ):
        kind, said = call_apart(step, anyone=True)
        assert kind == "refused", said
        assert "another user" in said or "may not write there" in said
    assert history(bare) == before
    assert images.tested[2] in show(bare, "sites/edge/release.env")


@as_root
def test_a_folder_that_may_not_be_written(small_model, images, tmp_path):
    layout = shutil.copytree(layout_of(images.tested[1]), tmp_path / "layout")
    let_in(layout, small_model, layout_of(images.tested[1]))
    for step in (
        lambda: build_image(small_model, f"oci:{layout}", version=9),
        lambda: build_image(small_model, f"oci:{tmp_path}/new", version=9),
        lambda: fetch_image(images.tested[1], tmp_path / "fetched"),
    ):
        kind, said = call_apart(step, anyone=True)
        assert (kind, "may be written" in said) == ("refused", True), said
    assert not (tmp_path / "new").exists() and not (tmp_path / "fetched").exists()
