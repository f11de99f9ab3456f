"""Secrets that are planted to be looked for: in whatever form, and inside of what is packed or compressed."""

import base64
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: In every canary, so that it is enough to look for this.
MARK = "CanaryQz7x"
#: How deep archives are looked into.
_DEPTH = 4


def password(name: str) -> str:
    """Return a canary with what has a meaning in addresses, forms and shells."""
    return f"{MARK}{name}@:/%&+ $'end"


def token(name: str) -> str:
    """Return a canary that is a word, as tokens and keys are."""
    return f"{MARK}{name}.a+b/c=="


def forms() -> dict[str, bytes]:
    """Return the forms of the mark by name; what may stand before it and behind it makes no difference."""
    raw = MARK.encode()
    found = {
        "plain": raw.lower(),
        "hexadecimal": raw.hex().encode(),
        "percent": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "UTF-16": MARK.encode("utf-16-le").lower(),
    }
    for before in range(3):
        # Characters that hold a bit of a neighbor differ with it.
        text = base64.b64encode(bytes(before) + raw)
        first, last = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        found[f"base64 {before}"] = text[first:last]
    return found


_FORMS = forms()


@dataclass
class Search:
    """What was looked through, and what was found.

    Attributes:
        also: More to look for, as it stands: what a key is made of.
        files: How many files, members of archives and objects.
        size: How many bytes, packed and unpacked.
        leaks: Where a canary is, and what stands around it.
    """

    also: tuple[bytes, ...] = ()
    files: int = 0
    size: int = 0
    leaks: list[str] = field(default_factory=list)

    def text(self, where: str, text: str) -> None:
        """Look through a text."""
        self.data(where, text.encode("utf-8", "replace"))

    def folder(self, folder: Path, leave_out: tuple[Path, ...] = ()) -> None:
        """Look through a folder's files, their names, and the objects of bare Git repositories in it."""
        for path in sorted(folder.rglob("*")):
            if any(path.is_relative_to(left_out) for left_out in leave_out):
                continue
            self.text(f"name of {path}", path.name)
            if path.is_file():
                self.data(str(path), path.read_bytes())
            elif path.suffix == ".git":
                self.git(path)

    def git(self, repository: Path) -> None:
        """Look through every object of a repository, also those that no branch has any more."""
        command = ["git", "-C", str(repository), "cat-file", "--batch", "--batch-all-objects"]
        self.data(f"objects of {repository}", subprocess.run(command, capture_output=True, check=True).stdout)

    def data(self, where: str, data: bytes, depth: int = 0) -> None:
        """Look through bytes, and through what is in them."""
        self.files += 1
        self.size += len(data)
        lower = data.lower()
        for name, form in [*_FORMS.items(), *(("key", part) for part in self.also)]:
            text = data if name.startswith(("base64", "key")) else lower
            position = text.find(form)
            if position >= 0:
                around = data[max(0, position - 80) : position + 80]
                self.leaks.append(f"{where} ({name}): {around!r}")
        if depth < _DEPTH:
            for name, inner in _unpack(data):
                self.data(f"{where} > {name}", inner, depth + 1)


def _unpack(data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        if data[:2] == b"\x1f\x8b":
            yield "gzip", gzip.decompress(data)
        elif data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from ((name, archive.read(name)) for name in archive.namelist())
        elif data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive.getmembers():
                    yield member.name, str(member.get_info()).encode()
                    if member.isfile():
                        yield member.name, archive.extractfile(member).read()
        elif data[:4] == data[-4:] == b"PAR1":
            yield "rows", _rows(data)
        elif data[:6] == b"\xfd7zXZ\x00":
            yield "xz", lzma.decompress(data)
        elif data[:1] == b"\x78":
            yield "zlib", zlib.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError):
        return  # it only begins like one


def _rows(data: bytes) -> bytes:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    return (str(table.schema) + str(table.to_pydict())).encode()
