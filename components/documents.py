"""JSON documents: what steps leave for those after them, and for people."""

import contextlib
import functools
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from loopline.components.errors import InputError

#: Values that references in a YAML document may expand to, however short the file.
_MOST_VALUES = 10_000

_Kind = typing.TypeVar("_Kind")


def write_document(path: str | Path, values: dict) -> None:
    """Write a document, indented for people to read; its folder is made when missing.

    Args:
        path: The file.
        values: Plain JSON values; None for what is undefined.

    Raises:
        ValueError: A number is not finite.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(values, indent=2, allow_nan=False), encoding="utf-8")


def read_json(path: str | Path) -> dict:
    """Read a document that is an object; to be used where ``reading`` says what is wrong with it.

    Args:
        path: The file.

    Raises:
        ValueError: It is no JSON object.
    """
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"it is a JSON {type(found).__name__}")
    return found


def read_yaml(path: str | Path) -> tuple[dict, dict]:
    """Read a YAML document that is an object; to be used where ``reading`` says what is wrong with it.

    Tags that stand for Python's own objects are refused, and so are references (``*name``) that expand to a document of
    another size than the file: a few hundred bytes of them can stand for a billion values.

    Args:
        path: The file.

    Returns:
        The object, its values in the types that they are written in, and the same with all values as text.

    Raises:
        ValueError: It is no YAML object, or too large.
    """
    import yaml

    text = Path(path).read_text(encoding="utf-8")
    # libyaml's own, where it is there: it refuses what is nested deep at once, where Python's takes seconds.
    safe, plain = (getattr(yaml, f"C{name}", getattr(yaml, name)) for name in ("SafeLoader", "BaseLoader"))
    found = yaml.load(text, safe)
    if not isinstance(found, dict):
        raise ValueError(f"it is no object but {type(found).__name__}")
    if _count(found, {}) > max(_MOST_VALUES, len(text)):
        raise ValueError("its references expand to too many values: write them out")
    return found, yaml.load(text, plain)


def _count(value: object, known: dict[int, int]) -> int:
    """Count the values of a document as if nothing in it were the same object twice.

    Raises:
        ValueError: Something in it holds itself.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(one, known) for one in inner)
    if known[id(value)] < 0:
        raise ValueError("something in it holds itself")
    return known[id(value)]


@contextlib.contextmanager
def reading(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """Turn what a damaged document makes of the code that reads it into one sentence.

    Args:
        path: The document.
        what: What it should be, such as ``a profile of a partition``.
        remedy: What to do, such as ``run profile_partition again``.

    Raises:
        InputError: The block met something else than it should.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is nothing at {path}, which should be {what}: {remedy}.") from None
    except Exception as error:  # there is no end to what readers of JSON, archives and arrays raise
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not {what} ({type(error).__name__}: {detail}): {remedy}.") from None


def make(kind: type[_Kind], /, **values: object) -> _Kind:
    """Make a dataclass of what a document holds, once the values are of the types that it names.

    Args:
        kind: The dataclass.
        values: Its fields by name.

    Raises:
        TypeError: A field is missing or unknown, or a value has another type.
    """
    hints = _hints(kind)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(f"{name} is {type(value).__name__}")
    return kind(**values)


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _fits(value: object, hint: object) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(origin or hint, type):
        return True
    if not isinstance(value, origin or hint):
        return False
    if origin is list or (origin is tuple and inner[1:] == (...,)):
        return all(_fits(one, inner[0]) for one in value)
    if origin is dict:
        return all(_fits(key, inner[0]) and _fits(one, inner[1]) for key, one in value.items())
    return True
