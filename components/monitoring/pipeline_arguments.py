"""The parameters of a compiled pipeline, and the arguments for them."""

import json

from loopline.components.errors import InputError

#: KFP's parameter types and what a person calls them.
_TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}


def convert_arguments(pipeline: str, spec: dict, arguments: dict) -> dict:
    """Check and convert the arguments of a pipeline.

    Args:
        pipeline: The pipeline's name, for messages.
        spec: What the server holds: the pipeline's specification, alone or under ``pipeline_spec`` beside its
            Kubernetes settings.
        arguments: Values by parameter name. Text is converted; so is an integer that arrives as a float, since JSON
            inside a KFP parameter knows no integers.

    Returns:
        The values in the parameters' types.

    Raises:
        InputError: A name is unknown, a value has the wrong type, or a required parameter is missing.
    """
    spec = spec or {}
    root = (spec.get("pipeline_spec") or spec).get("root") or {}
    asked = (root.get("inputDefinitions") or {}).get("parameters") or {}
    unknown = [name for name in arguments if name not in asked]
    if unknown:
        known = ", ".join(sorted(asked)) or "none"
        raise InputError(f"Pipeline {pipeline} has no parameter {unknown[0]!r}: it has {known}.")
    missing = [
        name
        for name, entry in asked.items()
        if name not in arguments and "defaultValue" not in entry and not entry.get("isOptional")
    ]
    if missing:
        raise InputError(f"Pipeline {pipeline} needs {', '.join(map(repr, missing))}: give it among the parameters.")
    return {name: _convert(name, asked[name].get("parameterType", ""), value) for name, value in arguments.items()}


def _convert(name: str, kind: str, value: object) -> object:
    try:
        return _CONVERTERS.get(kind, lambda given: given)(value)
    except (TypeError, ValueError, KeyError):
        raise InputError(f"Parameter {name!r} is {value!r} but must be {_TYPES[kind]}.") from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


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
