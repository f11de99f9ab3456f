"""Test results attached to images as cosign verifies them, and what comes of wrong ones."""

import base64
import json
import subprocess

import pytest
from delivery_models import another_key

from loopline.components.delivery.attestation import TESTED, attest_tested, verify_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.keys import load_keys, public_pem
from loopline.components.delivery.oci import Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.statements import attestation_tag
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.errors import InputError

PASSED = {"result": "PASSED", "configuration": [], "passedTests": ["golden"], "warnedTests": [], "failedTests": []}


def attestations(image: str) -> Document:
    reference = ImageReference.parse(image)
    return open_store(reference).get_manifest(attestation_tag(reference.digest))


def results(image: str) -> list[dict]:
    """The layers with test results; those with other statements, as the image's provenance, left out."""
    layers = attestations(image).content["layers"]
    return [layer for layer in layers if layer["annotations"]["predicateType"] == TESTED.type]


def test_an_untested_image_is_refused(image, tmp_path):
    for refuse in (lambda: verify_tested(image), lambda: fetch_image(image, tmp_path / "fetched", tested=True)):
        with pytest.raises(InputError, match=r"is untested: run test_model_image on it"):
            refuse()
    assert not (tmp_path / "fetched").exists()
    # One that was fetched untested is no tested one.
    fetch_image(image, tmp_path / "fetched")
    with pytest.raises(InputError, match="is untested"):
        fetch_image(image, tmp_path / "fetched", tested=True)
    attest_tested(image, PASSED)
    assert fetch_image(image, tmp_path / "fetched", tested=True).name == "small-late"


def test_openssl_verifies_what_cosign_would_read(image, tmp_path):
    attest_tested(image, PASSED)
    assert verify_tested(image) == PASSED
    reference = ImageReference.parse(image)
    store, digits = open_store(reference), reference.digest.removeprefix("sha256:")
    manifest = store.get_manifest(f"sha256-{digits}.att").content
    layer = manifest["layers"][-1]
    assert layer["mediaType"] == "application/vnd.dsse.envelope.v1+json"
    predicate_type = "https://in-toto.io/attestation/test-result/v0.1"
    assert layer["annotations"] == {"dev.cosignproject.cosign/signature": "", "predicateType": predicate_type}
    envelope = json.loads(read_blob(store, layer))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [one["digest"] for one in statement["subject"]] == [{"sha256": digits}]
    assert (statement["predicateType"], statement["predicate"]) == (predicate_type, PASSED)
    # The specification of DSSE: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
    signed = f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode() + payload
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "cosign.pub").write_bytes(public_pem(load_keys().public))
    command = ["openssl", "dgst", "-sha256", "-verify", "cosign.pub", "-signature", "signature", "signed"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.strip() == "Verified OK"
    listed = {entry["artifactType"]: entry["digest"] for entry in store.referrers(reference.digest)}
    assert listed["application/vnd.dev.cosign.artifact.att.v1+json"] == attestations(image).digest
    assert len(listed) == 3  # signature, list of parts, test result


def test_one_result_of_a_key_stands(image, monkeypatch):
    attest_tested(image, PASSED)
    before = attestations(image)
    attest_tested(image, PASSED)
    assert attestations(image).data == before.data
    newer = {**PASSED, "passedTests": ["golden", "latency"]}
    attest_tested(image, newer)
    assert verify_tested(image) == newer and len(results(image)) == 1
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", another_key())
    with pytest.raises(InputError, match=r"test result of image .* is not signed with the key sha256:"):
        verify_tested(image)
    attest_tested(image, PASSED)
    assert verify_tested(image) == PASSED and len(results(image)) == 2
    monkeypatch.delenv("COSIGN_PRIVATE_KEY")
    assert verify_tested(image) == newer


def test_a_failed_test_is_no_passed_one(image):
    attest_tested(image, {**PASSED, "result": "FAILED", "failedTests": ["golden"]})
    with pytest.raises(InputError, match=r"did not pass its test \(FAILED\)"):
        verify_tested(image)


def test_the_result_of_another_image_is_refused(image, small_model):
    reference = ImageReference.parse(image)
    place = f"docker://{reference.location}/{reference.repository}"
    place = place if reference.kind == "registry" else f"oci:{reference.location}"
    other = build_image(small_model, image=place, version=999)
    attest_tested(other, PASSED)
    open_store(reference).push_manifest(attestations(other), attestation_tag(reference.digest))
    with pytest.raises(InputError, match=f"is that of {ImageReference.parse(other).digest}: it was copied"):
        verify_tested(image)


@pytest.mark.parametrize("what", ["result", "signature", "no signature", "letters", "no envelope"])
def test_a_changed_result_is_refused(what, image):
    attest_tested(image, {**PASSED, "result": "FAILED"})
    reference = ImageReference.parse(image)
    store, document = open_store(reference), attestations(image)
    (result,) = results(image)
    envelope = json.loads(read_blob(store, result))
    if what == "result":
        statement = base64.b64decode(envelope["payload"]).replace(b"FAILED", b"PASSED")
        envelope["payload"] = base64.b64encode(statement).decode()
    elif what == "signature":
        envelope["signatures"] = [{"sig": base64.b64encode(b"x" * 70).decode()}]
    elif what == "no signature":
        envelope["signatures"] = [{"sig": None}]
    elif what == "letters":
        envelope["signatures"] = [{"sig": "\u00e9"}]
    else:
        envelope = {"payload": 1}
    data = encode(envelope)
    content = json.loads(document.data)
    content["layers"] = [blob_descriptor(result["mediaType"], data) | {"annotations": result["annotations"]}]
    changed = Document(document.media_type, encode(content), (data,))
    store.push_manifest(changed, attestation_tag(reference.digest))
    with pytest.raises(InputError, match="is not signed with the key"):
        verify_tested(image)


def test_other_attestations_stay(image):
    """Such as another provenance, attached by cosign or another tool."""
    reference = ImageReference.parse(image)
    store = open_store(reference)
    attest_tested(image, PASSED)
    other = b'{"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []}'
    content = json.loads(attestations(image).data)
    provenance = blob_descriptor("application/vnd.dsse.envelope.v1+json", other)
    content["layers"].insert(0, provenance | {"annotations": {"predicateType": "https://slsa.dev/provenance/v1"}})
    store.push_manifest(
        Document(attestations(image).media_type, encode(content), (other,)), attestation_tag(reference.digest)
    )
    assert verify_tested(image) == PASSED
    attest_tested(image, {**PASSED, "passedTests": []})
    layers = attestations(image).content["layers"]
    assert len(layers) == 3 and layers[0]["digest"] == provenance["digest"]
