"""The steps that use MLflow: what to run under a fault, and what has to be true of MLflow after it."""

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from faults_steps import NONE, Ended, Fault
from faults_world import World
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from loopline.components.environment import environment
from loopline.components.model.directory import read_manifest, verify_model

_PIPELINE_RUN = "loopline.pipeline_run"
_pipeline_runs = itertools.count(1)


@dataclass
class Case:
    """One component and one name in MLflow that is its own, so that cases do not meet.

    Attributes:
        world: Inputs.
        store: The environment that leads to the server itself, past any proxy.
        name: The name of the model.
    """

    world: World
    store: dict[str, str]
    name: str
    component: str = ""
    inputs: dict = field(default_factory=dict)

    def __post_init__(self):
        self.inputs = self.world.inputs(self.component)
        self.prepare()

    def prepare(self) -> None:
        """Bring MLflow to where the component begins."""

    def run(self, fault: Fault = NONE) -> Ended:
        """Run the component."""
        return self.world.steps.run(self.component, fault, **self.inputs)

    def twice(self) -> list[Ended]:
        """Run the component twice at the same time."""
        return self.world.steps.run_twice(self.component, **self.inputs)

    def check(self, whole: bool, ended: Ended | None = None) -> None:
        """See that nothing is half done, and with ``whole`` that all is done, once."""
        raise NotImplementedError

    def _step(self, component: str, **inputs) -> Ended:
        ended = self.world.steps.run(component, **inputs)
        assert ended.status == 0, ended.said
        return ended

    def ask(self, question):
        """Put a question to MLflow itself."""
        with environment(self.store):
            return question(MlflowClient(self.store["MLFLOW_TRACKING_URI"]))

    def runs(self, experiment: str) -> list:
        """Return the runs of an experiment that were not deleted."""

        def search(client):
            found = client.get_experiment_by_name(experiment)
            return client.search_runs([found.experiment_id]) if found else []

        return self.ask(search)

    def versions(self) -> list:
        """Return the versions of the model, ascending."""
        found = self.ask(lambda client: client.search_model_versions(f"name = '{self.name}'"))
        return sorted(found, key=lambda version: int(version.version))

    def aliases(self) -> dict[str, int]:
        """Return the model's aliases."""
        model = self.ask(lambda client: client.get_registered_model(self.name))
        return {alias: int(version) for alias, version in model.aliases.items()}


class Register(Case):
    """One model, one version, one finished run; who runs it again does so in another pipeline run."""

    def prepare(self):
        self.inputs["name"] = self.name

    def run(self, fault=NONE):
        self.inputs["pipeline_run"] = f"run-{next(_pipeline_runs)}"
        return super().run(fault)

    def check(self, whole, ended=None):
        versions = self.versions()
        assert len(versions) <= 1, "registered twice"
        for version in versions:
            fetched = self._step("load_model", name=self.name, version=version.version)
            assert verify_model(fetched.out / "model").digest == read_manifest(self.inputs["model"]).digest
        if whole:
            assert ended.value() == "1"
            assert self.aliases() == {"challenger": 1}
            runs = self.runs(self.name)
            counts = Counter(run.info.status for run in runs)
            assert counts["FINISHED"] == 1 and counts["RUNNING"] == 0, counts
            [finished] = [run for run in runs if run.info.status == "FINISHED"]
            assert finished.info.run_id == versions[0].run_id and finished.data.metrics
            assert finished.data.tags[_PIPELINE_RUN] == versions[0].tags[_PIPELINE_RUN]
            place = finished.info.experiment_id
            models = self.ask(lambda client: client.search_logged_models([place]))
            states = Counter(model.status.value for model in models)
            assert states["READY"] == 1 and states["PENDING"] == 0, states
            [ready] = [model for model in models if model.status.value == "READY"]
            assert ready.tags[_PIPELINE_RUN] == versions[0].tags[_PIPELINE_RUN]


class WriteCard(Case):
    """A version tells of its card only where the whole card is."""

    def prepare(self):
        self._step("register_model", **{**self.world.inputs("register_model"), "name": self.name})
        self.inputs |= {"name": self.name, "version": 1}

    def facts(self, run: str) -> dict:
        """Return what the card that is kept was written from, and see that the rest of it is there."""
        with environment(self.store):
            folder = download_artifacts(run_id=run, artifact_path="model-card")
        assert sorted(one.name for one in Path(folder).iterdir()) == ["card.html", "card.md", "facts.json"]
        return json.loads((Path(folder) / "facts.json").read_text())

    def check(self, whole, ended=None):
        [version] = self.versions()
        told = "model-card/card.html" in (version.description or "")
        if whole or told:
            assert told and self.facts(version.run_id)["evaluation"]


class UpdateCard(WriteCard):
    """A version names its image only where the card does, and what the card said before stays."""

    def prepare(self):
        super().prepare()
        self._step("write_model_card", **{**self.world.inputs("write_model_card"), "name": self.name, "version": 1})

    def check(self, whole, ended=None):
        super().check(True)
        [version] = self.versions()
        if whole or "loopline.image" in version.tags:
            assert version.tags["loopline.image"] == self.inputs["image"]
            assert self.facts(version.run_id)["image"] == self.inputs["image"]


