"""Where images are kept: one protocol over registries and OCI layout folders."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from loopline.components.delivery.oci import MAX_DOCUMENT, Blob, CheckedStream, Document, check_descriptor
from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError

#: Given what a tag names now, returns what it should name; None when that is as it should be.
Change = Callable[[Document | None], Document | None]


class Store(Protocol):
    """Blobs and manifests of one repository of a registry, or of one OCI layout.

    Attributes:
        name: What to call it in messages.
    """

    name: str

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob is there, whole."""

    def push_blob(self, blob: Blob, mount_from: str = "") -> None:
        """Store a blob; nothing is sent when it is there.

        Args:
            blob: The blob.
            mount_from: A repository of the same registry that has it.

        Raises:
            InputError: It cannot be stored.
        """

    def open_blob(self, descriptor: dict) -> AbstractContextManager[CheckedStream]:
        """Open a blob for reading; what is read is checked against the descriptor.

        Raises:
            InputError: It is not there, cannot be read or is not what the descriptor says.
        """

    def get_manifest(self, name: str) -> Document | None:
        """Return the manifest or index of a digest or tag, checked; None when there is none.

        Raises:
            InputError: It cannot be read or is not what the digest says.
        """

    def push_manifest(self, document: Document, tag: str = "") -> None:
        """Store a manifest or index, whose blobs and manifests are there, and let a tag name it.

        One with a ``subject`` becomes a referrer of it.

        Raises:
            InputError: It cannot be stored.
        """

    def update(self, changes: Mapping[str, Change]) -> dict[str, Document]:
        """Change what tags name, so that of two who do it at once neither is lost.

        Args:
            changes: For each tag what it should name, from what it names now.

        Returns:
            What each tag names in the end; tags that name nothing are left out.

        Raises:
            InputError: It cannot be stored.
        """

    def referrers(self, digest: str) -> list[dict]:
        """Return descriptors of the manifests whose subject a digest is."""


def open_store(reference: ImageReference) -> Store:
    """Open the place a reference points to. Nothing is asked or written yet.

    Args:
        reference: The reference.

    Returns:
        The store.
    """
    if reference.kind == "layout":
        from loopline.components.delivery.layout import Layout

        return Layout(reference.location)
    from loopline.components.delivery.registry import Registry

    return Registry(reference.location, reference.repository)


def by_digest(image: str) -> ImageReference:
    """Read a reference that names an image by digest.

    Args:
        image: The reference.

    Returns:
        The reference, its tag left out: a tag may name something else by now.

    Raises:
        InputError: It has no digest, or is not a reference.
    """
    reference = ImageReference.parse(image)
    if not reference.digest:
        raise InputError(f"Image {image!r} is not named by digest: add @sha256:..., as build_model_image returns it.")
    return reference.at(reference.digest)


def resolve(image: str) -> str:
    """Find the digest that a tag names.

    Args:
        image: A reference with a tag; one with a digest is returned as it is.

    Returns:
        The reference by digest.

    Raises:
        InputError: There is no such tag, or the place cannot be read.
    """
    reference = ImageReference.parse(image)
    if reference.digest:
        return reference.at(reference.digest).uri
    store = open_store(reference)
    document = store.get_manifest(reference.tag or "latest")
    if document is None:
        raise InputError(f"There is no image {image} in {store.name}: check the name and the tag.")
    return reference.at(document.digest).uri


def require_manifest(store: Store, digest: str) -> Document:
    """Return a manifest that has to be there.

    Args:
        store: Where.
        digest: Its digest.

    Raises:
        InputError: It is not there.
    """
    document = store.get_manifest(digest)
    if document is None:
        raise InputError(f"There is no image {digest} in {store.name}: check the reference, or build the image again.")
    return document


def read_blob(store: Store, descriptor: dict) -> bytes:
    """Return a small blob: a configuration, a signature.

    Args:
        store: Where.
        descriptor: Its descriptor.

    Raises:
        InputError: It is not there, not what the descriptor says, or larger than such a blob is.
    """
    if check_descriptor(descriptor)["size"] > MAX_DOCUMENT:
        raise InputError(f"{descriptor['digest']} in {store.name} is too large for what it is: build the image again.")
    with store.open_blob(descriptor) as stream:
        return b"".join(stream.chunks())
