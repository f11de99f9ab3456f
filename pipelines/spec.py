"""What a compiled pipeline asks for: read from its YAML, without kfp."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

import loopline.compiled
from loopline.components.errors import InputError
from loopline.components.parameters import join_names

#: KFP's parameter types and what a person calls them.
TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "integer",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "true or false",
    "LIST": "JSON list",
    "STRUCT": "JSON object",
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline.

    Attributes:
        name: Its name.
        type: One of ``TYPES``.
        default: Its default, None when there is none.
        required: Whether it must be given.
        description: What it means.
    """

    name: str
    type: str
    default: object
    required: bool
    description: str


@dataclass(frozen=True)
class PipelineFile:
    """A compiled pipeline.

    Attributes:
        path: The YAML file.
        name: The pipeline's name.
        description: What it does.
        parameters: Its parameters, required ones first.
    """

    path: Path
    name: str
    description: str
    parameters: tuple[Parameter, ...]

    @classmethod
    def find(cls, pipeline: str | Path) -> "PipelineFile":
        """Read a compiled pipeline.

        Args:
            pipeline: The name of one that comes with Loopline, or the path of a compiled YAML.

        Returns:
            What it asks for.

        Raises:
            InputError: There is no such pipeline, or the file is not one.
        """
        path = Path(pipeline)
        if path.suffix not in (".yaml", ".yml"):
            path = compiled_folder() / f"{pipeline}.yaml"
        if not path.is_file():
            raise InputError(
                f"There is no pipeline {str(pipeline)!r}: choose one of {', '.join(compiled_names())}, or give the "
                "path of a compiled YAML."
            )
        try:
            document = next(iter(yaml.load_all(path.read_text(encoding="utf-8"), _LOADER)))
            info, inputs = document["pipelineInfo"], document["root"].get("inputDefinitions", {})
        except (yaml.YAMLError, KeyError, TypeError, StopIteration, UnicodeDecodeError):
            raise InputError(f"{path} is not a compiled pipeline: write one with `loopline compile`.") from None
        parameters = [
            Parameter(
                name,
                entry["parameterType"],
                entry.get("defaultValue"),
                "defaultValue" not in entry and not entry.get("isOptional", False),
                " ".join(entry.get("description", "").split()),
            )
            for name, entry in inputs.get("parameters", {}).items()
        ]
        parameters.sort(key=lambda parameter: not parameter.required)
        return cls(path, info["name"], info.get("description", ""), tuple(parameters))

    def convert(self, arguments: dict) -> dict:
        """Check and convert arguments.

        Args:
            arguments: Values by parameter name; text is converted to the parameter's type.

        Returns:
            The values to run the pipeline with.

        Raises:
            InputError: A name is unknown, a value has the wrong type, or a required parameter is missing.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in arguments:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}."
                raise InputError(f"Pipeline {self.name} has no parameter {name!r}: {hint}")
        missing = [name for name, parameter in known.items() if parameter.required and name not in arguments]
        if missing:
            raise InputError(
                f"Pipeline {self.name} needs {', '.join(map(repr, missing))}: give each with --param {missing[0]}=..."
            )
        return {name: convert_value(known[name], value) for name, value in arguments.items()}


def _as_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return join_names(value)
    return json.dumps(value)


def convert_value(parameter: Parameter, value: object) -> object:
    """Convert a value to a parameter's type.

    Args:
        parameter: The parameter.
        value: Text from a command line, or a value from a YAML file. For a text, a list of names is joined with
            commas, and what else has a structure becomes JSON.

    Returns:
        The value in the parameter's type.

    Raises:
        InputError: The value cannot be converted.
    """
    wanted = f"Parameter {parameter.name!r} is {value!r} but must be {TYPES.get(parameter.type, parameter.type)}."
    try:
        if parameter.type == "STRING":
            return _as_text(value)
        if parameter.type == "BOOLEAN":
            return {"true": True, "false": False}[str(value).lower()]
        if parameter.type == "NUMBER_INTEGER":
            return int(str(value))
        if parameter.type == "NUMBER_DOUBLE":
            return float(str(value))
        parsed = json.loads(value) if isinstance(value, str) else value
        if not isinstance(parsed, list if parameter.type == "LIST" else dict):
            raise ValueError
        return parsed
    except (ValueError, KeyError, TypeError):
        raise InputError(wanted) from None


def compiled_folder() -> Path:
    """Return the folder of the pipelines that come with Loopline."""
    return Path(loopline.compiled.__file__).parent


def compiled_names() -> list[str]:
    """Return the names of the pipelines that come with Loopline."""
    return sorted(file.stem for file in compiled_folder().glob("*.yaml"))
