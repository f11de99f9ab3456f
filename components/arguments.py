"""Check and convert the arguments of a pipeline, wherever they come from: a command line, a file, a step."""

import difflib
import json
from collections.abc import Collection, Mapping

from loopline.components.errors import InputError
from loopline.components.parameters import join_names

#: KFP's parameter types and what a person calls them.
TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}


def convert_arguments(pipeline: str, types: Mapping[str, str], required: Collection[str], arguments: Mapping) -> dict:
    """Check and convert the arguments of a pipeline.

    Args:
        pipeline: The pipeline's name, for messages.
        types: KFP's type of each parameter.
        required: The parameters that must be given.
        arguments: Values by parameter name, see ``convert_value``.

    Returns:
        The values in the parameters' types.

    Raises:
        InputError: A name is unknown, a value has the wrong type, or a required parameter is missing.
    """
    for name in arguments:
        if name not in types:
            close = difflib.get_close_matches(name, types, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(types) or 'none'}."
            raise InputError(f"Pipeline {pipeline} has no parameter {name!r}: {hint}")
    missing = [name for name in types if name in required and name not in arguments]
    if missing:
        raise InputError(f"Pipeline {pipeline} needs {', '.join(map(repr, missing))}: give each a value.")
    return {name: convert_value(name, types[name], value) for name, value in arguments.items()}


def convert_value(name: str, kind: str, value: object) -> object:
    """Convert a value to a parameter's type.

    Args:
        name: The parameter, for messages.
        kind: One of ``TYPES``; a value of another type is left as it is.
        value: Text from a command line, or a value from YAML or JSON. For a text, a list of names is joined with
            commas, and what else has a structure becomes JSON. An integer may arrive as a float: JSON inside a KFP
            parameter knows no integers.

    Returns:
        The value in the parameter's type.

    Raises:
        InputError: The value cannot be converted.
    """
    try:
        return _CONVERTERS[kind](value) if kind in _CONVERTERS else value
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InputError(f"Parameter {name!r} is {value!r} but must be {TYPES[kind]}.") from None


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return join_names(value)
    return json.dumps(value)


def _integer(value: object) -> int:
    return int(value) if isinstance(value, float) and value.is_integer() else int(str(value))


def _number(value: object) -> float:
    return float(str(value))


def _boolean(value: object) -> bool:
    return {"true": True, "false": False}[str(value).lower()]


def _json_of(kind: type):
    def read(value: object) -> object:
        parsed = json.loads(value) if isinstance(value, str) else value
        if not isinstance(parsed, kind):
            raise ValueError(value)
        return parsed

    return read


_CONVERTERS = {
    "STRING": _text,
    "NUMBER_INTEGER": _integer,
    "NUMBER_DOUBLE": _number,
    "BOOLEAN": _boolean,
    "LIST": _json_of(list),
    "STRUCT": _json_of(dict),
}
