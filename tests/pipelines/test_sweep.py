"""The committed sweep YAML through the local runner."""

import json

import pytest
from mlflow import MlflowClient

from loopline.components.model.directory import verify_model
from loopline.components.registry.store import tracking_uri
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import StepFailed


def _given(bundled, **more) -> dict:
    return {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "swept", "rounds": 20, **more}


def test_the_best_of_given_sets_is_registered(bundled):
    sets = [{"max_depth": 1, "learning_rate": 0.001}, {"max_depth": 4}, {"max_depth": 2, "learning_rate": 0.002}]
    run = run_pipeline("sweep", _given(bundled, parameter_sets=json.dumps(sets), metric="brier"))
    assert verify_model(run.outputs["model"].path).training["params"] == {"max_depth": 4}
    assert (run.outputs["version"], run.outputs["verdict"]) == (1, "promote")
    assert "finish-sweep.html" in {report.name for report in run.reports}


def test_trials_draw_from_a_space_side_by_side(bundled):
    space = {"max_depth": {"low": 1, "high": 4}, "learning_rate": [0.1, 0.3], "min_child_weight": 2}
    run = run_pipeline("sweep", _given(bundled, space=json.dumps(space), trials=6, workers=2))
    assert {"run-trials", "run-trials-2"} <= run.seconds.keys()
    model = verify_model(run.outputs["model"].path).training
    assert model["params"]["min_child_weight"] == 2

    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name("swept").experiment_id
    [sweep] = client.search_runs([experiment], "tags.mlflow.runName = 'sweep'")
    trials = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{sweep.info.run_id}'")
    assert sorted(trial.info.run_name for trial in trials) == [f"trial {number}" for number in range(1, 7)]
    scores = [trial.data.metrics["validation_log_loss"] for trial in trials if trial.info.status == "FINISHED"]
    assert min(scores) == sweep.data.metrics["validation_log_loss"]
    # Trained once more with the same parameters, on the same rows: the model is what the trial was.
    assert model["validation"]["log_loss"] == pytest.approx(min(scores), abs=1e-4)


def test_what_cannot_be_tried_is_refused_before_data_are_read(bundled):
    with pytest.raises(StepFailed, match="begins at 9 and ends at 3") as caught:
        run_pipeline("sweep", _given(bundled, space='{"max_depth": {"low": 9, "high": 3}}'))
    assert caught.value.step == "plan-sweep"
