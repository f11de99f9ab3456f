"""Kubernetes objects checked as strictly as an API server with strict field validation, without one.

Core objects by the schemas of kubernetes-validate; the others by their public resource definitions, found in the folder
LOOPLINE_CRDS; Kubeflow Trainer's by the models of its API. Triggers' own definitions allow anything, and OpenShift's
builds and image streams have none, so what Loopline uses of them is written down here.
"""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models as trainer_models

ROOT = Path(__file__).parents[1]
CRDS = Path(os.environ.get("LOOPLINE_CRDS", ROOT.parent / "shared" / "crds"))
#: The Kubernetes below OpenShift 4.18.
KUBERNETES = "1.31"
#: The releases of OpenShift AI whose own definition of a pipeline server is there.
PLATFORMS = ("3.3", "3.4", "3.5")


class InvalidManifestError(Exception):
    """An object that an API server would refuse, or would take without a part of it."""


def need_crds():
    """Skip the calling test where the resource definitions are not there."""
    if not any(CRDS.glob("*.yaml")):
        pytest.skip(f"no resource definitions in {CRDS}: name their folder in LOOPLINE_CRDS")


def need_kustomize():
    """Skip the calling test where kubectl cannot build the overlays."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    shown = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Kustomize Version: v(\d+)\.", shown)
    if not found or int(found[1]) < 5:
        pytest.skip(f"kubectl's kustomize is older than 5: {shown.splitlines()[-1]}")


def build(folder: Path) -> list[dict]:
    """Build a kustomization."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def check(manifest: dict, platform: str = ""):
    """Check one object.

    Args:
        manifest: The object.
        platform: The release of OpenShift AI, for a kind that changes with it.

    Raises:
        InvalidManifestError: A field is unknown, missing or of the wrong type; or nothing is known about the kind.
    """
    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = manifest["kind"]
    if (group, kind) in _OWN:
        _check_schema(manifest, strict(_OWN[group, kind]))
    elif group == "trainer.kubeflow.org":
        _check_trainer(manifest)
    elif (group, kind) in _definitions():
        _check_schema(manifest, _schema(definition_file(group, kind, platform), version))
    else:
        _check_core(manifest)
        return
    # A resource definition says nothing about metadata: it is what a core object's is.
    _check_core({"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]})


def _check_core(manifest: dict):
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise InvalidManifestError(f"{_name(manifest)}: {error.message} at {list(error.path)}") from None
    except kubernetes_validate.SchemaNotFoundError:
        raise InvalidManifestError(f"{_name(manifest)}: no schema for {manifest['apiVersion']}") from None


def _check_trainer(manifest: dict):
    """Check by the models of Kubeflow Trainer's own API, which drop what they do not know."""
    model = getattr(trainer_models, f"TrainerV1alpha1{manifest['kind']}")
    try:
        kept = model.from_dict(manifest).to_dict()
    except ValueError as error:
        raise InvalidManifestError(f"{_name(manifest)}: {error}") from None
    lost = _first_lost(manifest, kept)
    if lost:
        raise InvalidManifestError(f"{_name(manifest)}: unknown or changed at {lost}")


def _first_lost(given: object, kept: object, where: str = "$") -> str:
    """Return where one value has something that another has not; nothing when it is all there."""
    if isinstance(given, dict):
        pairs = [(f"{where}.{key}", value, (kept or {}).get(key)) for key, value in given.items()]
    elif isinstance(given, list):
        pairs = [(f"{where}[{i}]", value, (kept or [None] * len(given))[i]) for i, value in enumerate(given)]
    else:
        return "" if given == kept else where
    return next(filter(None, (_first_lost(value, other, path) for path, value, other in pairs)), "")


def _check_schema(manifest: dict, schema: dict):
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(manifest))
    if error is not None:
        raise InvalidManifestError(f"{_name(manifest)}: {error.message[:300]} at {error.json_path}")


def _name(manifest: dict) -> str:
    return f"{manifest['kind']} {manifest['metadata'].get('name', '')}"


@functools.cache
def _definitions() -> dict[tuple[str, str], dict[str, Path]]:
    """Return the files of each kind by platform; only what is asked for is parsed, since some are of megabytes."""
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        group = re.search(r"(?m)^  group: (\S+)$", text)
        kind = re.search(r"(?m)^    kind: (\S+)$", text)
        if group and kind:
            _, _, platform = file.stem.partition("-rhoai-")
            found.setdefault((group[1], kind[1]), {})[platform] = file
    return found


def definition_file(group: str, kind: str, platform: str = "") -> Path:
    """Return the file with the definition of a kind; where it changes with the platform, that of the one named."""
    files = _definitions()[group, kind]
    if len(files) == 1:
        return files[""]
    assert platform in PLATFORMS, f"{kind} changes with the platform: name one of {', '.join(PLATFORMS)}"
    return files[platform]


class _DefinitionLoader(yaml.CSafeLoader):
    """Reads a plain = as the text it is; YAML 1.1 has a type of its own for it."""


_DefinitionLoader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


@functools.cache
def _schema(file: Path, version: str) -> dict:
    with open(file, encoding="utf-8") as stream:
        definition = next(d for d in yaml.load_all(stream, _DefinitionLoader) if d)
    schemas = {v["name"]: v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["served"]}
    if version not in schemas:
        raise InvalidManifestError(f"{file.name} has no version {version}: it has {', '.join(schemas)}")
    schema = strict(schemas[version])
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    return schema


def strict(schema: dict) -> dict:
    """Turn a structural schema of Kubernetes into JSON Schema that refuses unknown fields."""
    result = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-") and k not in ("nullable", "format")}
    if "properties" in schema:
        result["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        result["items"] = strict(schema["items"])
    if "anyOf" in schema:
        result["anyOf"] = [strict(value) for value in schema["anyOf"]]
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    closed = not schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and closed and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result


def _object(required: tuple[str, ...] = (), **properties: dict) -> dict:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: dict) -> dict:
    return {"type": "array", "minItems": 1, "items": items}


def _resource(spec: dict) -> dict:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion=_TEXT, kind=_TEXT, metadata=_ANY_OBJECT, spec=spec
    )


