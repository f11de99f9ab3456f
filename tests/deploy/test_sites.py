"""The configuration repository: what each site would get, and what a promotion changes."""

import copy
import re
import shutil

import pytest
import yaml
from deploy_sites import (
    CASES,
    FIRST,
    RUNTIMES,
    SECOND,
    SITES,
    TEMPLATE,
    built,
    case_name,
    containers,
    leaves,
    one,
    promote,
)
from manifest_schemas import InvalidManifestError, build, check, need_crds, need_kustomize

from loopline.components.delivery.release import read_release_env, read_site_env
from loopline.components.image import DEFAULT_IMAGE

MODEL = "spec.predictor.model"


@pytest.fixture(autouse=True)
def kustomize():
    need_kustomize()


def _keyed(manifests: list[dict]) -> dict[str, dict]:
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in manifests}


def _changes(before: list[dict], after: list[dict]) -> dict[str, tuple]:
    """Return what differs, by object and path."""
    old, new = leaves(_keyed(before)), leaves(_keyed(after))
    return {
        path: (old.get(path), new.get(path))
        for path in sorted(old | new)
        if old.get(path, _NONE) != new.get(path, _NONE)
    }


_NONE = object()


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_every_object_is_valid(case):
    need_crds()
    manifests = built(*case)
    for manifest in manifests:
        check(manifest)
    kinds = {m["kind"] for m in manifests}
    assert kinds >= {
        "InferenceService", "ServingRuntime", "ServiceMonitor", "Route", "Deployment", "Service", "ServiceAccount",
        "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding",
    }  # fmt: skip
    assert "ConfigMap" not in kinds, "release.env and site.env stay in Git"


TYPOS = [
    ("InferenceService", "spec.predictor.minReplicas", "minReplica"),
    ("InferenceService", "spec.predictor.model.storageUri", "storageURI"),
    ("InferenceService", "spec.predictor.deploymentStrategy.rollingUpdate", "rollingupdate"),
    ("InferenceService", "metadata.annotations", "anotations"),
    ("ServingRuntime", "spec.multiModel", "multimodel"),
    ("ServingRuntime", "spec.supportedModelFormats", "supportedFormats"),
    ("ServiceMonitor", "spec.endpoints", "endpoint"),
    ("Route", "spec.tls.insecureEdgeTerminationPolicy", "insecurePolicy"),
    ("Deployment", "spec.template.spec.automountServiceAccountToken", "automountToken"),
    ("NetworkPolicy", "spec.policyTypes", "policyType"),
    ("PodDisruptionBudget", "spec.maxUnavailable", "maxUnavailble"),
    ("RoleBinding", "roleRef", "roleref"),
]


@pytest.mark.parametrize(("kind", "path", "typo"), TYPOS, ids=[f"{kind}-{typo}" for kind, _, typo in TYPOS])
def test_a_misspelled_field_is_refused(kind, path, typo):
    """Otherwise the test above could not fail."""
    need_crds()
    manifest = copy.deepcopy(next(m for m in built("edge") if m["kind"] == kind))
    check(manifest)
    *parents, field = path.split(".")
    inner = manifest
    for parent in parents:
        inner = inner[parent]
    inner[typo] = inner.pop(field)
    with pytest.raises(InvalidManifestError):
        check(manifest)


@pytest.mark.parametrize(
    ("field", "value"), [("minReplicas", "one"), ("deploymentStrategy", []), ("terminationGracePeriodSeconds", "45s")]
)
def test_a_value_of_the_wrong_type_is_refused(field, value):
    need_crds()
    manifest = copy.deepcopy(one(built("edge"), "InferenceService"))
    manifest["spec"]["predictor"][field] = value
    with pytest.raises(InvalidManifestError, match=field):
        check(manifest)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("site", SITES)
def test_a_promotion_changes_the_image_and_the_version_alone(site, runtime):
    changes = _changes(built(site, runtime, FIRST), built(site, runtime, SECOND))
    service = ".InferenceService/model"
    model = f"{service}.{MODEL}"
    assert changes == {
        f"{service}.metadata.annotations.dev.loopline/model-version": ("3", "4"),
        f"{model}.env[LOOPLINE_IMAGE_DIGEST].value": (FIRST.image, SECOND.image),
        f"{model}.env[MODEL_VERSION].value": ("3", "4"),
        f"{model}.storageUri": (FIRST.image, SECOND.image),
    }


