"""The drawn pipelines: Elyra takes them, and what it makes of them is the committed pipeline, and runs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from elyra_nodes import starting_containers
from kfp import components, local

from loopline.components.data.ingest import ingest
from loopline.components.data.split import split_table
from loopline.components.data.validate import validate
from loopline.components.environment import environment
from loopline.components.interface import describe
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases, promote
from loopline.components.training.train import train_boosted_trees
from loopline.pipelines.elyra.drawing import drawn_files
from loopline.pipelines.elyra.palette import RUN
from loopline.pipelines.spec import compiled_folder, compiled_names

FOLDER = Path(__file__).parents[2] / "notebooks" / "elyra"
GIVEN = {"uri": "s3://bucket/flights.parquet", "target": "late", "name": "flights"}
#: What Elyra cannot hold, beside each step's retries, memory, CPU and secrets: pipelines within the pipeline and what
#: depends on them. They are not drawn.
NOT_DRAWN = {"training": set(), "monitoring": {"Retrain", "Deliver", "Annotate version"}}
#: What is drawn in their place.
DRAWN_ONLY = {"training": set(), "monitoring": {"Retrain"}}
#: Steps under a condition: they are given the verdict as an input instead, from the step of this title.
VERDICT_OF = {"Promote to champion": "Compare with champion", "Call for people": "Decide", "Retrain": "Decide"}
#: Inputs that are drawn otherwise: a text of several parameters becomes the run.
CHANGED = {("Call for people", "event")}


@dataclass
class Task:
    """A task of a compiled pipeline: its component, where each input comes from, and what it comes after."""

    component: str
    inputs: dict[str, tuple]
    after: set[str]
    cached: bool


def tasks_of(document: dict) -> dict[str, Task]:
    """Read the tasks by their titles; those under a condition count as well, pipelines within it do not."""
    found = {}
    _read(document, document["root"], lambda name: ("parameter", name), {}, found)
    return found


def _read(document, part, outer, titles, found):
    tasks = part["dag"]["tasks"]
    titles = {**titles, **{name: task["taskInfo"]["name"] for name, task in tasks.items()}}
    for name, task in tasks.items():
        inputs = {}
        for entries in task.get("inputs", {}).values():
            for key, entry in entries.items():
                [(kind, value)] = [(k, v) for k, v in entry.items() if k != "parameterExpressionSelector"]
                if kind == "runtimeValue":
                    inputs[key] = ("constant", value["constant"])
                elif kind.startswith("taskOutput"):
                    output = value.get("outputParameterKey") or value.get("outputArtifactKey")
                    inputs[key] = ("output", titles[value["producerTask"]], output.lower())
                else:
                    inputs[key] = outer(value)
        component = document["components"][task["componentRef"]["name"]]
        if "triggerPolicy" in task:
            _read(document, component, inputs.__getitem__, titles, found)
        elif "dag" not in component:
            container = document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
            words = [*container["command"], *container.get("args", ())]
            marker = "--function_to_execute" if "--function_to_execute" in words else "loopline.components"
            own = {key: source for key, source in inputs.items() if not key.startswith("pipelinechannel--")}
            sources = {source[1] for source in own.values() if source[0] == "output"}
            found[titles[name]] = Task(
                words[words.index(marker) + 1],
                own,
                sources | {titles[before] for before in task.get("dependentTasks", ())},
                bool(task.get("cachingOptions", {}).get("enableCache")),
            )


def _documents(text: str) -> list[dict]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


def _filled(name: str, folder: Path) -> Path:
    """Copy a drawing with values for what must be given, as the editor's dialog fills it before it runs anything."""
    document = json.loads((FOLDER / f"{name}.pipeline").read_text(encoding="utf-8"))
    for parameter in document["pipelines"][0]["app_data"]["properties"]["pipeline_parameters"]:
        if parameter["required"]:
            parameter["value"] = GIVEN[parameter["name"]]
    file = folder / f"{name}.pipeline"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def exported(session, tmp_path_factory):
    """What Elyra makes of each drawing."""
    folder = tmp_path_factory.mktemp("drawings")
    return {name: session.export(_filled(name, folder)) for name in ("training", "monitoring")}


def test_drawings_are_fresh():
    texts = {name: (compiled_folder() / f"{name}.yaml").read_text(encoding="utf-8") for name in compiled_names()}
    for name, text in drawn_files(texts).items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, (
            f"notebooks/elyra/{name} is stale: run `loopline elyra pipelines notebooks/elyra --force` and commit it."
        )


def test_file_names_become_names_of_pipelines():
    files = list(FOLDER.glob("*.pipeline"))
    assert {file.stem for file in files} == {"training", "monitoring", "explore"}
    for file in files:
        assert re.fullmatch(r"[a-z0-9-]{1,58}", file.stem)
        assert file.read_text(encoding="utf-8").isascii()


def test_what_must_be_given_is_asked_for(session):
    done = session.run("elyra-pipeline", "validate", str(FOLDER / "training.pipeline"), "--runtime-config", "offline")
    assert done.returncode == 1
    assert {"'uri'", "'target'", "'name'"} == set(re.findall(r"\{'name': ('\w+')", done.stdout))
    assert done.stdout.count("[Error]") == done.stdout.count("no value has been assigned") == 3


