"""What is in a model image, as a CycloneDX 1.6 document: https://cyclonedx.org/docs/1.6/json/.

The same image gives the same document: its serial number follows from the image's digest, its time is the model's.
"""

import uuid
from urllib.parse import quote

from loopline.components.delivery.annotations import DATA_DIGEST, MODEL_DIGEST, created
from loopline.components.delivery.base import BaseImage
from loopline.components.delivery.oci import EMPTY, MANIFEST, Document, blob_descriptor, digits, encode
from loopline.components.licenses import UNKNOWN, license_of
from loopline.components.model.directory import Manifest

SBOM = "application/vnd.cyclonedx+json"


def sbom_document(index: Document, manifest: Manifest, version: int, base: BaseImage) -> Document:
    """Write the manifest that attaches a list of what is in an image to it.

    Args:
        index: The image.
        manifest: The model in it.
        version: The model's registered version.
        base: The image below the model.

    Returns:
        The manifest, whose only layer is the list.
    """
    data = encode(bill_of_materials(index.digest, manifest, version, base))
    annotations = {"org.opencontainers.image.title": "sbom.cdx.json"}
    return Document.build(
        MANIFEST,
        data,
        b"{}",
        artifactType=SBOM,
        config=blob_descriptor(EMPTY, b"{}"),
        layers=[blob_descriptor(SBOM, data, annotations=annotations)],
        subject=index.descriptor(),
        annotations={"org.opencontainers.image.created": created(manifest)},
    )


def bill_of_materials(digest: str, manifest: Manifest, version: int, base: BaseImage) -> dict:
    """List what is in an image.

    Args:
        digest: The image's digest.
        manifest: The model in it.
        version: The model's registered version.
        base: The image below the model.

    Returns:
        The list as plain JSON values.
    """
    image = {
        "type": "container",
        "bom-ref": "image",
        "name": manifest.name,
        "version": str(version),
        "purl": _oci(manifest.name, digest),
    }
    below = {
        "type": "container",
        "bom-ref": "base",
        "name": base.name,
        "purl": _oci(base.name.rpartition("/")[2].partition(":")[0], base.digest),
        "hashes": [_hash(base.digest)],
    }
    libraries = [_library(name, release) for name, release in sorted(manifest.libraries.items())]
    references = [library["bom-ref"] for library in libraries]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"timestamp": created(manifest), "component": image},
        "components": [_model(manifest, version), below, *libraries],
        "dependencies": [
            {"ref": "image", "dependsOn": ["base", "model"]},
            {"ref": "model", "dependsOn": references},
        ],
    }


def _model(manifest: Manifest, version: int) -> dict:
    properties = {MODEL_DIGEST: manifest.digest, DATA_DIGEST: manifest.provenance.get("data_digest")}
    scores = sorted((manifest.training.get("validation") or {}).items())
    card = {
        "modelParameters": {"task": manifest.task, "modelArchitecture": str(manifest.training.get("estimator", ""))},
        "quantitativeAnalysis": {
            "performanceMetrics": [{"type": name, "value": str(value), "slice": "validation"} for name, value in scores]
        },
    }
    files = [
        {"type": "file", "bom-ref": f"model/{name}", "name": name, "hashes": [_hash(found)]}
        for name, found in sorted(manifest.files.items())
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": str(version),
        "hashes": [_hash(manifest.files[manifest.file])],
        "properties": [{"name": name, "value": value} for name, value in properties.items() if value],
        "modelCard": card,
        "components": files,
    }


def _library(name: str, version: str) -> dict:
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe='')}"
    library = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    license_ = license_of(name)
    return library if license_ == UNKNOWN else {**library, "licenses": [{"expression": license_}]}


def _oci(name: str, digest: str) -> str:
    """Return a package URL of an image: https://github.com/package-url/purl-spec, types/oci."""
    return f"pkg:oci/{quote(name.lower(), safe='')}@sha256%3A{digits(digest)}"


def _hash(digest: str) -> dict:
    return {"alg": "SHA-256", "content": digits(digest)}
