"""Read the input tensors of an inference request into the columns a model takes, or say what is wrong with them."""

from collections.abc import Mapping, Sequence

import numpy as np

from loopline.components.data.schema import Schema
from loopline.components.errors import InputError

#: The most rows of one request: a batch above it belongs into several, so that no request holds up the others.
MAX_ROWS = 50_000
#: The most tensors of one request. MLServer takes kilobytes for each: without a limit a request of some MiB would take
#: it gigabytes and minutes.
MAX_TENSORS = 10_000
_FLOATS = ("FP32", "FP64", "FP16")
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
#: What the values of each datatype may be in Python. A missing number is null.
_VALUES = {
    **{datatype: {float, int, type(None)} for datatype in _FLOATS},
    **{datatype: {int, type(None)} for datatype in _INTEGERS},
    "BOOL": {bool, type(None)},
}
#: Content types of MLServer's clients that leave the values as they are.
_PLAIN_CONTENT = (None, "", "np", "pd", "str")
_LARGEST = float(np.finfo(np.float32).max)


class InputReader:
    """Reads the inputs of requests for one model.

    Args:
        features: The schema of what the model takes.
    """

    def __init__(self, features: Schema):
        self._text = {column.name: column.kind == "category" for column in features.columns}

    def read(self, tensors: Sequence[Mapping]) -> dict[str, np.ndarray]:
        """Read the inputs of one request.

        Args:
            tensors: One mapping a feature with ``name``, ``datatype``, ``shape`` ([rows] or [rows, 1]) and ``data``
                (the values, or for [rows, 1] also a list of one value a row), as in the Open Inference Protocol:
                https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md

        Returns:
            By name in the order of the schema an array of shape (rows,): single-precision floats with NaN for missing,
            or for text ``str`` objects with the empty string for missing.

        Raises:
            InputError: An input is unknown, missing or there twice, or its values are not what they should be.
        """
        found, rows = {}, 0
        for tensor in tensors:
            name = tensor.get("name")
            text = self._text.get(name) if isinstance(name, str) else None
            if text is None:
                raise InputError(f"Input {_show(name)} is unknown: the model takes {self._listed(self._text)}.")
            if name in found:
                raise InputError(f"Input {_show(name)} is there twice: send it once.")
            values = _read_values(name, tensor)
            if not found:
                rows = len(values)
            elif len(values) != rows:
                raise InputError(
                    f"Input {_show(name)} has {len(values)} rows, the inputs before it {rows}: send as many for each."
                )
            read = _read_text if text else _read_numbers
            found[name] = read(name, tensor.get("datatype"), values)
        if len(found) != len(self._text):
            missing = [name for name in self._text if name not in found]
            raise InputError(f"{self._listed(missing)} missing from the inputs: send one input for each feature.")
        return {name: found[name] for name in self._text}

    @staticmethod
    def _listed(names: Sequence[str]) -> str:
        names = [_show(name) for name in names]
        return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _read_values(name: str, tensor: Mapping) -> list:
    """Return the flat values of a tensor, their number checked against its shape."""
    shape, values = tensor.get("shape"), tensor.get("data")
    rows = len(values) if type(values) is list else 0
    # Comparing with the shapes that are right costs a fraction of looking for what is wrong.
    if not 0 < rows <= MAX_ROWS or (shape != [rows, 1] and shape != [rows]):
        raise _wrong_shape(name, shape, values)
    if type(values[0]) is list and len(shape) == 2 and all(type(row) is list and len(row) == 1 for row in values):
        values = [row[0] for row in values]
    parameters = tensor.get("parameters")
    if parameters and parameters.get("content_type") not in _PLAIN_CONTENT:
        content = parameters["content_type"]
        raise InputError(f"Input {_show(name)} has the content type {_show(content)}: send the plain values.")
    return values


def _wrong_shape(name: str, shape, values) -> InputError:
    if not isinstance(values, list):
        return InputError(f"The data of input {_show(name)} are {_show(values)}: send a list of values.")
    well_formed = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not well_formed or len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        return InputError(f"The shape of input {_show(name)} is {_show(shape)}: write [rows] or [rows, 1].")
    if shape[0] == 0:
        return InputError(f"Input {_show(name)} has no rows: send one or more.")
    if shape[0] > MAX_ROWS:
        return InputError(f"Input {_show(name)} has {_show(shape[0])} rows: send at most {MAX_ROWS} in one request.")
    return InputError(f"Input {_show(name)} has {len(values)} values and the shape {_show(shape)}: make them agree.")


def _read_numbers(name: str, datatype, values: list) -> np.ndarray:
    allowed = _VALUES.get(datatype) if isinstance(datatype, str) else None
    if allowed is None:
        raise InputError(f"Input {_show(name)} is {_show(datatype)}: it is a number, send FP32, FP64 or INT64.")
    if len(values) == 1:  # the usual case, worth a shorter way
        [value] = values
        if type(value) not in allowed:
            raise _wrong_value(name, datatype, value)
        if value is None:
            value = np.nan
        elif abs(value) > _LARGEST:
            raise _too_large(name, value)
        return np.array([value], np.float32)
    if not set(map(type, values)) <= allowed:
        raise _wrong_value(name, datatype, next(value for value in values if type(value) not in allowed))
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:  # an integer of hundreds of digits
        raise _too_large(name, max(filter(None, values), key=abs)) from None
    # A comparison with NaN is false, so a missing number passes.
    large = np.abs(numbers) > _LARGEST
    if large.any():
        raise _too_large(name, values[int(large.argmax())])
    return numbers.astype(np.float32)


def _read_text(name: str, datatype, values: list) -> np.ndarray:
    if datatype != "BYTES":
        raise InputError(f"Input {_show(name)} is {_show(datatype)}: it is text, send BYTES.")
    texts = np.empty(len(values), object)
    for row, value in enumerate(values):
        if type(value) is bytes:
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise InputError(
                    f"Input {_show(name)} has text that is not UTF-8, in row {row}: encode it so."
                ) from None
        elif value is None:
            value = ""
        elif type(value) is not str:
            raise _wrong_value(name, datatype, value)
        texts[row] = value
    return texts


def _too_large(name: str, value: float) -> InputError:
    return InputError(
        f"Input {_show(name)} has the value {_show(value)}, too large for single precision: "
        "send a missing number as null."
    )


def _wrong_value(name: str, datatype: str, value) -> InputError:
    due = "text" if datatype == "BYTES" else "true or false" if datatype == "BOOL" else "a number"
    return InputError(
        f"Input {_show(name)} is {datatype} and has the value {_show(value)}: send {due}, or null where it is missing."
    )


def _show(value) -> str:
    """Return a value for a sentence, cut where it is long."""
    if isinstance(value, list):
        value = value[:5]
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeper than can be shown, or an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
