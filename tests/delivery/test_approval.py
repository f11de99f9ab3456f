"""The gate of approvals: what stops, who may open it, and what is then written down."""

import json

import pytest
from config_repositories import history, make_repository, message, tip
from delivery_models import another_key
from promoted_images import PREDICATE

from loopline.components.delivery.approval import APPROVAL, approve
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.keys import load_keys, load_signer, public_pem
from loopline.components.delivery.oci import Document, encode
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.statements import attestation_tag
from loopline.components.delivery.store import open_store
from loopline.components.errors import InputError
from loopline.pipelines.cli import main

NOT_APPROVED = r"Image .* is not approved: one of Board, model risk approves it with `loopline approve .* --reason"


@pytest.fixture
def bare(tmp_path):
    return make_repository(tmp_path)


@pytest.fixture
def tested(image):
    """A signed and tested image of known provenance."""
    attest_tested(image, PREDICATE)
    return image


@pytest.fixture
def ana(tmp_path, monkeypatch):
    """The private key of an approver, whose public one is trusted here."""
    key = another_key()
    (tmp_path / "ana.key").write_text(key)
    trust(monkeypatch, tmp_path, **{"Board, model risk": key})
    return tmp_path / "ana.key"


def trust(monkeypatch, folder, **keys: str) -> None:
    text = "".join(f"# {name}\n{public(key)}" for name, key in keys.items())
    (folder / "approvers.pub").write_text(text)
    monkeypatch.setenv("LOOPLINE_APPROVERS_KEYS", str(folder / "approvers.pub"))


def public(key: str) -> str:
    return public_pem(load_signer(key, "key").public).decode()


def approving(image: str, key, *more: str) -> int:
    return main(["approve", image, "--key", str(key), "--name", "ana", "--reason", "Model board 12", *more])


def test_a_promotion_waits_for_an_approval_and_then_goes_on(tested, bare, ana, capsys):
    before = tip(bare)
    with pytest.raises(InputError, match=NOT_APPROVED):
        promote(str(bare), "edge", tested, pipeline_run="delivery-7", require_approval=True)
    assert tip(bare) == before
    assert approving(tested, ana) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("small-late version") and tested in shown
    commit = promote(str(bare), "edge", tested, pipeline_run="delivery-7", require_approval=True)
    assert history(bare) == [before, commit]
    key = load_signer(str(ana), "key").fingerprint[:19]
    assert message(bare).endswith(f"Pipeline-Run: delivery-7\nApproved-By: Board, model risk (key {key})")
    assert main(["verify", tested, "--require-approval"]) == 0
    assert "by Board, model risk" in capsys.readouterr().out


def test_without_the_gate_nothing_is_asked_for(tested, bare):
    assert promote(str(bare), "edge", tested)
    assert "Approved-By" not in message(bare)


def test_the_namespace_can_ask_for_it_whatever_the_run_says(tested, bare, ana, monkeypatch):
    monkeypatch.setenv("LOOPLINE_REQUIRE_APPROVAL", "true")
    with pytest.raises(InputError, match=NOT_APPROVED):
        promote(str(bare), "edge", tested, require_approval=False)
    approving(tested, ana)
    assert promote(str(bare), "edge", tested, require_approval=False)


def test_approving_twice_is_one_approval_and_it_can_be_taken_back(tested, bare, ana):
    approving(tested, ana)
    layers = attached(tested)
    approving(tested, ana)
    assert attached(tested) == layers
    assert approving(tested, ana, "--withdraw") == 0
    with pytest.raises(InputError, match=NOT_APPROVED):
        promote(str(bare), "edge", tested, require_approval=True)
    approving(tested, ana)
    assert promote(str(bare), "edge", tested, require_approval=True)


def attached(image: str) -> list:
    reference = ImageReference.parse(image)
    return open_store(reference).get_manifest(attestation_tag(reference.digest)).content["layers"]


