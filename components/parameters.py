"""Read the text that stands for a list or an object in a component's parameter.

Pipelines, Elyra and the local runner agree on text, numbers and booleans alone; anything structured travels as text.
"""

import json
import re
from collections.abc import Sequence

from loopline.components.errors import InputError

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|\Z)')


def split_names(text: str) -> list[str]:
    """Split comma-separated names; a name that holds a comma, or begins or ends with a blank, stands in double quotes.

    Args:
        text: For example ``carrier, distance``.

    Returns:
        The names, without blanks around them but for those in quotes.

    Raises:
        InputError: A name occurs twice.
    """
    names = [quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(text)]
    names = [name for name in names if name]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{twice[0]!r} is listed twice in {text!r}: name it once.")
    return names


def join_names(names: Sequence[str]) -> str:
    """Join names to the text that ``split_names`` splits.

    Args:
        names: Any names.

    Returns:
        The names with commas between them, in quotes where they need them.
    """
    plain = re.compile(r'[^\s",](?:[^",\n\r]*[^\s",])?')
    return ",".join(name if plain.fullmatch(name) else '"' + name.replace('"', '""') + '"' for name in names)


def read_json(text: str) -> object:
    """Read JSON; its texts may stand in single quotes, too: Elyra's dialog takes no double ones.

    Args:
        text: JSON text, with one kind of quotes.

    Returns:
        What it says.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        try:
            return json.loads(text)
        except ValueError:
            if '"' in text or "'" not in text:
                raise
            return json.loads(text.replace("'", '"'))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_object(text: str, parameter: str, example: str) -> dict:
    """Read a JSON object.

    Args:
        text: JSON text, see ``read_json``; empty for an empty object.
        parameter: The parameter's name, for the message.
        example: An object to show in the message.

    Returns:
        The object.

    Raises:
        InputError: The text is not a JSON object.
    """
    try:
        values = read_json(text or "{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{parameter} {text!r} is not a JSON object: write it like {example}.")
    return values
