"""Bring Parquet files together into one, with the few types the later steps know."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.ingest_csv import NoRowsError, Portion, check_same_columns
from loopline.components.data.schema import kind_of
from loopline.components.data.sources import Source
from loopline.components.data.streams import download
from loopline.components.data.tables import BATCH_ROWS, check_columns
from loopline.components.data.writing import GROUP_BYTES, writing_table
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")


def write_parquet(
    sources: Sequence[Source], path: str | Path, columns: Sequence[str] = (), portion: Portion | None = None
) -> tuple[int, pa.Schema]:
    """Read Parquet files of any size and write them as one.

    Args:
        sources: The files, with the same columns; a remote one is copied next to ``path`` while it is read.
        path: The Parquet file to write.
        columns: The columns to keep, in this order; when empty, all whose type the later steps know.
        portion: How much to read; all of it when None.

    Returns:
        Rows and schema of what was written.

    Raises:
        InputError: A file is no Parquet, has no rows, other columns, or a type that cannot be used and was asked for.
    """
    portion = portion or Portion()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with local_files(sources, Path(path).parent) as files:
        schema = text_for_null(common_schema(files, columns)[0])
        done = 0
        with writing_table(path, schema) as sink:
            for batch in read_parquet(files, schema):
                if portion.is_full(done):
                    break
                sink.write(batch)
                done += batch.nbytes
            if not sink.rows:
                raise NoRowsError(f"{files[0][0]} has no rows: give a table with at least one row.")
        return sink.rows, schema


@contextmanager
def local_files(sources: Sequence[Source], folder: Path) -> Iterator[list[tuple[str, Path]]]:
    """Have files at hand for as long as they are read.

    Args:
        sources: The files.
        folder: Where to copy remote ones to.

    Yields:
        Name and path of each.
    """
    copies: list[Path] = []
    try:
        files = []
        for source in sources:
            local, copied = download(source, folder)
            copies += [local] if copied else []
            files.append((source.name, local))
        yield files
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def common_schema(
    files: Sequence[tuple[str, Path]], columns: Sequence[str]
) -> tuple[pa.Schema, dict[str, pa.DataType]]:
    """Find the plain types that hold the values of all files.

    Args:
        files: Name and path of each.
        columns: The columns to keep, in this order; when empty, all whose type the later steps know.

    Returns:
        The schema, null where no file has a value, and the columns left out, with their types.

    Raises:
        InputError: The files differ in columns, or a type cannot be used and was asked for.
    """
    types: dict[str, pa.DataType] = {}
    names: list[str] = []
    unusable: dict[str, pa.DataType] = {}
    for name, local in files:
        schema = _read_schema(name, local)
        twice = sorted({column for column in schema.names if schema.names.count(column) > 1})
        if twice:
            raise InputError(f"{name} has more than one column named {twice[0]!r}: rename one of them.")
        if not names:
            names = list(schema.names)
            check_columns(names, columns, name)
        check_same_columns(names, schema.names, files[0][0], name)
        for column in columns or names:
            found = schema.field(column).type
            if not columns and not _is_usable(found):
                unusable[column] = found
                continue
            type_ = _plain_type(found, column, name)
            types[column] = merge_type(types.get(column, type_), type_, column, name)
    for column, type_ in unusable.items():
        logger.info("left out %s: no later step can use the type %s", column, type_)
    kept = [column for column in columns or names if column not in unusable]
    if not kept:
        raise InputError(f"{files[0][0]} has no column of numbers, text, booleans or timestamps: write it with some.")
    return pa.schema([(column, types[column]) for column in kept]), unusable


def text_for_null(schema: pa.Schema) -> pa.Schema:
    """Return a schema in which a column without any value is text."""
    return pa.schema([(field.name, pa.string() if pa.types.is_null(field.type) else field.type) for field in schema])


def _is_usable(type_: pa.DataType) -> bool:
    try:
        kind_of(type_)
    except InputError:
        return False
    return True


def _read_schema(name: str, local: Path) -> pa.Schema:
    try:
        return pq.read_schema(local)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{name} is not a Parquet file ({str(error).splitlines()[0]}): write it again.") from None


def _plain_type(type_: pa.DataType, column: str, file: str) -> pa.DataType:
    if not _is_usable(type_):
        raise InputError(
            f"Column {column!r} of {file} is of type {type_}, which no later step can use: leave it out with columns, "
            "or turn it into numbers, text, booleans or timestamps."
        )
    if pa.types.is_dictionary(type_):
        return _plain_type(type_.value_type, column, file)
    if pa.types.is_large_string(type_):
        return pa.string()
    if pa.types.is_decimal(type_):
        return pa.float64()
    return pa.timestamp("us") if pa.types.is_date(type_) else type_


def merge_type(one: pa.DataType, two: pa.DataType, column: str, file: str) -> pa.DataType:
    """Return the type that holds the values of both.

    Args:
        one: The type in the files before.
        two: The type in a file.
        column: The column's name.
        file: The file's name.

    Raises:
        InputError: There is no such type.
    """
    if one == two or pa.types.is_null(two):
        return one
    if pa.types.is_null(one):
        return two
    try:
        if pa.types.is_boolean(one) or pa.types.is_boolean(two):
            raise pa.ArrowTypeError("a boolean and something else")
        merged = pa.unify_schemas(
            [pa.schema([(column, one)]), pa.schema([(column, two)])], promote_options="permissive"
        )
        return merged.field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        raise InputError(
            f"Column {column!r} is {two} in {file} and {one} in the files before: write them with the same type."
        ) from None


def read_parquet(files: Sequence[tuple[str, Path]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read files with the same columns batch by batch.

    Args:
        files: Name and path of each.
        schema: The columns wanted, and the types to give them.

    Yields:
        Batches, in the order of the files.

    Raises:
        InputError: A file is damaged, or a value has no place in its type.
    """
    for name, local in files:
        yield from _batches(name, local, schema)


def _batches(name: str, local: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(local) as file:
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
            per_row = sum(sizes) / max(file.metadata.num_rows, 1)
            rows = int(min(BATCH_ROWS, max(1024, GROUP_BYTES / max(per_row, 1))))
            for batch in file.iter_batches(batch_size=rows, columns=schema.names):
                # The file's order of columns, not the one asked for, comes back.
                yield pa.record_batch([_cast(batch.column(f.name), f, name) for f in schema], schema=schema)
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise InputError(f"{name} is damaged ({str(error).splitlines()[0]}): write or fetch it again.") from None


def _cast(values: pa.Array, field: pa.Field, file: str) -> pa.Array:
    try:
        return values.cast(field.type, safe=not pa.types.is_floating(field.type))
    except pa.ArrowInvalid as error:
        raise InputError(f"Column {field.name!r} of {file} cannot be read as {field.type} ({error}).") from None
