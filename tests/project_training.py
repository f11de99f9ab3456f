"""Train with the parameters of a project, in this process and with few rounds."""

from pathlib import Path

from loopline.components.data.ingest import ingest
from loopline.components.data.split import split_table
from loopline.components.data.tables import read_table
from loopline.components.data.validate import validate
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.training.train import train_boosted_trees
from loopline.pipelines.spec import PipelineFile


def train(given: dict, folder: Path):
    """Do what the training pipeline does up to the evaluation, with few rounds; returns manifest, evaluation, sides."""
    source = PipelineFile.find("training")
    v = {parameter.name: parameter.default for parameter in source.parameters} | source.convert(given)
    names = ("data", "valid", "quarantined", "train", "validation", "test")
    tables = {name: folder / f"{name}.parquet" for name in names}
    schema = folder / "schema.json"
    ingest(v["uri"], tables["data"], columns=v["columns"], csv=v["csv"])
    validate(
        tables["data"], tables["valid"], tables["quarantined"], schema, folder / "validation.html",
        target=v["target"], task=v["task"], expectations=v["expectations"], on_error=v["on_error"],
    )  # fmt: skip
    split_table(
        tables["valid"], tables["train"], tables["validation"], tables["test"], method=v["split_method"],
        column=v["split_column"], test_size=v["test_size"], validation_size=v["validation_size"],
        test_start=v["test_start"], seed=0,
    )  # fmt: skip
    manifest = train_boosted_trees(
        tables["train"], tables["validation"], schema, folder / "model", target=v["target"], task=v["task"],
        params=v["params"], rounds=min(int(v["rounds"]), 5), early_stopping_rounds=20, exclude=v["exclude"],
        name=v["name"],
    )  # fmt: skip
    evaluation = evaluate(folder / "model", tables["test"], Settings(bootstrap=50, importance_repeats=0))
    return manifest, evaluation, {side: read_table(tables[side]) for side in ("train", "validation", "test")}