_TEXT = {"type": "string"}
_ANY = {"x-kubernetes-preserve-unknown-fields": True}
_ANY_OBJECT = _ANY | {"type": "object"}
_REF = _object(("ref",), ref=_TEXT)
_PARAMS = _list(_object(("name", "value"), name=_TEXT, value=_TEXT))
_INTERCEPTOR = _object(
    ("ref", "params"),
    ref=_object(("name", "kind"), name={"enum": ["cel", "github", "gitlab"]}, kind={"enum": ["ClusterInterceptor"]}),
    params=_list(
        _object(("name", "value"), name={"enum": ["filter", "overlays", "secretRef", "eventTypes"]}, value=_ANY)
    ),
)
_CONTAINER = _object(("resources",), resources=_object(("requests", "limits"), requests=_ANY, limits=_ANY))
_KUBERNETES_RESOURCE = _object(
    replicas={"type": "integer"},
    serviceType={"enum": ["ClusterIP"]},
    spec=_object(template=_object(spec=_object(containers=_list(_CONTAINER)))),
)
_PIPELINE_RUN = _object(
    ("pipelineRef", "params", "taskRunTemplate"),
    pipelineRef=_object(("name",), name=_TEXT),
    params=_PARAMS,
    timeouts=_object(pipeline=_TEXT, tasks=_TEXT, **{"finally": _TEXT}),
    taskRunTemplate=_object(
        ("serviceAccountName",), serviceAccountName=_TEXT, podTemplate=_object(securityContext=_ANY)
    ),
)
_TASK_RUN = _object(
    ("taskRef", "params", "serviceAccountName"),
    taskRef=_object(("name",), name=_TEXT),
    params=_PARAMS,
    serviceAccountName=_TEXT,
    podTemplate=_object(securityContext=_ANY),
    timeout=_TEXT,
    retries={"type": "integer"},
)
_ENTRY = _object(("name", "value"), name=_TEXT, value=_TEXT)
_IMAGE = _object(("kind", "name"), kind={"enum": ["DockerImage", "ImageStreamTag"]}, name=_TEXT)
_BUILD_CONFIG = _object(
    ("source", "strategy", "output"),
    source=_object(("type", "git"), type={"enum": ["Git"]}, git=_object(("uri",), uri=_TEXT, ref=_TEXT)),
    strategy=_object(
        ("type", "dockerStrategy"),
        type={"enum": ["Docker"]},
        dockerStrategy=_object(dockerfilePath=_TEXT, buildArgs=_list(_ENTRY)),
    ),
    output=_object(("to",), to=_IMAGE),
    completionDeadlineSeconds={"type": "integer"},
    successfulBuildsHistoryLimit={"type": "integer"},
    failedBuildsHistoryLimit={"type": "integer"},
)
_IMAGE_STREAM = _object(
    lookupPolicy=_object(("local",), local={"type": "boolean"}),
    tags=_list(
        _object(
            ("name", "from"),
            name=_TEXT,
            annotations={"type": "object", "additionalProperties": _TEXT},
            referencePolicy=_object(("type",), type={"enum": ["Source", "Local"]}),
            **{"from": _IMAGE},
        )
    ),
)
_IMAGE_POLICY = _object(
    ("scopes", "policy"),
    scopes=_list(_TEXT),
    policy=_object(
        ("rootOfTrust",),
        rootOfTrust=_object(
            ("policyType", "publicKey"),
            policyType={"enum": ["PublicKey"]},
            publicKey=_object(("keyData",), keyData=_TEXT, rekorKeyData=_TEXT),
        ),
        signedIdentity=_object(("matchPolicy",), matchPolicy={"enum": ["MatchRepository", "MatchRepoDigestOrExact"]}),
    ),
)
_CUE = _object(("type", "data"), type={"enum": ["cue", "rego"]}, data=_TEXT)
_CLUSTER_IMAGE_POLICY = _object(
    ("images", "authorities"),
    images=_list(_object(("glob",), glob=_TEXT)),
    mode={"enum": ["enforce", "warn"]},
    authorities=_list(
        _object(
            ("name", "key"),
            name=_TEXT,
            key=_object(("data",), data=_TEXT, hashAlgorithm=_TEXT),
            attestations=_list(_object(("name", "predicateType"), name=_TEXT, predicateType=_TEXT, policy=_CUE)),
        )
    ),
)
#: https://docs.sigstore.dev/policy-controller/overview/ (ClusterImagePolicy),
#: https://tekton.dev/docs/triggers/, https://tekton.dev/docs/pipelines/taskruns/ and https://tekton.dev/docs/pipelines/pipelineruns/
#: and https://docs.redhat.com/en/documentation/openshift_container_platform (BuildConfig, ImageStream, ImagePolicy).
_OWN = {
    ("build.openshift.io", "BuildConfig"): _resource(_BUILD_CONFIG),
    ("image.openshift.io", "ImageStream"): _resource(_IMAGE_STREAM),
    ("config.openshift.io", "ImagePolicy"): _resource(_IMAGE_POLICY),
    ("policy.sigstore.dev", "ClusterImagePolicy"): _resource(_CLUSTER_IMAGE_POLICY),
    ("triggers.tekton.dev", "TriggerBinding"): _resource(_object(("params",), params=_PARAMS)),
    ("triggers.tekton.dev", "TriggerTemplate"): _resource(
        _object(
            ("params", "resourcetemplates"),
            params=_list(_object(("name",), name=_TEXT, default=_TEXT, description=_TEXT)),
            resourcetemplates=_list({"anyOf": [_resource(_PIPELINE_RUN), _resource(_TASK_RUN)]}),
        )
    ),
    ("triggers.tekton.dev", "EventListener"): _resource(
        _object(
            ("serviceAccountName", "triggers"),
            serviceAccountName=_TEXT,
            resources=_object(kubernetesResource=_KUBERNETES_RESOURCE),
            triggers=_list(
                _object(
                    ("name", "interceptors", "bindings", "template"),
                    name=_TEXT,
                    interceptors=_list(_INTERCEPTOR),
                    bindings=_list(_REF),
                    template=_REF,
                )
            ),
        )
    ),
}
