"""Turn trained models into ONNX graphs with one named input a feature.

Numbers come in as float tensors of shape (rows, 1) with NaN for missing, text as string tensors with "" for missing.
Classifiers give ``label`` (the class's position) and ``probabilities``, regressors ``prediction``.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator

import onnx
import xgboost
from onnx import TensorProto, helper

from loopline.components.training.plan import Plan

#: The opsets that both MLServer's and OpenVINO's runtimes of today read.
_OPSET, _ML_OPSET = 15, 3
_MATRIX = "loopline_matrix"


def booster_to_onnx(booster: xgboost.Booster, plan: Plan) -> bytes:
    """Convert a booster over encoded columns, encoding included.

    Args:
        booster: The trained booster, without feature names.
        plan: What it learned from which columns.

    Returns:
        The serialized ONNX model.

    Raises:
        ValueError, RuntimeError: The converter cannot express the model.
    """
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    width = len(plan.features.columns)
    types = [(_MATRIX, FloatTensorType([None, width]))]
    with _sets_as_ranges():
        converted = convert_xgboost(booster, initial_types=types, target_opset=_OPSET).graph
    inputs, nodes, encoded = [], [], []
    for position, column in enumerate(plan.features.columns):
        text = column.kind == "category"
        type_ = TensorProto.STRING if text else TensorProto.FLOAT
        inputs.append(helper.make_tensor_value_info(column.name, type_, [None, 1]))
        encoded.append(f"loopline_code_{position}" if text else column.name)
        if text:
            nodes.append(_encoder(column.name, encoded[-1], column.categories or ("",)))
    nodes.append(helper.make_node("Concat", encoded, [_MATRIX], axis=1))
    graph = helper.make_graph(
        [*nodes, *converted.node], "loopline", inputs, list(converted.output), list(converted.initializer)
    )
    return _finish(graph, plan)


@contextlib.contextmanager
def _sets_as_ranges() -> Iterator[None]:
    """Let the converter turn a split by a set of categories into a chain of ``code < bound``, in reasonable time.

    Its own chain has one ``code == category`` for each category: on the flights, nine of ten nodes of the model and
    half the time of a prediction. Neighboring categories share a bound, and an ensemble whose comparisons are all of
    one kind takes a shorter way through onnxruntime. (A search tree over the bounds compares less and is slower.)

    The comparisons of a chain share what lies below. The converter numbers all of that once for each of them, at every
    level again: hours for a column of a hundred categories. The numbers are the same when what is numbered is not
    visited again.
    """
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import XGBConverter

    replaced = {"_process_categorical_features": _compare_by_less, "_remap_nodeid": _number}
    originals = {name: XGBConverter.__dict__[name] for name in replaced}
    for name, function in replaced.items():
        setattr(XGBConverter, name, staticmethod(function))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(XGBConverter, name, original)


def _compare_by_less(trees: list[dict]) -> list[dict]:
    """Make every split of XGBoost's dumped trees one by ``<``, in place."""
    for tree in trees:
        nodes = list(_walk(tree))
        unused = itertools.count(1 + max(node["nodeid"] for node in nodes))
        for node in nodes:
            if isinstance(node.get("split_condition"), list):
                _split_by_ranges(node, unused)
            elif "children" in node:
                node["decision_type"] = "BRANCH_LT"
    return trees


def _split_by_ranges(node: dict, unused: Iterator[int]) -> None:
    """Turn a split whose ``yes`` takes a set of categories into a chain of comparisons with rising bounds, in place."""
    children = {child["nodeid"]: child for child in node["children"]}
    inside, default = set(node["split_condition"]), node["missing"]
    # Where the side changes. Beyond the last category of the set all are outside.
    bounds = [code for code in range(1, max(inside) + 2) if (code in inside) != (code - 1 in inside)]
    rest = children[node["no"]]
    for bound in reversed(bounds):
        below = children[node["yes"] if bound - 1 in inside else node["no"]]
        rest = {
            "nodeid": next(unused),
            "split": node["split"],
            "decision_type": "BRANCH_LT",
            "split_condition": bound,
            "yes": below["nodeid"],
            "no": rest["nodeid"],
            "missing": default if below["nodeid"] == default else rest["nodeid"],
            "children": [below, rest],
        }
    node.update({**rest, "nodeid": node["nodeid"]})


def _number(root: dict, numbers: dict | None = None) -> dict:
    """Number the nodes of a dumped tree in the order the converter does."""
    return {node["nodeid"]: number for number, node in enumerate(_walk(root))}


def _walk(root: dict) -> Iterator[dict]:
    """Yield the nodes of a dumped tree, parents first, and each only once where branches meet again."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node["nodeid"] not in seen:
            seen.add(node["nodeid"])
            yield node
            waiting.extend(reversed(node.get("children", ())))


def _encoder(name: str, code: str, categories: tuple[str, ...]) -> onnx.NodeProto:
    """Return the node that turns text into its category's position, and anything else into NaN."""
    return helper.make_node(
        "LabelEncoder",
        [name],
        [code],
        domain="ai.onnx.ml",
        keys_strings=list(categories),
        values_floats=[float(i) for i in range(len(categories))],
        default_float=math.nan,
    )


def pipeline_to_onnx(pipeline, plan: Plan) -> bytes:
    """Convert a fitted scikit-learn pipeline.

    Args:
        pipeline: The pipeline over feature columns.
        plan: What it learned from which columns.

    Returns:
        The serialized ONNX model.

    Raises:
        ValueError, RuntimeError: The converter cannot express the model.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = [
        (column.name, StringTensorType([None, 1]) if column.kind == "category" else FloatTensorType([None, 1]))
        for column in plan.features.columns
    ]
    options = {id(pipeline.steps[-1][1]): {"zipmap": False}} if plan.is_classification else None
    converted = convert_sklearn(
        pipeline, "loopline", types, options=options, target_opset={"": _OPSET, "ai.onnx.ml": _ML_OPSET}
    )
    return _finish(converted.graph, plan)


def _finish(graph: onnx.GraphProto, plan: Plan) -> bytes:
    wanted = ["label", "probabilities"] if plan.is_classification else ["prediction"]
    taken = {value.name for value in graph.input}
    clash = taken.intersection(wanted)
    if clash:
        raise ValueError(f"a feature is named like the output {clash.pop()!r}")
    for value, name in zip(graph.output, wanted, strict=True):
        _rename_value(graph, value.name, name)
        value.name = name
    graph.name = "loopline"
    model = helper.make_model(
        graph,
        producer_name="loopline",
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
