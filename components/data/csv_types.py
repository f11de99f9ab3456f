"""Tell the types of a CSV's columns from its text, and parse blocks with them.

Types only widen: integer to number to text. A type that a later block contradicts is never forced on it.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from loopline.components.data.csv_blocks import Block
from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.streams import EncodingError, encoding_message
from loopline.components.data.tables import check_columns
from loopline.components.errors import InputError

#: What stands for a missing number, boolean or timestamp; in text only the empty field does. Arrow's own list has N/A,
#: NaN and NULL; the rest is what people, statistics programs, databases and spreadsheets write.
NULLS = (
    *csv.ConvertOptions().null_values,
    *("-", "--", "?", ".", "na", "N.A.", "n.a.", "none", "None", "NONE", "Null", "NAN", "<NA>", "(null)", "\\N"),
    *("#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"),
)
#: Integers from here on have neighbors that a float cannot tell apart.
EXACT = 2**53


class Contradiction(Exception):
    """A block holds values that the types so far cannot hold.

    Args:
        block: The block.
        column: The column that failed.
        reason: What the parser said.
        row: The row of the block that failed, from 1; 0 when unknown.
    """

    def __init__(self, block: Block, column: str, reason: str, row: int = 0):
        super().__init__(reason)
        self.block, self.column, self.reason, self.row = block, column, reason, row


@dataclass(frozen=True)
class Layout:
    """How to parse every block.

    Attributes:
        columns: The columns wanted, in order.
        form: How the file is written.
        types: The Arrow type of each column; null while nothing but missing values has been seen.
        declared: Columns whose type was given and must not widen.
        exact: Number columns that were integers at first: no integer in them may lose digits.
        names: All columns of the file, in its order.
    """

    columns: tuple[str, ...]
    form: CsvFormat
    types: dict[str, pa.DataType]
    declared: frozenset[str] = frozenset()
    exact: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    _text_nulls: pa.Array = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "_text_nulls", pa.array(["", *self.form.null_values]))

    @property
    def schema(self) -> pa.Schema:
        """The schema of the parsed table; a column without a value is text."""
        types = {name: pa.string() if pa.types.is_null(type_) else type_ for name, type_ in self.types.items()}
        return pa.schema([(name, types[name]) for name in self.columns])

    def parse(self, block: Block) -> pa.Table:
        """Parse a block.

        Args:
            block: Whole rows.

        Returns:
            A table with ``schema``.

        Raises:
            Contradiction: A value does not fit its column's type.
            InputError: A row has too many or too few fields, or the text is not UTF-8.
        """
        table = _read(block, self, self.types, self.columns)
        arrays = []
        for name in self.columns:
            values = table.column(name)
            if name in self.exact and pc.any(pc.greater_equal(pc.abs(values), float(EXACT))).as_py():
                raise Contradiction(block, name, f"whole numbers beyond {EXACT:,} among decimal ones")
            arrays.append(_null_text(values, self._text_nulls) if pa.types.is_string(values.type) else values)
        return pa.table(arrays, names=list(self.columns)).cast(self.schema)

    def widen(self, found: Contradiction) -> "Layout":
        """Return a layout whose types hold a block that contradicted this one.

        Args:
            found: What was raised.

        Returns:
            The wider layout.

        Raises:
            InputError: The column's type was given.
        """
        if found.column in self.declared:
            block = found.block
            where = f" near line {block.line + found.row - 1:,}" if found.row else ""
            raise InputError(
                f"Column {found.column!r} of {block.file} does not hold what column_types says{where} "
                f"({found.reason}): correct the file or the type."
            )
        other = infer_types(found.block, self)
        types, exact = merge_types(self.types, other), set(self.exact)
        if types == self.types:
            types = {**types, found.column: pa.string()}
        for name, type_ in types.items():
            if pa.types.is_floating(type_) and pa.types.is_integer(self.types[name]):
                exact.add(name)
            elif not pa.types.is_floating(type_):
                exact.discard(name)
        return dataclasses.replace(self, types=types, exact=frozenset(exact))


def first_layout(blocks: Sequence[Block], columns: Sequence[str], form: CsvFormat) -> Layout:
    """Infer the types of a CSV from its first blocks.

    Args:
        blocks: The blocks, at least one.
        columns: The columns wanted; empty for all.
        form: How the file is written, with a delimiter.

    Returns:
        The layout.

    Raises:
        InputError: A column is missing, or a block is broken.
    """
    names = blocks[0].names
    check_columns(names, list(dict.fromkeys([*columns, *form.column_types])), blocks[0].file)
    columns = tuple(columns) or names
    declared = {name: type_ for name, type_ in form.column_types.items() if name in columns}
    types = {name: declared.get(name, pa.null()) for name in columns}
    layout = Layout(columns, form, types, frozenset(declared), names=names)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "infer") as pool:
        inferred = list(pool.map(lambda block: infer_types(block, layout), blocks))
    for found in inferred:
        merged = merge_types(layout.types, found)
        exact = layout.exact | {
            name
            for name, type_ in merged.items()
            if pa.types.is_floating(type_) and pa.types.is_integer(layout.types[name])
        }
        layout = dataclasses.replace(layout, types=merged, exact=frozenset(exact))
    return layout


def infer_types(block: Block, layout: Layout) -> dict[str, pa.DataType]:
    """Infer the types of one block's columns.

    Args:
        block: Whole rows.
        layout: How to parse them; columns of declared type keep it.

    Returns:
        The type of each column, null where every value is missing.

    Raises:
        InputError: The block is broken.
    """
    given = {name: layout.types[name] for name in layout.declared}
    open_columns = [name for name in layout.columns if name not in given]
    if not open_columns:
        return given
    table = _read(block, layout, {}, open_columns)
    types = {name: _plain_type(table.column(name), block) for name in open_columns}
    doubtful = [name for name, type_ in types.items() if pa.types.is_integer(type_) or pa.types.is_floating(type_)]
    if doubtful:
        texts = _read(block, layout, dict.fromkeys(doubtful, pa.string()), doubtful)
        for name in doubtful:
            # 007 and 0x1F are codes, and 20 digits would be rounded: as numbers they would come out as other values.
            code = r"^[+-]?0[0-9xX]" if pa.types.is_integer(types[name]) else r"^[+-]?[0-9]{16,}$"
            if pc.any(pc.match_substring_regex(texts.column(name), code)).as_py():
                types[name] = pa.string()
    return {**given, **types}


def merge_types(first: dict[str, pa.DataType], second: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return, column by column, the narrowest type that holds the values of both."""
    return {name: _merge(type_, second[name]) for name, type_ in first.items()}


