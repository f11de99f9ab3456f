"""Names and links that lead out of where files belong."""

import json
import os
import shutil
from pathlib import Path

import pytest

from loopline.components.data.ingest import ingest
from loopline.components.data.sources import find_sources
from loopline.components.delivery.build import build_image
from loopline.components.delivery.config_repository import ConfigRepository, parse_sites
from loopline.components.errors import InputError
from loopline.components.evaluation.select import copy_model
from loopline.components.model.directory import read_manifest, verify_model
from loopline.components.model.predictor import load_predictor
from loopline.components.registry.versions import check_name
from loopline.components.scoring.score import score_partition

PASSWD = Path("/etc/passwd")


@pytest.fixture
def model(samples, tmp_path):
    shutil.copytree(samples / "model", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def secret(tmp_path):
    """A file that is nobody's data."""
    file = tmp_path / "elsewhere" / "secret.csv"
    file.parent.mkdir()
    file.write_text("password\nhunter2\n")
    return file


@pytest.mark.parametrize("name", ["model.onnx", "schema.json", "notes.txt", "deep/notes.txt"])
def test_a_link_in_a_model_directory_is_not_packed(model, name, secret):
    place = model / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(secret)
    for use in (verify_model, build_image):
        with pytest.raises(InputError, match=f"{name} in model directory .* is a link"):
            use(model)


def test_a_folder_that_is_a_link_in_a_model_directory_is_not_packed(model, secret):
    (model / "more").symlink_to(secret.parent)
    with pytest.raises(InputError, match=r"more in model directory .* is a link"):
        build_image(model)


@pytest.mark.parametrize("file", ["../elsewhere/secret.csv", "/etc/passwd", "..", "", "a/b", "./model.onnx"])
def test_a_manifest_names_no_model_elsewhere(model, secret, file):
    manifest = json.loads((model / "loopline.json").read_text())
    (model / "loopline.json").write_text(json.dumps({**manifest, "file": file}))
    for use in (read_manifest, load_predictor, verify_model):
        with pytest.raises(InputError, match="is not in the model directory"):
            use(model)


def test_a_copied_model_brings_no_link_along(model, secret, tmp_path):
    (model / "notes.txt").symlink_to(secret)
    copy_model(model, tmp_path / "best")
    with pytest.raises(InputError, match="is a link"):
        verify_model(tmp_path / "best")


@pytest.mark.parametrize("uri", ["data", "data/*.csv", "data/**/*.csv"])
def test_a_link_out_of_a_folder_of_data_is_not_followed(uri, secret, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("password\nnone\n")
    assert len(find_sources(uri)) == 1
    (data / "b.csv").symlink_to(secret)
    with pytest.raises(InputError, match="out of the folder"):
        ingest(uri, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_links_within_a_folder_are_followed(tmp_path):
    """As Kubernetes mounts a volume of files: each a link to a hidden folder beside it."""
    (tmp_path / "data" / "..2026").mkdir(parents=True)
    (tmp_path / "data" / "..2026" / "a.csv").write_text("a\n1\n")
    (tmp_path / "data" / "a.csv").symlink_to("..2026/a.csv")
    assert [source.path.name for source in find_sources(str(tmp_path / "data"))] == ["a.csv"]
    (tmp_path / "mount").symlink_to("data")
    assert len(find_sources(str(tmp_path / "mount"))) == 1


def test_a_folder_that_is_a_link_is_not_walked_in_circles(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(find_sources(str(tmp_path))) == 1


@pytest.mark.parametrize(
    "uri", ["/proc/self/environ", "file:///proc/self/environ", "/proc/self/../self/environ", "/proc/self/*", "link"]
)
def test_what_the_kernel_says_of_this_process_is_no_table(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("/proc/self/environ")
    with pytest.raises(InputError, match=r"belongs to the system|out of the folder"):
        ingest(uri, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="There is no file at"):
        find_sources(str(tmp_path / "pipe.csv"))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "..",
        ".",
        "",
        "/x",
        "a\\b",
        "a b/",
        "\0",
        "x" * 300,
        "a'b",
        'a"b',
        "a`b",
        "a;b",
        "$(a)",
        "-a",
        "a\nb",
    ],
)
def test_no_name_of_a_model_is_a_path_or_more_than_a_name(name, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "home"))
    with pytest.raises(InputError):
        check_name(name)


@pytest.mark.parametrize("name", ["../../outside", "/outside", "..", "a/../../../outside"])
def test_predictions_stay_where_they_belong(name, model, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "home" / "deep"))
    with pytest.raises(InputError):
        score_partition(model, str(samples / "tables" / "one.parquet"), "", name=name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("site", ["../x", "a/b", "..", "-a", "a b", "a;b", "A", "a.b", "a\nb", "{site}", "x" * 64])
def test_no_name_of_a_site_is_a_path(site):
    with pytest.raises(InputError, match="is not a name of a site"):
        parse_sites(site)


@pytest.mark.parametrize(
    "overlay",
    ["../{site}", "/{site}", "sites/{site}/..", ".git/{site}", "a//{site}", "{site}\n", "a b/{site}", "-{site}:x"],
)
def test_no_folder_of_a_site_is_outside_of_its_repository(overlay):
    with pytest.raises(InputError, match="overlay is"):
        ConfigRepository(None, overlay)
