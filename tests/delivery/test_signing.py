"""Signatures as cosign makes and reads them, and what comes of wrong ones."""

import base64
import json
import subprocess
import threading
from pathlib import Path

import pytest
from delivery_models import another_key
from delivery_registry import run_registry

from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.keys import load_keys, public_pem
from loopline.components.delivery.oci import Blob, Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.registry import Registry
from loopline.components.delivery.signing import PAYLOAD, sign, signature_tag, verify
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.errors import InputError

ANNOTATION = "dev.cosignproject.cosign/signature"


def signatures(image: str, digest: str = "") -> Document:
    reference = ImageReference.parse(image)
    return open_store(reference).get_manifest(signature_tag(digest or reference.digest))


def change_signatures(image: str, change) -> None:
    """Change the manifest with the signatures as an intruder who may write to the registry would."""
    reference = ImageReference.parse(image)
    content = json.loads(signatures(image).data)
    change(content["layers"])
    document = Document(content["mediaType"], encode(content))
    open_store(reference).push_manifest(document, signature_tag(reference.digest))


def test_openssl_verifies_what_cosign_would_read(image, tmp_path):
    """The cosign program is in none of Debian, PyPI and npm: each part that it reads is checked on its own."""
    verify(image)
    reference = ImageReference.parse(image)
    store = open_store(reference)
    index = store.get_manifest(reference.digest)
    for digest in (reference.digest, *(entry["digest"] for entry in index.content["manifests"])):
        manifest = store.get_manifest(f"sha256-{digest.removeprefix('sha256:')}.sig").content
        assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        config = json.loads(read_blob(store, manifest["config"]))
        assert config["rootfs"] == {"type": "layers", "diff_ids": [one["digest"] for one in manifest["layers"]]}
        (layer,) = manifest["layers"]
        assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
        payload = read_blob(store, layer)
        critical = json.loads(payload)["critical"]
        assert critical["image"] == {"docker-manifest-digest": digest}
        assert critical["type"] == "cosign container image signature"
        assert critical["identity"]["docker-reference"].endswith(reference.repository or "small-late")
        (tmp_path / "payload").write_bytes(payload)
        (tmp_path / "signature").write_bytes(base64.b64decode(layer["annotations"][ANNOTATION]))
        (tmp_path / "cosign.pub").write_bytes(public_pem(load_keys().public))
        command = ["openssl", "dgst", "-sha256", "-verify", "cosign.pub", "-signature", "signature", "payload"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, "Verified OK")


def test_the_signature_is_a_referrer_of_the_image(image):
    reference = ImageReference.parse(image)
    listed = open_store(reference).referrers(reference.digest)
    found = {entry["artifactType"]: entry["digest"] for entry in listed}
    assert found["application/vnd.dev.cosign.artifact.sig.v1+json"] == signatures(image).digest
    assert signatures(image).content["subject"]["digest"] == reference.digest


def test_a_key_signs_once_and_another_beside_it(image, monkeypatch):
    before = signatures(image)
    sign(image)
    assert signatures(image).data == before.data
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", another_key())
    with pytest.raises(InputError, match=r"is not signed with the key sha256:.* that is trusted here"):
        verify(image)
    sign(image)
    verify(image)
    assert len(signatures(image).content["layers"]) == 2
    monkeypatch.delenv("COSIGN_PRIVATE_KEY")
    verify(image)


