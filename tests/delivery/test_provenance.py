"""Where an image comes from: said once, signed, beside it, and held against the image before a site gets it."""

import base64
import json

import pytest
from delivery_models import train_small
from promoted_images import PREDICATE

from loopline.components.delivery import provenance
from loopline.components.delivery.admission import admit
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.base import open_base
from loopline.components.delivery.build import build_image
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.oci import Document, blob_descriptor, encode
from loopline.components.delivery.provenance import BUILT, attest_built, dependency
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.statements import attach_statement, attestation_tag, signed_bytes
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.environment import environment
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.pipelines.cli import main


def attestations(image: str) -> Document:
    reference = ImageReference.parse(image)
    return open_store(reference).get_manifest(attestation_tag(reference.digest))


def statement(image: str) -> dict:
    """The only statement about a fresh image, its envelope checked with the key by hand."""
    (layer,) = attestations(image).content["layers"]
    envelope = json.loads(read_blob(open_store(ImageReference.parse(image)), layer))
    payload, signature = (base64.b64decode(text) for text in (envelope["payload"], envelope["signatures"][0]["sig"]))
    assert load_keys().verifies(signature, signed_bytes(envelope["payloadType"], payload))
    assert layer["annotations"]["predicateType"] == "https://slsa.dev/provenance/v1"
    return json.loads(payload)


def change_layers(image: str, change) -> None:
    """Let an intruder who may write to the store change the statements about an image."""
    reference = ImageReference.parse(image)
    content = json.loads(attestations(image).data)
    blobs = change(content["layers"]) or ()
    document = Document(attestations(image).media_type, encode(content), tuple(blobs))
    open_store(reference).push_manifest(document, attestation_tag(reference.digest))


