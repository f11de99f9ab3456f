"""Turn CSV files into one Parquet file: stream, parse on several threads, write in order."""

import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from loopline.components.data.ahead import map_ahead
from loopline.components.data.csv_blocks import Block, read_blocks
from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.csv_types import Contradiction, Layout, first_layout
from loopline.components.data.sources import Source
from loopline.components.data.streams import open_text
from loopline.components.data.writing import writing_table
from loopline.components.errors import AbsentError, InputError

logger = logging.getLogger("loopline")

#: Blocks whose values decide the types at first: 32 MB of text.
HEAD_BLOCKS = 4


class NoRowsError(AbsentError):
    """There is a table, and it has no rows."""


class Sink(Protocol):
    """What takes the rows that were read."""

    def write(self, table: pa.Table) -> None:
        """Take more rows."""


@dataclass
class Portion:
    """How much of a table to read.

    Attributes:
        most_bytes: Bytes, unpacked, after which to stop where a block of rows ends; 0 for all there is.
        cut: Whether there was more.
    """

    most_bytes: int = 0
    cut: bool = False

    def is_full(self, done: int) -> bool:
        """Return whether to stop before more is read; ``cut`` says so from then on."""
        self.cut = 0 < self.most_bytes <= done
        return self.cut


def write_csv(
    sources: Sequence[Source],
    path: str | Path,
    columns: Sequence[str] = (),
    form: CsvFormat | None = None,
    portion: Portion | None = None,
) -> tuple[int, pa.Schema]:
    """Read CSV files of any size and write them as one Parquet file.

    Args:
        sources: The files, with the same columns.
        path: The Parquet file to write.
        columns: The columns to keep, in this order; all when empty.
        form: How they are written; the first lines of the first say so when None.
        portion: How much to read; all of it when None.

    Returns:
        Rows and schema of what was written.

    Raises:
        InputError: A file is broken, empty or unlike the others; nothing is written then.
    """
    sink, layout = infer_csv(sources, lambda layout: writing_table(path, layout.schema), columns, form, portion)
    return sink.rows, layout.schema


def infer_csv(
    sources: Sequence[Source],
    opened: Callable[[Layout], AbstractContextManager[Sink]],
    columns: Sequence[str] = (),
    form: CsvFormat | None = None,
    portion: Portion | None = None,
) -> tuple[Sink, Layout]:
    """Read CSV files of any size, and find out the types of their columns on the way.

    The types are inferred from the first 32 MB. When a later block contradicts them, the rest is read for more
    contradictions, the types are widened, and the file is read once more from the start: no value is forced into a
    type, and none is lost.

    Args:
        sources: The files, with the same columns.
        opened: Opens what takes the rows, for types that may turn out too narrow: it is then left with an exception,
            and opened again.
        columns: The columns to keep, in this order; all when empty.
        form: How they are written; the first lines of the first say so when None.
        portion: How much to read; all of it when None.

    Returns:
        What took the rows, and the types.

    Raises:
        InputError: A file is broken, empty or unlike the others.
    """
    form = (form or CsvFormat()).completed(sources[0])
    portion = portion or Portion()
    stream = _all_blocks(sources, form, portion)
    head = list(itertools.islice(stream, HEAD_BLOCKS))
    if not head:
        names = ", ".join(source.name for source in sources[:3])
        raise NoRowsError(f"{names} has a header but no rows: give a file with at least one row.")
    layout = first_layout(head, columns, form)
    # The list is handed over, so that its blocks are freed as they are parsed.
    stream = itertools.chain(_drain(deque(head)), stream)
    del head
    while True:
        try:
            with opened(layout) as sink:
                for table in _parse_in_order(stream, layout):
                    sink.write(table)
            return sink, layout
        except Contradiction as found:
            wider = _settle(found, stream, layout)
        _log_widening(layout, wider)
        layout, stream = wider, _all_blocks(sources, form, portion)


def read_csv(sources: Sequence[Source], columns: Sequence[str], form: CsvFormat) -> Iterator[pa.Table]:
    """Read CSV files whose types are known, piece by piece.

    Args:
        sources: The files, with the same columns.
        columns: The columns to keep, in this order.
        form: How they are written, with a delimiter and the type of each column.

    Yields:
        Tables, in the order of the files; none when there are no rows.

    Raises:
        InputError: A file is broken or unlike the others, or a value is not of its column's type.
    """
    blocks = _all_blocks(sources, form, Portion())
    first = next(blocks, None)
    if first is None:
        return
    layout = first_layout([first], columns, form)
    try:
        yield from _parse_in_order(itertools.chain([first], blocks), layout)
    except Contradiction as found:
        layout.widen(found)


def _all_blocks(sources: Sequence[Source], form: CsvFormat, portion: Portion) -> Iterator[Block]:
    names, done = None, 0
    for source in sources:
        with open_text(source, form.encoding) as text:
            for block in read_blocks(text, form.delimiter):
                if portion.is_full(done):
                    return
                names = names or block.names
                check_same_columns(names, block.names, sources[0].name, source.name)
                yield block
                done += len(block.data)


def check_same_columns(names: Sequence[str], others: Sequence[str], first: str, other: str) -> None:
    """Refuse a file whose columns are not those of the first; their order does not matter.

    Raises:
        InputError: A column is missing or new.
    """
    for missing, has, lacks in ((set(names) - set(others), first, other), (set(others) - set(names), other, first)):
        if missing:
            raise InputError(
                f"Column {min(missing)!r} is in {has} and not in {lacks}: files read together need the same columns."
            )


def _drain(blocks: deque) -> Iterator[Block]:
    while blocks:
        yield blocks.popleft()


def _parse_in_order(blocks: Iterable[Block], layout: Layout) -> Iterator[pa.Table]:
    """Parse blocks on a few threads and hand the tables out in the order of the file."""
    return map_ahead(layout.parse, blocks, min(4, os.cpu_count() or 1), "parse")


def _settle(found: Contradiction, rest: Iterable[Block], layout: Layout) -> Layout:
    """Widen the types until they hold the block that failed and those after it."""
    layout = layout.widen(found)
    for block in itertools.chain([found.block], rest):
        while True:
            try:
                layout.parse(block)
                break
            except Contradiction as other:
                layout = layout.widen(other)
    return layout


def _log_widening(before: Layout, after: Layout) -> None:
    for name in before.columns:
        if before.types[name] != after.types[name]:
            logger.info(
                "column %r is %s in the first rows and %s further on: reading again as %s",
                name,
                before.types[name],
                after.types[name],
                after.types[name],
            )
