"""What compiled pipelines ask of a pipeline server, and which versions of Kubeflow Pipelines have it.

A server refuses the fields that it does not know when a run is started (kubeflow/pipelines pull request 11713). Since
when it knows them is from comparing the protocol buffers of the releases: ``kfp-pipeline-spec`` 0.6.0, and that and
``kfp-kubernetes`` 2.14.0, 2.14.3, 2.14.6, 2.15.0, 2.16.0, 2.16.1 and 2.17.0. What a server knew and did not do yet is
from its changelog.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from loopline.components.errors import InputError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: The pipeline server of each release of OpenShift AI, and the release of Kubeflow Pipelines whose fields it reads.
PLATFORMS = {"3.3": ("2.14.3", "2.14.3"), "3.4": ("2.16.0", "2.16.0"), "3.5": ("2.16.1", "2.17.0")}


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline as the documents of its YAML.

    Attributes:
        name: The pipeline's name.
        spec: The pipeline.
        platform: The Kubernetes settings of its tasks; empty when there are none.
    """

    name: str
    spec: dict
    platform: dict

    @classmethod
    def read(cls, path: Path) -> "Compiled":
        """Read a compiled YAML.

        Raises:
            InputError: It is none.
        """
        try:
            spec, *more = yaml.load_all(path.read_text(encoding="utf-8"), _LOADER)
            spec["root"]["dag"]["tasks"]
            return cls(path.stem, spec, more[0] if more else {})
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
            raise InputError(f"{path} is not a compiled pipeline: write one with `loopline compile`.") from None

    @property
    def components(self) -> Iterator[str]:
        """The names of its components, with underscores."""
        for name in self.spec.get("deploymentSpec", {}).get("executors", {}):
            base, _, number = name.removeprefix("exec-").rpartition("-")
            yield (base if base and number.isdigit() else name.removeprefix("exec-")).replace("-", "_")

    @property
    def images(self) -> set[str]:
        """The images of its steps."""
        return set(values(self.spec, "deploymentSpec.executors.*.container.image"))

    @property
    def secrets(self) -> set[str]:
        """The secrets that its steps read."""
        executors = "platforms.kubernetes.deploymentSpec.executors.*"
        return {
            name
            for field in ("secretAsEnv", "secretAsVolume")
            for name in values(self.platform, f"{executors}.{field}.*.secretName")
        }


@dataclass(frozen=True)
class Feature:
    """Something that a pipeline server has since some version.

    Attributes:
        title: What it is.
        since: The version of Kubeflow Pipelines.
        source: Where that is said.
        used: Tells whether a pipeline uses it.
    """

    title: str
    since: str
    source: str
    used: Callable[[Compiled], bool]


def read_compiled(folder: Path) -> list[Compiled]:
    """Read all compiled pipelines of a folder.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise InputError(f"There is no compiled pipeline in {folder}: write them with `loopline compile`.")
    return [Compiled.read(file) for file in files]


def features_of(compiled: Compiled) -> list[Feature]:
    """Return the features that a pipeline uses, those of the newest version first."""
    return sorted((f for f in FEATURES if f.used(compiled)), key=lambda f: numbers(f.since), reverse=True)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers, as far as it has them."""
    parts = []
    for part in version.removeprefix("v").replace("-", ".").split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def values(value: object, path: str) -> Iterator:
    """Return what is at a path in a document.

    Args:
        value: The document.
        path: Keys with dots between them; ``*`` for each key or entry.

    Yields:
        What is there.
    """
    key, _, rest = path.partition(".")
    found = value.get(key, None) if isinstance(value, dict) and key != "*" else None
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for entry in inside if key == "*" else [] if found is None else [found]:
        if rest:
            yield from values(entry, rest)
        else:
            yield entry


def _in_spec(*paths: str) -> Callable[[Compiled], bool]:
    return lambda compiled: any(True for path in paths for _ in values(compiled.spec, path))


def _in_platform(*paths: str) -> Callable[[Compiled], bool]:
    where = "platforms.kubernetes"
    return lambda compiled: any(True for path in paths for _ in values(compiled.platform, f"{where}.{path}"))


