"""Bring a table in: from a path, S3 or HTTPS, from CSV or Parquet, to one Parquet file."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from loopline.components.data.csv_types import ARROW_TYPES
from loopline.components.data.ingest_csv import write_csv
from loopline.components.data.ingest_parquet import write_parquet
from loopline.components.data.sources import Source, find_sources, safe_name
from loopline.components.data.streams import download, sniff
from loopline.components.data.writing import describe_file
from loopline.components.errors import InputError
from loopline.components.parameters import parse_object, split_names

logger = logging.getLogger("loopline")


def ingest(
    uri: str,
    path: str | Path,
    *,
    columns: str = "",
    delimiter: str = ",",
    null_values: str = "",
    column_types: str = "{}",
    encoding: str = "utf-8",
) -> dict:
    """Read what a URI stands for and write it as one Parquet file with typed columns.

    Args:
        uri: A local path, folder or glob, ``s3://bucket/key`` or an ``https://`` address.
        path: The Parquet file to write.
        columns: Comma-separated names to keep, in this order; empty for all. A name with a comma stands in quotes.
        delimiter: The character between the fields of a CSV.
        null_values: Comma-separated spellings of a missing value, beside the usual ones.
        column_types: JSON from column name to kind, for columns whose type is not to be inferred.
        encoding: The encoding of a CSV.

    Returns:
        ``rows``, ``columns`` (how many), ``digest`` and ``source`` (without credentials).

    Raises:
        InputError: Something cannot be found, reached, read or written; nothing is left at ``path`` then.
    """
    if not uri.strip():
        raise InputError("uri is empty: give a path, s3://bucket/key or an https:// address.")
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        raise InputError(f"delimiter {delimiter!r} must be one character, e.g. ',' or ';' or a tab.")
    wanted = split_names(columns)
    declared = _parse_types(column_types)
    sources = find_sources(uri.strip())
    formats = {source.name: sniff(source) == "parquet" for source in sources}
    if all(formats.values()):
        if declared:
            raise InputError("column_types is for CSV: a Parquet file says its types itself, leave the parameter out.")
        rows, schema = write_parquet(sources, path, wanted)
    elif any(formats.values()):
        first, other = (next(name for name, flag in formats.items() if flag is kind) for kind in (True, False))
        raise InputError(f"{first} is Parquet and {other} is not: read them with two steps.")
    else:
        rows, schema = write_csv(sources, path, wanted, delimiter, declared, split_names(null_values), encoding)
    result = {"columns": len(schema), "source": safe_name(uri.strip()), **describe_file(path, rows)}
    files = f"{len(sources):,} files, " if len(sources) > 1 else ""
    logger.info("%s%s rows x %s columns, %s", files, f"{rows:,}", len(schema), result["digest"][:19])
    return result


def as_parquet(
    source: Source, folder: Path, columns: Sequence[str] = (), declared: dict[str, pa.DataType] | None = None
) -> Path:
    """Have one source as a local Parquet file; what is Parquet already is left as it is.

    Args:
        source: CSV or Parquet.
        folder: Where to write a file when there is none.
        columns: The columns to keep of CSV; all when empty.
        declared: Types given for some columns of CSV.

    Returns:
        The file.

    Raises:
        InputError: The source cannot be reached or read.
    """
    if sniff(source) == "parquet":
        return download(source, folder)[0]
    path = folder / "table.parquet"
    write_csv([source], path, columns, declared=declared)
    return path


def _parse_types(text: str) -> dict[str, pa.DataType]:
    kinds = parse_object(text, "column_types", '{"zip": "category"}')
    unknown = [kind for kind in kinds.values() if not isinstance(kind, str) or kind not in ARROW_TYPES]
    if unknown:
        raise InputError(f"column_types names the unknown kind {unknown[0]!r}: use one of {', '.join(ARROW_TYPES)}.")
    return {name: ARROW_TYPES[kind] for name, kind in kinds.items()}
