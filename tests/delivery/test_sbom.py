"""The list of what is in an image."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from delivery_models import train_small

from loopline.components.delivery.base import open_base
from loopline.components.delivery.build import build_image
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.sbom import bill_of_materials
from loopline.components.delivery.signing import verify
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.model.directory import read_manifest

SBOM = "application/vnd.cyclonedx+json"


def attached(image: str) -> tuple:
    """The reference of the manifest with the list, and the list."""
    reference = ImageReference.parse(image)
    store = open_store(reference)
    (entry,) = [one for one in store.referrers(reference.digest) if one["artifactType"] == SBOM]
    manifest = store.get_manifest(entry["digest"]).content
    assert manifest["subject"]["digest"] == reference.digest
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == SBOM
    return reference.at(entry["digest"]).uri, read_blob(store, layer)


@pytest.mark.parametrize("target", ["late", "amount"])
def test_the_list_is_valid_complete_and_signed(target, tmp_path):
    model = train_small(tmp_path, target, rounds=1)
    image = build_image(model, version=3)
    reference, data = attached(image)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    verify(reference)
    found, manifest = json.loads(data), read_manifest(model)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["timestamp"] == manifest.provenance["created"]
    digits = ImageReference.parse(image).digest.removeprefix("sha256:")
    assert found["metadata"]["component"]["purl"] == f"pkg:oci/small-{target}@sha256%3A{digits}"
    parts = {part["bom-ref"]: part for part in found["components"]}
    assert parts["model"]["type"] == "machine-learning-model" and parts["model"]["version"] == "3"
    files = {file["name"]: file["hashes"][0]["content"] for file in parts["model"]["components"]}
    assert {name: f"sha256:{content}" for name, content in files.items()} == manifest.files
    properties = {one["name"]: one["value"] for one in parts["model"]["properties"]}
    assert properties["dev.loopline.data.digest"] == manifest.provenance["data_digest"]
    assert properties["dev.loopline.model.digest"] == manifest.digest
    libraries = {part["name"]: part["purl"] for part in parts.values() if part["type"] == "library"}
    assert libraries == {name: f"pkg:pypi/{name}@{version}" for name, version in manifest.libraries.items()}
    licenses = {part["name"]: part["licenses"] for part in parts.values() if part["type"] == "library"}
    assert licenses["scikit-learn"] == [{"expression": "BSD-3-Clause"}]
    assert libraries and parts["base"]["name"].startswith("quay.io/opendatahub/odh-modelcar-base-image")
    references = {"image", *parts}
    assert all({entry["ref"], *entry["dependsOn"]} <= references for entry in found["dependencies"])


def test_the_same_image_has_the_same_list(small_model, tmp_path):
    lists = [attached(build_image(small_model, image=f"oci:{tmp_path}/{name}", version=3)) for name in "ab"]
    assert lists[0][1] == lists[1][1]
    image = build_image(small_model, image=f"oci:{tmp_path}/a", version=3)
    assert attached(image) == lists[0]
    other = attached(build_image(small_model, image=f"oci:{tmp_path}/a", version=4))
    assert json.loads(other[1])["serialNumber"] != json.loads(lists[0][1])["serialNumber"]


def test_names_are_written_as_package_urls_want_them(small_model):
    """https://github.com/package-url/purl-spec: what is no letter, digit or one of ``.-_~`` is percent-encoded."""
    manifest = read_manifest(small_model)
    manifest.name, manifest.libraries = "Late Flights", {"Some_Library": "2.1.0+cpu"}
    found = bill_of_materials("sha256:" + "0" * 64, manifest, 1, open_base(""))
    assert found["metadata"]["component"]["purl"] == f"pkg:oci/late%20flights@sha256%3A{'0' * 64}"
    assert found["components"][-1]["purl"] == "pkg:pypi/some-library@2.1.0%2Bcpu"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None
