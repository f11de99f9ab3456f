"""Open a source as plain bytes, whatever it is compressed with, and tell what it is from its first bytes."""

import codecs
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from loopline.components.data.sources import Source
from loopline.components.errors import InputError

#: The first bytes of what may come, and what to call it. Names are not trusted: downloads have none, servers unpack.
MAGIC = {
    b"PAR1": "parquet",
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}


#: What is compressed may unpack to this many times its size once it is larger than so many bytes. Tables of numbers
#: pack some ten times, and of repeated text a hundred times; a thousand is what somebody makes to fill a disk.
MOST_TIMES, FREE_BYTES = 200, 2**30


class EncodingError(InputError):
    """Text is not in the encoding it was read in."""


def sniff(source: Source) -> str:
    """Tell what a source holds.

    Args:
        source: The file.

    Returns:
        ``parquet``, a compression (``gzip``, ``bz2``, ``zstd``, ``xz``, ``zip``) or ``text``.

    Raises:
        InputError: It cannot be opened, or is named Parquet and is not.
    """
    with _open(source) as stream:
        head = stream.peek(8)[:8]
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "text")
    if kind != "parquet" and source.name.endswith((".parquet", ".pq")):
        raise InputError(f"{source.name} is not a Parquet file, though named so: rename it or write it again.")
    return kind


@contextmanager
def open_text(source: Source, encoding: str = "") -> Iterator["TextStream"]:
    """Open a source as UTF-8 bytes, unpacked.

    Args:
        source: The file.
        encoding: How its text is encoded; empty for UTF-8, or UTF-16 where the first bytes say so.

    Yields:
        The stream.

    Raises:
        InputError: It cannot be opened, unpacked or decoded; also while reading.
    """
    kind = sniff(source)
    with _open(source) as raw:
        packed = _Counted(raw)
        if kind == "zip":
            with _unzip(source, raw) as (member, size):
                yield TextStream(source.name, _Bounded(source.name, member, lambda: size), encoding)
        elif kind == "xz":
            with lzma.open(packed) as unpacked:
                yield TextStream(source.name, _Bounded(source.name, unpacked, packed.count), encoding)
        elif kind == "text":
            yield TextStream(source.name, raw, encoding)
        else:
            unpacked = pa.CompressedInputStream(pa.PythonFile(packed, "r"), kind)
            yield TextStream(source.name, _Bounded(source.name, unpacked, packed.count), encoding)


class _Counted(io.RawIOBase):
    """A stream that counts what is read of it."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._read = stream, 0

    def count(self) -> int:
        """Return how many bytes were read."""
        return self._read

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; none at the end."""
        data = self._stream.read(size)
        self._read += len(data)
        return data


