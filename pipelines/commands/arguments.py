"""The parameters of a pipeline on a command line: one option each, ``--param NAME=VALUE`` and a file of them."""

import argparse
import contextlib

from loopline.components.arguments import TYPES
from loopline.components.documents import read_yaml, reading
from loopline.components.errors import InputError
from loopline.pipelines.spec import Parameter, PipelineFile, compiled_names


def add_pipeline(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add a pipeline and its parameters to a command that takes one.

    Args:
        parser: The command's parser. Its description becomes that of the pipeline that ``words`` name, behind its own.
        words: What stands behind the command on the command line.

    Raises:
        InputError: There is no such pipeline.
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ", ".join(compiled_names())
    parser.add_argument("pipeline", metavar="PIPELINE", help=f"one of {names}, or the path of a compiled YAML")
    parser.add_argument("-f", "--from-file", metavar="FILE", help="a YAML file of parameters")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="one parameter; may be repeated"
    )
    source = _first_pipeline(words)
    if source:
        parser.description = f"{parser.description}\n\n{source.name}: {source.description}"
        group = parser.add_argument_group(f"parameters of {source.name}")
        for parameter in source.parameters:
            _add_parameter(parser, group, parameter)


def _first_pipeline(words: list[str]) -> PipelineFile | None:
    """Return the first pipeline among the words.

    Raises:
        InputError: There is none where one is expected; said before its parameters are called unknown options.
    """
    for word in words:
        with contextlib.suppress(InputError):
            return PipelineFile.find(word)
    return PipelineFile.find(words[0]) if words and not words[0].startswith("-") else None


def _add_parameter(parser: argparse.ArgumentParser, group, parameter: Parameter) -> None:
    flag = f"--{parameter.name.replace('_', '-')}"
    if flag in parser._option_string_actions:
        return  # the command's own; the parameter can still be given with --param
    state = "required" if parameter.required else f"default: {parameter.default!r}"
    text = f"{parameter.description} ({TYPES.get(parameter.type, parameter.type)}; {state})".replace("%", "%%")
    group.add_argument(flag, dest=f"p_{parameter.name}", metavar="VALUE", help=text)


def read_arguments(options: argparse.Namespace) -> dict[str, object]:
    """Return the parameters that were given: the file's, over them ``--param``, over them the options of their own.

    Args:
        options: The parsed options of a command with ``add_pipeline``.

    Returns:
        Values by parameter name, as they were given.

    Raises:
        InputError: A ``--param`` has no value, or the file cannot be read.
    """
    values = _read_file(options.from_file) if options.from_file else {}
    for entry in options.param:
        name, sign, value = entry.partition("=")
        if not sign or not name:
            raise InputError(f"--param {entry!r} has no value: write --param name=value.")
        values[name] = value
    return values | {
        name.removeprefix("p_"): value
        for name, value in vars(options).items()
        if name.startswith("p_") and value is not None
    }


def _read_file(file: str) -> dict:
    with reading(file, "a file of parameters", "write a line `name: value` for each"):
        values, _ = read_yaml(file)
        if not all(isinstance(name, str) for name in values):
            raise TypeError("a name is no text")
        return values
