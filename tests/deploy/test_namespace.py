"""What a namespace of OpenShift AI gets before anything runs: valid on each release, complete, no more than needed."""

import copy
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy_sites import one
from manifest_schemas import (
    PLATFORMS,
    InvalidManifestError,
    build,
    check,
    definition_file,
    need_crds,
    need_kustomize,
)
from openshift_manifests import COMPONENTS, FOLDER, NEWEST, built, documents, overlay, permissions

from loopline.components.image import DEFAULT_IMAGE
from loopline.components.training.distributed.certificates import MOUNTED_AUTHORITIES
from loopline.pipelines.settings import MOUNTED, SECRETS

README = FOLDER / "README.md"
DSPA = ("datasciencepipelinesapplications.opendatahub.io", "DataSciencePipelinesApplication")
STEPS = "pipeline-runner-dspa"


def _dspa(platform: str, components: tuple[str, ...] = ()) -> dict:
    return one(built(platform, components), DSPA[1])


@pytest.mark.parametrize("components", [(), COMPONENTS], ids=["plain", "with-every-component"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_object_is_valid_on_its_platform(platform, components):
    need_kustomize()
    need_crds()
    manifests = built(platform, components)
    for manifest in manifests:
        check(manifest, platform)
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "loopline"
    assert not [m for m in manifests if m["kind"] == "Secret"], "credentials would be applied by the way"
    namespaced = [m for m in manifests if m["kind"] != "ClusterRoleBinding"]
    assert {m["metadata"].get("namespace") for m in namespaced} == {"loopline"}
    for binding in (m for m in manifests if m["kind"].endswith("RoleBinding")):
        assert {subject["namespace"] for subject in binding["subjects"]} == {"loopline"}


def test_no_file_is_forgotten():
    need_kustomize()
    written = [d for folder in ("base", "components") for d in documents(FOLDER / folder)]
    names = [(d["kind"], d["metadata"]["name"]) for d in written]
    assert sorted(names) == sorted((m["kind"], m["metadata"]["name"]) for m in built(NEWEST, COMPONENTS))


@pytest.mark.parametrize(
    ("path", "field", "typo"),
    [
        (("spec", "apiServer"), "pipelineStore", "pipelineStorage"),
        (("spec", "objectStorage", "externalStorage"), "basePath", "basepath"),
        (("spec", "scheduledWorkflow"), "cronScheduleTimezone", "cronTimezone"),
    ],
)
def test_a_misspelled_field_is_refused(path, field, typo):
    need_kustomize()
    need_crds()
    manifest = copy.deepcopy(_dspa(NEWEST))
    inner = manifest
    for key in path:
        inner = inner[key]
    inner[typo] = inner.pop(field)
    for platform in PLATFORMS:
        with pytest.raises(InvalidManifestError):
            check(manifest, platform)


@pytest.mark.parametrize(("newer", "older", "field"), [("3.5", "3.4", "mlflow"), ("3.4", "3.3", "resourceTTL")])
def test_an_older_platform_refuses_what_it_lacks(newer, older, field):
    """Which is why there is an overlay for each."""
    need_kustomize()
    need_crds()
    with pytest.raises(InvalidManifestError, match=field):
        check(_dspa(newer), older)


def test_a_platform_must_be_named():
    need_kustomize()
    need_crds()
    with pytest.raises(AssertionError, match=r"name one of 3\.3, 3\.4, 3\.5"):
        check(_dspa(NEWEST))


def _fields(value: dict, path: str = ""):
    """Yield every field that is set, but for the parts of a volume claim."""
    for key, inner in value.items():
        if isinstance(inner, dict) and key != "volumeClaimTemplateSpec":
            yield from _fields(inner, f"{path}{key}.")
        else:
            yield path + key


def _has(platform: str, path: str) -> bool:
    (version,) = yaml.load(definition_file(*DSPA, platform).read_text(), yaml.CSafeLoader)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in path.split("."):
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return False
    return True


def test_the_readme_lists_what_a_platform_lacks():
    need_kustomize()
    need_crds()
    fields = [field for platform in PLATFORMS for field in _fields(_dspa(platform, COMPONENTS)["spec"])]
    head = ["| field | " + " | ".join(PLATFORMS) + " |", "|---" * (len(PLATFORMS) + 1) + "|"]
    rows = [
        f"| `{field}` | " + " | ".join("yes" if _has(platform, field) else "no" for platform in PLATFORMS) + " |"
        for field in sorted(set(fields))
    ]
    assert any("| no |" in row for row in rows)
    assert "\n".join(head + rows) in README.read_text(), "\n".join(["put this into README.md:", *head, *rows])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_pipeline_server_is_the_one_that_everything_looks_for(platform):
    need_kustomize()
    dspa = _dspa(platform)
    assert dspa["metadata"]["name"] == "dspa"
    assert dspa["spec"]["apiServer"]["pipelineStore"] == "kubernetes"
    storage = dspa["spec"]["objectStorage"]["externalStorage"]
    secret = storage["s3CredentialsSecret"]
    assert {secret["accessKey"], secret["secretKey"]} <= set(SECRETS[secret["secretName"]])
    # The platform's runtime for Elyra is made of these three.
    assert storage["host"] and storage["bucket"] and storage["scheme"] == "https"


def test_steps_may_do_what_they_need_and_no_more():
    need_kustomize()
    server = "datasciencepipelinesapplications"
    api = {(f"{server}.opendatahub.io", f"{server}/api", verb) for verb in ("get", "create")}
    mlflow = {
        ("mlflow.kubeflow.org", resource, verb)
        for resource in ("experiments", "registeredmodels")
        for verb in ("get", "list", "create", "update", "delete")
    }
    assert permissions(built("3.3"), STEPS) == api
    for platform in ("3.4", "3.5"):
        assert permissions(built(platform), STEPS) == api | mlflow
    everything = built(NEWEST, COMPONENTS)
    training = {("trainer.kubeflow.org", "trainjobs", verb) for verb in ("get", "create", "delete")}
    training |= {("trainer.kubeflow.org", "trainingruntimes", "get"), ("", "pods/log", "get")}
    training |= {("", "pods", verb) for verb in ("get", "list")}
    assert permissions(everything, STEPS) == api | mlflow | training | {("", "namespaces", "get")}
    assert permissions(everything, "loopline-delivery") == api
    for role in (m for m in everything if m["kind"] == "Role"):
        assert "*" not in str(role["rules"])


def test_pods_of_a_training_job_have_no_more_than_they_need():
    """The key of S3 by its secret, and the authorities that make it trusted; nothing that speaks to the cluster."""
    need_kustomize()
    runtime = one(built(NEWEST, ("training",)), "TrainingRuntime")
    check(runtime)
    with pytest.raises(InvalidManifestError, match=r"mlPolicy\.nodes"):
        check({**runtime, "spec": {**runtime["spec"], "mlPolicy": {"nodes": 2}}})
    [replicated] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert (replicated["name"], container["name"]) == ("node", "node"), "names that Kubeflow Trainer looks for"
    assert pod["automountServiceAccountToken"] is False
    assert (pod["restartPolicy"], job["backoffLimit"]) == ("Never", 0), "the step says why, and is retried as a whole"
    assert container["envFrom"] == [{"secretRef": {"name": "loopline-s3", "optional": True}}]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"authorities": str(MOUNTED_AUTHORITIES), "tmp": "/tmp"}
    assert container["image"] == DEFAULT_IMAGE


def test_the_namespace_is_named_in_one_place(tmp_path):
    need_kustomize()
    shutil.copytree(FOLDER, tmp_path / "openshift")
    file = tmp_path / "openshift" / "common" / "namespace.yaml"
    file.write_text(file.read_text().replace("namespace: loopline", "namespace: ml-team"))
    for manifest in build(tmp_path / "openshift" / overlay(NEWEST)):
        assert manifest["metadata"]["namespace"] == "ml-team"
        assert {s["namespace"] for s in manifest.get("subjects", [])} <= {"ml-team"}


def _filled(folder: Path, value: str = "filled"):
    """Make the files of the secrets of their templates: with a value, each line that is commented out becomes one."""
    for template in folder.glob("*.template"):
        text = template.read_text()
        if value:
            text = re.sub(r"(?m)^#([A-Za-z0-9_-]+)=.*$", rf"\1={value}", text)
        template.with_suffix("").write_text(text)
    (folder / "loopline-registry.json").write_text('{"auths": {}}')
    for name in ("cosign.key", "cosign.password", "cosign.pub", "approvers.pub"):
        (folder / name).write_text(value)


@pytest.fixture
def secrets(tmp_path):
    """Copy the folder of the secrets to where they can be filled in."""
    need_kustomize()
    shutil.copytree(
        FOLDER, tmp_path / "openshift", ignore=shutil.ignore_patterns("*.env", "cosign.*", "*.pub", "*.json")
    )
    return tmp_path / "openshift" / "secrets"


def test_secrets_have_the_keys_that_the_pipelines_read(secrets):
    _filled(secrets)
    made = {manifest["metadata"]["name"]: manifest for manifest in build(secrets)}
    for manifest in made.values():
        check(manifest)
        assert manifest["metadata"]["namespace"] == "loopline"
    keys = {name: set(manifest["data"]) for name, manifest in made.items()}
    # Of a connection the pipelines do not read the bucket, workbenches do.
    assert keys.pop("loopline-s3") - {"AWS_S3_BUCKET"} == set(SECRETS["loopline-s3"])
    assert {keys.pop(name) == {".dockerconfigjson"} for name in MOUNTED} == {True}
    assert keys == {name: set(variables) for name, variables in SECRETS.items() if name != "loopline-s3"}
    types = {name: manifest["type"] for name, manifest in made.items() if manifest["type"] != "Opaque"}
    assert types == {
        "loopline-git": "kubernetes.io/basic-auth",
        "loopline-registry": "kubernetes.io/dockerconfigjson",
    }


def test_secrets_cannot_be_applied_as_they_are(secrets):
    done = subprocess.run(["kubectl", "kustomize", secrets], capture_output=True, text=True)
    assert done.returncode != 0
    assert "loopline-s3.env" in done.stderr
    # Nor is a placeholder ever taken for a credential: what is not filled in is not there.
    _filled(secrets, value="")
    made = [
        m for m in build(secrets) if m["metadata"]["name"] not in (*MOUNTED, "loopline-signing", "loopline-approvers")
    ]
    assert len(made) == len(SECRETS) - 2
    assert not any(manifest.get("data") for manifest in made), made


def test_secrets_that_are_filled_in_stay_out_of_git():
    files = ["loopline-s3.env", "loopline-git.env", "loopline-registry.json", "cosign.key", "cosign.password"]
    ignored = subprocess.run(
        ["git", "check-ignore", *files], cwd=FOLDER / "secrets", capture_output=True, text=True
    ).stdout
    assert ignored.split() == files
    tracked = subprocess.run(["git", "ls-files"], cwd=FOLDER / "secrets", capture_output=True, text=True).stdout
    assert all(Path(name).suffix in (".template", ".yaml", "") for name in tracked.split())


def test_the_readme_shows_the_layout():
    text = README.read_text()
    assert all(f"\n| `{name}` | " in text for name in COMPONENTS)
    assert all(f"rhoai-{platform}" in text for platform in PLATFORMS)
    linked = re.findall(r"\]\(([^)#]+)", text)
    assert all((FOLDER / link).exists() for link in linked if "://" not in link)


@pytest.mark.parametrize("secret", [*SECRETS, *MOUNTED])
def test_the_readme_names_every_secret_and_key(secret):
    (row,) = [line for line in README.read_text().splitlines() if line.startswith(f"| `{secret}` |")]
    assert all(f"`{key}`" in row for key in SECRETS.get(secret, {}) if key not in ("username", "password"))
