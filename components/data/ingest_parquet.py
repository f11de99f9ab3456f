"""Bring Parquet files together into one, with the few types the later steps know."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.ingest_csv import Portion, check_same_columns
from loopline.components.data.schema import kind_of
from loopline.components.data.sources import Source
from loopline.components.data.streams import download
from loopline.components.data.tables import BATCH_ROWS, check_columns
from loopline.components.data.writing import GROUP_BYTES, writing_table
from loopline.components.errors import AbsentError, InputError

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
    copies: list[Path] = []
    portion = portion or Portion()
    try:
        files = []
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for source in sources:
            local, copied = download(source, Path(path).parent)
            copies += [local] if copied else []
            files.append((source.name, local))
        schema = _common_schema(files, columns)
        done = 0
        with writing_table(path, schema) as sink:
            for batch in _all_batches(files, schema):
                if portion.is_full(done):
                    break
                sink.write(batch)
                done += batch.nbytes
            if not sink.rows:
                raise AbsentError(f"{files[0][0]} has no rows: give a table with at least one row.")
        return sink.rows, schema
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def _common_schema(files: Sequence[tuple[str, Path]], columns: Sequence[str]) -> pa.Schema:
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
            types[column] = _merge(types.get(column, type_), type_, column, name)
    for column, type_ in unusable.items():
        logger.info("left out %s: no later step can use the type %s", column, type_)
    kept = [column for column in columns or names if column not in unusable]
    if not kept:
        raise InputError(f"{files[0][0]} has no column of numbers, text, booleans or timestamps: write it with some.")
    return pa.schema([(c, pa.string() if pa.types.is_null(types[c]) else types[c]) for c in kept])


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


def _merge(one: pa.DataType, two: pa.DataType, column: str, file: str) -> pa.DataType:
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


def _all_batches(files: Sequence[tuple[str, Path]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
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
