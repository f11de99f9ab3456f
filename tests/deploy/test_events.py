"""What OpenShift Pipelines and Builds would get: wired to its end, and started by the right events alone."""

import copy
import hashlib
import hmac
import json
import re

import pytest
from deploy_sites import containers, leaves, one
from manifest_schemas import InvalidManifestError, check, need_crds, need_kustomize
from openshift_manifests import NEWEST, built
from tekton import SECRETS, run_parameters

from loopline.components.image import DEFAULT_IMAGE

REVISION = "4f0c7cbd3a1e4b9d8f6a2c5e7b9d1f3a5c7e9b0d"
DIGEST = "sha256:" + "c" * 64


@pytest.fixture(scope="module")
def manifests():
    need_kustomize()
    return built(components=("events", "shipwright"))


TYPOS = [
    ("Task", ("spec", "steps", 0), "computeResources", "resources"),
    ("Task", ("spec", "steps", 0, "securityContext"), "allowPrivilegeEscalation", "allowPrivileges"),
    ("Pipeline", ("spec", "tasks", 0), "taskRef", "taskref"),
    ("Build", ("spec", "source"), "contextDir", "contextdir"),
    ("Build", ("spec",), "paramValues", "params"),
    ("EventListener", ("spec", "triggers", 0), "interceptors", "interceptor"),
    ("TriggerBinding", ("spec",), "params", "parameters"),
    ("TriggerTemplate", ("spec",), "resourcetemplates", "resourceTemplates"),
    ("TriggerTemplate", ("spec", "resourcetemplates", 0, "spec"), "taskRunTemplate", "serviceAccountName"),
    ("Route", ("spec", "port"), "targetPort", "targetport"),
]


@pytest.mark.parametrize(("kind", "path", "field", "typo"), TYPOS, ids=[f"{t[0]}-{t[3]}" for t in TYPOS])
def test_a_misspelled_field_is_refused(manifests, kind, path, field, typo):
    need_crds()
    manifest = copy.deepcopy(next(m for m in manifests if m["kind"] == kind))
    inner = manifest
    for key in path:
        inner = inner[key]
    inner[typo] = inner.pop(field)
    with pytest.raises(InvalidManifestError):
        check(manifest, NEWEST)


def _declared(manifest: dict) -> dict[str, bool]:
    """Return the parameters of a task, pipeline or template, and whether each has a default."""
    return {p["name"]: "default" in p for p in manifest["spec"]["params"]}


def _given(entries: list[dict]) -> set[str]:
    names = [e["name"] for e in entries]
    assert len(names) == len(set(names)), names
    return set(names)


def _used(manifest: object, prefix: str) -> set[str]:
    pattern = re.compile(rf"\$\({prefix}\.([\w-]+)")
    return {name for value in leaves(manifest).values() for name in pattern.findall(str(value))}


def test_parameters_reach_the_end(manifests):
    """Each is declared where it is used, used where it is declared, and given where it has no default."""
    pipeline = one(manifests, "Pipeline")
    tasks = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Task"}
    for task in tasks.values():
        assert _used(task["spec"], "params") == set(_declared(task))
    assert _used(pipeline["spec"], "params") == set(_declared(pipeline))
    for step in pipeline["spec"]["tasks"]:
        _check_given(step["params"], tasks[step["taskRef"]["name"]])
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
    assert one(manifests, "EventListener")["spec"]["serviceAccountName"] in accounts
    templates = [m for m in manifests if m["kind"] == "TriggerTemplate"]
    assert len(templates) == 2
    for template in templates:
        (run,) = template["spec"]["resourcetemplates"]
        if run["kind"] == "PipelineRun":
            started, account = pipeline, run["spec"]["taskRunTemplate"]["serviceAccountName"]
            assert run["spec"]["pipelineRef"]["name"] == pipeline["metadata"]["name"]
        else:
            started, account = tasks[run["spec"]["taskRef"]["name"]], run["spec"]["serviceAccountName"]
        assert _given(run["spec"]["params"]) == set(_declared(started))
        assert _used(run, "tt.params") == set(_declared(template))
        assert account in accounts


def _check_given(entries: list[dict], declaring: dict):
    """Check that what is given is declared, and what has no default is given."""
    declared, given = _declared(declaring), _given(entries)
    assert given <= set(declared)
    assert {name for name, default in declared.items() if not default} <= given


def test_each_trigger_gives_what_the_template_needs(manifests):
    bindings = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "TriggerBinding"}
    for trigger in one(manifests, "EventListener")["spec"]["triggers"]:
        used = [bindings[b["ref"]] for b in trigger["bindings"]]
        given = [p for binding in used for p in binding["spec"]["params"]]
        template = one(manifests, "TriggerTemplate", trigger["template"]["ref"])
        # The settings are for all: Triggers leaves out what a template does not declare.
        settings = _given(bindings["loopline-settings"]["spec"]["params"]) - set(_declared(template))
        _check_given([p for p in given if p["name"] not in settings], template)
        cel = {p["name"]: p["value"] for p in trigger["interceptors"][-1]["params"]}
        extensions = {name for binding in used for name in _used(binding, "extensions")}
        assert extensions == {o["key"] for o in cel["overlays"]}, trigger["name"]


