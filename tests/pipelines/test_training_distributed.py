"""The committed training-distributed YAML through the local runner, with two workers."""

from loopline.components.model.directory import verify_model
from loopline.pipelines.engine import run_pipeline


def test_a_model_of_two_workers_is_judged_and_promoted(bundled):
    given = {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells", "rounds": 20}
    run = run_pipeline("training-distributed", given)
    assert (run.outputs["verdict"], run.outputs["version"]) == ("promote", 1)
    trained = verify_model(run.outputs["model"].path).training
    assert (trained["component"], trained["workers"]) == ("train_distributed", 2)
    assert run.artifact("evaluate-model", "metrics").metadata["roc_auc"] > 0.95
