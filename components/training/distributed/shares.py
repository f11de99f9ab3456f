"""Cut a table into shares of its rows, one a worker: each row in exactly one, whatever the files look like."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.table_folder import parquet_files
from loopline.components.data.tables import check_columns, naming_damage, open_parquet, table_writer
from loopline.components.errors import InputError


class Part(NamedTuple):
    """A file of a table.

    Attributes:
        uri: Where a worker reads it: a path, or ``s3://bucket/key``.
        rows: Its rows.
    """

    uri: str
    rows: int


class Piece(NamedTuple):
    """Neighboring rows of a file.

    Attributes:
        uri: The file.
        start: The first row.
        stop: The row after the last.
    """

    uri: str
    start: int
    stop: int


def list_parts(path: str | Path, uri: str) -> list[Part]:
    """List the files of a table.

    Args:
        path: The table on this machine: a Parquet file, or a folder of such.
        uri: Where workers read the same; a folder's files under their own names.

    Returns:
        The files in order, without empty ones.

    Raises:
        InputError: There is no table.
    """
    path = Path(path)
    parts = []
    for file in parquet_files(path) if path.is_dir() else [path]:
        with open_parquet(file) as table:
            rows = table.metadata.num_rows
        if rows:
            parts.append(Part(uri if file == path else f"{uri.rstrip('/')}/{file.name}", rows))
    return parts


def cut_share(parts: Sequence[Part], worker: int, workers: int) -> list[Piece]:
    """Return the rows of one worker: as many as any other's, but for one, and next to each other.

    Args:
        parts: The files of the table.
        worker: The worker's number, from 0.
        workers: How many there are.

    Returns:
        What it reads of which file.
    """
    total = sum(part.rows for part in parts)
    first, last = total * worker // workers, total * (worker + 1) // workers
    pieces, begin = [], 0
    for part in parts:
        start, stop = max(first - begin, 0), min(last - begin, part.rows)
        if start < stop:
            pieces.append(Piece(part.uri, start, stop))
        begin += part.rows
    return pieces


def copy_share(pieces: Sequence[Piece], columns: Sequence[str], path: Path) -> int:
    """Copy rows of a table to a file of this machine, a row group at a time.

    Training reads its rows several times: what lies in S3 is read once.

    Args:
        pieces: What to copy; at least one.
        columns: The columns wanted.
        path: The Parquet file to write.

    Returns:
        The rows written.

    Raises:
        InputError: A file cannot be read, is damaged, lacks a column or has another type of one than the first file.
    """
    writer, rows = None, 0
    try:
        for piece in pieces:
            for table in _read_rows(piece, columns):
                writer = writer or table_writer(path, table.schema)
                if table.schema != writer.schema:
                    raise InputError(f"The columns of {piece.uri} are of other types than those of {pieces[0].uri}.")
                writer.write_table(table)
                rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def _read_rows(piece: Piece, columns: Sequence[str]) -> Iterator[pa.Table]:
    with naming_damage(piece.uri), _open(piece.uri) as file:
        check_columns(file.schema_arrow.names, columns, piece.uri)
        begin = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            start, stop = max(piece.start - begin, 0), min(piece.stop - begin, size)
            if start < stop:
                table = file.read_row_group(group, columns=list(columns)).select(columns)
                yield table.slice(start, stop - start).replace_schema_metadata()
            begin += size


@contextmanager
def _open(uri: str) -> Iterator[pq.ParquetFile]:
    if "://" not in uri:
        with open_parquet(uri) as file:
            yield file
        return
    from loopline.components.data.s3 import clear_errors

    with clear_errors(uri), pq.ParquetFile(pa.PythonFile(_Object(uri), "r"), pre_buffer=False) as file:
        yield file


class _Object(io.RawIOBase):
    """An object of S3 as a file in which one can jump: each read is a request for these bytes alone."""

    def __init__(self, uri: str):
        from loopline.components.data.s3 import s3_client

        parts = urlsplit(uri)
        self._client, self._bucket, self._key = s3_client(), parts.netloc, parts.path.lstrip("/")
        self._size = self._client.stat_object(self._bucket, self._key).size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        answer = self._client.get_object(self._bucket, self._key, offset=self._at, length=length)
        try:
            data = answer.read()
        finally:
            answer.close()
            answer.release_conn()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