def test_who_builds_does_not_approve(small_model, tmp_path, monkeypatch, bare, capsys):
    own = another_key()
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", own)
    image = build_image(small_model, version=3)
    attest_tested(image, PREDICATE)
    (tmp_path / "own.key").write_text(own)
    assert approving(image, tmp_path / "own.key") == 2
    assert "is the one that images are built with: approve with another person's key" in capsys.readouterr().err
    trust(monkeypatch, tmp_path, builder=own)
    with pytest.raises(InputError, match=r"that images are built with is among those of LOOPLINE_APPROVERS_KEYS"):
        promote(str(bare), "edge", image, require_approval=True)


def test_a_stranger_s_approval_does_not_count(tested, bare, ana, tmp_path, monkeypatch, capsys):
    (tmp_path / "stranger.key").write_text(another_key())
    assert approving(tested, tmp_path / "stranger.key") == 2
    assert "is not among those of LOOPLINE_APPROVERS_KEYS, so its approval would not count" in capsys.readouterr().err
    # And where nobody tells: it is attached, and counts for nothing.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LOOPLINE_APPROVERS_KEYS")
        assert approving(tested, tmp_path / "stranger.key") == 0
    with pytest.raises(InputError, match=NOT_APPROVED):
        promote(str(bare), "edge", tested, require_approval=True)


def test_an_approval_of_another_image_does_not_count(tested, small_model, bare, ana):
    reference = ImageReference.parse(tested)
    place = f"docker://{reference.location}/{reference.repository}"
    place = place if reference.kind == "registry" else f"oci:{reference.location}"
    other = build_image(small_model, image=place, version=997)
    attest_tested(other, PREDICATE)
    approving(other, ana)
    (approval,) = [one for one in attached(other) if one["annotations"]["predicateType"] == APPROVAL.type]
    store = open_store(reference)
    document = store.get_manifest(attestation_tag(reference.digest))
    content = json.loads(document.data)
    content["layers"].append(approval)
    store.push_manifest(Document(document.media_type, encode(content)), attestation_tag(reference.digest))
    with pytest.raises(InputError, match=NOT_APPROVED):
        promote(str(bare), "edge", tested, require_approval=True)


def test_an_untested_image_cannot_be_approved(image, ana, capsys):
    assert approving(image, ana) == 2
    assert "is untested: run test_model_image on it" in capsys.readouterr().err


def test_a_gate_that_nobody_can_open_says_so(small_model, bare):
    image = build_image(small_model, version=3)
    attest_tested(image, PREDICATE)
    with pytest.raises(InputError, match="nobody is named to give one: put the approvers' public keys into"):
        promote(str(bare), "edge", image, require_approval=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"nothing of use", "holds no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not an ECDSA key on P-256 in PEM"),
        (b"\xff", "is no text"),
        (None, "names cannot be read"),
    ],
)
def test_a_list_of_keys_that_cannot_be_used_is_named(text, words, small_model, tmp_path, monkeypatch, bare):
    image = build_image(small_model, version=3)
    attest_tested(image, PREDICATE)
    file = tmp_path / "approvers.pub"
    if text is not None:
        file.write_bytes(text)
    monkeypatch.setenv("LOOPLINE_APPROVERS_KEYS", str(file))
    with pytest.raises(InputError, match=rf"LOOPLINE_APPROVERS_KEYS .*{words}|{words}"):
        promote(str(bare), "edge", image, require_approval=True)


def test_a_private_key_is_not_told(tmp_path, small_model, capsys):
    image = build_image(small_model, version=3)
    attest_tested(image, PREDICATE)
    assert approving(image, another_key().replace("BEGIN", "begin")) == 2
    said = capsys.readouterr().err
    assert "LOOPLINE_APPROVER_KEY" in said and "MIG" not in said


def test_who_and_why_are_said(small_model, tmp_path):
    image = build_image(small_model, version=3)
    for approver, reason in (("", "why"), ("who", " \n")):
        with pytest.raises(InputError, match="An approval says who gives it and why"):
            approve(image, load_keys(), another_key(), approver, reason, "m")
