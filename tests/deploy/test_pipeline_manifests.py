"""Pipelines as resources: valid, named by their content, complete, and the same program as the compiled YAML."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.components import load_component_from_text
from manifest_schemas import ROOT, InvalidManifestError, build, check, need_crds, need_kustomize

from loopline.pipelines.compile import PIPELINES, compile_pipeline, load_pipeline
from loopline.pipelines.manifests import pipeline_resources
from loopline.pipelines.spec import compiled_folder
from loopline.pipelines.versions import version_name

IMAGE = "registry.example.com/ml/loopline-step@sha256:" + "a" * 64
APPLICATION = ROOT / "deploy" / "gitops" / "pipelines.yaml"


def loopline(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("loopline")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that the command writes for the default image, and what it says."""
    home = tmp_path_factory.mktemp("home")
    done = loopline("compile", "--kubernetes", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "manifests", done.stdout.splitlines()


def _resources(folder: Path, name: str) -> tuple[dict, dict]:
    pipeline, version = yaml.load_all((folder / f"{name}.yaml").read_text(), yaml.CSafeLoader)
    return pipeline, version


def _compiled(name: str) -> str:
    return (compiled_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def _as_compiled(version: dict) -> str:
    """Write the YAML that a version holds, as the compiler writes it but for its comments."""
    spec = version["spec"]
    documents = [spec[key] for key in ("pipelineSpec", "platformSpec") if key in spec]
    return yaml.dump_all(documents, sort_keys=True)


def test_there_is_a_file_for_each_pipeline_and_the_command_says_which_version(written):
    folder, said = written
    assert {file.name for file in folder.iterdir()} == {f"{name}.yaml" for name in PIPELINES} | {"kustomization.yaml"}
    versions = {name: _resources(folder, name)[1]["metadata"]["name"] for name in PIPELINES}
    assert said == [f"manifests/{name}.yaml  {version}" for name, version in versions.items()]


@pytest.mark.parametrize("name", PIPELINES)
def test_resources_are_valid(written, name):
    need_crds()
    pipeline, version = _resources(written[0], name)
    check(pipeline)
    check(version)
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == name
    # A label's value, a part of a host's name: nothing of Kubernetes is narrower.
    for resource in (pipeline, version):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", resource["metadata"]["name"])
    # Clients find a pipeline, and a version of it, by display name.
    assert pipeline["spec"]["displayName"] == name
    assert version["spec"]["displayName"] == version["metadata"]["name"]
    assert pipeline["spec"]["description"] == version["spec"]["description"] != ""


@pytest.mark.parametrize("field", ["pipelineName", "pipelineSpec", "platformSpec"])
def test_a_misspelled_field_is_refused(written, field):
    need_crds()
    _, version = _resources(written[0], "rollback")
    version["spec"][field.lower()] = version["spec"].pop(field)
    with pytest.raises(InvalidManifestError):
        check(version)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_version_holds_the_compiled_yaml(written, name):
    """Both documents of it: the second has the secrets and their files."""
    comments = "".join(line for line in _compiled(name).splitlines(keepends=True) if line.startswith("#"))
    _, version = _resources(written[0], name)
    assert comments + _as_compiled(version) == _compiled(name)
    assert load_component_from_text(_as_compiled(version)).pipeline_spec == load_pipeline(name).pipeline_spec


def test_kfp_writes_the_same_resources(written, tmp_path):
    """By its own option, which has no image and no name from content."""
    pipeline, version = _resources(written[0], "delivery")
    options = KubernetesManifestOptions(
        pipeline_display_name="delivery",
        pipeline_version_name=version["metadata"]["name"],
        include_pipeline_manifest=True,
    )
    file = tmp_path / "delivery.yaml"
    Compiler().compile(
        load_pipeline("delivery"),
        str(file),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )
    theirs = list(yaml.load_all(file.read_text(), yaml.CSafeLoader))
    for ours in (pipeline, version):
        for key in ("annotations", "labels"):
            ours["metadata"].pop(key)
    assert theirs == [pipeline, version]


def test_a_version_runs(written, bundled, tmp_path):
    _, version = _resources(written[0], "training")
    (tmp_path / "training.yaml").write_text(_as_compiled(version))
    words = ("--uri", bundled["breast_cancer"], "--target", "target", "--name", "cells", "--rounds", "5")
    done = loopline("run", "training.yaml", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "version: 1" in done.stdout


def test_the_same_content_is_the_same_bytes(written, tmp_path):
    done = loopline("compile", "--kubernetes", "--output", "again", cwd=tmp_path)
    assert done.stdout.splitlines() == [line.replace("manifests/", "again/") for line in written[1]]
    for file in written[0].iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
        assert file.read_text().isascii()


def _leaves(value: object, path: tuple = ()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path
    else:
        for key, item in inner:
            yield from _leaves(item, (*path, key))


def test_a_name_changes_exactly_with_the_content():
    """A version cannot be changed, not even its description: the server refuses."""
    compiled = _compiled("rollback")
    _, version = pipeline_resources(compiled)
    name = version["metadata"]["name"]
    content = {key: value for key, value in version["spec"].items() if key != "displayName"}
    assert version_name(content) == name
    seen = {name}
    for path in _leaves(content):
        changed = copy.deepcopy(content)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = "changed"
        seen.add(version_name(changed))
    assert len(seen) > 100
    assert len(seen) == 1 + len(list(_leaves(content)))
    # Where it lies and what says so, the order of keys and the comments are no content.
    reordered = "---\n".join(yaml.dump(d, sort_keys=False) for d in list(yaml.safe_load_all(compiled)))
    assert pipeline_resources(reordered, namespace="ml")[1]["metadata"]["name"] == name


def test_another_image_is_another_version(tmp_path):
    (tmp_path / "here").mkdir()
    folder = tmp_path / "here" / "manifests"
    names = []
    for image in ("", IMAGE):
        done = loopline("compile", "--kubernetes", "--image", image, cwd=folder.parent)
        assert done.returncode == 0, done.stderr
        names.append({name: _resources(folder, name)[1]["metadata"]["name"] for name in PIPELINES})
    assert not set(names[0].values()) & set(names[1].values())
    # The folder holds what is wanted now; the cluster keeps what it has.
    assert len(list(folder.iterdir())) == len(PIPELINES) + 1
    images = re.findall(r"image: (\S+)\n", (folder / "training.yaml").read_text())
    assert set(images) == {IMAGE}
    assert compile_pipeline("training", IMAGE).count(IMAGE) == len(images)


def test_the_namespace_is_written_when_given(tmp_path):
    need_crds()
    done = loopline("compile", "--kubernetes", "--namespace", "ml-team", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for resource in _resources(tmp_path / "manifests", "capacity"):
        check(resource)
        assert resource["metadata"]["namespace"] == "ml-team"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--namespace", "ml-team"), "--namespace is for resources: give --kubernetes as well."),
        (("--kubernetes", "--namespace", "ML_team"), "Namespace 'ML_team' is no name in Kubernetes"),
        (("--kubernetes", "--image", "registry.example.com/step:latest"), "is not pinned"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(words, sentence, tmp_path):
    done = loopline("compile", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["training.yaml", "kustomization.yaml"])
def test_files_of_others_are_left_alone(tmp_path, name):
    file = tmp_path / "manifests" / name
    file.parent.mkdir()
    file.write_text("resources: [mine.yaml]\n")
    done = loopline("compile", "--kubernetes", cwd=tmp_path)
    assert done.returncode == 2
    assert f"manifests/{name} is there and is no resource of this command" in done.stderr
    assert [f.name for f in file.parent.iterdir()] == [name]
    assert file.read_text() == "resources: [mine.yaml]\n"


def test_the_folder_is_what_argo_cd_syncs(written):
    """Pipelines before their versions, which the server refuses otherwise; and nothing is deleted by the way."""
    need_kustomize()
    built = build(written[0])
    assert sorted(r["metadata"]["name"] for r in built if r["kind"] == "Pipeline") == sorted(PIPELINES)
    kinds = [resource["kind"] for resource in built]
    assert kinds == ["Pipeline"] * len(PIPELINES) + ["PipelineVersion"] * len(PIPELINES)
    for resource in built:
        annotations = resource["metadata"]["annotations"]
        # With a pipeline its versions go, and with a version the schedules that name it.
        assert annotations["argocd.argoproj.io/sync-options"].split(",") == ["Prune=false", "Delete=false"]
        wave = int(annotations.get("argocd.argoproj.io/sync-wave", "0"))
        assert wave == (-1 if resource["kind"] == "Pipeline" else 0)


def test_resources_fit_into_etcd(written):
    """An object has 1.5 MB, with what the API server notes of every field that server-side apply has set.

    What client-side apply keeps is an annotation, and those have 256 kB together.
    """
    for name in PIPELINES:
        _, version = _resources(written[0], name)
        size = len(json.dumps(version, separators=(",", ":")))
        fields = sum(len(json.dumps(path)) for path in _leaves(version))
        assert size + 2 * fields < 1_000_000, name


def test_the_application_is_valid_and_applies_on_the_server():
    need_crds()
    application = yaml.safe_load(APPLICATION.read_text())
    check(application)
    spec = application["spec"]
    assert "ServerSideApply=true" in spec["syncPolicy"]["syncOptions"]
    assert not spec["syncPolicy"]["automated"].get("prune")
    assert "finalizers" not in application["metadata"], "with the Application everything would go"
    spec["syncPolicy"]["automated"]["selfheal"] = spec["syncPolicy"]["automated"].pop("selfHeal")
    with pytest.raises(InvalidManifestError):
        check(application)
