"""The parameter sets of a sweep."""

import itertools
import json

from loopline.components.errors import InputError
from loopline.components.parameters import read_json

#: More trials than this are a mistake more often than a plan: each is a task of its own.
MAX_TRIALS = 200


def list_parameter_sets(parameter_sets: str) -> list[str]:
    """List the parameter sets of a sweep.

    Args:
        parameter_sets: A JSON list of objects, or one object of lists whose combinations are the sets.

    Returns:
        Each set as a JSON object in text, without repetition, in the order given.

    Raises:
        InputError: The text is neither, or gives no set or too many.
    """
    try:
        given = read_json(parameter_sets)
    except ValueError as error:
        raise InputError(f"The parameter sets {parameter_sets!r} are not JSON ({error}).") from None
    if isinstance(given, dict) and all(isinstance(values, list) for values in given.values()):
        given = [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise InputError(
            f"The parameter sets {parameter_sets!r} must be a JSON list of objects or one object of lists, such as "
            '{"max_depth": [4, 8]}.'
        )
    trials = list(dict.fromkeys(json.dumps(entry, sort_keys=True) for entry in given))
    if not 1 <= len(trials) <= MAX_TRIALS:
        raise InputError(f"A sweep takes 1 to {MAX_TRIALS} parameter sets, not {len(trials)}.")
    return trials
