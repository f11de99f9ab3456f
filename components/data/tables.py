"""Tables between steps: Parquet, written in row groups and read a batch at a time.

A table is one Parquet file, or a folder of Parquet files with the same columns.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.table_folder import ParquetFolder, TableFile, naming_damage, parquet_files
from loopline.components.errors import InputError

__all__ = ["naming_damage"]

#: Rows of one row group and of one batch: 20 columns of doubles are 20 MB.
BATCH_ROWS = 131_072


def open_parquet(path: str | Path, **options) -> TableFile | ParquetFolder:
    """Open a table for reading in batches.

    Args:
        path: The file or folder, as an artifact's ``path`` gives it.
        options: More options of ``pyarrow.parquet.ParquetFile``.

    Returns:
        The open file, or what reads like one.

    Raises:
        InputError: The table is missing or is not Parquet.
    """
    # Reading ahead would hold the whole file in memory while batches are drawn from it.
    options = {"pre_buffer": False, **options}
    try:
        return ParquetFolder(path, **options) if Path(path).is_dir() else TableFile(path, **options)
    except FileNotFoundError:
        raise InputError(f"There is no table at {path}: check the path, or run the step that writes it.") from None


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or some of its columns, into memory.

    Args:
        path: A Parquet file, or a folder of them.
        columns: The columns wanted, in this order; all when None.

    Returns:
        The table.

    Raises:
        InputError: The file cannot be read or lacks one of the columns.
    """
    with open_parquet(path) as file:
        check_columns(file.schema_arrow.names, columns or [], path)
        return file.read(columns=list(columns) if columns is not None else None)


def read_batches(
    path: str | Path, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Read a table a batch at a time, so that its size does not matter.

    Args:
        path: A Parquet file, or a folder of them.
        columns: The columns wanted, in this order; all when None.
        rows: The most rows of one batch.

    Yields:
        Record batches in the order of the table.

    Raises:
        InputError: The file cannot be read or lacks one of the columns.
    """
    with open_parquet(path) as file:
        check_columns(file.schema_arrow.names, columns or [], path)
        yield from file.iter_batches(batch_size=rows, columns=list(columns) if columns is not None else None)


def check_columns(present: Sequence[str], wanted: Sequence[str], where: str | Path) -> None:
    """Refuse a table that lacks a column.

    Args:
        present: The table's columns.
        wanted: The columns that must be there.
        where: What to call the table in the message.

    Raises:
        InputError: A column is missing.
    """
    missing = sorted(set(wanted).difference(present), key=list(wanted).index)
    if missing:
        raise InputError(
            f"Column {', '.join(map(repr, missing))} is not in {where}; it has {', '.join(map(repr, present))}."
        )


def table_writer(path: str | Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file for writing, the one way Loopline writes tables.

    Args:
        path: The file to write; its folder is made when missing.
        schema: The table's Arrow schema.

    Returns:
        A writer to use as a context manager.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=True)


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a table as Parquet.

    Args:
        path: The file to write; nothing is left there when it cannot be written.
        table: The table.
    """
    writer = table_writer(path, table.schema)
    try:
        writer.write_table(table, row_group_size=BATCH_ROWS)
        writer.close()
    except BaseException:
        abandon(writer, Path(path))
        raise


def abandon(writer: pq.ParquetWriter, path: Path) -> None:
    """Close and remove a file that failed; closing writes a footer and fails again on a full disk."""
    try:
        writer.close()
    except (OSError, pa.ArrowException, ValueError):
        writer.is_open = False
    path.unlink(missing_ok=True)


def file_digest(path: str | Path) -> str:
    """Return the content digest of a file.

    Args:
        path: The file.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    with open(path, "rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def table_digest(path: str | Path) -> str:
    """Return the content digest of a table, which neither names nor times of files change.

    Args:
        path: A Parquet file, or a folder of them.

    Returns:
        ``sha256:`` and 64 hexadecimal digits: of the file, or of the digests of the folder's files, in order.
    """
    if not Path(path).is_dir():
        return file_digest(path)
    return folder_digest(map(file_digest, parquet_files(path)))


def folder_digest(digests: Iterable[str]) -> str:
    """Return the content digest of a table that is a folder from those of its files, in order."""
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()
