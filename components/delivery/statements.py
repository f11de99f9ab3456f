"""Statements about an image, signed and attached beside it, so that cosign verifies them and the image stays as it is.

Sources: https://github.com/sigstore/cosign, specs/ATTESTATION_SPEC.md; the envelope and what of it is signed:
https://github.com/secure-systems-lab/dsse, protocol.md; the statement: https://github.com/in-toto/attestation,
spec/v1/statement.md.
"""

import base64
from collections.abc import Collection
from dataclasses import dataclass

from loopline.components.delivery.keys import Keys
from loopline.components.delivery.oci import Document, blob_descriptor, digits, encode, parse
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.signing import SIGNATURE, attached, layers_of
from loopline.components.delivery.store import Change, Store, read_blob, require_manifest
from loopline.components.errors import InputError

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
#: What the manifest with the attestations is called among the referrers.
ARTIFACT = "application/vnd.dev.cosign.artifact.att.v1+json"
_STATEMENT = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
#: The key of a layer's annotation by which cosign finds attestations of a type.
_TYPE_ANNOTATION = "predicateType"


@dataclass(frozen=True)
class Kind:
    """A kind of statement, and what to say where one is missing or wrong.

    Attributes:
        type: The predicate's type, a URI.
        name: What to call it in a message.
        missing: What to say of an image without one.
        foreign: What to do where it is signed with another key.
        copied: What to do where it is that of another image.
    """

    type: str
    name: str
    missing: str
    foreign: str
    copied: str


def attach_statement(
    store: Store, reference: ImageReference, kind: Kind, predicate: dict, keys: Keys, replace: bool = True
) -> None:
    """Attach a signed statement to an image.

    One statement of a kind and key stands at a time; nothing is written where the same one stands already.

    Args:
        store: Where the image is.
        reference: The image by digest.
        kind: What is stated.
        predicate: The statement.
        keys: With the private key.
        replace: Whether another one of ours gives way to it; else the one that is there stays.

    Raises:
        InputError: There is no key or no such image, or the statement cannot be stored.
    """
    keys.require_private()
    subject = require_manifest(store, reference.digest)
    name = reference.repository or "image"
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digits(subject.digest)}}],
        "predicateType": kind.type,
        "predicate": predicate,
    }
    store.update({attestation_tag(subject.digest): _change(store, subject, statement, keys, replace)})


def require_statement(store: Store, digest: str, kind: Kind, keys: Keys) -> dict:
    """Return what a key's owner states of an image.

    Args:
        store: Where its statements are.
        digest: Its digest.
        kind: What has to be stated.
        keys: With the public key.

    Returns:
        The predicate.

    Raises:
        InputError: Nothing is stated, or by another key or of another image only.
    """
    layers = _layers(store.get_manifest(attestation_tag(digest)), kind.type)
    if not layers:
        require_manifest(store, digest)  # or else that is what is to be said
        raise InputError(f"Image {digest} in {store.name} {kind.missing}.")
    statements = [statement for layer in layers if (statement := _statement(store, layer, keys))]
    if not statements:
        raise InputError(
            f"The {kind.name} of image {digest} in {store.name} is not signed with the key {keys.fingerprint[:19]} "
            f"that is trusted here: check COSIGN_PUBLIC_KEY, or {kind.foreign}."
        )
    own = [one for one in statements if _subject(one) == digest and one.get("predicateType") == kind.type]
    if not own:
        raise InputError(
            f"The {kind.name} on image {digest} in {store.name} is that of {_subject(statements[-1])}: it was copied "
            f"from another image, {kind.copied}."
        )
    return own[-1].get("predicate") or {}


def find_statements(store: Store, digest: str, kind: Kind, keys: Collection[Keys]) -> list[tuple[Keys, dict]]:
    """Return what the owners of some keys state of an image: each key that states anything, with the predicate.

    Args:
        store: Where its statements are.
        digest: Its digest.
        kind: What may be stated.
        keys: Each with the public key.
    """
    found = []
    for layer in _layers(store.get_manifest(attestation_tag(digest)), kind.type):
        for one in keys:
            statement = _statement(store, layer, one)
            if statement and _subject(statement) == digest and statement.get("predicateType") == kind.type:
                found.append((one, statement.get("predicate") or {}))
    return found


def attestation_tag(digest: str) -> str:
    """Return the tag that cosign looks for an image's attestations under."""
    return f"sha256-{digits(digest)}.att"


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return what of an envelope is signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _change(store: Store, subject: Document, statement: dict, keys: Keys, replace: bool) -> Change:
    """Return the change that puts our statement in the place of the one that we attached before."""
    kind = statement["predicateType"]

    def change(current: Document | None) -> Document | None:
        ours = {layer["digest"]: _statement(store, layer, keys) for layer in _layers(current, kind)}
        stands = [one for one in ours.values() if one and _subject(one) == subject.digest]
        if statement in stands or (stands and not replace):
            return None
        others = [layer for layer in layers_of(current, ENVELOPE) if not ours.get(layer["digest"])]
        payload = encode(statement)
        signature = keys.sign(signed_bytes(_STATEMENT, payload))
        envelope = encode(
            {
                "payloadType": _STATEMENT,
                "payload": base64.b64encode(payload).decode(),
                "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
            }
        )
        # cosign writes the annotation with the signature empty: it is in the envelope.
        annotations = {SIGNATURE: "", _TYPE_ANNOTATION: kind}
        layer = blob_descriptor(ENVELOPE, envelope, annotations=annotations)
        return attached(ARTIFACT, subject, [*others, layer], envelope)

    return change


def _layers(attestations: Document | None, kind: str) -> list[dict]:
    layers = layers_of(attestations, ENVELOPE)
    return [one for one in layers if (one.get("annotations") or {}).get(_TYPE_ANNOTATION) == kind]


def _statement(store: Store, layer: dict, keys: Keys) -> dict | None:
    """Return the statement in an envelope; None when its signature is not ours."""
    envelope = parse(read_blob(store, layer), f"attestation {layer['digest']}")
    try:
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
    except (KeyError, TypeError, ValueError):
        return None
    if kind != _STATEMENT or not any(keys.verifies(one, signed_bytes(kind, payload)) for one in signatures):
        return None
    return parse(payload, f"statement of attestation {layer['digest']}")


def _subject(statement: dict) -> str:
    try:
        return f"sha256:{statement['subject'][0]['digest']['sha256']}"
    except (KeyError, IndexError, TypeError):
        return "nothing"
