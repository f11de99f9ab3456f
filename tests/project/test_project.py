"""A project for any table: what it says fits the table, and training works with it at once."""

from pathlib import Path

import pytest
import yaml
from project_tables import CASES
from project_training import train

from loopline.pipelines.project.create import create_project
from loopline.pipelines.spec import PipelineFile


def read_params(folder: Path, file: str = "params.yaml") -> dict:
    return yaml.safe_load((folder / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_every_table_trains_with_what_was_written_for_it(name, tmp_path, monkeypatch):
    case = CASES[name]
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    project = create_project("project", case.write(tmp_path / "data"), case.target)
    said = " ".join(str(project).split())
    params = read_params(project.folder)
    for word in case.words:
        assert word in said, said
    for key, value in case.params.items():
        assert params.get(key) == value, (key, params.get(key))
    manifest, evaluation, sides = train(params, tmp_path)
    assert manifest.task == params["task"]
    PipelineFile.find("monitoring").convert(read_params(project.folder, "monitoring.yaml"))
    assert manifest.target == case.target
    learned = [column for column in project.plan.features if column not in manifest.training["left_out"]]
    assert learned == list(project.plan.features)
    assert set(project.plan.exclude) | set(project.plan.left_out) - set(project.plan.look.unusable) == set(
        manifest.training["left_out"]
    )
    rows = {side: table.num_rows for side, table in sides.items()}
    assert evaluation.rows == rows["test"] >= 0.1 * sum(rows.values())
    for side, table in sides.items():
        if not table.num_rows:
            assert side == "validation" and params["validation_size"] == 0
        elif manifest.classes:
            assert set(table.column(case.target).to_pylist()) == set(manifest.classes), side


@pytest.mark.parametrize("name", ["odd names", "types of Arrow", "columns that know the target"])
def test_the_same_table_gives_the_same_files(name, tmp_path):
    (tmp_path / "data").mkdir()
    uri = CASES[name].write(tmp_path / "data")
    one, two = (create_project(tmp_path / folder / "project", uri, CASES[name].target) for folder in "ab")
    for file in one.files:
        text = (one.folder / file).read_text(encoding="utf-8")
        assert text.replace(str(tmp_path / "a"), str(tmp_path / "b")) == (two.folder / file).read_text(encoding="utf-8")
