"""Fetch the model in an image: by digest, signature first, every byte checked, and whole or not at all."""

import contextlib
import fcntl
import glob
import gzip
import json
import logging
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from loopline.components.delivery.annotations import MODEL_DIGEST, MODEL_NAME, MODEL_VERSION
from loopline.components.delivery.attestation import verify_tested_digest
from loopline.components.delivery.base import LAYERS
from loopline.components.delivery.build import MODELS
from loopline.components.delivery.keys import Keys, load_keys
from loopline.components.delivery.oci import CHUNK, CheckedStream, Document, Readable, descriptors, diff_ids, parse
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.signing import verify_digest
from loopline.components.delivery.store import Store, by_digest, open_store, read_blob, require_manifest, resolve
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, read_release, verify_model

__all__ = ["FetchedImage", "fetch_image", "read_annotations", "resolve"]

#: What was verified of a fetched image, beside the model.
RECORD = "image.json"
#: A layer may unpack to this many times its size, or to so many bytes if that is more: models do not pack better.
MOST_TIMES, FREE_BYTES = 200, 256 * 2**20
#: Files and folders of a layer that are looked at.
MOST_MEMBERS = 100_000

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class FetchedImage:
    """A model on disk, from an image.

    Attributes:
        folder: The model directory: what is under ``/models`` in the image.
        reference: The image by digest.
        digest: The image's digest.
        model_digest: The model's digest.
        name: The model's name.
        version: Its registered version; 0 when it is not registered.
        annotations: What the image says of itself.
    """

    folder: Path
    reference: str
    digest: str
    model_digest: str
    name: str
    version: int
    annotations: dict[str, str]


@dataclass(frozen=True)
class _Record:
    """What was verified, so that a machine may start again while the registry cannot be reached."""

    digest: str
    key: str
    tested: bool
    annotations: dict = field(default_factory=dict)


def fetch_image(image: str, folder: str | Path, tested: bool = False) -> FetchedImage:
    """Fetch an image's model into a folder, which appears when all of it is verified.

    Verified are the signature; the test result when ``tested``; digest and size of each manifest, configuration and
    layer, of all platforms; the files of the model directory. A folder that holds the same image, verified with the
    same key, is used as it is, without asking the registry; a damaged one is fetched again.

    Args:
        image: The image by digest.
        folder: Where to; it is made, and holds the model directory ``models``.
        tested: Whether the image must have passed its test.

    Returns:
        The fetched image.

    Raises:
        InputError: The image cannot be had, or is not what it should be; nothing is left in ``folder`` then.
    """
    reference, folder, keys = by_digest(image), Path(folder).absolute(), load_keys()
    if found := _reuse(folder, reference, keys, tested):
        return found
    if folder.exists() and not (folder / RECORD).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder, and not an image fetched before: name another one.")
    store = open_store(reference)
    verify_digest(store, reference.digest, keys)
    if tested:
        verify_tested_digest(store, reference.digest, keys)
    index = require_manifest(store, reference.digest)
    record = _Record(reference.digest, keys.fingerprint, tested, index.annotations)
    with _beside(folder) as temporary:
        _pull(store, index, temporary / MODELS)
        verify_model(temporary / MODELS)
        fetched = _describe(temporary, reference.uri, record)
        (temporary / RECORD).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
        _put_in_place(temporary, folder, lambda: _reuse(folder, reference, keys, tested))
    logger.info("fetched and verified %s", reference.short)
    return replace(fetched, folder=folder / MODELS)


def read_annotations(image: str) -> dict[str, str]:
    """Return what an image says of itself: the annotations of its index, which its digest covers.

    Args:
        image: The image by digest.

    Raises:
        InputError: There is no such image, or it cannot be read.
    """
    reference = by_digest(image)
    return require_manifest(open_store(reference), reference.digest).annotations


def _reuse(folder: Path, reference: ImageReference, keys: Keys, tested: bool) -> FetchedImage | None:
    """Return the image that a folder holds; None when it is not this one, whole and verified like this."""
    try:
        record = _Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        if (record.digest, record.key) != (reference.digest, keys.fingerprint) or (tested and not record.tested):
            return None
        verify_model(folder / MODELS)
        return _describe(folder, reference.uri, record)
    except (OSError, ValueError, TypeError):  # what is damaged is fetched again
        return None


def _describe(folder: Path, reference: str, record: _Record) -> FetchedImage:
    """Check that a verified model, its release and the image's annotations say the same, and say it."""
    model, annotations = folder / MODELS, record.annotations
    manifest, release = read_manifest(model), read_release(model)
    if not (isinstance(release, dict) and release):
        raise InputError(
            f"Image {record.digest} has no release.json beside its model: build it with build_model_image."
        )
    told = (release.get("name"), release.get("model_digest"), release.get("version"))
    if told != (manifest.name, manifest.digest, _version(annotations)) or told[:2] != (
        annotations.get(MODEL_NAME),
        annotations.get(MODEL_DIGEST),
    ):
        raise InputError(
            f"Image {record.digest} says it is {annotations.get(MODEL_NAME)} version {annotations.get(MODEL_VERSION)}, "
            f"but holds {manifest.name} ({manifest.digest[:19]}) and release {release}: build it again."
        )
    return FetchedImage(model, reference, record.digest, manifest.digest, manifest.name, told[2], annotations)


