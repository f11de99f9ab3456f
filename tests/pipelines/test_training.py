"""The committed training YAML through the local runner, on real tables, with both outcomes of its gate."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from registry_models import make_model

from loopline.components.data.tables import read_table
from loopline.components.model.directory import verify_model
from loopline.components.model.predictor import load_predictor
from loopline.components.registry.register import register
from loopline.components.registry.store import tracking_uri
from loopline.components.registry.versions import promote
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import Progress

WEAK = {"params": '{"max_depth": 1, "learning_rate": 0.01}', "rounds": 1}


def _versions(name: str) -> dict[str, int]:
    client = MlflowClient(tracking_uri())
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def test_only_a_better_model_becomes_the_champion(bundled):
    """First run: no champion, promoted. A better one: promoted. A worse one: registered, and the gate stays shut."""
    common = {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells", "split_method": "stratified",
              "split_column": "target"}  # fmt: skip
    first = run_pipeline("training", {**common, **WEAK})
    assert (first.outputs["verdict"], first.outputs["version"]) == ("promote", 1)
    assert "promote-model" in first.seconds
    assert _versions("cells") == {"challenger": 1, "champion": 1}

    better = run_pipeline("training", {**common, "params": '{"max_depth": 3}'})
    assert (better.outputs["verdict"], better.outputs["version"]) == ("promote", 2)
    assert "promote-model" in better.seconds
    assert _versions("cells") == {"challenger": 2, "champion": 2, "previous": 1}

    worse = run_pipeline("training", {**common, **WEAK, "seed": 1})
    assert (worse.outputs["verdict"], worse.outputs["version"]) == ("keep", 3)
    assert "promote-model" not in worse.seconds
    assert "register-model" in worse.seconds
    assert _versions("cells") == {"challenger": 3, "champion": 2, "previous": 1}

    verify_model(better.outputs["model"].path)
    metrics, verdict = better.artifact("evaluate-model", "metrics"), better.artifact("compare-models", "verdict")
    measured = json.loads(Path(metrics.path).read_text())["metrics"]["roc_auc"]["value"]
    assert metrics.metadata["roc_auc"] == pytest.approx(measured)
    assert verdict.metadata["verdict"] == "promote"
    names = {report.name for report in better.reports}
    assert names == {"validate-data.html", "evaluate-model.html", "compare-models.html", "write-model-card-card.html"}


def test_champion_of_another_run_is_not_overwritten(bundled, tmp_path):
    """Another run promotes its model after this one has looked for a champion and before it promotes."""
    other = register(*make_model(tmp_path / "other").paths(), "cells")

    class Meanwhile(Progress):
        def done(self, name):
            super().done(name)
            if name == "compare-models":
                promote("cells", other)

    run = run_pipeline(
        "training", {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells", **WEAK}, Meanwhile(None)
    )
    assert (run.outputs["verdict"], run.outputs["version"]) == ("promote", 2)
    assert "promote-model" in run.seconds
    assert _versions("cells") == {"challenger": 2, "champion": 1}
    assert "version 1 stays the champion of cells" in (run.folder / "run.log").read_text(encoding="utf-8")


def test_same_input_and_parameters_give_the_same_version(bundled):
    common = {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells", **WEAK}
    first = run_pipeline("training", common)
    again = run_pipeline("training", common)
    assert again.outputs["version"] == first.outputs["version"] == 1
    # It is compared with itself, and the comparison says so instead of promoting it again.
    assert again.outputs["verdict"] == "keep"
    digests = {verify_model(run.outputs["model"].path).digest for run in (first, again)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("table", "estimator", "params", "task"),
    [
        ("wine", "RandomForestClassifier", '{"n_estimators": 20}', "multiclass"),
        ("diabetes", "Ridge", '{"alpha": 0.5}', "regression"),
    ],
)
def test_other_tasks_with_scikit_learn(bundled, table, estimator, params, task):
    run = run_pipeline(
        "training-sklearn",
        {"uri": str(bundled[table]), "target": "target", "name": table, "estimator": estimator, "params": params},
    )
    model = Path(run.outputs["model"].path)
    assert run.outputs["verdict"] == "promote"
    assert verify_model(model).task == task
    predictor = load_predictor(model)
    rows = read_table(bundled[table])
    scores = predictor.predict(rows)
    truth = rows["target"].to_numpy()
    if task == "multiclass":
        assert (
            np.mean([a == b for a, b in zip(predictor.labels(scores), rows["target"].to_pylist(), strict=True)]) > 0.9
        )
    else:
        assert np.corrcoef(scores, truth)[0, 1] > 0.6
