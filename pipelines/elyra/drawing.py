"""Pipelines as Elyra's editor draws them, made of the palette's nodes: drawn from the compiled pipelines.

Elyra has no conditions and no pipelines within pipelines. A step under a condition is drawn beside the others and given
the verdict, which it obeys itself; what is left out and what takes its place stands in ``DRAWINGS``.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from loopline.components.interface import Port, describe
from loopline.pipelines.elyra.graph import Constant, Graph, Output, Parameter, Source, Step, read_graph
from loopline.pipelines.elyra.needs import Needs, read_needs
from loopline.pipelines.elyra.palette import RUN, NodeInput, file_name, node_default, node_inputs

_CATALOG = "local-directory-catalog"
_NUMBERS = {"Integer": int, "Float": float}
#: Elyra's names of the types of parameters.
_PARAMETERS = {"STRING": "String", "NUMBER_INTEGER": "Integer", "NUMBER_DOUBLE": "Float"}
#: Where nodes stand, in pixels: the first one, and the way to the next column and row.
_ORIGIN, _COLUMN, _ROW = (40, 110), 200, 100


@dataclass(frozen=True)
class Drawing:
    """How a compiled pipeline is drawn.

    Attributes:
        note: What stands on the canvas above the nodes.
        left_out: Steps that Elyra cannot hold, by their names in the graph.
        added: Steps that take their place.
        parameters: Parameters that those take, as in a compiled pipeline.
        changed: Inputs that are drawn otherwise, by step and input.
    """

    note: str
    left_out: tuple[str, ...] = ()
    added: tuple[Step, ...] = ()
    parameters: dict[str, dict] = field(default_factory=dict)
    changed: dict[tuple[str, str], Source] = field(default_factory=dict)


_DECIDED = Output("decide-retraining", "Output")
#: Every pipeline that is drawn, by the name of the compiled one.
DRAWINGS = {
    "training": Drawing(
        "Run asks for the data (uri), the column to predict (target) and a name for the model. Promote to champion "
        "does nothing unless the verdict of Compare with champion is promote."
    ),
    "monitoring": Drawing(
        "Run asks for the model's name. Retrain starts the pipeline that retraining_pipeline names, and does nothing "
        "unless the verdict of Decide is retrain; Call for people does so on alert.",
        left_out=("retraining", "delivery", "annotate-model"),
        added=(
            Step(
                "retrain",
                "Retrain",
                "trigger_pipeline",
                {
                    "pipeline": Parameter("retraining_pipeline"),
                    "parameters": Parameter("retraining_parameters"),
                    "event": Constant(RUN),
                },
                after=("decide-retraining",),
                cached=False,
                verdict=(_DECIDED, "retrain"),
            ),
        ),
        parameters={
            "retraining_pipeline": {
                "parameterType": "STRING",
                "defaultValue": "",
                "description": "A pipeline on the server to start when the model no longer fits, e.g. retraining; none "
                "when empty.",
            },
            "retraining_parameters": {
                "parameterType": "STRING",
                "defaultValue": "{}",
                "description": "Its parameters as a JSON object.",
            },
        },
        # Elyra cannot put texts together. A run decides once, so the run itself is the event.
        changed={("trigger-pipeline", "event"): Constant(RUN)},
    ),
}


def drawn_files(texts: dict[str, str]) -> dict[str, str]:
    """Draw every pipeline of ``DRAWINGS``.

    Args:
        texts: The compiled pipelines by name.

    Returns:
        ``.pipeline`` files by file name.
    """
    needs = read_needs(texts.values())
    drawn = {}
    for name, drawing in DRAWINGS.items():
        document = _document(_drawn(read_graph(texts[name]), drawing), drawing.note, needs)
        drawn[f"{name}.pipeline"] = json.dumps(document, indent=2) + "\n"
    return drawn


def _drawn(graph: Graph, drawing: Drawing) -> Graph:
    """Return a graph without what Elyra cannot hold."""
    steps = [_without_condition(step) for step in (*graph.steps, *drawing.added) if step.name not in drawing.left_out]
    changed = [
        replace(
            step, inputs={key: drawing.changed.get((step.name, key), source) for key, source in step.inputs.items()}
        )
        for step in steps
    ]
    known = {**graph.parameters, **drawing.parameters}
    sources = [source for step in changed for source in step.inputs.values()]
    used = [name for name in known if Parameter(name) in sources]
    # The dialog asks in this order.
    names = sorted(used, key=lambda name: "defaultValue" in known[name])
    return replace(graph, steps=tuple(changed), parameters={name: known[name] for name in names})


def _without_condition(step: Step) -> Step:
    """Return a step that gets the verdict as an input instead of standing under a condition."""
    if step.verdict is None:
        return step
    result, text = step.verdict
    inputs = {**step.inputs, "verdict": result}
    if "starts_on" in {port.name for port in describe(step.component).inputs}:
        inputs["starts_on"] = Constant(text)
    return replace(step, inputs=inputs, verdict=None)


def _document(graph: Graph, note: str, needs: dict[str, Needs]) -> dict:
    places = _places(graph.steps)
    nodes = [_node(step, node_inputs(describe(step.component), needs[step.component]), places) for step in graph.steps]
    comment = {
        "id": f"{graph.name}-note",
        "x_pos": _ORIGIN[0],
        "y_pos": _ORIGIN[1] - 90,
        "width": 3 * _COLUMN,
        "height": 60,
        "content": note,
        "associated_id_refs": [],
    }
    return {
        "doc_type": "pipeline",
        "version": "3.0",
        "json_schema": "http://api.dataplatform.ibm.com/schemas/common-pipeline/pipeline-flow/pipeline-flow-v3-schema.json",
        "id": "elyra-auto-generated-pipeline",
        "primary_pipeline": "primary",
        "pipelines": [
            {
                "id": "primary",
                "nodes": nodes,
                "app_data": {
                    "ui_data": {"comments": [comment]},
                    "version": 8,
                    "runtime_type": "KUBEFLOW_PIPELINES",
                    "properties": {
                        "name": graph.name,
                        "runtime": "Pipelines",
                        "description": graph.description,
                        "pipeline_parameters": [_parameter(*item) for item in graph.parameters.items()],
                    },
                },
                "runtime_ref": "",
            }
        ],
        "schemas": [],
    }


def _parameter(name: str, entry: dict) -> dict:
    kind = _PARAMETERS[entry["parameterType"]]
    value = entry.get("defaultValue", "")
    return {
        "name": name,
        "description": " ".join(entry.get("description", "").split()),
        "default_value": {"type": kind, "value": _NUMBERS[kind](value) if kind in _NUMBERS else value},
        "required": "defaultValue" not in entry,
    }


def _node(step: Step, inputs: Iterable[NodeInput], places: dict[str, tuple[int, int]]) -> dict:
    x, y = places[step.name]
    file = file_name(step.component)
    values = {entry.port.name: _value(entry.port, step.inputs.get(entry.port.name)) for entry in inputs}
    port = {"app_data": {"ui_data": {"cardinality": {"min": 0, "max": -1}}}}
    links = [
        {"id": f"{before}-to-{step.name}", "node_id_ref": before, "port_id_ref": "outPort"} for before in step.after
    ]
    return {
        "id": step.name,
        "type": "execution_node",
        "op": f"{_CATALOG}:{hashlib.sha256(file.encode()).hexdigest()[:12]}",
        "app_data": {
            "component_parameters": {**values, "disable_node_caching": str(not step.cached)},
            "label": step.title,
            "ui_data": {"label": step.title, "image": "", "x_pos": x, "y_pos": y, "description": ""},
        },
        "inputs": [{"id": "inPort", **port, **({"links": links} if links else {})}],
        "outputs": [{"id": "outPort", **port}],
    }


def _value(port: Port, source: Source | None) -> dict:
    """Write an input's value the way Elyra's property sheet does."""
    match source:
        case Output(step, name):
            return {"widget": "inputpath", "value": {"value": step, "option": f"output_{name.lower()}"}}
        case Parameter(name):
            return {"widget": "parameter", "value": name}
        case Constant(value):
            text = str(value)
        case _:
            text = node_default(port)
    if port.type in _NUMBERS:
        return {"widget": "number", "value": _NUMBERS[port.type](float(text))}
    return {"widget": "string", "value": text}


def _places(steps: Iterable[Step]) -> dict[str, tuple[int, int]]:
    """Place steps in columns: each one right of all that come before it, a first one just left of what comes after."""
    steps = {step.name: step for step in steps}
    columns: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in columns:
            columns[name] = max((column(before) + 1 for before in steps[name].after), default=0)
        return columns[name]

    for name, step in steps.items():
        if not step.after:
            columns[name] = min(column(other) for other in steps if name in steps[other].after) - 1
    rows: dict[int, int] = {}
    places = {}
    for name in sorted(steps, key=lambda name: (column(name), not steps[name].after, name)):
        row = rows.get(column(name), 0)
        rows[column(name)] = row + 1
        places[name] = (_ORIGIN[0] + column(name) * _COLUMN, _ORIGIN[1] + row * _ROW)
    return places
