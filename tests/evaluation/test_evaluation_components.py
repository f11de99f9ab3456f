"""Each component once through the local runner."""

import json
from pathlib import Path

import pytest
from kfp import dsl, local

from loopline.components.evaluation.components import compare_models, evaluate_model, select_model
from loopline.components.model.directory import mark_absent, verify_model


@pytest.fixture
def runner(tmp_path):
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))


def outputs_of(tmp_path: Path, task: str) -> dict:
    """Return the output artifacts a task declared, with their metadata."""
    (file,) = (tmp_path / "runs").rglob(f"{task}/executor_output.json")
    return {name: entry["artifacts"][0] for name, entry in json.loads(file.read_text())["artifacts"].items()}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def copy_trial(source: str, value: float, model: dsl.Output[dsl.Model]):
    """Stand in for a trainer: a copy of a model with another validation score."""
    import json
    import shutil
    from pathlib import Path

    shutil.copytree(source, model.path)
    file = Path(model.path) / "loopline.json"
    manifest = json.loads(file.read_text())
    manifest["training"] = {"validation": {"log_loss": value}}
    file.write_text(json.dumps(manifest))


@pytest.mark.usefixtures("runner")
def test_evaluate_and_compare_in_one_pipeline(bench, weak, tmp_path):
    @dsl.pipeline
    def judge(model: str, champion: str, test: str) -> str:
        new = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=True)
        old = dsl.importer(artifact_uri=champion, artifact_class=dsl.Model, reimport=True)
        rows = dsl.importer(artifact_uri=test, artifact_class=dsl.Dataset, reimport=True)
        evaluate_model(model=new.output, test=rows.output, slices="carrier", bootstrap=50)
        decision = compare_models(challenger=new.output, champion=old.output, test=rows.output, bootstrap=200)
        return decision.outputs["Output"]

    run = judge(model=str(bench.model()), champion=str(weak), test=str(bench.test()))
    assert run.outputs["Output"] == "promote"

    found = outputs_of(tmp_path, "evaluate-model")
    flat = found["metrics"]["metadata"]
    assert flat["roc_auc_low"] < flat["roc_auc"] < flat["roc_auc_high"]
    whole = json.loads(Path(found["metrics"]["uri"]).read_text())
    assert whole["metrics"]["roc_auc"]["value"] == flat["roc_auc"]
    assert {one["name"] for one in whole["slices"]} == {"AA", "DL", "UA"}
    drawn = found["classification"]["metadata"]
    assert [one["displayName"] for one in drawn["confusionMatrix"]["annotationSpecs"]] == ["late", "ok"]
    assert [row["row"] for row in drawn["confusionMatrix"]["rows"]] == whole["confusion_matrix"]
    assert 2 < len(drawn["confidenceMetrics"]) <= 200
    assert Path(found["report"]["uri"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    decided = outputs_of(tmp_path, "compare-models")
    assert decided["verdict"]["metadata"]["verdict"] == "promote"
    assert json.loads(Path(decided["verdict"]["uri"]).read_text())["verdict"] == "promote"


@pytest.mark.usefixtures("runner")
def test_regression_logs_no_curve_and_a_first_model_is_promoted(bench, tmp_path):
    mark_absent(tmp_path / "none", "nothing is registered")

    @dsl.pipeline
    def judge(model: str, champion: str, test: str) -> str:
        new = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=True)
        old = dsl.importer(artifact_uri=champion, artifact_class=dsl.Model, reimport=True)
        rows = dsl.importer(artifact_uri=test, artifact_class=dsl.Dataset, reimport=True)
        evaluate_model(model=new.output, test=rows.output, bootstrap=0, importance_repeats=0)
        decision = compare_models(challenger=new.output, champion=old.output, test=rows.output)
        return decision.outputs["Output"]

    model, test = bench.model("regression"), bench.test("regression")
    run = judge(model=str(model), champion=str(tmp_path / "none"), test=str(test))
    assert run.outputs["Output"] == "promote"
    assert outputs_of(tmp_path, "evaluate-model")["classification"].get("metadata", {}) == {}


@pytest.mark.usefixtures("runner")
def test_select_picks_from_a_collected_loop(bench, tmp_path):
    @dsl.pipeline
    def sweep(source: str, values: list) -> int:
        with dsl.ParallelFor(values) as value:
            trial = copy_trial(source=source, value=value)
        choice = select_model(models=dsl.Collected(trial.outputs["model"]))
        return choice.outputs["Output"]

    run = sweep(source=str(bench.model()), values=[0.5, 0.4, 0.3, 0.6])
    assert run.outputs["Output"] == 2
    best = outputs_of(tmp_path, "select-model")["best"]
    manifest = verify_model(best["uri"])
    assert manifest.training["validation"]["log_loss"] == 0.3
    assert best["metadata"]["selected_value"] == 0.3
