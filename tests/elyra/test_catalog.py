"""``loopline elyra``: the palette into Elyra, and the drawn pipelines into a folder, as a user asks for it."""

import json
import sys
from pathlib import Path

import pytest
from elyra_session import ElyraSession

from loopline.components import STAGES
from loopline.components.errors import InputError
from loopline.pipelines.elyra.catalog import install_palette
from loopline.pipelines.elyra.palette import file_name

IMAGE = "registry.example.com/ml/loopline-step@sha256:" + "0" * 64


def _catalogs(session: ElyraSession) -> dict:
    done = session.run("elyra-metadata", "list", "component-catalogs", "--json")
    return {entry["name"]: entry for entry in json.loads(done.stdout)}


def test_install_registers_the_palette_and_renews_it(tmp_path):
    session, folder = ElyraSession(tmp_path / "elyra"), tmp_path / "nodes"
    folder.mkdir()
    for name, text in (
        ("own.yaml", "name: Mine\n"),
        ("gone.yaml", "# Written by `loopline compile` from loopline.components.gone"),
    ):
        (folder / name).write_text(text)
    done = session.run("loopline", "elyra", "install", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"The nodes are in {folder} and registered with Elyra: the palette shows them under Loopline." in done.stdout
    assert _catalogs(session)["loopline"]["metadata"]["paths"] == [str(folder)]
    # Nodes of another version are gone, and what somebody else keeps there is not.
    assert {file.name for file in folder.iterdir()} == {"own.yaml", *map(file_name, STAGES)}

    again = session.run("loopline", "elyra", "install", "--image", IMAGE)
    assert again.returncode == 0, again.stderr
    [catalog] = _catalogs(session).values()
    place = Path(session.environment["LOOPLINE_HOME"]) / "elyra"
    assert catalog["metadata"]["paths"] == [str(place)]
    assert catalog["metadata"]["categories"] == ["Loopline"]
    assert f"    image: {IMAGE}\n" in (place / "ingest-data.yaml").read_text()


def test_an_image_that_may_change_is_refused(session, tmp_path):
    done = session.run(
        "loopline", "elyra", "install", "--image", "registry.example.com/step", "--output", str(tmp_path / "n")
    )
    assert done.returncode == 2
    assert done.stderr.startswith("loopline: Step image 'registry.example.com/step' is not pinned")
    assert not (tmp_path / "n").exists()


def test_without_elyra_it_is_said_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Elyra is not installed here: use a terminal of a workbench"):
        install_palette(folder=tmp_path / "nodes")
    assert not (tmp_path / "nodes").exists()


def test_an_elyra_that_refuses_is_quoted(tmp_path, monkeypatch):
    program = tmp_path / "elyra-metadata"
    program.write_text("#!/bin/sh\necho 'The folder is a joke.'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"Elyra did not take the catalog: The folder is a joke\."):
        install_palette(folder=tmp_path / "nodes")


def test_pipelines_are_written_and_never_over_somebodys_own(session, tmp_path):
    done = session.run("loopline", "elyra", "pipelines", "drawn", cwd=tmp_path)
    assert done.stdout.splitlines() == ["drawn/training.pipeline", "drawn/monitoring.pipeline"]
    (tmp_path / "drawn" / "training.pipeline").unlink()
    (tmp_path / "drawn" / "monitoring.pipeline").write_text("mine")
    refused = session.run("loopline", "elyra", "pipelines", "drawn", cwd=tmp_path)
    assert refused.returncode == 2
    assert (
        "drawn/monitoring.pipeline is there already: name another folder, or write over it with --force."
        in refused.stderr
    )
    assert [file.name for file in (tmp_path / "drawn").iterdir()] == ["monitoring.pipeline"]
    assert session.run("loopline", "elyra", "pipelines", "drawn", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "drawn" / "monitoring.pipeline").read_text() != "mine"
