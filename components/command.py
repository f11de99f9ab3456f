"""Components as programs: one option a parameter, an input and an output, around the very function that KFP runs.

For engines that start containers by their command line, and for hands. The function is called by KFP's own executor, so
artifacts, lists, paths of values and what is returned are what they are in a pipeline.
"""

import argparse
import contextlib
import difflib
import json
import logging
import re
import sys
import tempfile
from pathlib import Path

from loopline.components import STAGES
from loopline.components.cluster_secrets import cluster_secrets
from loopline.components.documents import write_document
from loopline.components.environment import environment
from loopline.components.errors import InputError, explain
from loopline.components.interface import RETURNED, Interface, Port, describe, describe_all
from loopline.components.metadata import EngineMetadata, Metadata, SideMetadata

logger = logging.getLogger("loopline")

#: Artifacts whose value lies in their metadata: the dashboard shows it, and a step that leaves no file gets one of it.
_IN_METADATA = ("Metrics", "ClassificationMetrics")

#: What KFP fills in as it starts a step, where it does.
_PLACEHOLDER = re.compile(r"\{\{\$\.\w+\}\}")
#: What a person calls KFP's types of values.
_KINDS = {
    "String": "text",
    "Integer": "an integer",
    "Float": "a number",
    "Boolean": "true or false",
    "List": "a JSON list",
}

_EPILOG = """\
Metadata of an artifact lies beside it, in PATH.metadata.json, from one command to the next. Credentials come from the
environment, as in a pipeline: see `loopline --help`.

exit status: 0 done, 1 the step failed or something is away for now, 2 something given cannot be used."""