def _executor(*paths: str) -> Callable[[Compiled], bool]:
    return _in_platform(*(f"deploymentSpec.executors.*.{path}" for path in paths))


def _in_nested(path: str) -> Callable[[Compiled], bool]:
    """Look in the pipelines and branches within a pipeline."""

    def used(compiled: Compiled) -> bool:
        inner = [c for c in compiled.spec.get("components", {}).values() if "dag" in c]
        return any(True for component in inner for _ in values(component, path))

    return used


def _retried_pipeline(compiled: Compiled) -> bool:
    components = compiled.spec.get("components", {})
    tasks = [*values(compiled.spec, "root.dag.tasks.*"), *values(compiled.spec, "components.*.dag.tasks.*")]
    return any("retryPolicy" in t and "dag" in components.get(t["componentRef"]["name"], {}) for t in tasks)


_PULL = "kubeflow/pipelines pull request {}".format
_FIELD = "the protocol buffers of the releases"
_LASTING = ("resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure", "activeDeadlineSeconds")
_TASKS = ("root.dag.tasks.*", "components.*.dag.tasks.*")
FEATURES = (
    Feature(
        "outputs of pipelines within pipelines", "2.5.0", _PULL(11196),
        _in_spec("components.*.dag.outputs.parameters", "components.*.dag.outputs.artifacts"),
    ),
    Feature(
        "OneOf of parameters", "2.5.0", _PULL(11196),
        _in_spec(*(f"{dag}.outputs.parameters.*.valueFromOneof" for dag in ("root.dag", "components.*.dag"))),
    ),
    Feature(
        "ParallelFor with a limit", "2.5.0", _PULL(10798),
        _in_spec(*(f"{task}.iteratorPolicy.parallelismLimit" for task in _TASKS)),
    ),
    Feature(
        "retries", "2.5.0", "kubeflow/pipelines issue 9950", _in_spec(*(f"{task}.retryPolicy" for task in _TASKS)),
    ),
    Feature(
        "optional inputs of pipelines within pipelines", "2.14.0", _PULL(11980),
        _in_nested("inputDefinitions.parameters.*.isOptional"),
    ),
    Feature("retries of pipelines within pipelines", "2.14.0", _PULL(11908), _retried_pipeline),
    Feature(
        "results collected from ParallelFor", "2.14.0", _PULL(11725),
        _in_spec("components.*.inputDefinitions.artifacts.*.isArtifactList"),
    ),
    Feature("a workspace", "2.14.0", _PULL(11982), _in_platform("pipelineConfig.workspace")),
    Feature(
        "secrets and config maps in the environment that may be missing (secretAsEnv.optional)", "2.15.0", _PULL(12216),
        _executor("secretAsEnv.*.optional", "configMapAsEnv.*.optional"),
    ),
    Feature(
        "imports into the workspace", "2.15.0", _FIELD,
        _in_spec("deploymentSpec.executors.*.importer.downloadToWorkspace"),
    ),
    Feature("task configuration passed on", "2.15.0", _FIELD, _in_spec("components.*.taskConfigPassthroughs")),
    Feature(
        "parameters of listed values", "2.16.0", _FIELD,
        _in_spec("root.inputDefinitions.parameters.*.literals", "components.*.inputDefinitions.parameters.*.literals"),
    ),
    Feature("a security context of its own", "2.16.0", "kubeflow/kale issue 687", _executor("securityContext")),
    Feature("a folder of a volume (pvcMount.subPath)", "2.16.0", _FIELD, _executor("pvcMount.*.subPath")),
    Feature(
        "how long a run lasts and is kept (PipelineConfig)", "2.17.0", _PULL(13184),
        _in_platform(*(f"pipelineConfig.{field}" for field in _LASTING)),
    ),
)  # fmt: skip
#: Fields of the pipeline's settings that some release has; any other one is refused by all.
CONFIG_FIELDS = {"workspace", "semaphoreKey", "mutexName", "resourceTtl", *_LASTING}


def unknown_settings(compiled: Compiled) -> list[str]:
    """Return the fields of a pipeline's settings that no release has."""
    found = next(values(compiled.platform, "platforms.kubernetes.pipelineConfig"), {})
    return sorted(set(found) - CONFIG_FIELDS)
