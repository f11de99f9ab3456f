"""Which images a site may be given: those that are signed and tested, by their digest."""

from dataclasses import dataclass

from loopline.components.delivery.annotations import MLFLOW_RUN, MODEL_NAME, MODEL_VERSION
from loopline.components.delivery.attestation import verify_tested_digest
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.release import Release
from loopline.components.delivery.signing import verify_digest
from loopline.components.delivery.store import by_digest, open_store, require_manifest
from loopline.components.errors import InputError


@dataclass(frozen=True)
class Admitted:
    """An image that sites may serve.

    Attributes:
        release: What to write into the configuration repository.
        mlflow_run: The MLflow run of the version; empty when it is unknown.
    """

    release: Release
    mlflow_run: str = ""


def admit(image: str) -> Admitted:
    """Verify that sites may serve an image, and read what it says of itself.

    Args:
        image: The image by digest.

    Returns:
        The release that it is.

    Raises:
        InputError: It is not named by digest, unsigned, untested, not a model image, or it cannot be read.
    """
    reference, keys = by_digest(image), load_keys()
    store = open_store(reference)
    verify_digest(store, reference.digest, keys)
    verify_tested_digest(store, reference.digest, keys)
    annotations = require_manifest(store, reference.digest).annotations
    name, version = annotations.get(MODEL_NAME, ""), annotations.get(MODEL_VERSION, "")
    if not name or not version.isdecimal():
        raise InputError(f"Image {reference} does not say which model it holds: build it with build_model_image.")
    return Admitted(Release(name, int(version), reference.uri), annotations.get(MLFLOW_RUN, ""))
