"""What a cluster can check of a model image itself: policies that name the statements as Loopline writes them."""

import base64
import copy

import pytest
from deploy_sites import FIRST, TEMPLATE, built, one
from manifest_schemas import ROOT, InvalidManifestError, build, check, need_kustomize

from loopline.components.delivery.approval import APPROVAL
from loopline.components.delivery.attestation import TESTED
from loopline.components.delivery.provenance import BUILD_TYPE, BUILT

POLICY = ROOT / "deploy" / "openshift" / "policy"
IMAGES = FIRST.image.removeprefix("oci://").partition("@")[0]


@pytest.fixture(autouse=True)
def kustomize():
    need_kustomize()


def policies() -> dict[str, dict]:
    return {manifest["metadata"]["name"]: manifest for manifest in build(POLICY)}


def test_policies_are_valid_and_a_typo_is_not():
    nodes = one(built("edge", component="signatures"), "ImagePolicy")
    for manifest in (*policies().values(), nodes):
        check(manifest)
        for name in ("spec", "policy", "images"):
            broken = copy.deepcopy(manifest)
            place = broken if name == "spec" else broken["spec"]
            if name in place:
                place[f"{name}s"] = place.pop(name)
                with pytest.raises(InvalidManifestError):
                    check(broken)


def test_every_kind_of_statement_is_asked_for_by_its_type():
    asked = {
        attestation["predicateType"]: attestation["policy"]["data"]
        for policy in policies().values()
        for authority in policy["spec"]["authorities"]
        for attestation in authority.get("attestations", [])
    }
    assert set(asked) == {TESTED.type, BUILT.type, APPROVAL.type}
    assert BUILD_TYPE in asked[BUILT.type]
    assert all(
        policy["spec"]["images"] == [{"glob": f"{IMAGES.rpartition('/')[0]}/**"}] for policy in policies().values()
    )


def test_who_builds_does_not_approve():
    """The approver's is a policy of its own: in one with the builder's, either key would do."""
    authorities = {name: [a["name"] for a in policy["spec"]["authorities"]] for name, policy in policies().items()}
    assert authorities == {
        "loopline-signed": ["builder"],
        "loopline-vouched": ["builder"],
        "loopline-approved": ["approver"],
    }


def test_nothing_is_admitted_before_a_key_is_filled_in():
    nodes = one(built("edge", component="signatures"), "ImagePolicy")
    with pytest.raises(ValueError, match=r"base64|padding"):
        base64.b64decode(nodes["spec"]["policy"]["rootOfTrust"]["publicKey"]["keyData"], validate=True)
    keys = [a["key"]["data"] for policy in policies().values() for a in policy["spec"]["authorities"]]
    assert len(keys) == 3 and not any("BEGIN PUBLIC KEY" in key for key in keys)


def test_the_nodes_policy_is_of_the_site_and_covers_its_image():
    nodes = one(built("edge", component="signatures"), "ImagePolicy")
    assert nodes["metadata"]["namespace"] == "loopline-edge"
    assert all(IMAGES.startswith(scope) for scope in nodes["spec"]["scopes"])
    assert "signatures" not in (TEMPLATE / "sites" / "edge" / "kustomization.yaml").read_text()
