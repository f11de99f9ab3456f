"""The image below a model: a small one that comes with Loopline, or any other by digest."""

from dataclasses import dataclass
from pathlib import Path

from loopline.components.delivery.oci import (
    DOCKER_MANIFEST,
    MANIFEST,
    Document,
    descriptors,
    diff_ids,
    parse,
    platform_name,
)
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.store import Store, open_store, read_blob, require_manifest
from loopline.components.errors import InputError

#: Layers that can be put below a model, by what Docker and OCI call them; others cannot be looked into.
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}


@dataclass(frozen=True)
class PlatformImage:
    """The base on one platform.

    Attributes:
        platform: ``os``, ``architecture`` and, where there is one, ``variant``.
        config: Its configuration.
        layers: Descriptors of its layers, from the lowest, in OCI's media types.
    """

    platform: dict
    config: dict
    layers: list[dict]


@dataclass(frozen=True)
class BaseImage:
    """The image below a model.

    Attributes:
        name: What to call it in the image's annotations.
        digest: Its digest.
        store: Where it is.
        repository: Its repository when it is in a registry, ``host/name``; else empty.
        platforms: One image for each platform.
    """

    name: str
    digest: str
    store: Store
    repository: str
    platforms: list[PlatformImage]


def open_base(reference: str) -> BaseImage:
    """Read what is known of a base image; its layers are not read yet.

    Args:
        reference: The image by digest; the one that comes with Loopline when empty.

    Returns:
        The base image.

    Raises:
        InputError: The reference has no digest, or the image cannot be read or built upon.
    """
    if not reference:
        return _embedded()
    place = ImageReference.parse(reference)
    if not place.digest:
        raise InputError(
            f"Base image {reference!r} is named by a tag, which may mean another image tomorrow: add its @sha256:...."
        )
    store = open_store(place)
    where = f"{place.location}/{place.repository}"
    name, repository = (where, where) if place.kind == "registry" else (Path(place.location).name, "")
    return BaseImage(name, place.digest, store, repository, _platforms(store, require_manifest(store, place.digest)))


def _embedded() -> BaseImage:
    """Return the base image inside the package ``modelcar-base-image``."""
    import modelcar_base_image
    from modelcar_base_image.constants import EMBEDDED_OCI_LAYOUT_DIR, ODH_MODELCAR_BASE_IMAGE

    from loopline.components.delivery.layout import Layout

    store = Layout(Path(modelcar_base_image.__file__).parent / EMBEDDED_OCI_LAYOUT_DIR)
    index = store.get_manifest("latest")
    if index is None:
        raise InputError("The package modelcar-base-image lacks its image: install it again, or name a base image.")
    return BaseImage(ODH_MODELCAR_BASE_IMAGE, index.digest, store, "", _platforms(store, index))


def _platforms(store: Store, document: Document) -> list[PlatformImage]:
    if not document.is_index:
        return [_platform(store, document, {})]
    images = []
    for entry in descriptors(document.content, "manifests"):
        platform = entry.get("platform") or {}
        # Build tools list attestations as images of an unknown platform.
        if platform.get("os") != "unknown" and entry.get("mediaType") in (MANIFEST, DOCKER_MANIFEST):
            images.append(_platform(store, require_manifest(store, entry["digest"]), platform))
    if not images:
        raise InputError(f"Base image {document.digest} has no platform: name another one.")
    return images


def _platform(store: Store, document: Document, platform: dict) -> PlatformImage:
    content = document.content
    layers = descriptors(content, "layers")
    config = parse(read_blob(store, content.get("config")), f"configuration of base image {document.digest}")
    for layer in layers:
        if layer.get("mediaType") not in LAYERS:
            raise InputError(
                f"Base image {document.digest} has a layer of type {layer.get('mediaType')}: name a base image whose "
                "layers are packed with gzip or not at all."
            )
    diff_ids(config, layers, f"Base image {document.digest}")
    platform = platform or {key: config[key] for key in ("os", "architecture", "variant") if config.get(key)}
    if not platform_name(platform).startswith("linux/"):
        raise InputError(f"Base image {document.digest} is for {platform_name(platform)}: name one for linux.")
    return PlatformImage(platform, config, [{**layer, "mediaType": LAYERS[layer["mediaType"]]} for layer in layers])
