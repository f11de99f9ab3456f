"""Every pod that is shipped satisfies the Pod Security Standard `restricted`; what tasks of a pipeline ask for."""

import copy

import deploy_sites
import pytest
from manifest_schemas import PLATFORMS, need_kustomize
from openshift_manifests import COMPONENTS, built
from pod_security import pods, violations

from loopline.pipelines.doctor.features import read_compiled, values
from loopline.pipelines.settings import MOUNTED, SECRETS
from loopline.pipelines.spec import compiled_folder

#: Accounts that may have their token in a pod: the proxy before a model asks the cluster who calls.
_WITH_TOKEN = {"model"}


@pytest.fixture(autouse=True)
def kustomize():
    need_kustomize()


def _namespace(platform: str) -> list[dict]:
    return built(platform, COMPONENTS)


def _check(manifests: list[dict], names: set[str]) -> None:
    made = [(manifest["metadata"]["name"], pod) for manifest in manifests for pod in pods(manifest)]
    assert {name for name, _ in made} == names
    assert [(name, wrong) for name, pod in made if (wrong := violations(pod))] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_pods_of_the_namespace_are_restricted(platform):
    tasks = {"loopline-start-delivery", "loopline-wait-for-run", "loopline-start-run"}
    _check(_namespace(platform), {"loopline-pushgateway", "loopline", *tasks})


@pytest.mark.parametrize("case", deploy_sites.CASES, ids=deploy_sites.case_name)
def test_pods_of_a_site_are_restricted(case):
    manifests = deploy_sites.built(*case)
    _check(manifests, {"app", "model", deploy_sites.one(manifests, "ServingRuntime")["metadata"]["name"]})


_BREAKS = {
    "runAsUser": (("securityContext", "runAsUser"), 0, "runs as root"),
    "escalation": (("securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
    "capability": (("securityContext", "capabilities"), {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "capabilities"),
    "writable": (("securityContext", "readOnlyRootFilesystem"), False, "readOnlyRootFilesystem"),
    "seccomp": (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
    "port": (("ports",), [{"containerPort": 80, "hostPort": 80}], "hostPort"),
}


@pytest.mark.parametrize("how", _BREAKS)
def test_a_pod_that_is_not_restricted_is_found(how):
    """Otherwise the tests above could not fail."""
    path, value, problem = _BREAKS[how]
    (pod,) = pods(copy.deepcopy(deploy_sites.one(deploy_sites.built("edge"), "Deployment", "app")))
    inner = pod["containers"][0]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert problem in " ".join(violations(pod))
    assert "hostPath" in " ".join(violations({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}))
    assert violations({"hostNetwork": True}) == ["hostNetwork is True"]


def test_pods_carry_no_token_that_they_do_not_use():
    manifests = [*_namespace(PLATFORMS[-1]), *deploy_sites.built("edge")]
    automounts = {
        m["metadata"]["name"]: m.get("automountServiceAccountToken", True)
        for m in manifests
        if m["kind"] == "ServiceAccount"
    }
    for manifest in manifests:
        for pod in pods(manifest):
            account = pod.get("serviceAccountName", "")
            mounts = pod.get("automountServiceAccountToken", automounts.get(account, True))
            # The account of a Task is that of its run, of a runtime that of the InferenceService.
            if manifest["kind"] in ("Deployment", "TrainingRuntime", "InferenceService"):
                assert not mounts or account in _WITH_TOKEN, manifest["metadata"]["name"]


#: What Kubeflow Pipelines lets a task ask for, and tasks of Loopline do. It knows neither volumes of the node nor
#: privileges; the rest of `restricted` it does not know either, and OpenShift's restricted-v2 sets it (see the docs).
_ASKED = {"secretAsEnv", "secretAsVolume", "fieldPathAsEnv"}


@pytest.mark.parametrize("pipeline", read_compiled(compiled_folder()), ids=lambda pipeline: pipeline.name)
def test_tasks_of_a_pipeline_ask_for_secrets_and_nothing_else(pipeline):
    executors = pipeline.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    asked = {key for executor in executors.values() for key in executor}
    assert asked <= _ASKED, asked - _ASKED
    named = set(values(pipeline.platform, "platforms.kubernetes.deploymentSpec.executors.*.secretAsEnv.*.secretName"))
    assert named <= set(SECRETS)
    mounted = values(pipeline.platform, "platforms.kubernetes.deploymentSpec.executors.*.secretAsVolume.*.mountPath")
    assert set(mounted) <= set(MOUNTED.values())
