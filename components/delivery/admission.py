"""Which images a site may be given: those that are signed and tested, by their digest."""

from dataclasses import dataclass

from loopline.components.delivery.release import Release
from loopline.components.errors import InputError

_NAME, _VERSION, _MLFLOW_RUN = (f"dev.loopline.{key}" for key in ("model.name", "model.version", "mlflow.run"))


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
    from loopline.components.delivery.attestation import verify_tested
    from loopline.components.delivery.signing import verify
    from loopline.components.delivery.store import by_digest, open_store, require_manifest

    reference = by_digest(image)
    verify(reference.uri)
    verify_tested(reference.uri)
    document = require_manifest(open_store(reference), reference.digest)
    annotations = document.content.get("annotations") or {}
    name, version = annotations.get(_NAME, ""), annotations.get(_VERSION) or "0"
    if not name or not version.isdecimal():
        raise InputError(f"Image {reference.uri} does not say which model it holds: build it with build_model_image.")
    return Admitted(Release(name, int(version), reference.uri), annotations.get(_MLFLOW_RUN, ""))
