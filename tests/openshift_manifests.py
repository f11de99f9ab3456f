"""What a namespace of OpenShift AI gets: the overlay of a release of the platform, with components of one's choice."""

import functools
import shutil
import tempfile
from pathlib import Path

import yaml
from manifest_schemas import PLATFORMS, ROOT, build

FOLDER = ROOT / "deploy" / "openshift"
NEWEST = PLATFORMS[-1]
COMPONENTS = tuple(sorted(folder.name for folder in (FOLDER / "components").iterdir()))


def overlay(platform: str) -> str:
    """Return where the overlay of a release of the platform is in the folder."""
    return f"overlays/rhoai-{platform}"


@functools.cache
def built(platform: str = NEWEST, components: tuple[str, ...] = ()) -> list[dict]:
    """Build an overlay, with more components in its list; the objects are shared, so leave them as they are."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "openshift"
        shutil.copytree(FOLDER, copy)
        file = copy / overlay(platform) / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
        listed = kustomization["components"]
        listed += [path for path in (f"../../components/{name}" for name in components) if path not in listed]
        file.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return build(file.parent)


def documents(folder: Path) -> list[dict]:
    """Return every object that is written down in a folder."""
    found = [d for file in sorted(folder.rglob("*.yaml")) for d in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return [d for d in found if d["kind"] not in ("Kustomization", "Component")]


#: Roles of the platform that are bound, and what they hold, as far as pipelines need it: (group, resource, verb).
PLATFORM_ROLES = {
    # The MLflow operator's; read in its repository.
    "mlflow-operator-mlflow-integration": {
        ("mlflow.kubeflow.org", resource, verb)
        for resource in ("experiments", "registeredmodels")
        for verb in ("get", "list", "create", "update")
    },
    # OpenShift's, for whoever asks the monitoring stack.
    "cluster-monitoring-view": {("", "namespaces", "get")},
    # OpenShift Pipelines'.
    "tekton-triggers-eventlistener-roles": set(),
    "tekton-triggers-eventlistener-clusterroles": set(),
}


def permissions(manifests: list[dict], account: str) -> set[tuple[str, str, str]]:
    """Return what objects let a service account do: (API group, resource, verb)."""
    roles = {m["metadata"]["name"]: m["rules"] for m in manifests if m["kind"] == "Role"}
    found = set()
    for binding in (m for m in manifests if m["kind"].endswith("RoleBinding")):
        if account in [subject["name"] for subject in binding["subjects"]]:
            name = binding["roleRef"]["name"]
            found |= _allowed(roles[name]) if binding["roleRef"]["kind"] == "Role" else PLATFORM_ROLES[name]
    return found


def _allowed(rules: list[dict]) -> set[tuple[str, str, str]]:
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
