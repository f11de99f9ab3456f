"""The place that a step and the workers of its job share: a folder, or a prefix in a bucket."""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from loopline.components.data.places import Bucket, read_place


class Exchange(Protocol):
    """Small files by name; a file is there whole or not at all.

    Attributes:
        uri: Where it is, for ``open_exchange``.
    """

    uri: str

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None when there is none."""

    def names(self) -> list[str]:
        """Return the names of all files."""

    def clear(self) -> None:
        """Remove all files."""


def open_exchange(uri: str) -> Exchange:
    """Open the place.

    Args:
        uri: A folder, which is made when missing, or ``s3://bucket/prefix``.

    Returns:
        The place.

    Raises:
        InputError: It is neither.
    """
    place = read_place(uri, "What workers share")
    return _Prefix(*place) if isinstance(place, Bucket) else _Folder(place)


class _Folder:
    def __init__(self, folder: Path):
        self.uri, self._folder = str(folder), folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
            file.write(data)
        Path(file.name).replace(self._folder / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return [file.name for file in self._folder.iterdir() if not file.name.startswith(".")]
        return []

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _Prefix:
    def __init__(self, bucket: str, prefix: str):
        from loopline.components.data.s3 import s3_client

        self.uri = f"s3://{bucket}/{prefix}"
        self._client, self._bucket, self._prefix = s3_client(), bucket, f"{prefix}/"

    def write(self, name: str, data: bytes) -> None:
        from loopline.components.data.s3 import clear_errors

        with clear_errors(f"{self.uri}/{name}", "write"):
            self._client.put_object(self._bucket, self._prefix + name, io.BytesIO(data), len(data))

    def read(self, name: str) -> bytes | None:
        from minio.error import S3Error

        from loopline.components.data.s3 import clear_errors

        with clear_errors(f"{self.uri}/{name}"):
            try:
                answer = self._client.get_object(self._bucket, self._prefix + name)
            except S3Error as error:
                if error.code not in ("NoSuchKey", "NoSuchObject"):
                    raise
                return None
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()

    def names(self) -> list[str]:
        from loopline.components.data.s3 import clear_errors

        with clear_errors(self.uri):
            found = self._client.list_objects(self._bucket, prefix=self._prefix)
            return [item.object_name.removeprefix(self._prefix) for item in found]

    def clear(self) -> None:
        from loopline.components.data.s3 import clear_errors

        with clear_errors(self.uri, "remove"):
            for name in self.names():
                self._client.remove_object(self._bucket, self._prefix + name)