class _Bounded:
    """What is unpacked, as long as there is not absurdly more of it than of what it is unpacked from."""

    def __init__(self, name: str, stream: BinaryIO, packed: Callable[[], int]):
        self._name, self._stream, self._packed, self._read = name, stream, packed, 0

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; none at the end.

        Raises:
            InputError: There are too many.
        """
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > FREE_BYTES and self._read > MOST_TIMES * self._packed():
            raise InputError(
                f"{self._name} unpacks to more than {MOST_TIMES} times its size: if that is right, unpack it first."
            )
        return data


class TextStream:
    """Bytes of UTF-8 text, read in full blocks.

    Args:
        name: What to call it in messages.
        stream: Where the bytes come from.
        encoding: How they are encoded; turned into UTF-8 when they are not. Empty for UTF-8, or UTF-16 where the first
            bytes say so.
    """

    def __init__(self, name: str, stream: BinaryIO, encoding: str):
        self.name = name
        self._stream = stream
        self._encoding = check_encoding(encoding) if encoding else ""
        self._decoder = None
        self._done = 0

    def read(self, size: int) -> bytes:
        """Read a block.

        Args:
            size: Bytes to read from the source.

        Returns:
            All of them, in UTF-8, unless the end comes first; empty only at the end.
        """
        data = self._read_fully(size)
        if not self._done:
            self._choose_decoder(data)
        if not self._decoder:
            self._done += len(data)
            return data
        try:
            text = self._decoder.decode(data, final=len(data) < size)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            raise EncodingError(encoding_message(self.name, self._encoding, self._done + start)) from None
        self._done += len(data)
        return text.encode("utf-8")

    def _choose_decoder(self, head: bytes) -> None:
        if not self._encoding:
            self._encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
        if self._encoding != "utf-8" and not self._decoder:
            self._decoder = codecs.getincrementaldecoder(self._encoding)()

    def _read_fully(self, size: int) -> bytes:
        parts, missing = [], size
        try:
            while missing and (part := self._stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
            raise self._damaged(error) from None
        except OSError as error:
            # Arrow's decompressors raise an OSError that has no error number.
            if error.errno is not None:
                raise
            raise self._damaged(error) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.name} cannot be unpacked ({error}): it is damaged or incomplete, fetch it again.")


def encoding_message(name: str, encoding: str, offset: int) -> str:
    """Return the one sentence about text that is not in the encoding expected."""
    return (
        f"{name} is not {encoding.upper()} text at byte {offset:,}: save it as UTF-8, or name its encoding in csv, "
        'e.g. {"encoding": "cp1252"}.'
    )


def download(source: Source, folder: Path) -> tuple[Path, bool]:
    """Have a source as a local file, for formats that cannot be read front to back.

    Args:
        source: The file.
        folder: Where to put a copy when it is not local.

    Returns:
        The path, and whether it is a copy to delete.
    """
    if source.path:
        return source.path, False
    with _open(source) as stream, tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as copy:
        path = Path(copy.name)
        try:
            shutil.copyfileobj(stream, copy, 2**20)
        except BaseException:
            path.unlink()
            raise
    return path, True


def check_encoding(encoding: str) -> str:
    """Return the codec of an encoding.

    Args:
        encoding: Any of the names that Python knows.

    Returns:
        Python's own name; ``utf-8`` for what is read without decoding.

    Raises:
        InputError: There is no such encoding of text.
    """
    try:
        name = codecs.lookup(encoding).name
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError(encoding)
    except (LookupError, ValueError):
        raise InputError(f"encoding {encoding!r} is unknown: use e.g. 'utf-8', 'cp1252' or 'utf-16'.") from None
    return "utf-8" if name in ("utf-8-sig", "ascii") else name


def _open(source: Source) -> BinaryIO:
    try:
        return source.open()
    except OSError as error:
        raise InputError(f"Cannot read {source.name} ({error.strerror}): check the file and its permissions.") from None


@contextmanager
def _unzip(source: Source, raw: BinaryIO) -> Iterator[tuple[BinaryIO, int]]:
    """Open the one member of a zip, and say how many bytes it has there.

    The directory of a zip is at its end, so a remote one is copied to a temporary file.
    """
    with tempfile.TemporaryFile() as copy:
        if not source.path:
            shutil.copyfileobj(raw, copy, 2**20)
        member, size = _open_member(source.name, raw if source.path else copy)
        with member:
            yield io.BufferedReader(member, 2**20), size


def _open_member(name: str, stream: BinaryIO) -> tuple[BinaryIO, int]:
    """Open the one member of a zip, and say how many bytes it has there."""
    try:
        archive = zipfile.ZipFile(stream)
        names = [one for one in archive.namelist() if not one.endswith("/") and not one.startswith("__MACOSX/")]
        if len(names) != 1:
            raise InputError(f"{name} holds {len(names)} files: give a zip with exactly one, or unpack it.")
        # The archive says itself how large its member is packed: not larger than it is itself.
        packed = min(archive.getinfo(names[0]).compress_size, stream.seek(0, io.SEEK_END))
        return archive.open(names[0]), packed
    except InputError:
        raise
    except Exception as error:  # zipfile raises most of what there is for an archive that is damaged
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name} cannot be unpacked ({reason}): write the zip again.") from None
