"""A component's function, its node in the palette and its program say the same: names, kinds, defaults, needs."""

import copy
import functools
import inspect
import typing
from dataclasses import dataclass

import pytest
from elyra_nodes import PALETTE, read_node
from kfp.dsl import OutputPath
from kfp.dsl.types import type_annotations

import loopline.components
from loopline.components import STAGES
from loopline.components.command import build_parser
from loopline.components.interface import describe
from loopline.pipelines.elyra.palette import RUN, file_name

KINDS = {str: "String", int: "Integer", float: "Float", bool: "Boolean"}


@dataclass(frozen=True)
class Input:
    """An input as a function, a node or a program describes it; a default of None means that it must be given."""

    kind: str
    default: str | None


#: Inputs that are a list of artifacts: a node has two of each.
LISTS = {
    "select_model": "models",
    "finish_sweep": "ran",
    "detect_drift_over_windows": "summaries",
    "merge_profiles": "profiles",
    "gather_partitions": "prepared",
}


def _as_two(inputs: dict, many: str) -> dict:
    return {
        **{key: value for key, value in inputs.items() if key != many},
        **{f"{many}_{number}": inputs[many] for number in (1, 2)},
    }


#: What a node cannot have as the function has it: no artifact may be left out, there is no list of artifacts, and no
#: boolean as a value.
UNLIKE = {
    "validate_data": lambda inputs: {key: value for key, value in inputs.items() if key != "schema"},
    **{name: functools.partial(_as_two, many=many) for name, many in LISTS.items()},
    "promote_to_site": lambda inputs: {**inputs, "require_approval": Input("String", "false")},
    "run_trials": lambda inputs: {**inputs, "prune": Input("String", "true")},
    "train_sklearn": lambda inputs: {**inputs, "allow_pickle": Input("String", "false")},
}


@dataclass
class Face:
    """What somebody who calls a component sees of it."""

    inputs: dict[str, Input]
    outputs: dict[str, str]


def of_function(name: str) -> Face:
    """Read the signature of the function itself, without KFP's and our own readers."""
    signature = inspect.signature(getattr(loopline.components, name).python_func)
    face = Face({}, {})
    for parameter in signature.parameters.values():
        kind, default = parameter.annotation, parameter.default
        if isinstance(kind, OutputPath):
            face.outputs[parameter.name] = KINDS.get(kind.type, kind.type)
        elif type_annotations.is_artifact_wrapped_in_Output(kind):
            face.outputs[parameter.name] = _artifact(kind)
        elif type_annotations.is_artifact_wrapped_in_Input(kind):
            face.inputs[parameter.name] = Input(_artifact(kind), None if default is inspect.Parameter.empty else "")
        else:
            text = None if default is inspect.Parameter.empty else str(default)
            face.inputs[parameter.name] = Input(KINDS[kind], text)
    if signature.return_annotation is not inspect.Signature.empty:
        returned = signature.return_annotation
        face.outputs["Output"] = KINDS.get(returned) or typing.get_origin(returned).__name__.capitalize()
    return face


def _artifact(kind) -> str:
    inner = type_annotations.get_io_artifact_class(kind)
    return inner.__name__ if isinstance(inner, type) else typing.get_args(inner)[0].__name__


def of_node(node: dict) -> Face:
    """Read a node's YAML, and check that its command passes each input and output by the option of its name."""
    face = Face(
        {}, {entry["name"]: {"JsonArray": "List"}.get(entry["type"], entry["type"]) for entry in node["outputs"]}
    )
    for entry in node.get("inputs", ()):
        assert ("default" in entry) == entry.get("optional", False), entry
        face.inputs[entry["name"]] = Input(entry["type"], entry.get("default"))
    return face


def passed(node: dict) -> dict[str, tuple[str, str]]:
    """Return how a node's command passes things: by name, the option and the kind of placeholder."""
    words = node["implementation"]["container"]["args"]
    pairs = zip(words[::2], words[1::2], strict=True)
    return {
        name: (option, kind)
        for option, value in pairs
        if isinstance(value, dict)
        for kind, name in value.items()
        if name
    }


def of_program(parser) -> tuple[Face, dict[str, str]]:
    """Read the options of a component's program; returns what they say, and the option of each name."""
    groups = {group.title: group._group_actions for group in parser._action_groups}
    face, options = Face({}, {}), {}
    for title, actions in groups.items():
        for action in actions if title in ("inputs", "parameters", "outputs", "values") else ():
            options[action.dest] = action.option_strings[0]
            if title in ("outputs", "values"):
                face.outputs[action.dest] = title
            else:
                default = None if action.required else _said_default(action.help) if title == "parameters" else ""
                face.inputs[action.dest] = Input(title, default)
    return face, options


