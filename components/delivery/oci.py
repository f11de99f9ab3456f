"""The documents and blobs that OCI images are made of.

Specification: https://github.com/opencontainers/image-spec, version 1.1: descriptor.md, manifest.md, image-index.md.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from loopline.components.errors import InputError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
#: What Docker called the same documents before there was a specification.
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
#: Bytes read and sent at a time.
CHUNK = 2**20
#: Largest manifest or configuration that is read: registries have to take 4 MiB.
MAX_DOCUMENT = 4 * 2**20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Readable(Protocol):
    """Anything bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes; none at the end."""


@dataclass(frozen=True)
class Blob:
    """Content to upload, known by its digest and read as often as needed.

    Attributes:
        digest: ``sha256:...``.
        size: Bytes.
        chunks: Returns the content from its beginning, in pieces.
    """

    digest: str
    size: int
    chunks: Callable[[], Iterable[bytes]]

    @classmethod
    def of(cls, data: bytes) -> "Blob":
        """Return some bytes as a blob."""
        return cls(digest_of(data), len(data), lambda: [data])


@dataclass(frozen=True)
class Document:
    """An image manifest or index, byte for byte.

    Attributes:
        media_type: Its media type.
        data: Its bytes: the digest is theirs.
        blobs: Small blobs that it refers to and that have to be there before it.
    """

    media_type: str
    data: bytes
    blobs: tuple[bytes, ...] = ()

    @classmethod
    def build(cls, media_type: str, *blobs: bytes, **content) -> "Document":
        """Write a document; the same content gives the same bytes.

        Args:
            media_type: Its media type.
            blobs: Small blobs that it refers to.
            content: Its properties; those that are None are left out.
        """
        given = {name: value for name, value in content.items() if value is not None}
        return cls(media_type, encode({"schemaVersion": 2, "mediaType": media_type, **given}), blobs)

    @cached_property
    def digest(self) -> str:
        """The digest of its bytes."""
        return digest_of(self.data)

    @cached_property
    def content(self) -> dict:
        """Its properties.

        Raises:
            InputError: It is not JSON, or not of its kind.
        """
        return parse(self.data, f"manifest {self.digest}")

    @property
    def annotations(self) -> dict[str, str]:
        """What it says of itself.

        Raises:
            InputError: Its annotations are no text by name.
        """
        found = self.content.get("annotations") or {}
        if not (isinstance(found, dict) and all(isinstance(value, str) for value in found.values())):
            raise InputError(f"The annotations of manifest {self.digest} are not text: the image is damaged.")
        return found

    def descriptor(self, **properties) -> dict:
        """Return the descriptor that refers to it, with more properties where they are given."""
        more = {name: value for name, value in properties.items() if value}
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.media_type in (INDEX, DOCKER_INDEX)


class CheckedStream:
    """A stream that has to hold what a descriptor says, which is known once it has been read to its end."""

    def __init__(self, raw: Readable, descriptor: dict, where: str):
        """Check a stream while it is read.

        Args:
            raw: The stream.
            descriptor: Its ``digest`` and ``size``.
            where: What to call it in messages.
        """
        self._raw, self._where = raw, where
        self._expected, self._left = descriptor["digest"], descriptor["size"]
        self._hash, self._ended = hashlib.sha256(), False

    def read(self, size: int = CHUNK, /) -> bytes:
        """Read up to ``size`` bytes; none at the end.

        Raises:
            InputError: The content is not what it should be.
        """
        data = self._raw.read(size if size >= 0 else CHUNK)
        self._hash.update(data)
        self._left -= len(data)
        if self._left < 0 or (not data and (self._left or self._found != self._expected)):
            raise InputError(
                f"{self._expected} from {self._where} is damaged or was tampered with: its content has another digest "
                "or size; do not use this image, build it again."
            )
        return data

    @property
    def _found(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def chunks(self) -> Iterator[bytes]:
        """Read to the end in pieces.

        Raises:
            InputError: The content is not what it should be.
        """
        while data := self.read(CHUNK):
            yield data


def digest_of(data: bytes) -> str:
    """Return ``sha256:`` and the hexadecimal digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encode(value: object) -> bytes:
    """Write JSON the one way that makes equal values equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parse(data: bytes, what: str) -> dict:
    """Read a JSON object.

    Args:
        data: The bytes.
        what: What to call it in the message.

    Returns:
        Its properties.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        value = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"The {what} is not a JSON object: the image is damaged, build it again.")
    return value


