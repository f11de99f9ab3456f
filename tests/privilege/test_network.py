"""Who may talk to whom: in the pipelines' namespace with the component `network`, and at a site."""

import deploy_sites
import pytest
from manifest_schemas import need_kustomize
from network_policies import Peer, allowed
from openshift_manifests import COMPONENTS, NEWEST, built

SITE = "loopline-edge"


STEP = Peer({"pipelines.kubeflow.org/v2_component": "true"}, "loopline")
WORKER = Peer({"jobset.sigs.k8s.io/replicatedjob-name": "node"}, "loopline")
GATEWAY = Peer({"app.kubernetes.io/name": "loopline-pushgateway"}, "loopline")
LISTENER = Peer({"eventlistener": "loopline"}, "loopline")
SERVER = Peer({"component": "data-science-pipelines", "app": "ds-pipeline-dspa"}, "loopline")
STRANGER = Peer({"app": "anything"}, "another-team")
ROUTER = Peer({}, "openshift-ingress", {"policy-group.network.openshift.io/ingress": ""})
PROMETHEUS = Peer({}, "openshift-user-workload-monitoring")
DNS, THANOS = Peer({}, "openshift-dns"), Peer({}, "openshift-monitoring")
MLFLOW, IMAGES = Peer({}, "redhat-ods-applications"), Peer({}, "openshift-image-registry")
OUTSIDE, KEYS = Peer(address="203.0.113.7"), Peer(address="169.254.169.254")
OUTSIDE_6, KEYS_6 = Peer(address="2001:db8::7"), Peer(address="fd00:ec2::254")
MODEL = Peer({"serving.kserve.io/inferenceservice": "model"}, SITE)
APP = Peer({"app.kubernetes.io/name": "app"}, SITE)

#: What has to work: who asks whom on which port.
NEEDED = {
    "steps ask DNS": (STEP, DNS, 5353, "UDP"),
    "steps ask the pipeline server": (STEP, SERVER, 8888),
    "steps ask it over gRPC": (STEP, SERVER, 8887),
    "steps trigger pipelines": (STEP, SERVER, 8443),
    "steps note their metadata": (STEP, SERVER, 8080),
    "steps ask the Kubernetes API": (STEP, OUTSIDE, 6443),
    "steps reach store, registry, Git and sites": (STEP, OUTSIDE, 443),
    "steps reach them by IPv6": (STEP, OUTSIDE_6, 443),
    "steps ask the platform's MLflow": (STEP, MLFLOW, 8443),
    "steps push to the cluster's registry": (STEP, IMAGES, 5000),
    "steps read metrics": (STEP, THANOS, 9091),
    "steps push their figures": (STEP, GATEWAY, 9091),
    "Prometheus reads them": (PROMETHEUS, GATEWAY, 9091),
    "workers meet": (WORKER, WORKER, 34567),
    "workers reach the object store": (WORKER, OUTSIDE, 443),
    "Alertmanager tells the listener": (PROMETHEUS, LISTENER, 8080),
    "Git tells the listener by its route": (ROUTER, LISTENER, 8080),
}
#: What must not.
FORBIDDEN = {
    "strangers ask steps": (STRANGER, STEP, 8080),
    "steps ask steps": (STEP, STEP, 8080),
    "strangers ask workers": (STRANGER, WORKER, 34567),
    "steps ask workers": (STEP, WORKER, 34567),
    "strangers push figures": (STRANGER, GATEWAY, 9091),
    "strangers tell the listener": (STRANGER, LISTENER, 8080),
    "strangers ask any pod of the namespace": (STRANGER, Peer({"app": "new"}, "loopline"), 8080),
    "steps ask for the machine's keys": (STEP, KEYS, 443),
    "steps ask for them by IPv6": (STEP, KEYS_6, 443),
    "steps ask for them on their own port": (STEP, KEYS, 80),
    "steps speak without TLS": (STEP, OUTSIDE, 80),
    "steps send mail": (STEP, OUTSIDE, 25),
    "steps ask another team": (STEP, STRANGER, 8080),
    "steps ask the database": (STEP, SERVER, 3306),
    "workers ask the Kubernetes API": (WORKER, OUTSIDE, 6443),
    "the Pushgateway asks anybody": (GATEWAY, OUTSIDE, 443),
}
NEEDED_AT_A_SITE = {
    "people ask the app": (ROUTER, APP, 8080),
    "the app asks the model": (APP, MODEL, 8080),
    "callers with a token ask the model": (ROUTER, MODEL, 8443),
    "Prometheus reads the model": (PROMETHEUS, MODEL, 8082),
    "the model reaches its log's store": (MODEL, OUTSIDE, 443),
    "the proxy asks the Kubernetes API": (MODEL, OUTSIDE, 6443),
    "the model asks DNS": (MODEL, DNS, 5353, "UDP"),
}
FORBIDDEN_AT_A_SITE = {
    "people ask the model without a token": (ROUTER, MODEL, 8080),
    "strangers ask the model": (STRANGER, MODEL, 8080),
    "strangers ask it behind the proxy": (STRANGER, MODEL, 8443),
    "strangers read its metrics": (STRANGER, MODEL, 8082),
    "strangers ask the app": (STRANGER, APP, 8080),
    "the app leaves the site": (APP, OUTSIDE, 443),
    "the model asks for the machine's keys": (MODEL, KEYS, 80),
    "the model asks for them over TLS": (MODEL, KEYS, 443),
    "another pod of the site asks the model": (Peer({"app": "new"}, SITE), MODEL, 8080),
    "another pod of the site leaves it": (Peer({"app": "new"}, SITE), OUTSIDE, 443),
}


@pytest.fixture(scope="module")
def policies():
    need_kustomize()
    made = [*built(NEWEST, COMPONENTS), *deploy_sites.built("edge")]
    return [manifest for manifest in made if manifest["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("flow", [*NEEDED, *NEEDED_AT_A_SITE])
def test_what_is_needed_is_let_through(policies, flow):
    # What the operator's own policies let in is not ours to decide.
    own = policies if (NEEDED | NEEDED_AT_A_SITE)[flow][1] is not SERVER else [*policies, _OF_THE_OPERATOR]
    assert allowed(own, *(NEEDED | NEEDED_AT_A_SITE)[flow])


#: The operator has a policy for each of its servers; here they are one.
_OF_THE_OPERATOR = {
    "metadata": {"namespace": "loopline"},
    "spec": {
        "podSelector": {"matchLabels": {"component": "data-science-pipelines"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": STEP.labels}}]}],
    },
}


@pytest.mark.parametrize("flow", [*FORBIDDEN, *FORBIDDEN_AT_A_SITE])
def test_what_is_not_is_stopped(policies, flow):
    given = (FORBIDDEN | FORBIDDEN_AT_A_SITE)[flow]
    assert not allowed([*policies, _OF_THE_OPERATOR], *given)
    assert allowed([], *given), "the policies are what stops it"


@pytest.mark.parametrize(
    "name", ["loopline-default-deny", "loopline-steps", "loopline-training", "loopline-events", "loopline-pushgateway"]
)
def test_each_policy_is_needed(policies, name):
    """Without one of them something is stopped that is needed, or let through that must not be."""
    without = [policy for policy in policies if policy["metadata"]["name"] != name]
    assert len(without) == len(policies) - 1
    works = all(allowed([*without, _OF_THE_OPERATOR], *flow) for flow in NEEDED.values())
    safe = not any(allowed([*without, _OF_THE_OPERATOR], *flow) for flow in FORBIDDEN.values())
    assert not (works and safe)