def _version(annotations: dict) -> int | None:
    text = annotations.get(MODEL_VERSION, "")
    return int(text) if text.isdecimal() else None


def _pull(store: Store, index: Document, models: Path) -> None:
    """Read and check all of an image, and unpack the model: it is the same on every platform."""
    entries = descriptors(index.content, "manifests") if index.is_index else []
    documents = [require_manifest(store, entry["digest"]) for entry in entries] or [index]
    unpacked, read = set(), set()
    for document in documents:
        config = parse(read_blob(store, document.content.get("config")), f"configuration in {store.name}")
        layers = descriptors(document.content, "layers")
        diff_ids(config, layers, f"Manifest {document.digest} in {store.name}")
        for layer in layers:
            if layer["digest"] not in read:
                with store.open_blob(layer) as stream:
                    if _unpack(stream, layer, models):
                        unpacked.add(layer["digest"])
                    for _ in stream.chunks():
                        pass  # what follows the archive belongs to the digest
                read.add(layer["digest"])
    for document in documents:
        if unpacked - {layer["digest"] for layer in document.content["layers"]}:
            raise InputError(f"Image {index.digest} holds another model for each platform: build it again.")


def _unpack(stream: CheckedStream, layer: dict, models: Path) -> bool:
    """Unpack what a layer has under ``/models``; returns whether there was anything."""
    media_type = layer.get("mediaType")
    if media_type not in LAYERS:
        raise InputError(f"Layer {layer['digest']} is of type {media_type}, which model images do not have.")
    # tarfile itself reads the first gzip stream only, and a layer may have many.
    plain, found = gzip.GzipFile(fileobj=stream, mode="rb") if media_type.endswith("gzip") else stream, False
    plain = _Bounded(plain, layer)
    try:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK) as archive:
            for number, member in enumerate(archive):
                if number > MOST_MEMBERS:
                    raise InputError(
                        f"Layer {layer['digest']} has more than {MOST_MEMBERS:,} files: build the image again."
                    )
                archive.members.clear()  # tarfile would keep all of them
                path = PurePosixPath(member.name)
                parts = [part for part in path.parts if part not in (".", "/")]
                if parts[:1] == [f".wh.{MODELS}"] or parts[:1] == [MODELS]:
                    found = True
                    _unpack_member(archive, member, models, parts)
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, LookupError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(
                f"The model cannot be written ({error.strerror}): make room, or name another folder."
            ) from None
        raise InputError(
            f"Layer {layer['digest']} is not a tar archive ({type(error).__name__}): build the image again."
        ) from None
    return found


class _Bounded:
    """The plain bytes of a layer, as long as there are not more of them than a model packs into one.

    Args:
        stream: The bytes.
        layer: The layer's descriptor.
    """

    def __init__(self, stream: Readable, layer: dict):
        self._stream, self._layer = stream, layer
        self._left = max(FREE_BYTES, MOST_TIMES * layer["size"])

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes; none at the end.

        Raises:
            InputError: There are too many.
        """
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"Layer {self._layer['digest']} unpacks to more than {MOST_TIMES} times its size, as no model does: do "
                "not use this image, build it again."
            )
        return data


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, models: Path, parts: list[str]) -> None:
    """Write one file or folder: nothing but those, and never outside of the model directory."""
    whiteout = any(part.startswith(".wh.") for part in parts)
    # A sparse file is as long as its header says, however little there is of it.
    plain = member.isdir() or (member.isreg() and not member.issparse() and len(parts) > 1)
    if not plain or ".." in parts or whiteout or "\0" in member.name:
        raise InputError(
            f"The image holds {member.name!r}, which is neither a file nor a folder of a model: do not use it, build "
            "it again."
        )
    target = models.joinpath(*parts[1:])
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.extractfile(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, CHUNK)


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Make a temporary folder beside a folder, and delete it and those that killed processes left there."""
    held, prefix = None, f".{folder.name}.fetch-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        while held is None:  # another process may take it for one that was left, before it is held
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
            held = _hold(temporary)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): name a folder that may be written.") from None
    try:
        for other in folder.parent.glob(f"{glob.escape(prefix)}*"):
            if other != temporary and (left := _hold(other)) is not None:
                shutil.rmtree(other, ignore_errors=True)
                os.close(left)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(held)


def _hold(folder: Path) -> int | None:
    """Lock a folder as long as this process lives; None when another one holds or owns it, or has deleted it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return None
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            return handle
    os.close(handle)
    return None


def _put_in_place(temporary: Path, folder: Path, is_there: Callable[[], object]) -> None:
    """Rename a verified folder to its name, in the place of another image or a damaged one.

    What it replaces is moved away whole and deleted after: half of it in its place would be nobody's.
    """
    for _ in range(3):
        try:
            temporary.rename(folder)
            return
        except OSError:  # there is one: of this image by another process, or what it is to replace
            if is_there():
                return
            with contextlib.suppress(OSError), _beside(folder) as discarded:
                folder.rename(discarded / "replaced")
    raise InputError(f"{folder} cannot be replaced: delete it, or name another folder.")