def test_a_promotion_of_one_site_leaves_the_others(tmp_path):
    copied = tmp_path / "config-repo"
    shutil.copytree(TEMPLATE, copied)
    promote(copied / "sites" / "edge", FIRST)
    changed = {site for site in SITES if build(copied / "sites" / site) != built(site, release=None)}
    assert changed == {"edge"}
    files = {p.relative_to(copied) for p in copied.rglob("*") if p.is_file()}
    different = {p for p in files if (copied / p).read_bytes() != (TEMPLATE / p).read_bytes()}
    assert {str(p) for p in different} == {"sites/edge/release.env"}


@pytest.mark.parametrize("site", SITES)
def test_before_the_first_promotion_the_service_is_stopped(site):
    """KServe runs nothing while the annotation is "true"; with a model it must be anything else."""
    stop = "serving.kserve.io/stop"
    assert one(built(site, release=None), "InferenceService")["metadata"]["annotations"][stop] == "true"
    assert one(built(site, release=FIRST), "InferenceService")["metadata"]["annotations"][stop].lower() != "true"
    file = TEMPLATE / "sites" / site / "release.env"
    assert str(read_release_env(file.read_text())) == "nothing"


@pytest.mark.parametrize("site", SITES)
def test_a_site_gets_its_settings(site):
    settings = read_site_env((TEMPLATE / "sites" / site / "site.env").read_text())
    assert settings["LOOPLINE_SITE"] == site
    model = one(built(site), "InferenceService")["spec"]["predictor"]["model"]
    env = {e["name"]: e["value"] for e in model["env"]}
    for name in ("LOOPLINE_SITE", "LOOPLINE_TRAFFIC_SAMPLE", "LOOPLINE_TRAFFIC_URI"):
        assert env[name] == settings[name]
    assert all(isinstance(value, str) for value in env.values()), "Kubernetes takes text alone"
    assert model["storageUri"] == env["LOOPLINE_IMAGE_DIGEST"] == FIRST.image
    app = one(built(site), "Deployment", "app")["spec"]["template"]["spec"]["containers"][0]
    env = {e["name"]: e["value"] for e in app["env"]}
    assert (env["LOOPLINE_SITE"], env["LOOPLINE_MODEL"]) == (site, FIRST.name)
    names = [e["name"] for e in app["env"]]
    assert names.index("LOOPLINE_SITE") < names.index("LOOPLINE_SERVICES"), "Kubernetes expands what stands before"
    assert {m["metadata"]["namespace"] for m in built(site)} == {f"loopline-{site}"}
    destination = yaml.safe_load((TEMPLATE / "sites" / site / "destination.yaml").read_text())
    assert destination["namespace"] == f"loopline-{site}"


