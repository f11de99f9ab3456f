"""Images in an OCI layout folder.

Specification: https://github.com/opencontainers/image-spec, image-layout.md. ``index.json`` names the tagged images,
signatures and other referrers; whatever is written appears under its name when it is whole.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path

from loopline.components.delivery.oci import (
    INDEX,
    MANIFEST,
    MAX_DOCUMENT,
    Blob,
    CheckedStream,
    Document,
    check_descriptor,
    descriptors,
    digits,
    encode,
    media_type,
    parse,
    referrer_descriptor,
)
from loopline.components.delivery.store import Change
from loopline.components.errors import InputError

_REF_NAME = "org.opencontainers.image.ref.name"
_INDEX, _MARK, _LOCK = "index.json", "oci-layout", ".lock"


class Layout:
    """An OCI layout folder as a store."""

    def __init__(self, folder: str | Path):
        """Name a layout; the folder is made when something is written.

        Args:
            folder: The folder.
        """
        self._folder = Path(folder)
        self.name = f"OCI layout {folder}"

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob is there and is what its digest says, so that writing it again repairs it."""
        file = self._file(digest)
        if not file.is_file():
            return False
        try:
            with self.open_blob({"digest": digest, "size": file.stat().st_size}) as stream:
                return all(stream.chunks())
        except InputError:
            return False

    def push_blob(self, blob: Blob, mount_from: str = "") -> None:
        """Store a blob; nothing is written when it is there."""
        del mount_from  # a layout has one repository
        with self._writing():
            self._write(blob)

    @contextlib.contextmanager
    def open_blob(self, descriptor: dict) -> Iterator[CheckedStream]:
        """Open a blob for reading; what is read is checked against the descriptor."""
        digest = check_descriptor(descriptor)["digest"]
        try:
            stream = self._file(digest).open("rb", buffering=0)
        except OSError as error:
            raise InputError(
                f"{self.name} lacks {digest} ({error.strerror}): build the image again, or copy the whole folder."
            ) from None
        with stream:
            yield CheckedStream(stream, descriptor, self.name)

    def get_manifest(self, name: str) -> Document | None:
        """Return the manifest or index of a digest or tag, checked; None when there is none."""
        if not name.startswith("sha256:"):
            entry = next((entry for entry in self._entries() if _tag(entry) == name), None)
            return self._document(entry["digest"]) if entry else None
        return self._document(name) if self._file(name).is_file() else None

    def push_manifest(self, document: Document, tag: str = "") -> None:
        """Store a manifest or index, and let a tag name it."""
        with self._writing():
            self._put(document, tag)

    def update(self, changes: Mapping[str, Change]) -> dict[str, Document]:
        """Change what tags name; others wait meanwhile."""
        found = {}
        with self._writing():
            for tag, change in changes.items():
                current = self.get_manifest(tag)
                if (wanted := change(current)) is not None:
                    self._put(wanted, tag)
                    current = wanted
                if current is not None:
                    found[tag] = current
        return found

    def referrers(self, digest: str) -> list[dict]:
        """Return descriptors of the manifests whose subject a digest is."""
        found = []
        for entry in self._entries():
            if entry.get("mediaType") == MANIFEST:
                document = self._document(entry["digest"])
                if (document.content.get("subject") or {}).get("digest") == digest:
                    found.append(referrer_descriptor(document))
        return found

    def _put(self, document: Document, tag: str) -> None:
        for data in (*document.blobs, document.data):
            self._write(Blob.of(data))
        if not tag and "subject" not in document.content:
            return  # reached through the index that names it
        entries = [entry for entry in self._entries() if not (tag and _tag(entry) == tag)]
        if tag:
            entries.append(document.descriptor(annotations={_REF_NAME: tag}))
        elif all(entry["digest"] != document.digest for entry in entries):
            entries.append(referrer_descriptor(document))
        if entries != self._entries():
            self._replace(_INDEX, Blob.of(encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})))

    def _document(self, digest: str) -> Document:
        size = min(self._file(digest).stat().st_size, MAX_DOCUMENT) if self._file(digest).is_file() else 0
        with self.open_blob({"digest": digest, "size": size}) as stream:
            data = b"".join(stream.chunks())
        return Document(media_type(data, digest), data)

    def _entries(self) -> list[dict]:
        try:
            data = (self._folder / _INDEX).read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.name} cannot be read ({error.strerror}): check the path.") from None
        return descriptors(parse(data, f"index of {self.name}"), "manifests")

    def _file(self, digest: str) -> Path:
        return self._folder / "blobs" / "sha256" / digits(digest)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the layout for writing; the kernel lets go of it when the process dies."""
        try:
            (self._folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            with open(self._folder / _LOCK, "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (self._folder / _MARK).is_file():
                    self._replace(_MARK, Blob.of(b'{"imageLayoutVersion":"1.0.0"}'))
                yield
        except OSError as error:
            raise InputError(
                f"{self.name} cannot be written ({error.strerror}): name a folder with room that may be written."
            ) from None

    def _write(self, blob: Blob) -> None:
        if not self.has_blob(blob.digest):
            self._replace(self._file(blob.digest).relative_to(self._folder), blob)

    def _replace(self, name: str | Path, blob: Blob) -> None:
        """Write a file beside its place and move it there; one that was left half-written is written over."""
        partial = self._folder / ".partial"
        try:
            with open(partial, "wb") as stream:
                checked = CheckedStream(_Chunks(blob), {"digest": blob.digest, "size": blob.size}, "the model")
                for chunk in checked.chunks():
                    stream.write(chunk)
            partial.replace(self._folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)  # it may be what fills the disk
            raise


class _Chunks:
    """The pieces of a blob as a stream, whatever size is asked for."""

    def __init__(self, blob: Blob):
        self._pieces = (piece for piece in blob.chunks() if piece)

    def read(self, size: int = -1, /) -> bytes:
        del size
        return next(self._pieces, b"")


def _tag(entry: dict) -> str:
    return (entry.get("annotations") or {}).get(_REF_NAME, "")
