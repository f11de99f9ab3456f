"""Which images a site may be given: signed, tested, of known provenance and, where it is asked for, approved."""

from dataclasses import dataclass

from loopline.components.delivery.annotations import MLFLOW_RUN, MODEL_NAME, MODEL_VERSION
from loopline.components.delivery.approval import (
    Approval,
    find_approvals,
    load_approvers,
    require_approval,
)
from loopline.components.delivery.attestation import verify_tested_digest
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.provenance import verify_provenance
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
        provenance: Where it comes from: SLSA's predicate.
        test: The result of its test.
        approvals: Who approved it, as far as approvers are named here.
    """

    release: Release
    mlflow_run: str
    provenance: dict
    test: dict
    approvals: tuple[Approval, ...] = ()


def admit(image: str, approval: bool = False) -> Admitted:
    """Verify that sites may serve an image, and read what it says of itself.

    Args:
        image: The image by digest.
        approval: Whether somebody must have approved it.

    Returns:
        The release that it is, and the evidence.

    Raises:
        InputError: It is not named by digest, unsigned, untested, of unknown provenance, not approved or not a model
            image, or it cannot be read.
    """
    reference, keys = by_digest(image), load_keys()
    store = open_store(reference)
    verify_digest(store, reference.digest, keys)
    test = verify_tested_digest(store, reference.digest, keys)
    provenance = verify_provenance(store, reference.digest, keys)
    annotations = require_manifest(store, reference.digest).annotations
    name, version = annotations.get(MODEL_NAME, ""), annotations.get(MODEL_VERSION, "")
    if not name or not version.isdecimal():
        raise InputError(f"Image {reference} does not say which model it holds: build it with build_model_image.")
    approvers = load_approvers()
    approvals = find_approvals(store, reference.digest, keys, approvers) if approvers else []
    if approval:
        require_approval(reference.uri, approvals, approvers)
    release = Release(name, int(version), reference.uri)
    return Admitted(release, annotations.get(MLFLOW_RUN, ""), provenance, test, tuple(approvals))
