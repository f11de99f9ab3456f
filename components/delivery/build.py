"""Build the image of a model: no container engine, no privileges, the same bytes whenever and wherever it is built.

The image is the base with two more layers: the model directory under ``/models``, as KServe mounts it, and beside it
``release.json``, which says what registered version it is. So versions with the same model share its layer.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from loopline.components.delivery.annotations import created, image_annotations
from loopline.components.delivery.base import BaseImage, PlatformImage, open_base
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.layer import Layer
from loopline.components.delivery.oci import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Blob,
    Document,
    blob_descriptor,
    encode,
)
from loopline.components.delivery.provenance import attest_built
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.sbom import sbom_document
from loopline.components.delivery.signing import sign_manifests
from loopline.components.delivery.store import Store, open_store
from loopline.components.environment import home, home_is_kept
from loopline.components.errors import InputError
from loopline.components.model.directory import MANIFEST as MODEL_MANIFEST
from loopline.components.model.directory import RELEASE, SETTINGS, Manifest, verify_model

#: Where KServe looks for the model in an image.
MODELS = "models"

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Image:
    """An image that is ready to be stored.

    Attributes:
        base: What it is built upon.
        layers: The blobs above the base.
        manifests: The manifest of each platform, in the order of the base's platforms.
        index: What names them: the image.
    """

    base: BaseImage
    layers: list[Blob]
    manifests: list[Document]
    index: Document


def build_image(
    model: str | Path, image: str = "", base: str = "", version: int = 0, mlflow_run: str = "", pipeline_run: str = ""
) -> str:
    """Build a model image, store it, list what is in it, sign it and say where it comes from.

    What is there already is not sent again, so a build that was interrupted goes on where it was; the tag is set at the
    very end, so that it always names a whole, signed image.

    Args:
        model: The model directory.
        image: ``docker://host/name[:tag]``, or ``oci:/folder[:tag]`` for an OCI layout; a layout in ``home()`` when
            empty. The tag is ``v<version>`` when there is none.
        base: The image below by digest; the one that comes with Loopline when empty.
        version: The registered version; 0 when the model is not registered.
        mlflow_run: The MLflow run of the version; empty when unknown.
        pipeline_run: The pipeline run that builds it, for its provenance; empty when unknown.

    Returns:
        The image by digest.

    Raises:
        InputError: The model, reference, base, key or login cannot be used, or the registry refuses.
    """
    if version < 0:
        raise InputError(f"version is {version}: give a registered version, or 0 for a model that is not registered.")
    manifest = verify_model(model)
    target = _target(image, manifest.name)
    keys = load_keys()
    keys.require_private()  # nothing is stored that cannot be signed
    built = _assemble(Path(model), manifest, open_base(base), version, mlflow_run)
    store = open_store(target)
    _store(store, target, built)
    sbom = sbom_document(built.index, manifest, version, built.base)
    store.push_manifest(sbom)
    sign_manifests(store, target, [built.index, *built.manifests, sbom], keys)
    reference = target.at(built.index.digest)
    parameters = {"version": str(version), "mlflow_run": mlflow_run, "pipeline_run": pipeline_run}
    attest_built(store, reference, manifest, built.base, parameters, keys)
    tag = target.tag or (f"v{version}" if version else f"model-{manifest.digest.removeprefix('sha256:')[:12]}")
    store.push_manifest(built.index, tag)
    size_mb = sum(layer.size for layer in built.layers) / 1e6
    logger.info("%s version %s, %.1f MB over its base, as %s", manifest.name, version or "-", size_mb, reference.short)
    return reference.uri


def _target(image: str, name: str) -> ImageReference:
    if image:
        target = ImageReference.parse(image)
    else:
        target = ImageReference("layout", str(home() / "images" / re.sub(r"[^A-Za-z0-9._-]+", "-", name)))
    if target.digest:
        raise InputError(f"Image {image!r} has a digest, which is only known once it is built: leave it out.")
    if target.kind == "layout" and not home_is_kept():
        raise InputError(
            f"An image kept inside a pod is lost with it ({target.uri}): name one in a registry, docker://HOST/NAME."
        )
    return target


def _assemble(model: Path, manifest: Manifest, base: BaseImage, version: int, mlflow_run: str) -> Image:
    files = [*manifest.files, MODEL_MANIFEST, SETTINGS]
    release = {"name": manifest.name, "version": version, "model_digest": manifest.digest}
    layers = [
        Layer({f"{MODELS}/{name}": model / name for name in files}).blob,
        Layer({f"{MODELS}/{RELEASE}": encode(release)}).blob,
    ]
    annotations = image_annotations(manifest, version, mlflow_run, base.name, base.digest)
    manifests = [_manifest(platform, layers, annotations, created(manifest)) for platform in base.platforms]
    listed = [
        document.descriptor(platform=platform.platform)
        for document, platform in zip(manifests, base.platforms, strict=True)
    ]
    return Image(base, layers, manifests, Document.build(INDEX, manifests=listed, annotations=annotations))


def _manifest(below: PlatformImage, layers: list[Blob], annotations: dict, time: str) -> Document:
    rootfs = {"type": "layers", "diff_ids": [*below.config["rootfs"]["diff_ids"], *(blob.digest for blob in layers)]}
    steps = ("the model directory in /models", f"the release in /models/{RELEASE}")
    history = [*(below.config.get("history") or []), *({"created": time, "created_by": step} for step in steps)]
    config = encode({**below.config, "created": time, "rootfs": rootfs, "history": history})
    return Document.build(
        MANIFEST,
        config,
        config=blob_descriptor(CONFIG, config),
        layers=[*below.layers, *(blob_descriptor(LAYER, layer) for layer in layers)],
        annotations=annotations,
    )


def _store(store: Store, target: ImageReference, image: Image) -> None:
    """Store an image from its parts to its index: what is there is whole."""
    host, _, repository = image.base.repository.partition("/")
    mount_from = repository if host == target.location else ""
    for layer in {layer["digest"]: layer for below in image.base.platforms for layer in below.layers}.values():
        store.push_blob(
            Blob(layer["digest"], layer["size"], lambda layer=layer: _chunks(image.base.store, layer)), mount_from
        )
    for blob in image.layers:
        store.push_blob(blob)
    for document in (*image.manifests, image.index):
        store.push_manifest(document)


def _chunks(store: Store, descriptor: dict):
    with store.open_blob(descriptor) as stream:
        yield from stream.chunks()
