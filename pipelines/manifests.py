"""Compiled pipelines as Kubernetes resources, for GitOps.

A pipeline server with ``pipelineStore: kubernetes`` keeps its pipelines as ``Pipeline`` and ``PipelineVersion``
resources. A version is immutable, so its name comes from its content. docs/gitops.md says how Argo CD brings them to a
cluster, and what becomes of old versions.
"""

import re
from pathlib import Path

import yaml

from loopline.components.errors import InputError
from loopline.pipelines.compile import PIPELINES, compile_pipeline, write_texts
from loopline.pipelines.versions import version_content, version_name

_API = "pipelines.kubeflow.org/v2beta1"
_KUSTOMIZATION = "kustomization.yaml"
#: The first line of every file: what begins otherwise is not ours to overwrite.
_HEADER = "# Written by `loopline compile --kubernetes`.\n"
#: Argo CD deletes neither: with a pipeline go its versions, and schedules name versions. Both are deleted on purpose or
#: not at all.
_KEEP = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
#: The server refuses a version whose pipeline is not there yet.
_FIRST = {"argocd.argoproj.io/sync-wave": "-1"}


def write_manifests(folder: str | Path, image: str = "", namespace: str = "") -> dict[Path, str]:
    """Write every pipeline as Kubernetes resources: a file each, and a kustomization of them.

    Args:
        folder: Where to write. Files of an earlier time are overwritten; the cluster keeps the versions they held.
        image: See ``compile_pipeline``.
        namespace: The namespace to write into the resources; without one, it is where they are applied.

    Returns:
        The version's name by file.

    Raises:
        InputError: The image is not pinned, the namespace is not a name, or the folder cannot be written or holds files
            of others by these names.
    """
    if namespace and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise InputError(
            f"Namespace {namespace!r} is no name in Kubernetes: use lower-case letters, digits and dashes."
        )
    folder = Path(folder)
    _check_ours([folder / name for name in (*(f"{pipeline}.yaml" for pipeline in PIPELINES), _KUSTOMIZATION)])
    resources = {name: pipeline_resources(compile_pipeline(name, image), namespace) for name in PIPELINES}
    texts, versions = {}, {}
    for name, (pipeline, version) in resources.items():
        file = folder / f"{name}.yaml"
        texts[file] = _HEADER + yaml.safe_dump_all([pipeline, version])
        versions[file] = version["metadata"]["name"]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [file.name for file in versions],
    }
    write_texts({**texts, folder / _KUSTOMIZATION: _HEADER + yaml.safe_dump(kustomization, sort_keys=False)})
    return versions


def pipeline_resources(compiled: str, namespace: str = "") -> tuple[dict, dict]:
    """Make the resources of a compiled pipeline.

    Clients of the server look for pipelines and versions by display name, so that is the plain name of each.

    Args:
        compiled: The YAML: the pipeline, and behind it the Kubernetes settings of its tasks, if it has any.
        namespace: See ``write_manifests``.

    Returns:
        The ``Pipeline``, and the ``PipelineVersion`` that holds the YAML.
    """
    content = version_content(compiled)
    name, description, version = content["pipelineName"], content["description"], version_name(content)
    return (
        _resource("Pipeline", name, namespace, _KEEP | _FIRST, {"displayName": name, "description": description}),
        _resource("PipelineVersion", version, namespace, _KEEP, {"displayName": version, **content}),
    )


def _resource(kind: str, name: str, namespace: str, annotations: dict, spec: dict) -> dict:
    metadata = {
        "name": name,
        "labels": {"app.kubernetes.io/part-of": "loopline"},
        "annotations": annotations,
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


def _check_ours(files: list[Path]):
    for file in files:
        if file.is_file() and not file.read_bytes().startswith(_HEADER.encode()):
            raise InputError(f"{file} is there and is no resource of this command: name another folder with --output.")