def _finite(text: str) -> float:
    """Read a number; NaN and what is beyond all numbers are no JSON, and could not be written again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def media_type(data: bytes, digest: str) -> str:
    """Return what kind of manifest some bytes are, where nobody says it but they themselves.

    Args:
        data: The bytes.
        digest: Their digest, for the message.

    Raises:
        InputError: They are no JSON object.
    """
    content = parse(data, f"manifest {digest}")
    return content.get("mediaType") or (INDEX if "manifests" in content else MANIFEST)


def referrer_descriptor(document: Document) -> dict:
    """Return the descriptor of a referrer, as lists of referrers hold it.

    Args:
        document: The referrer's manifest.
    """
    content = document.content
    kind = content.get("artifactType") or (content.get("config") or {}).get("mediaType")
    return document.descriptor(artifactType=None if kind == EMPTY else kind, annotations=content.get("annotations"))


def blob_descriptor(media_type: str, blob: Blob | bytes, **properties) -> dict:
    """Return the descriptor of a blob, with more properties where they are given.

    Args:
        media_type: Its media type.
        blob: The blob, or its bytes.
        properties: Such as ``annotations``.
    """
    blob = Blob.of(blob) if isinstance(blob, bytes) else blob
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size, **properties}


def digits(digest: object) -> str:
    """Return the 64 hexadecimal digits of a digest.

    Args:
        digest: ``sha256:...``, from a manifest that somebody else may have written.

    Raises:
        InputError: It is not such a digest.
    """
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise InputError(f"{digest!r} is not a digest: write sha256: and 64 hexadecimal digits.")
    return digest.removeprefix("sha256:")


def check_descriptor(descriptor: object) -> dict:
    """Return a descriptor that somebody else may have written, once it is one.

    Args:
        descriptor: It should have ``digest`` and ``size``, and what else it has should be of its kind.

    Raises:
        InputError: It has not.
    """
    size = descriptor.get("size") if isinstance(descriptor, dict) else None
    if not (
        isinstance(size, int)
        and size >= 0
        and isinstance(descriptor.get("mediaType", ""), str)
        and all(isinstance(descriptor.get(name) or {}, dict) for name in ("annotations", "platform"))
    ):
        raise InputError(f"{descriptor!r} is not a descriptor of a manifest or blob: the image is damaged.")
    digits(descriptor.get("digest"))
    return descriptor


def descriptors(content: dict, key: str) -> list[dict]:
    """Return the descriptors that a manifest or index lists.

    Args:
        content: Its properties.
        key: ``layers`` or ``manifests``.

    Raises:
        InputError: They are none.
    """
    listed = content.get(key) or []
    if not isinstance(listed, list):
        raise InputError(f"{listed!r} is not a list of {key}: the image is damaged, build it again.")
    return [check_descriptor(descriptor) for descriptor in listed]


def diff_ids(config: dict, layers: list[dict], what: str) -> list[str]:
    """Return the digests of an image's unpacked layers.

    Args:
        config: The image's configuration.
        layers: The layers in its manifest.
        what: What to call the image in the message.

    Raises:
        InputError: The configuration does not have one for each layer.
    """
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or len(found) != len(layers):
        raise InputError(f"{what} and its configuration disagree about its layers: it is damaged, or no image to run.")
    return found


def platform_name(platform: dict) -> str:
    """Return a platform as people write it, such as ``linux/arm64/v8``."""
    return "/".join(str(platform[part]) for part in ("os", "architecture", "variant") if platform.get(part))
