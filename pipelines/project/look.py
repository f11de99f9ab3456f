"""Look at a table: read it once in a stream, as the pipeline will, and keep a sample of its rows."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopline.components.data.csv_format import CsvFormat, first_row
from loopline.components.data.ingest import ingest
from loopline.components.data.sources import Source, find_sources, safe_name
from loopline.components.data.streams import EncodingError, sniff
from loopline.components.data.summary import ColumnSummary, summarize
from loopline.components.data.tables import read_batches, read_table
from loopline.components.errors import InputError
from loopline.components.parameters import parse_object

#: What is read of a table, in bytes of text or of values: some seconds for each.
LOOK_BYTES = 2**30
#: Rows and values that are looked at more closely, in memory.
SAMPLE_ROWS, SAMPLE_VALUES = 100_000, 5_000_000
#: What people write into a column of numbers where there is none, beside what is read as missing anyway.
MISSING_WORDS = frozenset(
    ("unknown", "unk", "missing", "undefined", "nd", "n/d", "nil", "void", "blank", "empty", "tbd", "**", "***")
) | {"no data", "not available", "not applicable", "not known"}
#: Tried where text is not UTF-8: what Windows writes in the west.
FALLBACK = "cp1252"
_NUMBER = r"^\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*$"
_SECRET = re.compile(
    r"signature|token|secret|passw|credential|accesskey|apikey|(^|[^a-z])(sig|key|auth|pwd)([^a-z]|$)", re.IGNORECASE
)


@dataclass(frozen=True)
class Look:
    """What a table looks like.

    Attributes:
        uri: Where it is, as a run takes it from any working directory.
        name: What to call it.
        csv: How its CSV is written, where its first lines do not tell.
        written: How its CSV is written in words; empty for Parquet.
        rows: Rows that were read.
        whole: Whether these are all.
        columns: A summary of each column over all rows that were read.
        unusable: Columns of Parquet that no step can use.
        table: The rows that were read, as Parquet.
        sample: Some of them, in their order.
    """

    uri: str
    name: str
    csv: dict
    written: str
    rows: int
    whole: bool
    columns: tuple[ColumnSummary, ...]
    unusable: tuple[str, ...]
    table: Path = field(repr=False)
    sample: pa.Table = field(repr=False)

    def __getitem__(self, name: str) -> ColumnSummary:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def values(self, name: str) -> pa.Array:
        """Return the sample of a column in one piece, without the missing ones."""
        values = self.sample.column(name).combine_chunks().drop_null()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if not pa.types.is_floating(values.type):
            return values
        # Arrow computes little with half precision.
        values = values.cast(pa.float64())
        return values.filter(pc.invert(pc.is_nan(values)))


def take_look(uri: str, folder: Path, target: str = "", csv: str = "{}") -> Look:
    """Look at a table.

    Args:
        uri: A local path, folder or glob, ``s3://bucket/key`` or an ``https://`` address.
        folder: Where to keep what was read, as Parquet.
        target: The column that is to be predicted: a first line that has it is a line of names.
        csv: How CSV is written, as ``CsvFormat.parse`` takes it; what is not said is found out.

    Returns:
        What it looks like.

    Raises:
        InputError: It cannot be found, reached or read, or its address holds a secret.
    """
    uri = _lasting(uri)
    sources = find_sources(uri)
    is_csv = sniff(sources[0]) != "parquet"
    CsvFormat.parse(csv)
    table, options, written = folder / "look.parquet", parse_object(csv, "csv", "{}"), ""
    if is_csv:
        written = _look_at_text(sources[0], target, options)
    result = _ingest(uri, table, options)
    sample = draw_sample(table, result["rows"], result["columns"])
    if is_csv and (words := _missing_words(sample)):
        options["null_values"] = [*options.get("null_values", ()), *words]
        result = _ingest(uri, table, options)
        sample = draw_sample(table, result["rows"], result["columns"])
    columns = summarize(table)
    names = {column.name for column in columns}
    local = None if is_csv else sources[0].path
    unusable = tuple(name for name in (pq.read_schema(local).names if local else ()) if name not in names)
    return Look(
        uri, _short(uri), options, written, result["rows"], result["whole"], tuple(columns), unusable, table, sample
    )


def draw_sample(table: Path, rows: int, columns: int) -> pa.Table:
    """Draw rows of a table at random, always the same ones.

    Args:
        table: A Parquet file.
        rows: Its rows.
        columns: Its columns.

    Returns:
        As many rows as ``SAMPLE_ROWS`` and ``SAMPLE_VALUES`` allow, in the order of the table.
    """
    most = max(1000, min(SAMPLE_ROWS, SAMPLE_VALUES // max(columns, 1)))
    if rows <= most:
        return read_table(table)
    picked = np.sort(np.random.default_rng(0).choice(rows, most, replace=False, shuffle=False))
    parts, start = [], 0
    for batch in read_batches(table):
        first, last = np.searchsorted(picked, [start, start + batch.num_rows])
        parts.append(batch.take(pa.array(picked[first:last] - start)))
        start += batch.num_rows
    return pa.Table.from_batches(parts)


def _ingest(uri: str, table: Path, options: dict) -> dict:
    try:
        return ingest(uri, table, csv=json.dumps(options), most_bytes=LOOK_BYTES)
    except EncodingError as error:
        if "encoding" in options:
            raise
        options["encoding"] = FALLBACK
        try:
            return ingest(uri, table, csv=json.dumps(options), most_bytes=LOOK_BYTES)
        except EncodingError:
            raise error from None


def _lasting(uri: str) -> str:
    """Return a URI that means the same in any working directory; refuses one that must not be written to a file."""
    uri = uri.strip()
    scheme = uri.split("://", 1)[0].lower() if "://" in uri else ""
    if scheme in ("http", "https"):
        secret = next((key for key, _ in parse_qsl(urlsplit(uri).query, True) if _SECRET.search(key)), "")
        if secret:
            raise InputError(
                f"The address of {safe_name(uri)} carries {secret!r}, which may be a secret and would be written to a "
                "file: fetch the data first, or use s3://bucket/key with the AWS_* environment."
            )
    if uri and not scheme:
        return str(Path(uri).expanduser().absolute())
    return uri


def _short(uri: str) -> str:
    return safe_name(uri).rstrip("/").rpartition("/")[2] or uri


def _look_at_text(source: Source, target: str, options: dict) -> str:
    """Say how a CSV is written, and note an encoding in the options; refuses what is no table with a line of names."""
    if source.name.lower().endswith((".xlsx", ".xls", ".ods")):
        raise InputError(f"{source.name} is a spreadsheet: save its sheet as CSV.")
    try:
        row, form = first_row(source, CsvFormat.parse(json.dumps(options)))
    except EncodingError as error:
        if "encoding" in options:
            raise
        options["encoding"] = FALLBACK
        try:
            row, form = first_row(source, CsvFormat.parse(json.dumps(options)))
        except EncodingError:
            raise error from None
    start = row[0].lstrip().lower() if row else ""
    if start.startswith(("<!doctype", "<html", "<?xml", "{", "[{")):
        kind = "JSON" if start.startswith(("{", "[")) else "a web page or XML"
        raise InputError(f"{source.name} is {kind}, not a table: give CSV or Parquet.")
    numbers = [name for name in row if re.match(_NUMBER, name)]
    if target not in [name.strip() for name in row] and 2 * len(numbers) >= len(row) > 0:
        begin = ", ".join(repr(value[:20]) for value in row[:3])
        raise InputError(f"{source.name} has no line of column names, it begins with {begin}: put one in front.")
    if len(row) < 2:
        return ""
    mark = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}.get(form.delimiter, repr(form.delimiter))
    return f"{mark} between the fields" + ", decimal commas" * (form.decimal_point == ",")


def _missing_words(sample: pa.Table) -> list[str]:
    """Return the words that stand for a missing value among what is numbers otherwise."""
    found = set()
    for column in sample.columns:
        if not pa.types.is_string(column.type):
            continue
        numbers = pc.match_substring_regex(column, _NUMBER)
        others = set(pc.unique(column.filter(pc.invert(numbers))).to_pylist())
        words = {value for value in others if value.strip().lower() in MISSING_WORDS}
        if words and words == others and pc.any(numbers).as_py():
            found |= words
    return sorted(found)