def _said_default(text: str) -> str:
    return str(eval(text.rpartition("default: ")[2].removesuffix(")")))


def differences(name: str, node: dict, parser) -> list[str]:
    """Say where a component's node and program differ from its function."""
    function, drawn = of_function(name), of_node(node)
    typed, options = of_program(parser)
    found = []
    wanted = UNLIKE.get(name, dict)(function.inputs)
    drawn_inputs = dict(drawn.inputs)
    if "pipeline_run" in wanted:
        wanted["pipeline_run"] = Input("String", RUN)
    elif drawn_inputs.get("pipeline_run") == Input("String", RUN) and "pipeline_run" not in passed(node):
        drawn_inputs.pop("pipeline_run")  # keeps the node out of the engine's cache: see test_palette
    if drawn_inputs != wanted:
        found.append(f"{name}: the node takes {set(drawn_inputs.items()) ^ set(wanted.items())} otherwise")
    if drawn.outputs != function.outputs:
        found.append(f"{name}: the node gives {set(drawn.outputs.items()) ^ set(function.outputs.items())} otherwise")
    if {key: value.default for key, value in typed.inputs.items()} != {
        key: value.default for key, value in function.inputs.items()
    } or set(typed.outputs) != set(function.outputs):
        found.append(f"{name}: the program has other options, defaults or needs")
    artifacts = {port.name for port in describe(name).ports if port.artifact}
    for port, (option, kind) in passed(node).items():
        many = LISTS.get(name)
        own = many if many and port.startswith(f"{many}_") else port
        output = port in function.outputs
        placeholder = "outputPath" if output else "inputPath" if own in artifacts else "inputValue"
        if options.get(own) != option or kind != placeholder:
            found.append(f"{name}: the command passes {port} as {option} {kind}")
    if set(passed(node)) != set(wanted) | set(function.outputs):
        found.append(f"{name}: the command passes {set(passed(node)) ^ (set(wanted) | set(function.outputs))} or not")
    if node["implementation"]["container"]["command"] != ["python", "-m", "loopline.components", name]:
        found.append(f"{name}: the command is another one")
    return found


@pytest.mark.parametrize("name", STAGES)
def test_function_node_and_program_agree(name):
    assert differences(name, read_node(name), build_parser(describe(name))) == []


def test_there_is_one_node_for_each_component():
    assert {file.name for file in PALETTE.iterdir()} == {file_name(name) for name in STAGES}
    titles = [read_node(name)["name"] for name in STAGES]
    assert len(set(titles)) == len(titles)


def _input(node: dict, name: str) -> dict:
    return next(entry for entry in node["inputs"] if entry["name"] == name)


LIES = {
    "an input by another name": lambda node: _input(node, "test_size").update(name="share"),
    "another type": lambda node: _input(node, "seed").update(type="String"),
    "another default": lambda node: _input(node, "method").update(default="time"),
    "an optional artifact": lambda node: _input(node, "data").update(optional=True, default=""),
    "a needed value": lambda node: [_input(node, "seed").pop(key) for key in ("optional", "default")],
    "an input less": lambda node: node["inputs"].pop(),
    "an output less": lambda node: node["outputs"].pop(),
    "another kind of output": lambda node: node["outputs"][0].update(type="Model"),
    "another component": lambda node: node["implementation"]["container"]["command"].__setitem__(3, "ingest_data"),
    "an option of no program": lambda node: node["implementation"]["container"]["args"].__setitem__(0, "--table"),
    "two options exchanged": lambda node: node["implementation"]["container"]["args"].__setitem__(2, "--column"),
    "a value as a path": lambda node: node["implementation"]["container"]["args"][3].update(
        inputPath=node["implementation"]["container"]["args"][3].pop("inputValue")
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_node_that_lies_is_found(lie):
    node = copy.deepcopy(read_node("split_data"))
    LIES[lie](node)
    assert node != read_node("split_data")
    assert differences("split_data", node, build_parser(describe("split_data")))


def test_a_program_that_lies_is_found():
    """The program of a component that takes and gives the same but for one thing."""
    for change in (
        lambda parser: parser._handle_conflict_resolve(None, [("--seed", parser._option_string_actions["--seed"])]),
        lambda parser: setattr(parser._option_string_actions["--seed"], "required", True),
        lambda parser: setattr(parser._option_string_actions["--seed"], "help", "(an integer; default: 7)"),
        lambda parser: setattr(parser._option_string_actions["--test"], "dest", "rest"),
    ):
        parser = build_parser(describe("split_data"))
        change(parser)
        assert differences("split_data", read_node("split_data"), parser)
