"""Sign images and verify their signatures, so that cosign understands both.

Source: https://github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md. The signatures of an image are the layers of one
manifest under the tag ``sha256-<digits>.sig``; each layer is a payload that names the image's digest, its signature is
an annotation. The manifest has the image as its subject too, so that tools that list referrers find it.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from loopline.components.delivery.keys import Keys, load_keys
from loopline.components.delivery.oci import CONFIG, MANIFEST, Document, blob_descriptor, descriptors, digits, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.store import Change, Store, by_digest, open_store, read_blob, require_manifest
from loopline.components.errors import InputError

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
#: What the manifest with the signatures is called among the referrers.
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
_TYPE = "cosign container image signature"


def sign(image: str) -> None:
    """Sign an image, and the manifest of each of its platforms: engines verify the one they run.

    Nothing is written where the key has signed already.

    Args:
        image: The image by digest.

    Raises:
        InputError: There is no key or no such image, or the signature cannot be stored.
    """
    reference, keys = by_digest(image), load_keys()
    store = open_store(reference)
    index = require_manifest(store, reference.digest)
    platforms = descriptors(index.content, "manifests") if index.is_index else []
    parts = [require_manifest(store, platform["digest"]) for platform in platforms]
    sign_manifests(store, reference, [index, *parts], keys)


def sign_manifests(store: Store, reference: ImageReference, documents: Sequence[Document], keys: Keys) -> None:
    """Sign manifests of one image; nothing is written where the key has signed already.

    Args:
        store: Where they are.
        reference: The image, whose repository the signature names.
        documents: The image's own manifest or index, whose signature becomes a referrer, and others that belong to it.
        keys: With the private key.

    Raises:
        InputError: There is no private key, or a signature cannot be stored.
    """
    keys.require_private()
    changes = {}
    for document in documents:
        subject = document if document is documents[0] else None
        changes[signature_tag(document.digest)] = _signed(store, reference, document.digest, subject, keys)
    store.update(changes)


def verify(image: str) -> None:
    """Check that an image is signed with the key of this environment.

    Args:
        image: The image by digest.

    Raises:
        InputError: It is not signed, signed with another key only, or the signature is one of another image.
    """
    reference, keys = by_digest(image), load_keys()
    verify_digest(open_store(reference), reference.digest, keys)


def verify_digest(store: Store, digest: str, keys: Keys) -> None:
    """Check that a manifest is signed.

    Args:
        store: Where its signatures are.
        digest: Its digest.
        keys: With the public key.

    Raises:
        InputError: As ``verify`` says.
    """
    signatures = store.get_manifest(signature_tag(digest))
    layers = layers_of(signatures, PAYLOAD)
    if not layers:
        require_manifest(store, digest)  # or else that is what is to be said
        raise InputError(
            f"Image {digest} in {store.name} is not signed: use an image of build_model_image, or sign it with "
            "`cosign sign --key`."
        )
    payloads = [data for data in (_payload(store, layer, keys) for layer in layers) if data is not None]
    if not payloads:
        raise InputError(
            f"Image {digest} in {store.name} is not signed with the key {keys.fingerprint[:19]} that is trusted here: "
            "its signature is another's or was changed; check COSIGN_PUBLIC_KEY, or build the image with your key."
        )
    if digest not in payloads:
        raise InputError(
            f"The signature on image {digest} in {store.name} was made for {payloads[0]}: it was copied from another "
            "image, do not use this one."
        )


def signature_tag(digest: str) -> str:
    """Return the tag that cosign looks for an image's signatures under."""
    return f"sha256-{digits(digest)}.sig"


def layers_of(document: Document | None, media_type: str) -> list[dict]:
    """Return the layers of a kind in a manifest of signatures or attestations.

    Args:
        document: The manifest; None when there is none.
        media_type: The layers' media type.
    """
    layers = descriptors(document.content, "layers") if document else []
    return [layer for layer in layers if layer.get("mediaType") == media_type]


def attached(kind: str, subject: Document | None, layers: list[dict], *blobs: bytes) -> Document:
    """Write a manifest as cosign attaches them: an image of no platform, whose layers are what is attached.

    Args:
        kind: What it is called among the referrers.
        subject: What it is attached to; None when its tag alone says so.
        layers: The layers' descriptors.
        blobs: The layers that may be new.
    """
    config = encode(
        {
            "architecture": "",
            "config": {},
            "created": "0001-01-01T00:00:00Z",
            "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    return Document.build(
        MANIFEST,
        *blobs,
        config,
        artifactType=kind,
        config=blob_descriptor(CONFIG, config),
        layers=layers,
        subject=subject.descriptor() if subject else None,
    )


def _signed(store: Store, reference: ImageReference, digest: str, subject: Document | None, keys: Keys) -> Change:
    """Return the change that adds a signature of ours to those of a digest, where there is none yet."""
    payload = encode(
        {
            "critical": {
                "identity": {"docker-reference": _identity(reference)},
                "image": {"docker-manifest-digest": digest},
                "type": _TYPE,
            },
            "optional": None,
        }
    )

    def change(current: Document | None) -> Document | None:
        layers = layers_of(current, PAYLOAD)
        if any(_payload(store, layer, keys) == digest for layer in layers):
            return None
        signature = base64.b64encode(keys.sign(payload)).decode()
        layers = [*layers, blob_descriptor(PAYLOAD, payload, annotations={SIGNATURE: signature})]
        return attached(ARTIFACT, subject, layers, payload)

    return change


def _identity(reference: ImageReference) -> str:
    """Return the repository as the payload names it; nobody checks it, because images are copied."""
    if reference.kind == "layout":
        return PurePosixPath(reference.location).name
    return f"{reference.location}/{reference.repository}"


def _payload(store: Store, layer: dict, keys: Keys) -> str | None:
    """Return the digest that a signature of ours vouches for; None when it is not ours."""
    try:
        signature = base64.b64decode((layer.get("annotations") or {}).get(SIGNATURE, ""), validate=True)
    except (ValueError, TypeError):
        return None
    data = read_blob(store, layer)
    if not keys.verifies(signature, data):
        return None
    try:
        return json.loads(data)["critical"]["image"]["docker-manifest-digest"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "something that is no image"  # the key signs other things too
