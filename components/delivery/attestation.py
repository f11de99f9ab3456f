"""Attach the result of an image's test to it, signed, so that cosign verifies it.

Sources: https://github.com/sigstore/cosign, specs/ATTESTATION_SPEC.md; the envelope and what of it is signed:
https://github.com/secure-systems-lab/dsse, protocol.md; the statement: https://github.com/in-toto/attestation,
spec/v1/statement.md and spec/predicates/test-result.md.
"""

import base64

from loopline.components.delivery.keys import Keys, load_keys
from loopline.components.delivery.oci import Document, blob_descriptor, digits, encode, parse
from loopline.components.delivery.signing import SIGNATURE, attached, layers_of
from loopline.components.delivery.store import Change, Store, by_digest, open_store, read_blob, require_manifest
from loopline.components.errors import InputError

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
#: What the manifest with the attestations is called among the referrers.
ARTIFACT = "application/vnd.dev.cosign.artifact.att.v1+json"
_STATEMENT = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
#: The key of a layer's annotation by which cosign finds attestations of a type.
_TYPE_ANNOTATION = "predicateType"


def attest_tested(image: str, predicate: dict) -> None:
    """Attach a signed test result to an image.

    One result of a key stands at a time; nothing is written where the same result stands already.

    Args:
        image: The image by digest.
        predicate: The test result: ``result`` is ``PASSED``, ``WARNED`` or ``FAILED``, and more as its specification
            says.

    Raises:
        InputError: There is no key or no such image, or the result cannot be stored.
    """
    reference, keys = by_digest(image), load_keys()
    keys.require_private()
    store = open_store(reference)
    subject = require_manifest(store, reference.digest)
    name = reference.repository or "image"
    store.update({attestation_tag(subject.digest): _attested(store, subject, name, predicate, keys)})


def verify_tested(image: str) -> dict:
    """Check that an image passed its test, as the key of this environment vouches for.

    Args:
        image: The image by digest.

    Returns:
        The test result.

    Raises:
        InputError: It was not tested, did not pass, or the result is another key's or another image's.
    """
    reference = by_digest(image)
    return verify_tested_digest(open_store(reference), reference.digest, load_keys())


def verify_tested_digest(store: Store, digest: str, keys: Keys) -> dict:
    """Check that an image passed its test.

    Args:
        store: Where its attestations are.
        digest: Its digest.
        keys: With the public key.

    Returns:
        The test result.

    Raises:
        InputError: As ``verify_tested`` says.
    """
    layers = _test_results(store.get_manifest(attestation_tag(digest)))
    if not layers:
        require_manifest(store, digest)  # or else that is what is to be said
        raise InputError(f"Image {digest} in {store.name} is untested: run test_model_image on it.")
    statements = [statement for layer in layers if (statement := _statement(store, layer, keys))]
    if not statements:
        raise InputError(
            f"The test result of image {digest} in {store.name} is not signed with the key {keys.fingerprint[:19]} "
            "that is trusted here: check COSIGN_PUBLIC_KEY, or test the image with your key."
        )
    own = [one for one in statements if _subject(one) == digest and one.get("predicateType") == PREDICATE_TYPE]
    if not own:
        raise InputError(
            f"The test result on image {digest} in {store.name} is that of {_subject(statements[-1])}: it was copied "
            "from another image, run test_model_image on this one."
        )
    predicate = own[-1].get("predicate") or {}
    if predicate.get("result") != "PASSED":
        raise InputError(
            f"Image {digest} in {store.name} did not pass its test ({predicate.get('result')}): mend the model and "
            "build it again."
        )
    return predicate


def attestation_tag(digest: str) -> str:
    """Return the tag that cosign looks for an image's attestations under."""
    return f"sha256-{digits(digest)}.att"


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return what of an envelope is signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _attested(store: Store, subject: Document, name: str, predicate: dict, keys: Keys) -> Change:
    """Return the change that puts our test result in the place of the one that we attached before."""
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digits(subject.digest)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }

    def change(current: Document | None) -> Document | None:
        ours = {layer["digest"]: _statement(store, layer, keys) for layer in _test_results(current)}
        if statement in ours.values():
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
        annotations = {SIGNATURE: "", _TYPE_ANNOTATION: PREDICATE_TYPE}
        layer = blob_descriptor(ENVELOPE, envelope, annotations=annotations)
        return attached(ARTIFACT, subject, [*others, layer], envelope)

    return change


def _test_results(attestations: Document | None) -> list[dict]:
    layers = layers_of(attestations, ENVELOPE)
    return [one for one in layers if (one.get("annotations") or {}).get(_TYPE_ANNOTATION) == PREDICATE_TYPE]


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