def test_it_names_model_data_code_and_run_as_slsa_wants(image, small_model):
    """https://slsa.dev/spec/v1.0/provenance: buildType, externalParameters and the builder's id are required."""
    manifest, found = read_manifest(small_model), statement(image)
    assert (found["_type"], found["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    digits = ImageReference.parse(image).digest.removeprefix("sha256:")
    assert [one["digest"] for one in found["subject"]] == [{"sha256": digits}]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert definition["buildType"].startswith("https://") and details["builder"]["id"].startswith("https://")
    assert definition["externalParameters"]["model"] == manifest.name
    assert dependency(found["predicate"], "model") == manifest.digest
    assert dependency(found["predicate"], "training data") == manifest.provenance["data_digest"]
    named = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert set(named) == {"model", "training data", "training parameters", "base image", "code"}
    assert all(one.get("uri") or one.get("digest") for one in named.values())
    assert named["code"]["uri"] == "pkg:pypi/loopline@0.1.0"


def test_building_again_keeps_digest_and_provenance(small_model, tmp_path):
    build = [
        build_image(small_model, f"oci:{tmp_path}/same", version=3, mlflow_run="r1", pipeline_run=run)
        for run in ("delivery-1", "delivery-2")
    ]
    assert build[0] == build[1]
    assert statement(build[0])["predicate"]["runDetails"]["metadata"] == {"invocationId": "delivery-1"}
    elsewhere = build_image(small_model, f"oci:{tmp_path}/other", version=3, mlflow_run="r1", pipeline_run="delivery-3")
    assert ImageReference.parse(elsewhere).digest == ImageReference.parse(build[0]).digest
    assert statement(elsewhere)["predicate"]["runDetails"]["metadata"] == {"invocationId": "delivery-3"}


def test_other_parameters_of_training_are_other_parameters(small_model, tmp_path):
    images = [
        build_image(model, f"oci:{tmp_path}/{number}", version=1)
        for number, model in enumerate((small_model, train_small(tmp_path, rounds=1)))
    ]
    digests = {dependency(statement(image)["predicate"], "training parameters") for image in images}
    assert len(digests) == 2


def test_on_a_cluster_it_names_namespace_step_image_and_commit(small_model, tmp_path, monkeypatch):
    (tmp_path / "namespace").write_text("ml-team\n")
    monkeypatch.setattr(provenance, "ACCOUNT", tmp_path)
    variables = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "LOOPLINE_IMAGE": "registry.example.com/ml/loopline-step@sha256:" + "5" * 64,
        "LOOPLINE_CODE_VERSION": "c" * 40,
    }
    provenance.find_revision.cache_clear()
    try:
        with environment(variables):
            found = statement(build_image(small_model, f"oci:{tmp_path}/images", version=1))["predicate"]
    finally:
        provenance.find_revision.cache_clear()
    assert dependency(found, "step image") == "sha256:" + "5" * 64
    (code,) = [one for one in found["buildDefinition"]["resolvedDependencies"] if one["name"] == "code"]
    assert code["digest"] == {"gitCommit": "c" * 40}
    assert found["runDetails"]["builder"]["id"].endswith("/pipelines/ml-team")


def test_an_image_without_provenance_gets_to_no_site(image):
    attest_tested(image, PREDICATE)
    assert admit(image).release.name == "small-late"
    change_layers(image, lambda layers: layers.__setitem__(slice(None), layers[1:]))
    with pytest.raises(InputError, match=r"has no provenance: build it again with build_model_image, which keeps"):
        admit(image)


def test_a_changed_provenance_is_refused(image):
    attest_tested(image, PREDICATE)
    reference = ImageReference.parse(image)
    store = open_store(reference)

    def change(layers: list) -> tuple:
        envelope = json.loads(read_blob(store, layers[0]))
        payload = base64.b64decode(envelope["payload"]).replace(b"small-late", b"small-lake")
        envelope["payload"] = base64.b64encode(payload).decode()
        data = encode(envelope)
        layers[0] = blob_descriptor(layers[0]["mediaType"], data) | {"annotations": layers[0]["annotations"]}
        return (data,)

    change_layers(image, change)
    with pytest.raises(InputError, match=r"The provenance of image .* is not signed with the key sha256:"):
        admit(image)


def test_the_provenance_of_another_image_is_refused(image, small_model):
    reference = ImageReference.parse(image)
    place = f"docker://{reference.location}/{reference.repository}"
    place = place if reference.kind == "registry" else f"oci:{reference.location}"
    other = build_image(small_model, image=place, version=998)
    attest_tested(image, PREDICATE)
    (foreign,) = attestations(other).content["layers"]
    change_layers(image, lambda layers: layers.__setitem__(0, foreign))
    with pytest.raises(
        InputError, match=r"The provenance on image .* is that of sha256:.*: it was copied from another"
    ):
        admit(image)


@pytest.mark.parametrize("name", ["model", "training data"])
def test_a_provenance_that_names_another_model_is_refused(name, small_model):
    """Signed with the right key, for the right image, and wrong: as a careless tool would write it."""
    image = build_image(small_model, version=3)
    attest_tested(image, PREDICATE)
    predicate = admit(image).provenance
    for one in predicate["buildDefinition"]["resolvedDependencies"]:
        if one["name"] == name:
            one["digest"] = {"sha256": "0" * 64}
    reference = ImageReference.parse(image)
    attach_statement(open_store(reference), reference, BUILT, predicate, load_keys())
    with pytest.raises(InputError, match=rf"names {name} sha256:0{{64}}, and the image sha256:"):
        admit(image)


def test_verify_shows_what_vouches_for_an_image_and_says_what_does_not(small_model, capsys):
    image = build_image(small_model, version=3, pipeline_run="delivery-7")
    assert main(["verify", image]) == 2
    assert "is untested: run test_model_image on it." in capsys.readouterr().err
    attest_tested(image, PREDICATE)
    assert main(["verify", image]) == 0
    shown = capsys.readouterr().out
    for words in ("small-late version 3", read_manifest(small_model).digest, "run delivery-7", "passed: start"):
        assert words in shown
    assert main(["verify", image, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"] == admit(image).provenance


def test_every_kind_of_statement_is_once(small_model):
    """What attaches them is one function: attesting again writes nothing."""
    image = build_image(small_model, version=3)
    before = attestations(image).data
    reference = ImageReference.parse(image)
    store = open_store(reference)
    attest_built(store, reference, read_manifest(small_model), open_base(""), {"pipeline_run": "later"}, load_keys())
    assert attestations(image).data == before
