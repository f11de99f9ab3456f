"""A layer of an image: a tar archive, made while it is read, that is the same wherever and whenever it is made."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

from loopline.components.delivery.oci import CHUNK, Blob
from loopline.components.errors import InputError


class Layer:
    """Files as a tar archive.

    Nothing of the machine goes in: sorted names, owner 0, time 0, mode 644. It is not compressed, because compressors
    give other bytes from version to version, and registries and engines compress on their own.
    """

    def __init__(self, files: Mapping[str, Path | bytes]):
        """Plan a layer.

        Args:
            files: Content by name in the image, without a leading slash: a file to read, or bytes.
        """
        folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents} - {"."}
        self._parts: list[tuple[bytes, Path | bytes, int]] = [
            (_header(name, 0, folder=True), b"", 0) for name in sorted(folders)
        ]
        for name, content in sorted(files.items()):
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            self._parts.append((_header(name, size), content, size))

    def chunks(self) -> Iterator[bytes]:
        """Read the archive from its beginning.

        Yields:
            Its bytes in pieces.

        Raises:
            InputError: A file changed its size since the layer was planned.
        """
        written = 0
        for header, content, size in self._parts:
            yield header
            yield from [content] if isinstance(content, bytes) else _read(content, size)
            padding = -size % tarfile.BLOCKSIZE
            yield bytes(padding)
            written += len(header) + size + padding
        end = 2 * tarfile.BLOCKSIZE
        yield bytes(end + -(written + end) % tarfile.RECORDSIZE)

    @cached_property
    def blob(self) -> Blob:
        """The archive as a blob; its files are read once to learn the digest."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size += len(chunk)
        return Blob(f"sha256:{digest.hexdigest()}", size, self.chunks)


def _header(name: str, size: int, folder: bool = False) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.type, info.mode = (tarfile.DIRTYPE, 0o755) if folder else (tarfile.REGTYPE, 0o644)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _read(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with open(path, "rb") as stream:
        while chunk := stream.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise InputError(f"{path} changed while it was read: build the image again when nobody writes the model.")
