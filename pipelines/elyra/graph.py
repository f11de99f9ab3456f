"""The steps of a compiled pipeline with its conditions resolved, for an editor that has none."""

import re
from dataclasses import dataclass

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: The one kind of condition that our pipelines have: what a step returned is a certain text.
_CONDITION = re.compile(r"inputs\.parameter_values\['(?P<input>[^']+)'\] == '(?P<text>[^']*)'")
#: Inputs that KFP adds to a task for the placeholders within another input.
_CHANNEL = "pipelinechannel--"


@dataclass(frozen=True)
class Constant:
    """An input that is written in the graph."""

    value: object


@dataclass(frozen=True)
class Parameter:
    """An input that is a parameter of the pipeline."""

    name: str


@dataclass(frozen=True)
class Output:
    """An input that is an output of another step."""

    step: str
    name: str


Source = Constant | Parameter | Output


@dataclass(frozen=True)
class Step:
    """A step of a pipeline.

    Attributes:
        name: Its name in the graph.
        title: What people see.
        component: The component's name in ``loopline.components``; empty for a pipeline within the pipeline.
        inputs: Where the inputs come from; those that stay at their default are not there.
        after: The steps that it comes after.
        cached: Whether the engine may take the result of an earlier run.
        verdict: What a condition around it asks for: an output, and the text that it must be. None without one.
    """

    name: str
    title: str
    component: str
    inputs: dict[str, Source]
    after: tuple[str, ...]
    cached: bool
    verdict: tuple[Output, str] | None = None


@dataclass(frozen=True)
class Graph:
    """A compiled pipeline.

    Attributes:
        name: Its name.
        description: What it does.
        parameters: What the YAML says of each parameter: ``parameterType``, ``defaultValue``, ``description``.
        steps: Its steps, those under a condition among them.
    """

    name: str
    description: str
    parameters: dict[str, dict]
    steps: tuple[Step, ...]


def read_documents(text: str) -> list[dict]:
    """Return the documents of a compiled pipeline: the pipeline itself, and the settings of the platform if it has any.

    Args:
        text: Its YAML.
    """
    return list(yaml.load_all(text, _LOADER))


def read_graph(text: str) -> Graph:
    """Read a compiled pipeline.

    Args:
        text: Its YAML.

    Returns:
        Its graph; a pipeline within it is one step.
    """
    document = read_documents(text)[0]
    root, info = document["root"], document["pipelineInfo"]
    parameters = root.get("inputDefinitions", {}).get("parameters", {})
    inputs = {name: Parameter(name) for name in parameters}
    return Graph(info["name"], info.get("description", ""), parameters, tuple(_steps(document, root, inputs, None)))


def _steps(document: dict, part: dict, given: dict[str, Source], verdict: tuple[Output, str] | None) -> list[Step]:
    """Return the steps of a graph whose own inputs come from ``given``."""
    found = []
    for name, task in part["dag"]["tasks"].items():
        inputs = {
            key: _source(entry, given)
            for kind in ("artifacts", "parameters")
            for key, entry in task.get("inputs", {}).get(kind, {}).items()
        }
        component = document["components"][task["componentRef"]["name"]]
        if "triggerPolicy" in task:
            condition = _CONDITION.fullmatch(task["triggerPolicy"]["condition"])
            asked = inputs[condition["input"]], condition["text"]
            found += _steps(document, component, inputs, asked)
            continue
        kept = {key: source for key, source in inputs.items() if not key.startswith(_CHANNEL)}
        sources = [*kept.values(), *([verdict[0]] if verdict else [])]
        after = {source.step for source in sources if isinstance(source, Output)} | {*task.get("dependentTasks", ())}
        found.append(
            Step(
                name,
                task["taskInfo"]["name"],
                "" if "dag" in component else component_name(document, component),
                kept,
                tuple(sorted(after)),
                task.get("cachingOptions", {}).get("enableCache", False),
                verdict,
            )
        )
    return found


def component_name(document: dict, component: dict) -> str:
    """Return the name in ``loopline.components`` of a component of a compiled pipeline.

    Args:
        document: The pipeline.
        component: The component in it.
    """
    arguments = document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]["args"]
    return arguments[arguments.index("--function_to_execute") + 1]


def _source(entry: dict, given: dict[str, Source]) -> Source:
    if "runtimeValue" in entry:
        return Constant(entry["runtimeValue"]["constant"])
    for key, output in (("taskOutputParameter", "outputParameterKey"), ("taskOutputArtifact", "outputArtifactKey")):
        if key in entry:
            return Output(entry[key]["producerTask"], entry[key][output])
    return given[entry.get("componentInputParameter") or entry["componentInputArtifact"]]
