"""What a compiled pipeline asks for: read from its YAML, without kfp."""

from dataclasses import dataclass
from pathlib import Path

import yaml

import loopline.compiled
from loopline.components.arguments import convert_arguments
from loopline.components.documents import reading
from loopline.components.errors import InputError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline.

    Attributes:
        name: Its name.
        type: One of KFP's types, ``NUMBER_INTEGER`` for example.
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
        with reading(path, "a compiled pipeline", "write one with `loopline compile`"):
            # The others are what Kubernetes is asked for; whoever uploads the file reads them.
            document, *_ = yaml.load_all(path.read_text(encoding="utf-8"), _LOADER)
            info, inputs = document["pipelineInfo"], document["root"].get("inputDefinitions", {})
            title, description = str(info["name"]), str(info.get("description", ""))
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
        return cls(path, title, description, tuple(parameters))

    def convert(self, arguments: dict) -> dict:
        """Check and convert arguments.

        Args:
            arguments: Values by parameter name; text is converted to the parameter's type.

        Returns:
            The values to run the pipeline with.

        Raises:
            InputError: A name is unknown, a value has the wrong type, or a required parameter is missing.
        """
        types = {parameter.name: parameter.type for parameter in self.parameters}
        required = {parameter.name for parameter in self.parameters if parameter.required}
        return convert_arguments(self.name, types, required, arguments)


def compiled_folder() -> Path:
    """Return the folder of the pipelines that come with Loopline."""
    return Path(loopline.compiled.__file__).parent


def compiled_names() -> list[str]:
    """Return the names of the pipelines that come with Loopline."""
    return sorted(file.stem for file in compiled_folder().glob("*.yaml"))
