"""The batch scoring pipeline, compiled and run by KFP's local runner on a registered champion."""

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from monitoring_models import TARGETS, make_events, make_model
from registry_models import make_model as make_registered

from loopline.components.data.tables import read_table
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import agree, load_predictor
from loopline.components.registry.register import register
from loopline.components.registry.versions import promote
from loopline.pipelines.compile import compile_pipeline
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import StepFailed


@pytest.fixture
def compiled(tmp_path):
    file = tmp_path / "batch-scoring.yaml"
    file.write_text(compile_pipeline("batch-scoring"))
    return file


@pytest.fixture
def champion(tmp_path):
    """A trained model as the registered champion; its figures are another's, which scoring does not look at."""
    model = make_model(tmp_path / "trained")
    _, metrics, report = make_registered(tmp_path / "other").paths()
    promote("flights", register(model, metrics, report, "flights"))
    return model


def test_every_partition_is_scored_by_the_champion_and_then_never_again(compiled, champion, tmp_path):
    table = make_events(900).drop_columns(list(TARGETS.values()))
    (tmp_path / "in").mkdir()
    pyarrow.csv.write_csv(table.slice(0, 400), tmp_path / "in" / "one.csv")
    pq.write_table(table.slice(400, 300), tmp_path / "in" / "three.parquet")
    pq.write_table(table.slice(700), tmp_path / "in" / "two.parquet")
    arguments = {"name": "flights", "uri": str(tmp_path / "in"), "output": str(tmp_path / "out"), "keep": "wind"}
    run = run_pipeline(compiled, arguments)
    assert run.outputs == {"Output": 1}
    assert sum(step.startswith("score-partition") for step in run.seconds) == 3
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name.split("-")[0] for file in files] == ["one", "three", "two"]
    found = [read_table(file) for file in files]
    expected = load_predictor(champion).predict(table)[:, 1]
    for part, start in zip(found, (0, 400, 700), strict=True):
        scores = part.column("probability_True").to_numpy()
        assert agree(scores, expected[start : start + part.num_rows]).all()
        assert set(part.column("loopline_model_digest").to_pylist()) == {read_manifest(champion).digest}
        assert set(part.column("loopline_model_version").to_pylist()) == {"1"}

    pq.write_table(table.slice(0, 50), tmp_path / "in" / "four.parquet")
    before = {file.name: file.stat().st_mtime_ns for file in files}
    run_pipeline(compiled, arguments)
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    assert before.items() <= after.items()
    [new] = after.keys() - before.keys()
    assert new.startswith("four-")


def test_a_partition_without_a_feature_is_one_sentence(compiled, champion, tmp_path):
    pq.write_table(make_events(10).drop_columns("wind"), tmp_path / "part.parquet")
    arguments = {"name": "flights", "uri": str(tmp_path / "part.parquet"), "output": str(tmp_path / "out")}
    with pytest.raises(StepFailed, match=r"Column 'wind' is not in .*part\.parquet"):
        run_pipeline(compiled, arguments)
    assert list((tmp_path / "out").iterdir()) == []
