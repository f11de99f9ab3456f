"""The result of an image's test, attached to it.

Source: https://github.com/in-toto/attestation, spec/predicates/test-result.md.
"""

from loopline.components.delivery.keys import Keys, load_keys
from loopline.components.delivery.statements import Kind, attach_statement, require_statement
from loopline.components.delivery.store import Store, by_digest, open_store
from loopline.components.errors import InputError

TESTED = Kind(
    type="https://in-toto.io/attestation/test-result/v0.1",
    name="test result",
    missing="is untested: run test_model_image on it",
    foreign="test the image with your key",
    copied="run test_model_image on this one",
)


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
    attach_statement(open_store(reference), reference, TESTED, predicate, keys)


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
    predicate = require_statement(store, digest, TESTED, keys)
    if predicate.get("result") != "PASSED":
        raise InputError(
            f"Image {digest} in {store.name} did not pass its test ({predicate.get('result')}): mend the model and "
            "build it again."
        )
    return predicate
