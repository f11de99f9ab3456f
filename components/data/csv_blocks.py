"""Cut a CSV into blocks of whole rows, so that blocks can be parsed apart and a failure has a line number.

A row may hold newlines inside a quoted field. Where each quote at an even position opens a field or doubles the quote
before it, counting quotes tells what is quoted, and that is counted with numpy. Text with stray quotes (a 5" nail) is
matched field by field instead.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loopline.components.data.streams import EncodingError, TextStream, encoding_message
from loopline.components.errors import AbsentError, InputError

#: Bytes of one block; also what limits memory, together with the number of threads.
BLOCK_BYTES = 8 * 2**20
#: A row longer than this is a quote that never closes, or no CSV.
LONGEST_ROW = 32 * BLOCK_BYTES


@dataclass(frozen=True)
class Block:
    """Whole rows of one file.

    Attributes:
        data: The rows, UTF-8.
        names: The file's columns, from its header.
        file: What to call the file.
        line: Line number of the first row, from 1.
        offset: Position of the first byte in the unpacked file.
    """

    data: bytes
    names: tuple[str, ...]
    file: str
    line: int
    offset: int


def read_blocks(stream: TextStream, delimiter: str) -> Iterator[Block]:
    """Cut a CSV with a header into blocks.

    Args:
        stream: The file.
        delimiter: The character between fields.

    Yields:
        Blocks of whole rows without the header; none when there is no row.

    Raises:
        InputError: The file is empty, is no text, or has a broken header or a quote that never closes.
    """
    names, line, offset = None, 1, 0
    waiting = b""
    while True:
        chunk = stream.read(BLOCK_BYTES)
        data = waiting + chunk if waiting else chunk
        if names is None:
            names, used, lines = _read_header(data, delimiter, stream.name)
            data, line, offset = data[used:], line + lines, offset + used
        cut = last_row_end(data, delimiter) if chunk else len(data)
        _check_closed(data, cut, bool(chunk), delimiter, stream.name, line)
        if cut:
            block = data[:cut]
            if not block.isspace():
                yield Block(block, names, stream.name, line, offset)
            line, offset = line + count_lines(block), offset + cut
        if not chunk:
            return
        waiting = data[cut:]


def last_row_end(data: bytes, delimiter: str) -> int:
    """Find where the last whole row of a piece of CSV ends.

    Args:
        data: CSV that starts at a row's start.
        delimiter: The character between fields.

    Returns:
        The position after the row's newline; 0 when no row ends here.
    """
    newline = b"\n" if b"\n" in data else b"\r"
    end = data.rfind(newline)
    if end < 0 or data.find(b'"', 0, end) < 0:
        return end + 1
    starts, ends = _quoted_spans(data, delimiter)
    while end >= 0:
        span = int(np.searchsorted(starts, end, side="right")) - 1
        if span < 0 or end >= ends[span]:
            return end + 1
        end = data.rfind(newline, 0, int(starts[span]))
    return 0


def count_lines(data: bytes) -> int:
    """Return the number of newlines; several times faster than ``bytes.count``."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))


def _quoted_spans(data: bytes, delimiter: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where quoted text starts and ends (half open); an unclosed quote reaches beyond the end."""
    values = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(values == ord('"'))
    openers = quotes[::2]
    before = values[np.maximum(openers - 1, 0)]
    opens = np.zeros(256, bool)
    opens[list(f'{delimiter}\r\n"'.encode())] = True
    regular = opens[before] | (openers == 0)
    if regular.all():
        closers = quotes[1::2] + 1
        if len(closers) < len(openers):
            closers = np.append(closers, len(data) + 1)
        return openers, closers
    mark = re.escape(delimiter.encode())
    # The look-behind lets a quote count only where a field starts.
    fields = re.compile(rb'"(?<![^' + mark + rb'\r\n]")(?:[^"]|"")*+("|\Z)')
    spans = [(found.start(), found.end() + (not found.group(1))) for found in fields.finditer(data)]
    pairs = np.array(spans, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _check_closed(data: bytes, cut: int, more: bool, delimiter: str, file: str, line: int) -> None:
    if more and (cut or len(data) <= LONGEST_ROW):
        return
    if b'"' in data:
        starts, ends = _quoted_spans(data, delimiter)
        if len(ends) and ends[-1] > len(data):
            line += data.count(b"\n", 0, int(starts[-1]))
            raise InputError(f"The quote opened on line {line:,} of {file} is never closed: close it or double it.")
    if more:
        raise InputError(f"{file} has no line end within {LONGEST_ROW:,} bytes: it does not look like CSV.")


def _read_header(data: bytes, delimiter: str, file: str) -> tuple[tuple[str, ...], int, int]:
    """Return the columns' names, and the bytes and lines they take."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    if not data[start:].strip():
        raise AbsentError(f"{file} is empty: it needs a line of column names and at least one row.")
    if b"\0" in data[:4096]:
        raise InputError(f"{file} is not text (it holds zero bytes): give CSV or Parquet.")
    end = data.rfind(b"\n" if b"\n" in data else b"\r", 0, 2**20) + 1 or len(data)
    try:
        head = io.StringIO(data[start:end].decode("utf-8"), newline="")
    except UnicodeDecodeError as error:
        raise EncodingError(encoding_message(file, "utf-8", start + error.start)) from None
    used, lines, names = start, 0, []
    taken: list[str] = []
    reader = csv.reader(_record(head, taken), delimiter=delimiter)
    while not names:
        taken.clear()
        try:
            names = next(reader)
        except (csv.Error, StopIteration) as error:
            # A name of more than 131,072 characters, or nothing but empty lines.
            reason = str(error) or "it has none"
            raise InputError(
                f"The header of {file} cannot be read ({reason}): give CSV with a line of names."
            ) from None
        used += sum(len(text.encode()) for text in taken)
        lines += len(taken)
    return _check_names(names, delimiter, file), used, lines


def _record(lines: io.StringIO, taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _check_names(names: list[str], delimiter: str, file: str) -> tuple[str, ...]:
    if re.fullmatch(r"sep=\W?", delimiter.join(names)):
        raise InputError(
            f"{file} begins with the line {delimiter.join(names)!r}, which spreadsheets alone understand: take it out."
        )
    names = [name.strip() or f"column_{number}" for number, name in enumerate(names, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file} has more than one column named {', '.join(map(repr, twice))}: rename one of each.")
    other = [mark for mark in ";\t|," if mark != delimiter and mark in names[0]]
    if len(names) == 1 and other:
        raise InputError(
            f"The header of {file} is the one field {names[0]!r}: name the delimiter in csv, e.g. "
            f'{{"delimiter": "{other[0]}"}}.'
        )
    return tuple(names)
