"""What a component takes and gives, read from its contract: for whatever is not Kubeflow Pipelines' own compiler."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import loopline.components
from loopline.components import STAGES

#: How KFP calls what a function returns.
RETURNED = "Output"


@dataclass(frozen=True)
class Port:
    """One input or output of a component.

    Attributes:
        name: Its name in the contract; ``Output`` is what the function returns.
        type: KFP's name of an artifact class (``Dataset``) or of a value's type (``String``, ``Integer``, ``Float``,
            ``Boolean``, ``List``).
        artifact: Whether it is a file or folder rather than a value.
        description: What it means, in one line.
        required: Whether an input must be given.
        default: An input's value when it is not given.
        many: Whether it is a list of artifacts.
    """

    name: str
    type: str
    artifact: bool
    description: str
    required: bool = True
    default: object = None
    many: bool = False

    @property
    def option(self) -> str:
        """The port's option on the command line of ``python -m loopline.components``."""
        return "--returns" if self.name == RETURNED else f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Interface:
    """A component as its contract describes it.

    Attributes:
        name: Its name in ``loopline.components``.
        function: The function behind it.
        summary: What it does, in one sentence.
        details: What else there is to know; may be empty.
        inputs: Artifacts and parameters, in the function's order.
        outputs: Artifacts and values, in the function's order, what it returns last.
    """

    name: str
    function: Callable
    summary: str
    details: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def ports(self) -> tuple[Port, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs


def describe(name: str) -> Interface:
    """Read a component's contract.

    Args:
        name: One of ``STAGES``.

    Returns:
        What it takes and gives.
    """
    from docstring_parser import parse

    component = getattr(loopline.components, name)
    spec, words = component.component_spec, parse(component.python_func.__doc__)
    said = {entry.arg_name: _line(entry.description) for entry in words.params}
    if words.returns:
        said[RETURNED] = _line(words.returns.description)
    inputs = tuple(
        Port(
            port,
            *_type(entry.type),
            said[port],
            required=not entry.optional,
            default=entry.default,
            many=entry.is_artifact_list,
        )
        for port, entry in (spec.inputs or {}).items()
    )
    outputs = tuple(Port(port, *_type(entry.type), said[port]) for port, entry in (spec.outputs or {}).items())
    return Interface(
        name, component.python_func, _line(words.short_description), _line(words.long_description), inputs, outputs
    )


def describe_all() -> list[Interface]:
    """Read the contract of every public component, in the order of a model's life."""
    return [describe(name) for name in STAGES]


def _type(text: str) -> tuple[str, bool]:
    """Return the plain name of KFP's ``system.Model@0.0.1`` or ``typing.List[str]``, and whether it is an artifact."""
    artifact = re.fullmatch(r"system\.(\w+)@[\d.]+", text)
    if artifact:
        return artifact[1], True
    return re.fullmatch(r"(?:typing\.)?(\w+)(?:\[.*\])?", text)[1], False


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