class Promote(Case):
    """The champion is the old one or the new one, and the old one is kept."""

    def prepare(self):
        given = self.world.inputs("register_model")
        for model in ("train_xgboost", "train_sklearn"):
            self._step("register_model", **{**given, "model": self.world.out(model, "model"), "name": self.name})
        self._step("promote_model", name=self.name, version=1)
        self.inputs = {"name": self.name, "version": 2, "compared_with": 1}

    def check(self, whole, ended=None):
        aliases = self.aliases()
        assert aliases["champion"] in (1, 2) and aliases.get("previous") in (None, 1)
        if whole:
            assert aliases == {"challenger": 2, "champion": 2, "previous": 1}
            assert ended.value() == "1"


class Load(Case):
    """A directory is there whole or not at all."""

    def prepare(self):
        self._step("register_model", **{**self.world.inputs("register_model"), "name": self.name})
        self._step("promote_model", name=self.name, version=1)
        self.inputs = {"name": self.name}
        self.out = self.world.folder / f"loaded-{self.name}"

    def run(self, fault=NONE):
        return self.world.steps.run(self.component, fault, out=self.out, **self.inputs)

    def check(self, whole, ended=None):
        if whole or (self.out / "model").exists():
            assert verify_model(self.out / "model").digest == self.versions()[0].tags["loopline.model_digest"]


class Annotate(Case):
    """The verdict is there only with all that it rests on."""

    def prepare(self):
        self._step("register_model", **{**self.world.inputs("register_model"), "name": self.name})
        self.inputs |= {"name": self.name, "version": 1}
        decision = json.loads(Path(self.inputs["decision"]).read_text())
        self.verdict, self.start = decision["verdict"], decision["window"]["start"]

    def check(self, whole, ended=None):
        found = {tag: text for tag, text in self.versions()[0].tags.items() if tag.startswith("loopline.monitoring.")}
        if whole or "loopline.monitoring.verdict" in found:
            assert found["loopline.monitoring.verdict"] == self.verdict
            assert found["loopline.monitoring.window_start"] == self.start
            assert found["loopline.monitoring.ticket"] == "7"


class PlanSweep(Case):
    """One pipeline run, one sweep."""

    def prepare(self):
        self.inputs |= {"name": self.name, "pipeline_run": f"run-{self.name}"}

    def check(self, whole, ended=None):
        if whole:
            workers = [json.loads(one) if isinstance(one, str) else one for one in json.loads(ended.value())]
            assert [run.info.run_id for run in self.runs(self.name)] == [workers[0]["sweep"]]


class RunTrials(Case):
    """Each trial comes to its end once."""

    TRIALS = 2

    def prepare(self):
        planned = self._step("plan_sweep", name=self.name, trials=self.TRIALS, workers=2, pipeline_run=self.name)
        self.workers = [one if isinstance(one, str) else json.dumps(one) for one in json.loads(planned.value())]
        self.inputs["worker"], self.sweep = self.workers[0], json.loads(self.workers[0])["sweep"]

    def twice(self):
        # As in a pipeline: each worker once.
        runs = [(self.component, NONE, None, {**self.inputs, "worker": worker}) for worker in self.workers]
        return self.world.steps.run_together(runs)

    def trials(self) -> list:
        return [run for run in self.runs(self.name) if "loopline.trial" in run.data.tags]

    def check(self, whole, ended=None):
        done = [run for run in self.trials() if run.info.status in ("FINISHED", "KILLED")]
        places = Counter(run.data.tags["loopline.trial"] for run in done)
        assert not places or max(places.values()) == 1, places
        assert all("validation_log_loss" in run.data.metrics for run in done if run.info.status == "FINISHED")
        if whole:
            assert sorted(places) == [str(place) for place in range(self.TRIALS)]
            assert Counter(run.info.status for run in self.trials())["RUNNING"] == 0


class FinishSweep(RunTrials):
    """The sweep's run ends with its best trial and the page."""

    def prepare(self):
        super().prepare()
        ran = self._step("run_trials", **{**self.world.inputs("run_trials"), "worker": self.workers[0]})
        self.inputs = {"ran": [ran.out / "ran"]}

    def twice(self):
        return Case.twice(self)

    def check(self, whole, ended=None):
        run = self.ask(lambda client: client.get_run(self.sweep))
        if whole or run.info.status == "FINISHED":
            assert run.info.status == "FINISHED" and "validation_log_loss" in run.data.metrics
            pages = self.ask(lambda client: client.list_artifacts(self.sweep, "report"))
            assert [page.path for page in pages] == ["report/sweep.html"]
        if whole:
            assert json.loads(ended.value()).items() <= {k: json.loads(v) for k, v in run.data.params.items()}.items()


class Decide(Case):
    """A window is one finished run with its decision, or none that anyone sees."""

    def prepare(self):
        self.inputs["name"] = self.name

    def check(self, whole, ended=None):
        from loopline.components.monitoring.state import read_history

        with environment(self.store):
            seen = read_history(self.name, "2026-12-31T00:00:00+00:00")
        assert len(seen) <= 1, "recorded twice"
        if whole:
            assert seen[0]["verdict"] == ended.value()
            assert [run.info.status for run in self.runs(f"{self.name}-monitoring")] == ["FINISHED"]


class Check(Case):
    """Changes nothing."""

    def prepare(self):
        self.inputs["name"] = self.name

    def check(self, whole, ended=None):
        if whole:
            assert ended.value() in ("healthy", "unknown", "burning")


CASES = {
    "register_model": Register,
    "write_model_card": WriteCard,
    "update_model_card": UpdateCard,
    "promote_model": Promote,
    "load_model": Load,
    "annotate_model": Annotate,
    "plan_sweep": PlanSweep,
    "run_trials": RunTrials,
    "finish_sweep": FinishSweep,
    "decide_retraining": Decide,
    "check_service": Check,
}
