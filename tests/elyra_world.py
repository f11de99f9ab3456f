"""One life of a model, a node of the palette at a time: on real data, models, stores and servers."""

import functools
import json
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pyarrow.csv
from config_repositories import make_repository, named_image
from elyra_nodes import artifact, run_node
from kfp import dsl
from monitoring_models import FEATURES, START, make_events, make_model, write_traffic
from pipeline_server import pipeline_server
from promoted_images import PREDICATE

from loopline.components.data.tables import read_table, write_table
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.model_server import serve
from loopline.components.delivery.promotion import promote
from loopline.components.environment import environment
from loopline.components.model.directory import is_absent, read_manifest
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases
from loopline.pipelines.spec import compiled_folder

WINDOW = {"start": START.isoformat(), "end": (START + timedelta(hours=2)).isoformat()}


class World:
    """One life of a model, a node at a time: each property is a node's outputs and runs what it needs before.

    Args:
        folder: Where everything is.
        table: A table to train on.
        variables: More of the nodes' environment.
    """

    def __init__(self, folder: Path, table: Path, variables: Mapping[str, str]):
        self.folder, self.table = folder, table
        self.variables = {"LOOPLINE_HOME": str(folder / "home"), **variables}
        self.servers = []

    def run(self, component: str, **inputs: object) -> dict:
        return run_node(component, self.folder / "runs", self.variables, **inputs)

    # From data to a champion.

    @functools.cached_property
    def ingest_data(self):
        found = self.run("ingest_data", uri=str(self.table))
        assert found["data"].metadata["rows"] == read_table(found["data"].path).num_rows == 569
        return found

    @functools.cached_property
    def validate_data(self):
        return self.run("validate_data", data=self.ingest_data["data"], target="target", min_rows=500)

    @functools.cached_property
    def split_data(self):
        found = self.run("split_data", data=self.validate_data["valid"], method="stratified", column="target")
        assert sum(found[name].metadata["rows"] for name in ("train", "validation", "test")) == 569
        return found

    @functools.cached_property
    def divide_table(self):
        self.folder_of_files = self.folder / "files"
        self.folder_of_files.mkdir()
        table = read_table(self.table)
        for number, (start, rows) in enumerate([(0, 200), (200, 369)]):
            write_table(self.folder_of_files / f"{number}.parquet", table.slice(start, rows))
        found = self.run("divide_table", uri=str(self.folder_of_files))
        assert len(found["output"]) == 2
        return found

    @functools.cached_property
    def _profiles(self):
        return self._run_each("profile_partition", target="target")

    def _run_each(self, component: str, **inputs: object) -> list[dict]:
        """Run a node for each partition, each in a folder of its own."""
        partitions = self.divide_table["output"]
        given = {"uri": str(self.folder_of_files), **inputs}
        return [
            run_node(component, self.folder / f"runs-{number}", self.variables, partition=partition, **given)
            for number, partition in enumerate(partitions)
        ]

    @property
    def profile_partition(self):
        return self._profiles[0]

    @functools.cached_property
    def merge_profiles(self):
        one, two = (found["profile"] for found in self._profiles)
        found = self.run(
            "merge_profiles", profiles_1=one, profiles_2=two, uri=str(self.folder_of_files), target="target"
        )
        inferred = self.run("validate_data", data=self.ingest_data["data"], target="target")["schema_out"]
        assert Path(found["schema_out"].path).read_text() == Path(inferred.path).read_text()
        return found

    @functools.cached_property
    def _prepared(self):
        return self._run_each("prepare_partition", plan=self.merge_profiles["plan"])

    @property
    def prepare_partition(self):
        return self._prepared[0]

    @functools.cached_property
    def gather_partitions(self):
        one, two = (found["prepared"] for found in self._prepared)
        found = self.run("gather_partitions", prepared_1=one, prepared_2=two, plan=self.merge_profiles["plan"])
        assert sum(found[name].metadata["rows"] for name in ("train", "validation", "test")) == 569
        return found

    @property
    def _rows(self):
        parts = {name: self.split_data[name] for name in ("train", "validation")}
        return {**parts, "schema": self.validate_data["schema_out"], "name": "cells", "pipeline_run": "run-7"}

    @functools.cached_property
    def train_xgboost(self):
        found = self.run("train_xgboost", **self._rows, rounds=5, params='{"max_depth": 3, "learning_rate": 0.5}')
        manifest = read_manifest(found["model"].path)
        assert found["model"].metadata["digest"] == manifest.digest
        assert manifest.provenance["pipeline_run"] == "run-7"
        assert found["metrics"].metadata == json.loads(Path(found["metrics"].path).read_text())
        return found

    @functools.cached_property
    def train_sklearn(self):
        found = self.run("train_sklearn", **self._rows, allow_pickle="true", estimator="LogisticRegression")
        assert found["model"].metadata["format"] == "joblib"
        return found

    @functools.cached_property
    def train_distributed(self):
        found = self.run("train_distributed", **self._rows, rounds=5, workers=2)
        assert read_manifest(found["model"].path).training["workers"] == 2
        return found

    @functools.cached_property
    def list_trials(self):
        found = self.run("list_trials", parameter_sets='{"max_depth": [4, 8]}')
        assert [json.loads(text) for text in found["output"]] == [{"max_depth": 4}, {"max_depth": 8}]
        return found

    @functools.cached_property
    def plan_sweep(self):
        found = self.run("plan_sweep", name="cells", trials=3, workers=2, pipeline_run="run-7")
        assert [json.loads(text)["number"] for text in found["output"]] == [0, 1]
        return found

    @functools.cached_property
    def run_trials(self):
        given = {"worker": self.plan_sweep["output"][0], "trials": 3, "rounds": 5, "pipeline_run": "run-7"}
        rows = {name: self._rows[name] for name in ("train", "validation", "schema")}
        found = self.run("run_trials", **rows, **given)
        assert found["ran"].metadata["trials"] == 3
        return found

    @functools.cached_property
    def finish_sweep(self):
        ran = self.run_trials["ran"]
        found = self.run("finish_sweep", ran_1=ran, ran_2=ran, pipeline_run="run-7")
        assert "max_depth" in json.loads(found["output"])
        return found

    @functools.cached_property
    def select_model(self):
        models = [self.train_sklearn["model"], self.train_xgboost["model"]]
        found = self.run("select_model", models_1=models[0], models_2=models[1], metric="log_loss")
        assert found["best"].metadata["digest"] == models[found["output"]].metadata["digest"]
        return found

    @functools.cached_property
    def evaluate_model(self):
        found = self.run(
            "evaluate_model", model=self.train_xgboost["model"], test=self.split_data["test"], bootstrap=50,
            importance_repeats=0,
        )  # fmt: skip
        assert 0.9 < found["metrics"].metadata["roc_auc"] <= 1
        assert found["classification"].metadata["confidenceMetrics"]
        assert json.loads(Path(found["classification"].path).read_text()) == found["classification"].metadata
        return found

    @functools.cached_property
    def compare_models(self):
        absent = self.run("load_model", name="cells", missing="absent")
        assert (absent["output"], absent["found_version"]) == ("absent", 0)
        assert is_absent(absent["model"].path)
        found = self.run(
            "compare_models", challenger=self.train_xgboost["model"], champion=absent["model"],
            test=self.split_data["test"], bootstrap=50,
        )  # fmt: skip
        assert found["output"] == "promote"
        return found

    @functools.cached_property
    def register_model(self):
        found = self.run(
            "register_model", model=self.train_xgboost["model"], metrics=self.evaluate_model["metrics"],
            report=self.evaluate_model["report"], name="cells", pipeline_run="run-7",
        )  # fmt: skip
        assert found["output"] == 1
        return found

    @functools.cached_property
    def write_model_card(self):
        found = self.run(
            "write_model_card", model=self.train_xgboost["model"], name="cells", version=self.register_model["output"],
            metrics=self.evaluate_model["metrics"], verdict=self.compare_models["verdict"], intended_use="A test.",
        )  # fmt: skip
        assert "A test." in Path(found["card"].path).read_text()
        return found

    @functools.cached_property
    def promote_model(self):
        given = {"name": "cells", "version": self.register_model["output"], "compared_with": 0}
        assert self.run("promote_model", **given, verdict="keep")["output"] == 0
        assert self.aliases() == {"challenger": 1}
        found = self.run("promote_model", **given, verdict=self.compare_models["output"])
        assert self.aliases() == {"challenger": 1, "champion": 1}
        return found

    @functools.cached_property
    def load_model(self):
        assert self.promote_model["output"] == 0
        found = self.run("load_model", name="cells")
        assert found["found_version"] == found["model"].metadata["version"] == 1
        assert "roc_auc" in json.loads(found["found_metrics"])
        return found

    def aliases(self) -> dict:
        with environment(self.variables), open_store() as store:
            return find_aliases(store, "cells")

    # Scored, packaged, brought to a site.

    @functools.cached_property
    def list_partitions(self):
        (self.folder / "partitions").mkdir()
        rows = read_table(self.split_data["test"].path).drop_columns(["target"])
        for name, start in (("one", 0), ("two", 50)):
            pyarrow.csv.write_csv(rows.slice(start, 50), self.folder / "partitions" / f"{name}.csv")
        found = self.run("list_partitions", uri=str(self.folder / "partitions"))
        assert [Path(uri).name for uri in found["output"]] == ["one.csv", "two.csv"]
        return found

    @functools.cached_property
    def score_partition(self):
        found = self.run(
            "score_partition", model=self.load_model["model"], uri=self.list_partitions["output"][0],
            output=str(self.folder / "scored"),
        )  # fmt: skip
        scored = read_table(found["output"])
        assert found["scored"].metadata["rows"] == scored.num_rows == 50
        # The version stands in the metadata of the model alone.
        assert set(scored.column("loopline_model_version").to_pylist()) == {"1"}
        return found

    @functools.cached_property
    def build_model_image(self):
        found = self.run("build_model_image", model=self.load_model["model"], version=1)
        assert found["output"].startswith("oci:/")
        return found

    @functools.cached_property
    def test_model_image(self):
        # The budgets are not what is tested, and others work on this machine.
        found = self.run("test_model_image", image=self.build_model_image["output"], p99_ms=60_000.0, memory_mb=8_192.0)
        assert found["output"] == self.build_model_image["output"]
        return found

    @functools.cached_property
    def update_model_card(self):
        assert self.write_model_card
        image = self.test_model_image["output"]
        found = self.run(
            "update_model_card", model=self.load_model["model"], name="cells", version=1, image=image
        )  # fmt: skip
        text = Path(found["card"].path).read_text()
        assert "A test." in text and image.rpartition("@")[2] in text
        return found

    @functools.cached_property
    def served(self):
        with environment(self.variables):
            image = fetch_image(self.test_model_image["output"], self.folder / "fetched", tested=True)
            server = serve(image.folder, LOOPLINE_IMAGE_DIGEST=image.digest, LOOPLINE_SITE="edge")
        self.servers.append(server)
        return server.__enter__()

    @functools.cached_property
    def repository(self):
        return make_repository(self.folder, url=self.served.url)

    @functools.cached_property
    def promote_to_site(self):
        image = self.test_model_image["output"]
        found = self.run("promote_to_site", image=image, sites="edge", repository=str(self.repository))
        assert named_image(self.repository, "edge") == image
        return found

    @functools.cached_property
    def check_site(self):
        found = self.run(
            "check_site", image=self.test_model_image["output"], sites="edge", repository=str(self.repository),
            commit=self.promote_to_site["output"], deadline_s=60.0,
        )  # fmt: skip
        assert found["output"] == "edge"
        return found

    @functools.cached_property
    def rollback_site(self):
        assert self.check_site["output"] == "edge"
        with environment(self.variables):
            other = build_image(self.load_model["model"].path, version=2)
            attest_tested(other, PREDICATE)
            promote(str(self.repository), "edge", other)
        assert named_image(self.repository, "edge") == other
        found = self.run("rollback_site", sites="edge", repository=str(self.repository), reason="a test")
        assert named_image(self.repository, "edge") == found["output"] == self.test_model_image["output"]
        return found

    # Watched.

    @functools.cached_property
    def watched(self):
        model = make_model(self.folder / "watched")
        truth = write_traffic(self.folder / "log", model, make_events(1_000, seed=5))
        write_table(self.folder / "truth.parquet", truth)
        return artifact(dsl.Model, model)

    @functools.cached_property
    def collect_traffic(self):
        found = self.run(
            "collect_traffic", model=self.watched, name="flights", uri=str(self.folder / "log"),
            truth=str(self.folder / "truth.parquet"), **WINDOW,
        )  # fmt: skip
        assert found["output"] == found["counts"].metadata["rows"] == 1_000
        assert found["window_end"] == WINDOW["end"]
        return found

    @functools.cached_property
    def detect_drift(self):
        found = self.run("detect_drift", model=self.watched, traffic=self.collect_traffic["traffic"], engine="scipy")
        assert found["output"] == "none"
        return found

    @functools.cached_property
    def list_windows(self):
        found = self.run("list_windows", pieces=2, **WINDOW)
        assert len(found["output"]) == 2
        return found

    @functools.cached_property
    def summarize_traffic(self):
        given = {"model": self.watched, "name": "flights", "uri": str(self.folder / "log")}
        first, second = self.list_windows["output"]
        other = self.run("summarize_traffic", window=second, **given)
        # The next run of the component writes where this one did.
        kept = shutil.copy(other["summary"].path, self.folder / "other-half")
        self.other_half = artifact(dsl.Artifact, kept)
        found = self.run("summarize_traffic", window=first, **given)
        assert found["output"] + other["output"] == 1_000
        return found

    @functools.cached_property
    def detect_drift_over_windows(self):
        halves = {"summaries_1": self.summarize_traffic["summary"], "summaries_2": self.other_half}
        found = self.run("detect_drift_over_windows", model=self.watched, **halves, engine="scipy")
        assert found["output"] == self.detect_drift["output"]
        assert found["drift"].metadata == self.detect_drift["drift"].metadata
        return found

    @functools.cached_property
    def measure_performance(self):
        found = self.run("measure_performance", model=self.watched, traffic=self.collect_traffic["traffic"])
        assert found["output"] == "steady"
        return found

    @functools.cached_property
    def check_service(self):
        window = {key: self.collect_traffic[f"window_{key}"] for key in ("start", "end")}
        found = self.run("check_service", name="flights", targets=f"edge={self.served.metrics}", **window)
        assert found["output"] in ("healthy", "unknown")
        return found

    @functools.cached_property
    def decide_retraining(self):
        found = self.run(
            "decide_retraining", counts=self.collect_traffic["counts"], drift=self.detect_drift["drift"],
            performance=self.measure_performance["performance"], service=self.check_service["service"],
            name="flights", min_labels=100,
        )  # fmt: skip
        assert found["output"] == found["decision"].metadata["verdict"] == "wait"
        return found

    @functools.cached_property
    def annotate_model(self):
        version = self.register_model["output"]
        found = self.run(
            "annotate_model", decision=self.decide_retraining["decision"], name="cells", version=version,
            values='{"ticket": "OPS-17"}',
        )  # fmt: skip
        with environment(self.variables), open_store() as store:
            assert store.client.get_model_version("cells", "1").tags["loopline.monitoring.ticket"] == "OPS-17"
        return found

    @functools.cached_property
    def extend_data(self):
        history = self.folder / "history.parquet"
        write_table(history, make_events(500).select([*FEATURES, "late"]))
        found = self.run(
            "extend_data", history=artifact(dsl.Dataset, history), recent=self.collect_traffic["traffic"], target="late"
        )
        assert found["data"].metadata["rows"] == 1_500
        assert WINDOW["start"] < found["output"] < WINDOW["end"]
        return found

    @functools.cached_property
    def probe_capacity(self):
        given = {"most_rate": 20.0, "seconds": 0.5, "budget_s": 60.0, "p99_ms": 2_000.0}
        found = self.run("probe_capacity", model=self.load_model["model"], url=self.served.url, **given)
        assert found["output"] > 0
        return found

    @functools.cached_property
    def trigger_pipeline(self):
        with pipeline_server(self.folder) as (server, variables):
            server.hold("training", (compiled_folder() / "training.yaml").read_text())
            self.variables.update(variables)
            given = {"pipeline": "training", "parameters": '{"uri": "x.csv", "target": "late", "name": "flights"}'}
            assert self.run("trigger_pipeline", **given, verdict="wait")["output"] == ""
            assert server.runs == []
            found = self.run("trigger_pipeline", **given, verdict="retrain", event="run-7")
            assert [run["run_id"] for run in server.runs] == [found["output"]]
        return found

    def close(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            server.__exit__(None, None, None)
