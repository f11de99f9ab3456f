"""The committed pipeline that prepares a table in partitions, beside the one that does not."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from loopline.components.data.tables import read_table, write_table
from loopline.components.model.directory import read_manifest
from loopline.components.registry.store import tracking_uri
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import StepFailed

QUICK = {"target": "target", "rounds": 5, "split_method": "stratified", "split_column": "target"}


@pytest.fixture
def files(bundled, tmp_path) -> Path:
    """The table of breast cancers as a folder of files, two of one name."""
    table = read_table(bundled["breast_cancer"])
    for number, start in enumerate(range(0, table.num_rows, 120)):
        write_table(tmp_path / "files" / f"{number // 2}" / f"{number % 2}.parquet", table.slice(start, 120))
    return tmp_path / "files"


def test_partitions_give_the_model_that_the_whole_table_gives(bundled, files):
    whole = run_pipeline("training", {**QUICK, "uri": str(bundled["breast_cancer"]), "name": "whole"})
    parts = run_pipeline("training-partitioned", {**QUICK, "uri": str(files), "name": "parts", "most": 3})
    models = [Path(run.outputs["model"].path) for run in (whole, parts)]
    manifests = [read_manifest(model) for model in models]
    assert (models[0] / "model.onnx").read_bytes() == (models[1] / "model.onnx").read_bytes()
    assert {"profile-partition-3", "prepare-partition-3"} <= parts.seconds.keys()
    assert "prepare-partition-4" not in parts.seconds
    order = [("mean_area", "ascending"), ("mean_texture", "ascending")]
    for side in ("train", "validation", "test"):
        one, many = whole.artifact("split-data", side), parts.artifact("gather-partitions", side)
        assert Path(many.path).is_dir()
        assert many.metadata["rows"] == one.metadata["rows"]
        # Rows that were placed late stand behind the others of their partition.
        assert read_table(many.path).sort_by(order).equals(read_table(one.path).sort_by(order))
    metrics = [run.artifact("evaluate-model", "metrics").metadata for run in (whole, parts)]
    assert metrics[0] == metrics[1]
    assert (parts.outputs["verdict"], parts.outputs["version"]) == ("promote", 1)
    assert MlflowClient(tracking_uri()).get_registered_model("parts").aliases["champion"] in (1, "1")

    again = run_pipeline("training-partitioned", {**QUICK, "uri": str(files), "name": "parts", "most": 3})
    assert again.outputs["version"] == 1
    assert read_manifest(again.outputs["model"].path).digest == manifests[1].digest


def test_rules_that_break_stop_the_pipeline_when_all_partitions_are_known(files):
    given = {**QUICK, "uri": str(files), "name": "parts", "expectations": '{"mean_radius": {"maximum": 20}}'}
    with pytest.raises(StepFailed) as caught:
        run_pipeline("training-partitioned", given)
    assert caught.value.step == "gather-partitions"
    assert (
        "Column 'mean_radius' must be at most 20, and is not in 45 row(s) (e.g. 20.57 in row 2" in caught.value.message
    )


def test_a_partition_that_cannot_be_read_names_its_file(files):
    broken = files / "1" / "1.parquet"
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(StepFailed) as caught:
        run_pipeline("training-partitioned", {**QUICK, "uri": str(files), "name": "parts"})
    assert caught.value.step.startswith("profile-partition")
    assert f"{broken} is not a Parquet file" in caught.value.message


def test_a_model_of_two_workers_is_judged_and_promoted(files):
    given = {"uri": str(files), "target": "target", "name": "cells", "rounds": 20, "most": 2, "workers": 2}
    run = run_pipeline("training-partitioned", given)
    assert (run.outputs["verdict"], run.outputs["version"]) == ("promote", 1)
    trained = read_manifest(run.outputs["model"].path).training
    assert (trained["component"], trained["workers"]) == ("train_distributed", 2)
    assert run.artifact("evaluate-model", "metrics").metadata["roc_auc"] > 0.95