def test_images_are_pinned_and_steps_confined(manifests):
    settings = one(manifests, "TriggerBinding", "loopline-settings")
    assert {p["name"]: p["value"] for p in settings["spec"]["params"]}["step-image"] == DEFAULT_IMAGE
    steps = [step for m in manifests if m["kind"] == "Task" for step in containers(m)]
    assert len(steps) == 3
    assert {step["image"] for step in steps} == {"$(params.step-image)"}
    for step in steps:
        assert step["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert set(step["computeResources"]) == {"requests", "limits"}
        assert "script" not in step, "what an event says would meet a shell"


def _github(ref: str, secret: str = "of-git", **more) -> tuple[dict, dict]:
    body = {"ref": ref, "after": REVISION, "deleted": False, "repository": {"full_name": "ml/models"}} | more
    signature = hmac.new(secret.encode(), json.dumps(body).encode(), hashlib.sha256).hexdigest()
    return body, {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature}"}


def _gitlab(ref: str, after: str = REVISION, token: str = "of-git") -> tuple[dict, dict]:
    body = {"object_kind": "tag_push", "ref": ref, "after": after}
    return body, {"X-Gitlab-Event": "Tag Push Hook", "X-Gitlab-Token": token}


def _distribution(repository: str = "base/ubi-micro", action: str = "push", tag: str = "9.6", token: str = "") -> tuple:
    target = {"repository": repository, "digest": DIGEST, "mediaType": "application/vnd.oci.image.index.v1+json"}
    layer = {
        "action": "push",
        "target": target | {"digest": "sha256:" + "d" * 64},
        "request": {"host": "r.example.com"},
    }
    event = {
        "action": action,
        "target": target | ({"tag": tag} if tag else {}),
        "request": {"host": "registry.example.com"},
    }
    return {"events": [layer, event]}, {"Authorization": token or SECRETS["registry"]}


def _quay(repository: str = "base/ubi-micro", tags: tuple[str, ...] = ("9.6",)) -> dict:
    return {"repository": repository, "docker_url": f"quay.example.com/{repository}", "updated_tags": list(tags)}


@pytest.mark.parametrize("send", [_github, _gitlab])
def test_a_tag_starts_the_delivery_it_names(manifests, send):
    (parameters,) = run_parameters(manifests, *send("refs/tags/deliver/flights/3")).values()
    assert (parameters["name"], parameters["version"]) == ("flights", "3")
    assert parameters["event"] == f"Git tag of {REVISION}"
    assert parameters["repository"].startswith("https://")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        _github("refs/heads/main"),
        _github("refs/tags/v1.0"),
        _github("refs/tags/deliver/flights"),
        _github("refs/tags/deliver/flights/three"),
        _github("refs/tags/deliver/flights/3/4"),
        _github("refs/tags/deliver/$(id)/3"),
        _github("refs/tags/deliver/flights/3", secret="guessed"),
        _github("refs/tags/deliver/flights/3", deleted=True, after="0" * 40),
        _gitlab("refs/tags/deliver/flights/3", token="guessed"),
        _gitlab("refs/tags/deliver/flights/3", after="0" * 40),
        ({"ref": "refs/tags/deliver/flights/3", "after": REVISION, "deleted": False}, {}),
    ],
)  # fmt: skip
def test_other_git_events_start_nothing(manifests, body, headers):
    assert run_parameters(manifests, body, headers) == {}


def test_a_new_base_image_starts_the_rebuild_on_it(manifests):
    started = run_parameters(manifests, *_distribution())
    assert list(started) == ["base-image-distribution"]
    (parameters,) = started.values()
    assert parameters["base"] == f"docker://registry.example.com/base/ubi-micro@{DIGEST}"
    assert (parameters["name"], parameters["event"]) == ("flights", "new base image")
    url = "http://el-loopline.loopline.svc/?token=of-quay"
    started = run_parameters(manifests, _quay(), {}, url)
    assert {name: p["base"] for name, p in started.items()} == {
        "base-image-quay": "docker://quay.example.com/base/ubi-micro:9.6"
    }


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        _distribution(token="Bearer guessed"),
        _distribution(action="pull"),
        _distribution(tag=""),
        # Otherwise a delivery's own push would start the next delivery.
        _distribution(repository="models/flights"),
        (_distribution()[0], {}),
    ],
)
def test_other_registry_events_start_nothing(manifests, body, headers):
    assert run_parameters(manifests, body, headers) == {}


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (_quay(), "http://el/?token=guessed"),
        (_quay(), "http://el/"),
        (_quay(tags=()), "http://el/?token=of-quay"),
        (_quay("models/flights"), "http://el/?token=of-quay"),
    ],
)
def test_other_quay_events_start_nothing(manifests, body, url):
    assert run_parameters(manifests, body, {}, url) == {}
