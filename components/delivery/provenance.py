"""Where a model image comes from, attached to it: an in-toto statement with the predicate of SLSA's provenance.

Source: https://slsa.dev/spec/v1.0/provenance. The build that made an image first says where it comes from; building it
again gives the same digest and changes nothing.
"""

import hashlib
from pathlib import Path
from urllib.parse import quote

from loopline.components.cluster_secrets import ACCOUNT
from loopline.components.delivery.annotations import DATA_DIGEST, MODEL_DIGEST
from loopline.components.delivery.base import BaseImage
from loopline.components.delivery.keys import Keys
from loopline.components.delivery.oci import digits, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.statements import Kind, attach_statement, require_statement
from loopline.components.delivery.store import Store, require_manifest
from loopline.components.environment import on_cluster
from loopline.components.errors import InputError
from loopline.components.image import step_image
from loopline.components.model.directory import Manifest
from loopline.components.revision import find_revision

BUILT = Kind(
    type="https://slsa.dev/provenance/v1",
    name="provenance",
    missing="has no provenance: build it again with build_model_image, which keeps its digest",
    foreign="build the image with your key",
    copied="build this one again with build_model_image",
)
#: What the parameters below mean: docs/supply-chain.md.
BUILD_TYPE = "https://loopline.dev/model-image/v1"
_BUILDER = "https://loopline.dev/builders"
#: What a training notes beside its parameters.
_CAME_OF_IT = ("validation", "rows", "left_out", "best_iteration")
#: Names of dependencies that are compared with what the image says of itself.
MODEL, _DATA = "model", "training data"


def attest_built(
    store: Store, reference: ImageReference, manifest: Manifest, base: BaseImage, parameters: dict, keys: Keys
) -> None:
    """Attach to an image where it comes from, unless this key's owner has said so before.

    Args:
        store: Where it is.
        reference: The image by digest.
        manifest: The model in it.
        base: The image below the model.
        parameters: What it was built with: ``version``, ``mlflow_run`` and ``pipeline_run``.
        keys: With the private key.

    Raises:
        InputError: The statement cannot be stored.
    """
    attach_statement(store, reference, BUILT, provenance(manifest, base, parameters), keys, replace=False)


def provenance(manifest: Manifest, base: BaseImage, parameters: dict) -> dict:
    """Say where an image comes from.

    Args:
        manifest: The model in it.
        base: The image below the model.
        parameters: What it was built with.

    Returns:
        The predicate; what is not known is left out.
    """
    known = {name: value for name, value in parameters.items() if value not in ("", None)}
    training = {name: value for name, value in manifest.training.items() if name not in _CAME_OF_IT}
    external = {"model": manifest.name, **known, "base": base.name}
    if run := manifest.provenance.get("pipeline_run"):
        external["training_run"] = run
    metadata = {"invocationId": known["pipeline_run"]} if known.get("pipeline_run") else {}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "internalParameters": {},
            "resolvedDependencies": [
                _dependency(MODEL, manifest.digest),
                *([_dependency(_DATA, data)] if (data := manifest.provenance.get("data_digest")) else []),
                _dependency("training parameters", f"sha256:{hashlib.sha256(encode(training)).hexdigest()}"),
                _dependency("base image", base.digest, f"oci://{base.name}"),
                *_code(),
            ],
        },
        "runDetails": {"builder": {"id": _builder(), "version": {"loopline": find_revision().version}}}
        | ({"metadata": metadata} if metadata else {}),
    }


def verify_provenance(store: Store, digest: str, keys: Keys) -> dict:
    """Check that an image says where it comes from, and that this is the model and the data that it names itself.

    Args:
        store: Where its attestations are.
        digest: Its digest.
        keys: With the public key.

    Returns:
        The predicate.

    Raises:
        InputError: It does not, another key's owner says so, or what is said is of another model.
    """
    predicate = require_statement(store, digest, BUILT, keys)
    annotations = require_manifest(store, digest).annotations
    for name, annotation in ((MODEL, MODEL_DIGEST), (_DATA, DATA_DIGEST)):
        said, named = dependency(predicate, name), annotations.get(annotation, "")
        if said != named:
            raise InputError(
                f"The provenance of image {digest} in {store.name} names {name} {said or 'nothing'}, and the image "
                f"{named or 'nothing'}: do not use it, build it again."
            )
    return predicate


def dependency(predicate: dict, name: str) -> str:
    """Return the digest of something that an image was made of; empty when the provenance does not name it.

    Args:
        predicate: The provenance.
        name: What it is called there.
    """
    try:
        found = [one for one in predicate["buildDefinition"]["resolvedDependencies"] if one.get("name") == name]
        return f"sha256:{found[0]['digest']['sha256']}"
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""


def _dependency(name: str, digest: str, uri: str = "") -> dict:
    return {"name": name, **({"uri": uri} if uri else {}), "digest": {"sha256": digits(digest)}}


def _code() -> list[dict]:
    """Name the code that built, and on a cluster the image that it ran in."""
    revision = find_revision()
    code = {"name": "code", "uri": f"pkg:pypi/loopline@{revision.version}"}
    if revision.commit:
        code["digest"] = {"gitCommit": revision.commit}
    if revision.changed:
        code["annotations"] = {"changed": "true"}
    if not on_cluster():
        return [code]
    name, _, digest = step_image().partition("@sha256:")
    step = {"name": "step image", "uri": f"oci://{name}"}
    return [code, {**step, "digest": {"sha256": digest}} if digest else step]


def _builder() -> str:
    """Name who built, which says how far to trust it: the steps of a namespace, or somebody's machine."""
    if not on_cluster():
        return f"{_BUILDER}/local"
    try:
        namespace = Path(ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        namespace = ""
    return f"{_BUILDER}/pipelines/{quote(namespace, safe='')}" if namespace else f"{_BUILDER}/pipelines"