def _merge(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    if one == two or pa.types.is_null(two):
        return one
    if pa.types.is_null(one):
        return two
    if {one, two} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(two) and one.tz == two.tz:
        return pa.timestamp("ns", one.tz)
    return pa.string()


def _plain_type(values: pa.ChunkedArray, block: Block) -> pa.DataType:
    """Return the type to use for what Arrow inferred."""
    type_ = values.type
    if pa.types.is_binary(type_):
        raise _encoding_error(block)
    if pa.types.is_date(type_):
        return pa.timestamp("us")
    if pa.types.is_timestamp(type_):
        fine = type_.unit == "ns" and pc.any(pc.not_equal(pc.nanosecond(values), 0)).as_py()
        return pa.timestamp("ns" if fine else "us", type_.tz)
    if pa.types.is_time(type_):
        return pa.string()
    return type_


def _null_text(values: pa.ChunkedArray, nulls: pa.Array) -> pa.ChunkedArray:
    missing = pc.equal(values, "") if len(nulls) == 1 else pc.is_in(values, value_set=nulls)
    return pc.if_else(missing, pa.scalar(None, pa.string()), values) if pc.any(missing).as_py() else values


def _read(block: Block, layout: Layout, types: dict, columns: Sequence[str]) -> pa.Table:
    options = {
        "read_options": csv.ReadOptions(
            use_threads=False, block_size=len(block.data) + 1, column_names=list(block.names)
        ),
        "convert_options": csv.ConvertOptions(
            column_types=types,
            include_columns=list(columns),
            null_values=[*NULLS, *layout.form.null_values],
            decimal_point=layout.form.decimal_point or ".",
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
        ),
    }
    parse = {"delimiter": layout.form.delimiter, "newlines_in_values": True}
    try:
        return csv.read_csv(pa.BufferReader(block.data), parse_options=csv.ParseOptions(**parse), **options)
    except pa.ArrowInvalid as error:
        reason = str(error)
    if "invalid UTF8" in reason:
        raise _encoding_error(block)
    found = re.match(r"In CSV column #(\d+): (?:Row #(\d+): )?(.*)", reason, re.DOTALL)
    if found:
        column = block.names[int(found.group(1))]
        raise Contradiction(block, column, _short(found.group(3)), int(found.group(2) or 0))
    raise _ragged_error(block, parse, options, reason)


def _short(reason: str) -> str:
    reason = reason.removeprefix("CSV conversion error to ").split("\n")[0]
    return reason if len(reason) <= 120 else reason[:117] + "..."


def _encoding_error(block: Block) -> InputError:
    try:
        block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        return EncodingError(encoding_message(block.file, "utf-8", block.offset + error.start))
    return InputError(f"{block.file} holds values that are no text near line {block.line:,}: check the file.")


def _ragged_error(block: Block, parse: dict, options: dict, reason: str) -> InputError:
    """Find the line of the first row with too many or too few fields."""
    rows = []

    def note(row) -> str:
        rows.append(row)
        return "skip"

    # Some other value may not fit either; the ragged row was noted before that.
    with contextlib.suppress(pa.ArrowInvalid):
        csv.read_csv(
            pa.BufferReader(block.data), parse_options=csv.ParseOptions(**parse, invalid_row_handler=note), **options
        )
    if not rows:
        return InputError(f"{block.file} cannot be parsed near line {block.line:,} ({_short(reason)}): check the file.")
    text = rows[0].text.encode()
    at = re.search(rb"(?:\A|[\r\n])" + re.escape(text) + rb"(?:[\r\n]|\Z)", block.data)
    line = block.line + block.data.count(b"\n", 0, at.start() + (at.start() > 0)) if at else block.line
    near = "" if at else "or after "
    return InputError(
        f"{block.file} has {rows[0].actual_columns} fields on {near}line {line:,} where its header has "
        f"{rows[0].expected_columns}: correct the line, or name the delimiter in csv."
    )
