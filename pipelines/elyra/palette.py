"""Elyra's palette: one node a component, as the container-style YAML of KFP's first version, which Elyra reads.

Elyra finds a node's outputs by ``outputPath`` and writes the YAML and each value as text into Python. Hence the rules
here: text and numbers alone as values, no artifact that may be left out, no list of artifacts, and a test that nothing
in the YAML means something else to Python.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import yaml

from loopline.components.interface import Interface, Port, describe_all
from loopline.pipelines.elyra.needs import Needs, read_needs

#: The pipeline run, as the engine writes it into an input that holds nothing else.
RUN = "{{$.pipeline_job_uuid}}"
#: The input of a component that takes the run. Nodes that look outside the pipeline have it in any case: with another
#: value in each run, the engine never takes their result from its cache, whoever forgot to tell it so.
RUN_INPUT = "pipeline_run"
#: How a node's file begins.
HEADER = "# Written by `loopline compile` from loopline.components."
#: How many inputs a node has for a list of artifacts; nodes one behind another take more.
MANY = 2
#: What Elyra calls types of values that it names otherwise, or cannot hold as they are.
_TYPES = {"Boolean": "String", "List": "JsonArray"}
_WORDS = {"xgboost": "XGBoost"}
_KEEP_RUN = "The pipeline run. Leave it: with another one each time the node runs anew in each run."


@dataclass(frozen=True)
class NodeInput:
    """An input of a node.

    Attributes:
        port: The input, as Elyra can hold it.
        option: The option of the step's command that takes it; empty when the step does not.
    """

    port: Port
    option: str


def palette_files(texts: Iterable[str], image: str) -> dict[str, str]:
    """Write the palette.

    Args:
        texts: The compiled pipelines, which say what each component needs of a cluster.
        image: The image of every node.

    Returns:
        YAML by file name.
    """
    needs = read_needs(texts)
    # What no pipeline of ours has is for pipelines of the user's own, and works on its inputs alone.
    return {
        file_name(entry.name): node_yaml(entry, needs.get(entry.name, Needs((), True)), image)
        for entry in describe_all()
    }


def file_name(component: str) -> str:
    """Return the file of a component's node; Elyra tells nodes apart by it."""
    return f"{component.replace('_', '-')}.yaml"


def node_title(component: str) -> str:
    """Return what the palette calls a component."""
    first, *others = (_WORDS.get(word, word) for word in component.split("_"))
    return " ".join([first[0].upper() + first[1:], *others])


def node_inputs(interface: Interface, needs: Needs) -> list[NodeInput]:
    """Return the inputs of a component's node.

    Args:
        interface: The component.
        needs: What it needs of a cluster.
    """
    found = []
    for port in interface.inputs:
        if port.many:
            names = [f"{port.name}_{number}" for number in range(1, MANY + 1)]
            found += [NodeInput(replace(port, name=name, many=False), port.option) for name in names]
        elif port.name == RUN_INPUT:
            found.append(NodeInput(replace(port, default=RUN), port.option))
        elif port.required or not port.artifact:
            found.append(NodeInput(port, port.option))
    if not needs.cached and RUN_INPUT not in [entry.port.name for entry in found]:
        found.append(NodeInput(Port(RUN_INPUT, "String", False, _KEEP_RUN, required=False, default=RUN), ""))
    return found


def node_yaml(interface: Interface, needs: Needs, image: str) -> str:
    """Write a component's node.

    Args:
        interface: The component.
        needs: What it needs of a cluster.
        image: The image to run it in.

    Returns:
        The YAML.
    """
    inputs = node_inputs(interface, needs)
    arguments: list[object] = []
    for entry in inputs:
        if entry.option:
            arguments += [entry.option, {"inputPath" if entry.port.artifact else "inputValue": entry.port.name}]
    for port in interface.outputs:
        arguments += [port.option, {"outputPath": port.name}]
    if needs.secrets:
        arguments += ["--secrets", ",".join(needs.secrets)]
    # Metadata of artifacts, the dashboard's metrics among them, come from the engine and go to it by this.
    arguments += ["--executor-input", {"executorInput": None}]
    node = {
        "name": node_title(interface.name),
        "description": " ".join(filter(None, (interface.summary, interface.details))),
        "inputs": [_input(entry.port) for entry in inputs],
        "outputs": [_declare(port) for port in interface.outputs],
        "implementation": {
            "container": {
                "image": image,
                "command": ["python", "-m", "loopline.components", interface.name],
                "args": arguments,
            }
        },
    }
    return f"{HEADER}{interface.name}: change it there.\n" + yaml.safe_dump(
        {k: v for k, v in node.items() if v}, sort_keys=False, width=float("inf")
    )


def node_default(port: Port) -> str:
    """Return an input's default as a node has it: text."""
    return str(port.default).lower() if isinstance(port.default, bool) else str(port.default)


def _input(port: Port) -> dict:
    return _declare(port) if port.required else {**_declare(port), "optional": True, "default": node_default(port)}


def _declare(port: Port) -> dict:
    return {"name": port.name, "type": _TYPES.get(port.type, port.type), "description": port.description}