def main(words: list[str]) -> int:
    """Run a component.

    Args:
        words: Its name and options, as on the command line.

    Returns:
        The exit status: 0 done, 1 something is away for now, 2 something given cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    if words[:1] in ([], ["-h"], ["--help"]):
        print(_overview())
        return 0 if words else 2
    try:
        interface = _find(words[0])
        _run(interface, build_parser(interface).parse_args(_join(words[1:])))
    except (InputError, OSError) as error:
        said = explain(error)
        if said is None:
            raise
        print(f"loopline: {said}", file=sys.stderr)
        return 1 if said.temporary else 2
    return 0


def build_parser(interface: Interface) -> argparse.ArgumentParser:
    """Build the parser of a component's options.

    Args:
        interface: The component.

    Returns:
        A parser; each port's value is under the port's name.
    """
    program = f"python -m loopline.components {interface.name}"
    needed = "".join(f" {port.option} {_metavar(port)}" for port in interface.ports if _is_needed(interface, port))
    parser = _Parser(
        program,
        usage=f"{program}{needed} [options]",
        description=" ".join(filter(None, (interface.summary, interface.details))).replace("%", "%%"),
        epilog=_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    groups = {
        "inputs": [port for port in interface.inputs if port.artifact],
        "parameters": [port for port in interface.inputs if not port.artifact],
        "outputs": [port for port in interface.outputs if port.artifact],
        "values": [port for port in interface.outputs if not port.artifact],
    }
    for title, ports in groups.items():
        group = parser.add_argument_group(title) if ports else None
        for port in ports:
            _add_option(group, interface, port)
    other = parser.add_argument_group("for engines")
    other.add_argument(
        "--secrets",
        default="",
        metavar="NAMES",
        help="comma-separated secrets of this pod's namespace; each sets the variables that the pod was not given",
    )
    other.add_argument(
        "--executor-input",
        default="",
        metavar="JSON",
        help="what Kubeflow Pipelines says of the step: metadata then comes from there, and goes there",
    )
    return parser


def _add_option(group, interface: Interface, port: Port) -> None:
    notes = [_KINDS.get(port.type, port.type)]
    if _is_needed(interface, port):
        notes.append("required, may be repeated" if port.many else "required")
    elif port.name == RETURNED:
        notes.append("printed when there is no path")
    elif port in interface.inputs and not port.artifact:
        notes.append(f"default: {port.default!r}")
    group.add_argument(
        port.option,
        dest=port.name,
        metavar=_metavar(port) if port in interface.inputs else "PATH",
        action="append" if port.many else "store",
        required=_is_needed(interface, port),
        help=f"{port.description} ({'; '.join(notes)})".replace("%", "%%"),
    )


def _is_needed(interface: Interface, port: Port) -> bool:
    """An artifact without a place would be lost; a value is small, and nobody may want it."""
    return port.required if port in interface.inputs else port.artifact


def _metavar(port: Port) -> str:
    return "PATH" if port.artifact else "VALUE"


def _run(interface: Interface, options: argparse.Namespace) -> None:
    from kfp.dsl.executor import Executor

    metadata = EngineMetadata(options.executor_input) if options.executor_input else SideMetadata()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        told = Path(scratch) / "outputs.json"
        request = {
            "inputs": {"parameterValues": {}, "artifacts": {}},
            "outputs": {"parameters": {}, "artifacts": {}, "outputFile": str(told)},
        }
        for port in interface.inputs:
            _add_input(request["inputs"], port, getattr(options, port.name), metadata)
        for port in interface.outputs:
            path = str(Path(getattr(options, port.name) or f"{scratch}/{port.name}").absolute())
            _add_output(request["outputs"], port, path, metadata)
        stack.enter_context(cluster_secrets(filter(None, options.secrets.split(","))))
        # As in a step of KFP's: what is loaded stays, since the process ends with the function.
        stack.enter_context(environment({"_KFP_RUNTIME": "true"}))
        Executor(request, interface.function).execute()
        found = json.loads(told.read_text(encoding="utf-8"))
        _finish(interface, options, found, metadata)


def _add_input(inputs: dict, port: Port, given: object, metadata: Metadata) -> None:
    if not port.artifact:
        inputs["parameterValues"][port.name] = port.default if given is None else _convert(port, given)
        return
    paths = given if port.many else [given] if given else []
    for path in paths:
        if not Path(path).exists():
            raise InputError(f"{port.option} {path!r} does not exist: give the path of a {port.type}.")
    artifacts = [_artifact(port, metadata.address(path), metadata.read(path)) for path in paths]
    inputs["artifacts"][port.name] = {"artifacts": artifacts}


def _add_output(outputs: dict, port: Port, path: str, metadata: Metadata) -> None:
    if port.artifact:
        outputs["artifacts"][port.name] = {"artifacts": [_artifact(port, metadata.address(path), {})]}
    else:
        outputs["parameters"][port.name] = {"outputFile": path}


def _artifact(port: Port, address: str, metadata: dict) -> dict:
    return {"name": port.name, "uri": address, "type": {"schemaTitle": f"system.{port.type}"}, "metadata": metadata}


def _finish(interface: Interface, options: argparse.Namespace, found: dict, metadata: Metadata) -> None:
    """Keep what the function said of its outputs, and what it returned."""
    known = {}
    for port in interface.outputs:
        if port.artifact:
            path = Path(getattr(options, port.name)).absolute()
            known[path] = found["artifacts"][port.name]["artifacts"][0]["metadata"]
            if port.type in _IN_METADATA and not path.exists():
                write_document(path, known[path])
    metadata.write(known)
    if RETURNED in found.get("parameterValues", {}):
        value = found["parameterValues"][RETURNED]
        text = value if isinstance(value, str) else json.dumps(value)
        if options.Output:
            Path(options.Output).parent.mkdir(parents=True, exist_ok=True)
            Path(options.Output).write_text(text, encoding="utf-8")
        else:
            print(text)


def _convert(port: Port, text: str) -> object:
    """Read a value as an engine or a person writes it."""
    try:
        if port.type == "Integer":
            number = float(text)
            if not number.is_integer():
                raise ValueError
            return int(number)
        if port.type == "Float":
            return float(text)
        if port.type == "Boolean":
            return {"true": True, "false": False}[text.strip().lower()]
    except (ValueError, KeyError):
        raise InputError(f"{port.option} is {text!r} and must be {_KINDS[port.type]}.") from None
    if _PLACEHOLDER.fullmatch(text):
        logger.warning("%s is %s, which the engine did not fill in: it counts as empty", port.option, text)
        return ""
    return text


def _find(name: str) -> Interface:
    if name not in STAGES:
        close = difflib.get_close_matches(name.replace("-", "_"), STAGES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`python -m loopline.components --help` lists them."
        raise InputError(f"There is no component {name!r}: {hint}")
    return describe(name)


def _join(words: list[str]) -> list[str]:
    """Tie each option to the word behind it: a value may be empty or begin with a dash, as ``-1`` and ``-999`` do."""
    joined, rest = [], iter(words)
    for word in rest:
        value = next(rest, None) if word.startswith("--") and "=" not in word and word != "--help" else None
        joined.append(word if value is None else f"{word}={value}")
    return joined


def _overview() -> str:
    lines = ["usage: python -m loopline.components NAME [options]", "", __doc__.splitlines()[0], ""]
    lines += [f"  {interface.name:<20} {interface.summary}" for interface in describe_all()]
    return "\n".join([*lines, "", "`python -m loopline.components NAME --help` explains its options."])


class _Formatter(argparse.HelpFormatter):
    """Wraps the description and leaves the epilog's lines as they are."""

    def _fill_text(self, text, width, indent):
        return text if text == _EPILOG else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without all the options before it."""

    def error(self, message):
        name = self.prog.rsplit(" ", 1)[-1]
        raise InputError(f"{name}: {message} (`{self.prog} --help` explains the options).")
