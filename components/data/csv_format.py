"""How a CSV is written: what is given, and the rest as the first lines of the file tell it."""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from loopline.components.data.sources import Source
from loopline.components.data.streams import EncodingError, check_encoding, encoding_message, open_text
from loopline.components.errors import InputError
from loopline.components.parameters import parse_object

ARROW_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "timestamp": pa.timestamp("us"),
}
#: What may stand between fields when nobody says so; the last of them is the least likely within a name or a text.
DELIMITERS = (",", ";", "|", "\t")
_EXAMPLE = '{"delimiter": ";", "encoding": "cp1252"}'
#: Bytes and rows to look at.
_HEAD, _ROWS = 2**18, 200


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV is written.

    Attributes:
        delimiter: The character between fields; empty to go by the first lines.
        decimal_point: The character before the decimals, a point or a comma; empty to go by the first lines.
        encoding: How the text is encoded; empty for UTF-8, or UTF-16 where the first bytes say so.
        null_values: Spellings of a missing value, beside the usual ones and in text, too.
        column_types: Types of columns that are not to be inferred.
    """

    delimiter: str = ""
    decimal_point: str = ""
    encoding: str = ""
    null_values: tuple[str, ...] = ()
    column_types: Mapping[str, pa.DataType] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "CsvFormat":
        """Read a format from a component's parameter.

        Args:
            text: A JSON object with any of the attributes; ``column_types`` from column name to kind.

        Returns:
            The format.

        Raises:
            InputError: The text has another form, or a value cannot be.
        """
        values = parse_object(text, "csv", _EXAMPLE)
        names = [entry.name for entry in dataclasses.fields(cls)]
        for name, value in values.items():
            if name not in names:
                raise InputError(f"csv gives {name!r}: use {', '.join(names)}.")
            _check(name, value)
        nulls, types = values.get("null_values", ()), values.get("column_types", {})
        given = {**values, "null_values": tuple(nulls), "column_types": {n: ARROW_TYPES[k] for n, k in types.items()}}
        return cls(**given)

    def completed(self, source: Source) -> "CsvFormat":
        """Fill in what is not given from the first lines of a file.

        Args:
            source: The file.

        Returns:
            The format with a delimiter and a decimal point.

        Raises:
            InputError: The file cannot be opened or decoded.
        """
        if self.delimiter and self.decimal_point:
            return self
        with open_text(source, self.encoding) as stream:
            data = stream.read(_HEAD)
        text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
        whole = len(data) < _HEAD
        delimiter = self.delimiter or find_delimiter(text, whole)
        decimal_point = self.decimal_point or find_decimal_point(text, delimiter, whole)
        return dataclasses.replace(self, delimiter=delimiter, decimal_point=decimal_point)


def first_row(source: Source, form: CsvFormat) -> tuple[list[str], CsvFormat]:
    """Read the first row of a CSV, which should be the columns' names.

    Args:
        source: The file.
        form: How it is written, as far as that is known.

    Returns:
        The fields of the row, none when the file is empty, and how the file is written.

    Raises:
        InputError: The file cannot be opened or decoded.
    """
    form = form.completed(source)
    with open_text(source, form.encoding) as stream:
        data = stream.read(_HEAD)
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if len(data) < _HEAD or error.start < len(data) - 4:
            raise EncodingError(encoding_message(source.name, "utf-8", error.start)) from None
        text = data[: error.start].decode("utf-8").removeprefix("\ufeff")
    return next(iter(_rows(text, form.delimiter, True)), []), form


def _check(name: str, value: object) -> None:
    if name == "null_values":
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise InputError(f'csv gives {value!r} as null_values: give a list of texts, e.g. ["unknown", "-999"].')
    elif name == "column_types":
        if not isinstance(value, dict):
            raise InputError(f'csv gives {value!r} as column_types: write it like {{"zip": "category"}}.')
        unknown = [kind for kind in value.values() if not isinstance(kind, str) or kind not in ARROW_TYPES]
        if unknown:
            known = ", ".join(ARROW_TYPES)
            raise InputError(f"column_types names the unknown kind {unknown[0]!r}: use one of {known}.")
    elif not isinstance(value, str):
        raise InputError(f"csv gives {value!r} as {name}: give a text.")
    elif name == "delimiter" and (len(value) > 1 or value in '"\r\n' or not value.isascii()) and value:
        raise InputError(f"delimiter {value!r} must be one character, e.g. ',' or ';' or a tab.")
    elif name == "decimal_point" and value not in ("", ".", ","):
        raise InputError(f"decimal_point {value!r} must be '.' or ','.")
    elif name == "encoding" and value:
        check_encoding(value)


def find_delimiter(text: str, whole: bool = True) -> str:
    """Tell what stands between the fields of a CSV.

    Args:
        text: How it starts.
        whole: Whether that is all of it, so that its last row is one.

    Returns:
        The one of ``DELIMITERS`` that gives every row as many fields as the header has, and most of them; of two that
        give as many the later one, a comma when none does.
    """
    found = {}
    for delimiter in DELIMITERS:
        rows = _rows(text, delimiter, whole)
        widths = {len(row) for row in rows}
        if len(widths) == 1 and (width := widths.pop()) > 1:
            found[delimiter] = width
    return max(reversed(found), key=found.get, default=",")


def find_decimal_point(text: str, delimiter: str, whole: bool = True) -> str:
    """Tell whether a CSV writes 1.5 or 1,5.

    Args:
        text: How it starts.
        delimiter: What stands between its fields. Between commas a comma never starts decimals: it may group thousands.
            Between semicolons it does: they are there since the comma was taken.
        whole: Whether that is all of it.

    Returns:
        A comma when more columns hold decimals behind one than behind a point, else a point.
    """
    if delimiter == ",":
        return "."
    columns = itertools.zip_longest(*_rows(text, delimiter, whole)[1:], fillvalue="")
    counts = {".": 0, ",": 0}
    for values in columns:
        for mark in counts:
            counts[mark] += _has_decimals(values, mark, may_group=(mark, delimiter) != (",", ";"))
    return "," if counts[","] > counts["."] else "."


def _has_decimals(values: Sequence[str], mark: str, may_group: bool) -> bool:
    present = [value.strip() for value in values if value.strip()]
    whole, decimal = r"[+-]?\d+", rf"[+-]?\d*{re.escape(mark)}\d+([eE][+-]?\d+)?"
    # 1.000 may be a thousand where 1,5 is one and a half, and 1,000 where 1.5 is.
    grouped = rf"[+-]?[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}"
    numbers = [value for value in present if re.fullmatch(f"{whole}|{decimal}", value)]
    sure = [value for value in numbers if re.fullmatch(decimal, value)]
    if may_group:
        sure = [value for value in sure if not re.fullmatch(grouped, value)]
    # Some values may stand for missing ones.
    return bool(sure) and 2 * len(numbers) > len(present)


def _rows(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = list(itertools.islice((row for row in reader if row), _ROWS))
    except csv.Error:
        return []  # no CSV, as whoever reads it will say
    return rows if whole else rows[:-1]