@pytest.mark.parametrize("name", ["training", "monitoring"])
def test_elyra_makes_the_committed_pipeline_of_it(exported, name):
    ours = tasks_of(_documents((compiled_folder() / f"{name}.yaml").read_text())[0])
    theirs = tasks_of(_documents(exported[name])[0])
    # The titles of pipelines within a pipeline are not among its tasks.
    drawn = {title: task for title, task in ours.items() if title not in NOT_DRAWN[name]}
    assert set(theirs) == set(drawn) | DRAWN_ONLY[name]
    for title, task in drawn.items():
        other = theirs[title]
        assert other.component == task.component
        assert other.cached == task.cached, title
        assert other.after == task.after | ({VERDICT_OF[title]} if title in VERDICT_OF else set()), title
        for key, source in task.inputs.items():
            if (title, key) not in CHANGED:
                assert _plain(other.inputs[key]) == _plain(source), (title, key)
        _check_rest(title, task, other)


def _check_rest(title: str, ours: Task, theirs: Task) -> None:
    """Inputs that ours leaves alone are at their defaults, but for the verdict and the run."""
    defaults = {port.name: port.default for port in describe(ours.component).inputs}
    for key in theirs.inputs.keys() - ours.inputs.keys():
        source = theirs.inputs[key]
        if key == "verdict":
            assert source == ("output", VERDICT_OF[title], "output")
        elif key == "pipeline_run":
            assert source == ("constant", RUN)
        elif key != "starts_on":
            assert _plain(source) == ("constant", defaults[key]), (title, key)


def _plain(source: tuple) -> tuple:
    return (source[0], float(source[1])) if source[0] == "constant" and isinstance(source[1], int | float) else source


def test_the_verdict_takes_the_place_of_a_condition(exported):
    tasks = tasks_of(_documents(exported["monitoring"])[0])
    assert tasks["Retrain"].inputs["starts_on"] == ("constant", "retrain")
    assert tasks["Call for people"].inputs["starts_on"] == ("constant", "alert")
    for title in ("Retrain", "Call for people"):
        assert tasks[title].inputs["verdict"] == ("output", "Decide", "output")
    for title in ("Retrain", "Call for people"):
        assert tasks[title].inputs["event"] == ("constant", RUN)


@pytest.mark.parametrize("name", ["training", "monitoring"])
def test_parameters_are_those_of_the_committed_pipeline(exported, name):
    ours, theirs = (
        _documents(text)[0]["root"]["inputDefinitions"]["parameters"]
        for text in ((compiled_folder() / f"{name}.yaml").read_text(), exported[name])
    )
    tasks = tasks_of(_documents(exported[name])[0])
    used = {
        source[1]
        for task in tasks_of(_documents((compiled_folder() / f"{name}.yaml").read_text())[0]).values()
        for source in task.inputs.values()
        if source[0] == "parameter"
    }
    added = {"retraining_pipeline", "retraining_parameters"} if name == "monitoring" else set()
    assert set(theirs) == used | added
    for key in used:
        assert theirs[key]["parameterType"] == ours[key]["parameterType"], key
        wanted = ours[key]["defaultValue"] if "defaultValue" in ours[key] else GIVEN[key]
        assert theirs[key].get("defaultValue", "") == wanted, key
    # An empty text Elyra takes for no value, and the engine then leaves the step's input at its own default.
    for title, task in tasks.items():
        for port in describe(task.component).inputs:
            source = task.inputs.get(port.name)
            if source and source[0] == "parameter" and "defaultValue" not in theirs[source[1]]:
                assert not port.required and port.default == "", (title, port.name)


def test_what_elyra_exports_trains_and_leaves_a_better_champion(exported, bundled, tmp_path):
    """The exported YAML through KFP's local runner: without a condition the verdict holds promote_model back."""
    parts = {
        name: tmp_path / name for name in ("data", "valid", "bad", "schema", "page", "train", "validation", "test")
    }
    ingest(str(bundled["breast_cancer"]), parts["data"])
    validate(*(parts[name] for name in ("data", "valid", "bad", "schema", "page")), target="target")
    split_table(*(parts[name] for name in ("valid", "train", "validation", "test")))
    train_boosted_trees(parts["train"], parts["validation"], parts["schema"], tmp_path / "model", name="cells")
    parts["bad"].write_text("{}")
    champion = register(tmp_path / "model", _figures(tmp_path), parts["page"], "cells")
    promote("cells", champion)
    file = tmp_path / "training.yaml"
    file.write_text(exported["training"], encoding="utf-8")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))
    # The local runner, unlike the engine on a cluster, does not leave out what has no value.
    unset = _documents(exported["training"])[0]["root"]["inputDefinitions"]["parameters"]
    given = {name: "" for name, entry in unset.items() if "defaultValue" not in entry}
    given |= {"uri": str(bundled["breast_cancer"]), "target": "target", "name": "cells"}
    with starting_containers() as started:
        # With the quotes that the editor's dialog can hold.
        components.load_component_from_file(str(file))(**given, rounds=1, params="{'max_depth': 1}")
    assert len(started) == 10 and set(started[-2:]) == {"promote_model", "write_model_card"}
    with open_store() as store:
        assert find_aliases(store, "cells") == {"champion": champion, "challenger": champion + 1}


def _figures(folder: Path) -> Path:
    file = folder / "figures.json"
    file.write_text('{"task": "binary", "metrics": {}, "baseline": {}}')
    return file


@pytest.fixture(autouse=True)
def home(tmp_path):
    with environment({"LOOPLINE_HOME": str(tmp_path / "home")}):
        yield