def test_sites_differ_as_sites_do():
    predictor = {site: one(built(site), "InferenceService")["spec"]["predictor"] for site in SITES}
    scaler = {
        site: one(built(site), "InferenceService")["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"]
        for site in SITES
    }
    assert {s: (p["minReplicas"], p["maxReplicas"]) for s, p in predictor.items()} == {
        "cloud": (2, 8),
        "datacenter": (3, 3),
        "edge": (1, 1),
    }
    assert scaler == {"cloud": "hpa", "datacenter": "none", "edge": "none"}
    assert predictor["cloud"]["scaleMetric"] == "cpu"
    assert predictor["datacenter"]["topologySpreadConstraints"]
    share = {
        s: float(read_site_env((TEMPLATE / "sites" / s / "site.env").read_text())["LOOPLINE_TRAFFIC_SAMPLE"])
        for s in SITES
    }
    assert share["edge"] < share["cloud"] < share["datacenter"]


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_every_container_is_confined_bounded_and_probed(case):
    found = [
        (m["kind"], c) for m in built(*case) if m["kind"] in ("Deployment", "ServingRuntime") for c in containers(m)
    ]
    assert len(found) == 2
    for kind, container in found:
        security = container["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, kind
        assert "runAsUser" not in security, "OpenShift gives the user"
        assert set(container["resources"]) == {"requests", "limits"}
        assert all(set(amounts) == {"cpu", "memory"} for amounts in container["resources"].values())
        assert {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle"} <= set(container)
        mounts = {v["name"]: v["mountPath"] for v in container["volumeMounts"]}
        assert mounts == {"tmp": "/tmp"}
    # The readiness of a stock server is the model's own.
    runtime = containers(one(built(*case), "ServingRuntime"))[0]
    name = case[2].name if case[2] else ""
    wanted = "/v2/health/ready" if case[1] == "loopline-mlserver" else f"/v2/models/{name}/ready"
    assert runtime["readinessProbe"]["httpGet"]["path"] == wanted


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_images_are_pinned(case):
    for manifest in built(*case):
        for container in containers(manifest) if manifest["kind"] in ("Deployment", "ServingRuntime") else []:
            assert re.fullmatch(r"\S+/\S+(@sha256:[0-9a-f]{64}|:\d[\w.-]*)", container["image"]), container["image"]
    if case[1] == "loopline-mlserver":
        images = {
            c["image"] for m in built(*case) if m["kind"] in ("Deployment", "ServingRuntime") for c in containers(m)
        }
        assert DEFAULT_IMAGE in images, "the steps' image serves as well"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_model_and_its_runtime_fit(case):
    manifests = built(*case)
    model = one(manifests, "InferenceService")["spec"]["predictor"]["model"]
    runtime = one(manifests, "ServingRuntime")
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {f["name"] for f in runtime["spec"]["supportedModelFormats"]}
    container = runtime["spec"]["containers"][0]
    assert container["name"] == "kserve-container"
    assert not {e["name"] for e in model["env"]} & {e["name"] for e in container["env"]}, "one would hide the other"


def test_no_secret_is_in_the_repository():
    """Secrets are named, never held."""
    for file in TEMPLATE.rglob("*"):
        if file.is_file():
            assert not re.search(r"(?m)^kind: Secret$|PRIVATE KEY", file.read_text(encoding="utf-8")), file
    for manifest in (m for case in CASES for m in built(*case)):
        for path, value in leaves(manifest).items():
            named = re.search(r"(?i)\[\w*(password|token|secret|access_key)\w*\]\.value$", path)
            assert not named, (path, value)
    runtime = containers(one(built("edge"), "ServingRuntime"))[0]
    assert runtime["envFrom"] == [{"secretRef": {"name": "loopline-s3", "optional": True}}]


def test_the_network_is_closed_but_for_what_is_needed():
    policies = {m["metadata"]["name"]: m["spec"] for m in built("edge") if m["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {
        name: [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        for name, spec in policies.items()
    }
    assert ports == {"default-deny": [], "allow-dns": [], "app": [8080], "model": [8080, 8443, 8082]}
    # A rule without "from" would let everybody in.
    assert all(rule["from"] for spec in policies.values() for rule in spec.get("ingress", []))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_asked_is_what_is_open(runtime):
    """The app, Prometheus, the service and the policies must mean the same pods and ports."""
    manifests = built("edge", runtime)
    service = one(manifests, "Service", "model-internal")
    monitor = one(manifests, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    targets = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    policy = one(manifests, "NetworkPolicy", "model")["spec"]
    assert policy["podSelector"]["matchLabels"] == service["spec"]["selector"]
    assert policy["ingress"][0]["ports"][0]["port"] == targets["http"] == 8080
    assert policy["ingress"][2]["ports"][0]["port"] == targets[monitor["spec"]["endpoints"][0]["port"]]
    app = one(manifests, "Deployment", "app")["spec"]["template"]["spec"]["containers"][0]
    services = next(e["value"] for e in app["env"] if e["name"] == "LOOPLINE_SERVICES")
    assert f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" in services


def test_a_site_can_trust_the_authorities_of_the_company():
    need_crds()
    manifests = built("edge", component="trusted-ca")
    for manifest in manifests:
        check(manifest)
    runtime = one(manifests, "ServingRuntime")
    (container,) = containers(runtime)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in runtime["spec"]["volumes"]} == {"tmp", "trusted-ca"}
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == f"{mounts['trusted-ca']}/ca-bundle.crt"
    without = one(built("edge"), "ServingRuntime")
    assert {volume["name"] for volume in without["spec"]["volumes"]} == {"tmp"}


def test_argo_cd_finds_every_site():
    need_crds()
    manifest = yaml.safe_load((TEMPLATE / "argocd" / "applicationset.yaml").read_text())
    check(manifest)
    spec = manifest["spec"]
    generator = spec["generators"][0]["git"]
    (pattern,) = [f["path"] for f in generator["files"]]
    assert {p.parent.name for p in TEMPLATE.glob(pattern)} == set(SITES)
    for file in TEMPLATE.glob(pattern):
        assert set(yaml.safe_load(file.read_text())) == {"server", "namespace"}
    source = spec["template"]["spec"]["source"]
    assert (source["repoURL"], source["targetRevision"]) == (generator["repoURL"], generator["revision"])
    assert spec["template"]["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    broken = copy.deepcopy(manifest)
    broken["spec"]["template"]["spec"]["syncPolicy"]["automated"]["selfheal"] = True
    with pytest.raises(InvalidManifestError, match="selfheal"):
        check(broken)


def test_the_template_needs_no_hidden_files():
    """Package data leaves them out."""
    assert not [p for p in TEMPLATE.rglob("*") if p.name.startswith(".")]
    assert {p.suffix for p in TEMPLATE.rglob("*") if p.is_file()} <= {".yaml", ".env", ".md"}
