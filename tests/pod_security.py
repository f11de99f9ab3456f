"""What keeps a pod from the Pod Security Standard `restricted`.

https://kubernetes.io/docs/concepts/security/pod-security-standards: the platform's own check runs in an API server.
This one is stricter: nothing is left for the cluster to fill in, and the root file system must be read-only.
"""

from collections.abc import Iterator

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_HOST = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")
#: Kinds that make pods, and those that make none or whose pods are the platform's own.
POD_KINDS = {"Deployment", "Task", "TrainingRuntime", "ServingRuntime", "InferenceService", "Pipeline"}
OTHER_KINDS = {
    "AlertmanagerConfig", "ClusterRoleBinding", "ConfigMap", "DataSciencePipelinesApplication", "ImageStream",
    "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Role", "RoleBinding", "Route", "Service",
    "ServiceAccount", "ServiceMonitor", "TriggerBinding", "TriggerTemplate",
    # Builds run in pods of the cluster's builder; the listener's pod is that of Triggers, which confines it.
    "BuildConfig", "Build", "EventListener",
}  # fmt: skip


def pods(manifest: dict) -> Iterator[dict]:
    """Yield what an object makes pods of, as pod specs; a kind that is in neither list is an error."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    assert kind in POD_KINDS | OTHER_KINDS, f"say in pod_security.py whether a {kind} makes pods"
    if kind == "Deployment":
        yield spec["template"]["spec"]
    elif kind == "Task":
        yield {"containers": spec["steps"] + spec.get("sidecars", []), "volumes": spec.get("volumes", [])}
    elif kind == "TrainingRuntime":
        yield from (job["template"]["spec"]["template"]["spec"] for job in spec["template"]["spec"]["replicatedJobs"])
    elif kind == "ServingRuntime":
        yield spec
    elif kind == "InferenceService":
        # Its container is the runtime's; what it says of the pod is added to it.
        yield {key: value for key, value in spec["predictor"].items() if key != "model"} | {"containers": []}
        assert "securityContext" not in spec["predictor"]["model"], "the runtime's would be replaced"
    elif kind == "Pipeline":
        assert all("taskRef" in task for task in spec["tasks"]), "a task of its own"


def violations(pod: dict) -> list[str]:
    """Return what is wrong with a pod, a line each."""
    found = [f"{name} is {pod[name]}" for name in _HOST if pod.get(name)]
    whole = pod.get("securityContext", {})
    found += [f"pod: {problem}" for problem in _identity(whole) if "must" not in problem]
    if whole.get("sysctls"):
        found.append("sysctls are set")
    for volume in pod.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in set(volume) - {"name"} - _VOLUMES]
    for container in [c for key in ("containers", "initContainers") for c in pod.get(key, [])]:
        inherited = {key: whole[key] for key in ("runAsNonRoot", "runAsUser", "seccompProfile") if key in whole}
        context = inherited | container.get("securityContext", {})
        found += [f"{container['name']}: {problem}" for problem in _container(container, context)]
    return found


def _container(container: dict, context: dict) -> Iterator[str]:
    yield from _identity(context)
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities must be dropped, and none added"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem must be true"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"


def _identity(context: dict) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runs as root"
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot must be true"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile must be RuntimeDefault"
    if context.get("seLinuxOptions") or context.get("windowsOptions"):
        yield "seLinuxOptions or windowsOptions"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "appArmorProfile"
