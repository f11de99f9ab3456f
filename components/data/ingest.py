"""Bring a table in: from a path, S3 or HTTPS, from CSV or Parquet, to one Parquet file."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.ingest_csv import Portion, write_csv
from loopline.components.data.ingest_parquet import write_parquet
from loopline.components.data.sources import Source, find_sources, safe_name
from loopline.components.data.streams import download, sniff
from loopline.components.data.writing import describe_file
from loopline.components.errors import InputError
from loopline.components.parameters import split_names

logger = logging.getLogger("loopline")


def ingest(uri: str, path: str | Path, *, columns: str = "", csv: str = "{}", most_bytes: int = 0) -> dict:
    """Read what a URI stands for and write it as one Parquet file with typed columns.

    Args:
        uri: A local path, folder or glob, ``s3://bucket/key`` or an ``https://`` address.
        path: The Parquet file to write.
        columns: Comma-separated names to keep, in this order; empty for all. A name with a comma stands in quotes.
        csv: JSON that says how CSV is written where its first lines do not: see ``CsvFormat``.
        most_bytes: About how much to read, unpacked, of a table that is only looked at; 0 for all of it.

    Returns:
        ``rows``, ``columns`` (how many), ``digest`` and ``source`` (without credentials); with ``most_bytes`` also
        ``whole``, whether there was no more.

    Raises:
        InputError: Something cannot be found, reached, read or written; nothing is left at ``path`` then.
    """
    if not uri.strip():
        raise InputError("uri is empty: give a path, s3://bucket/key or an https:// address.")
    wanted = split_names(columns)
    form, portion = CsvFormat.parse(csv), Portion(most_bytes)
    sources = find_sources(uri.strip())
    formats = {source.name: sniff(source) == "parquet" for source in sources}
    if all(formats.values()):
        if form.column_types:
            raise InputError("column_types is for CSV: a Parquet file says its types itself, leave it out.")
        rows, schema = write_parquet(sources, path, wanted, portion)
    elif any(formats.values()):
        first, other = (next(name for name, flag in formats.items() if flag is kind) for kind in (True, False))
        raise InputError(f"{first} is Parquet and {other} is not: read them with two steps.")
    else:
        rows, schema = write_csv(sources, path, wanted, form, portion)
    result = {"columns": len(schema), "source": safe_name(uri.strip()), **describe_file(path, rows)}
    files = f"{len(sources):,} files, " if len(sources) > 1 else ""
    logger.info("%s%s rows x %s columns, %s", files, f"{rows:,}", len(schema), result["digest"][:19])
    return result | {"whole": not portion.cut} if most_bytes else result


def as_parquet(
    source: Source,
    folder: Path,
    columns: Sequence[str] = (),
    declared: dict[str, pa.DataType] | None = None,
    form: CsvFormat | None = None,
) -> Path:
    """Have one source as a local Parquet file; what is Parquet already is left as it is.

    Args:
        source: CSV or Parquet.
        folder: Where to write a file when there is none.
        columns: The columns to keep of CSV; all when empty.
        declared: Types given for some columns of CSV; what ``form`` says of a column counts more.
        form: How CSV is written, where its first lines do not tell.

    Returns:
        The file.

    Raises:
        InputError: The source cannot be reached or read.
    """
    if sniff(source) == "parquet":
        return download(source, folder)[0]
    path = folder / "table.parquet"
    form = form or CsvFormat()
    types = {**(declared or {}), **form.column_types}
    write_csv([source], path, columns, dataclasses.replace(form, column_types=types))
    return path
