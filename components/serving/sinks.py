"""Where the files of the traffic log go: a folder, or a bucket of S3."""

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.places import Bucket, read_place
from loopline.components.errors import InputError


class Sink(Protocol):
    """Takes whole files."""

    def write(self, path: str, table: pa.Table) -> None:
        """Write a Parquet file.

        Args:
            path: Its name relative to the sink, with ``/`` between folders.
            table: Its rows.

        Raises:
            InputError: It cannot be written now.
        """


def open_sink(uri: str) -> Sink:
    """Open the sink behind a folder's path or ``s3://bucket/prefix``; nothing is written yet.

    Args:
        uri: The path or address.

    Raises:
        InputError: It is neither.
    """
    place = read_place(uri, "The traffic log")
    return S3Sink(*place) if isinstance(place, Bucket) else FolderSink(place)


class FolderSink:
    """A folder on this machine or a volume.

    Args:
        folder: The folder; it is made when missing.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, path: str, table: pa.Table) -> None:
        """Write a file under a hidden name, then rename it: readers see it whole or not at all."""
        file = self._folder / path
        hidden = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, hidden, compression="zstd")
            hidden.rename(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise InputError(f"The traffic log {self._folder} cannot be written ({error.strerror or error}).") from None


class S3Sink:
    """A bucket, reached as the environment says; see ``loopline.components.data.s3``.

    Args:
        bucket: Its name.
        prefix: What every key begins with; may be empty.
    """

    def __init__(self, bucket: str, prefix: str):
        from loopline.components.data.s3 import s3_client

        self._bucket, self._prefix = bucket, prefix
        self._client = s3_client()

    def write(self, path: str, table: pa.Table) -> None:
        """Put an object; S3 shows it whole or not at all."""
        from loopline.components.data.s3 import clear_errors

        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        size = stream.tell()
        stream.seek(0)
        with clear_errors(f"s3://{self._bucket}/{self._prefix}", "write"):
            self._client.put_object(self._bucket, f"{self._prefix}/{path}".lstrip("/"), stream, size)