def test_keys_that_sign_at_once_all_stand(registry, small_model, monkeypatch):
    image = build_image(small_model, image=registry.image("models/at-once"))
    reference = ImageReference.parse(image)
    from loopline.components.delivery import keys as keys_module
    from loopline.components.delivery.signing import sign_manifests, verify_digest

    pairs = []
    for _ in range(4):
        private = keys_module._load_private(another_key().encode())
        pairs.append(keys_module.Keys(private, private.public_key()))
    start = threading.Barrier(len(pairs))

    def sign_with(pair) -> None:
        store = open_store(reference)
        document = store.get_manifest(reference.digest)
        start.wait()
        sign_manifests(store, reference, [document], pair)

    threads = [threading.Thread(target=sign_with, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pair in (*pairs, load_keys()):
        verify_digest(open_store(reference), reference.digest, pair)


def test_an_unsigned_image_is_refused(image, tmp_path):
    reference = ImageReference.parse(image)
    content = json.loads(open_store(reference).get_manifest(reference.digest).data)
    content["annotations"]["more"] = "another digest"
    unsigned = Document(content["mediaType"], encode(content))
    open_store(reference).push_manifest(unsigned, "unsigned")
    other = reference.at(unsigned.digest).uri
    for refuse in (lambda: verify(other), lambda: fetch_image(other, tmp_path / "fetched")):
        with pytest.raises(InputError, match=f"Image {unsigned.digest} in .* is not signed: use an image of"):
            refuse()
    assert not (tmp_path / "fetched").exists()
    sign(other)
    verify(other)


def test_a_changed_signature_is_refused(image):
    def change(layers: list) -> None:
        signature = bytearray(base64.b64decode(layers[0]["annotations"][ANNOTATION]))
        signature[-1] ^= 1
        layers[0]["annotations"][ANNOTATION] = base64.b64encode(signature).decode()

    change_signatures(image, change)
    with pytest.raises(InputError, match=r"is not signed with the key .*: its signature is another's or was changed"):
        verify(image)


@pytest.mark.parametrize("signature", ["", "%%%", "AAAA", "\u00e9", None])
def test_no_signature_is_none(signature, image):
    change_signatures(image, lambda layers: layers[0]["annotations"].update({ANNOTATION: signature}))
    with pytest.raises(InputError, match="is not signed with the key"):
        verify(image)


@pytest.mark.parametrize(
    "damage", [{"annotations": ["text"]}, {"annotations": "text"}, {"mediaType": ["text"]}, {"platform": "linux"}]
)
def test_a_damaged_signature_is_named(damage, small_model):
    image = build_image(small_model, version=3)
    change_signatures(image, lambda layers: layers[0].update(damage))
    with pytest.raises(InputError, match="is not a descriptor of a manifest or blob"):
        verify(image)


@pytest.mark.parametrize("payload", [b"some text", b"[]", b"{}", b'{"critical": {"image": "text"}}'])
def test_what_else_the_key_signed_is_no_signature(payload, small_model):
    image = build_image(small_model, version=3)
    signature = base64.b64encode(load_keys().sign(payload)).decode()
    described = blob_descriptor(PAYLOAD, payload, annotations={ANNOTATION: signature})
    open_store(ImageReference.parse(image)).push_blob(Blob.of(payload))
    change_signatures(image, lambda layers: layers.__setitem__(0, described))
    with pytest.raises(InputError, match="was made for something that is no image"):
        verify(image)


def test_a_signature_of_another_image_is_refused(image, small_model, tmp_path):
    reference = ImageReference.parse(image)
    place = f"docker://{reference.location}/{reference.repository}"
    place = place if reference.kind == "registry" else f"oci:{reference.location}"
    other = ImageReference.parse(build_image(small_model, image=place, version=999)).digest
    copied = signatures(image, other)
    open_store(reference).push_manifest(copied, signature_tag(reference.digest))
    for refuse in (lambda: verify(image), lambda: fetch_image(image, tmp_path / "fetched")):
        with pytest.raises(InputError, match=f"signature on image {reference.digest} .* was made for {other}"):
            refuse()


def test_a_changed_payload_is_refused(small_model, tmp_path):
    with run_registry(tmp_path / "registry") as running:
        image = build_image(small_model, image=running.image("models/payload"))
        payload = running.blob(signatures(image).content["layers"][0]["digest"])
        payload.write_bytes(payload.read_bytes().replace(b"cosign", b"cosigm"))
        with pytest.raises(InputError, match="damaged or was tampered with"):
            verify(image)


def test_an_image_is_named_by_digest_and_has_to_be_there(small_model, tmp_path):
    image = build_image(small_model, version=3)
    tagged = f"{image.partition('@')[0]}:v3"
    for call in (sign, verify):
        with pytest.raises(InputError, match="is not named by digest"):
            call(tagged)
        with pytest.raises(InputError, match="There is no image sha256:0000"):
            call(f"oci:{tmp_path}/nowhere@sha256:" + "0" * 64)
    assert not Path(tmp_path, "nowhere").exists()


def test_registries_and_layouts_hold_signatures_alike(registry, small_model):
    layout = build_image(small_model, version=3)
    pushed = build_image(small_model, image=registry.image("models/alike"), version=3)
    assert isinstance(open_store(ImageReference.parse(pushed)), Registry)
    kinds = [
        {name: value for name, value in signatures(image).content.items() if name in ("artifactType", "subject")}
        for image in (layout, pushed)
    ]
    assert kinds[0] == kinds[1]
