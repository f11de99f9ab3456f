"""The pipeline server: whether it answers, and whether it can run the compiled pipelines and holds them."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator

from loopline.components.errors import InputError
from loopline.pipelines.doctor.features import (
    PLATFORMS,
    Compiled,
    Feature,
    features_of,
    numbers,
    unknown_settings,
    values,
)
from loopline.pipelines.doctor.findings import Finding, failure, ok, problem, skipped, warning
from loopline.pipelines.doctor.network import UntrustedError, contact
from loopline.pipelines.doctor.settings import Settings
from loopline.pipelines.launching.connection import NoServerError, Server, connect, find_host

_DSPA = "datasciencepipelinesapplications"
#: What the resource of a pipeline server has since a release of OpenShift AI.
_FIELDS = {"3.5": ("mlflow",), "3.4": ("apiServer", "resourceTTL"), "3.3": ("apiServer", "workspace")}


def check(settings: Settings) -> Iterator[Finding]:
    """Check the server, its version against what the compiled pipelines use, and the pipelines that it holds."""
    try:
        compiled = settings.read_compiled()
    except InputError as error:
        yield failure("compiled pipelines", error)
        return
    for pipeline in compiled:
        if unknown := unknown_settings(pipeline):
            yield problem(
                "compiled pipelines", f"{pipeline.name} sets {', '.join(unknown)}, which no server knows",
                f"Take it out of the PipelineConfig of {pipeline.name}, and compile again.",
            )  # fmt: skip
    try:
        host = find_host(settings.host)
        with contextlib.suppress(UntrustedError):  # whom to trust here, the client knows better
            contact(f"{host.rstrip('/')}/apis/v2beta1/healthz", "KF_PIPELINES_ENDPOINT")
        server = connect(settings.host)
    except NoServerError:
        yield from _without_server(compiled, settings.openshift_ai)
        return
    except InputError as error:
        yield failure("server", error)
        return
    yield ok("server", f"{host} answers, and takes this account's token")
    yield from _version(compiled, server.connection.health, settings)
    yield from _held(server, compiled)


def _without_server(compiled: list[Compiled], release: str) -> Iterator[Finding]:
    if release:
        yield from _judge(compiled, *_of_release(release))
    else:
        needed = max(_needed(compiled), key=numbers, default="2.0.0")
        able = [name for name, (_, fields) in PLATFORMS.items() if numbers(fields) >= numbers(needed)]
        yield ok(
            "compiled pipelines",
            f"{len(compiled)}, for Kubeflow Pipelines {needed} or newer: OpenShift AI {_and(able)}",
        )
    yield skipped("server", "none is known here: needed only to submit and schedule; `oc login` makes it known")


def _needed(compiled: list[Compiled]) -> list[str]:
    return [feature.since for pipeline in compiled for feature in features_of(pipeline)]


def _version(compiled: list[Compiled], told: dict, settings: Settings) -> Iterator[Finding]:
    """Find out which version the server is of: by its own word, by the fields of its resource, or by what was said."""
    tag = str(told.get("tag_name", ""))
    if settings.openshift_ai:
        yield from _judge(compiled, *_of_release(settings.openshift_ai))
    elif len(numbers(tag)) >= 2:
        version = ".".join(map(str, numbers(tag)))
        yield from _judge(compiled, f"Kubeflow Pipelines {version}", version)
    elif release := _release_by_fields(settings):
        yield from _judge(compiled, *_of_release(release))
    else:
        needed = max(_needed(compiled), key=numbers, default="2.0.0")
        yield warning(
            "version", f"the server does not tell its version; the compiled pipelines need {needed} or newer",
            f"Say which it is: --openshift-ai {'|'.join(PLATFORMS)}.",
        )  # fmt: skip


def _of_release(release: str) -> tuple[str, str]:
    server, fields = PLATFORMS[release]
    return f"OpenShift AI {release} (Kubeflow Pipelines {server})", fields


def _release_by_fields(settings: Settings) -> str:
    """Return the release whose fields the cluster's resource of pipeline servers has; any account may ask for them."""
    try:
        told = settings.cluster.get(f"/openapi/v3/apis/{_DSPA}.opendatahub.io/v1") or {}
    except InputError:
        return ""
    specs = list(values(told, "components.schemas.*.properties.spec"))
    for release, path in _FIELDS.items():
        where = "properties." + ".properties.".join(path)
        if any(True for spec in specs for _ in values(spec, where)):
            return release
    return ""


def _judge(compiled: list[Compiled], server: str, fields: str) -> Iterator[Finding]:
    """Hold what the pipelines use against what a server has."""
    lacking: dict[Feature, list[str]] = defaultdict(list)
    for pipeline in compiled:
        for feature in features_of(pipeline):
            if numbers(feature.since) > numbers(fields):
                lacking[feature].append(pipeline.name)
    if not lacking:
        yield ok("version", f"{server} has all that the {len(compiled)} compiled pipelines use")
    for feature, names in lacking.items():
        who = "all pipelines" if len(names) == len(compiled) else _and(names)
        able = [name for name, (_, known) in PLATFORMS.items() if numbers(known) >= numbers(feature.since)]
        yield problem(
            "version", f"{server} lacks: {feature.title}. It will refuse runs of {who}",
            f"Upgrade to OpenShift AI {able[0] if able else 'of a later release'} or newer (Kubeflow Pipelines "
            f"{feature.since}).",
        )  # fmt: skip


def _held(server: Server, compiled: list[Compiled]) -> Iterator[Finding]:
    """Compare what the server holds with the compiled pipelines."""
    try:
        pipelines = server.list(server.pipelines.pipeline_service_list_pipelines, "pipelines")
        held = {pipeline.display_name: pipeline for pipeline in pipelines}
        missing = [c.name for c in compiled if c.name not in held]
        same, stale, images = [], [], set()
        for pipeline in compiled:
            if pipeline.name in held:
                newest = _newest(server, held[pipeline.name])
                (same if newest and _same(newest, pipeline) else stale).append(pipeline.name)
                images |= newest.images if newest else set()
    except InputError as error:
        yield failure("held pipelines", error)
        return
    if same:
        yield ok("held pipelines", f"as compiled here: {_and(same)}")
    if stale:
        yield warning(
            "held pipelines", f"not as compiled here: {_and(stale)}",
            f"Upload the compiled YAML as a new version: `loopline submit {stale[0]}` does, and so does the dashboard.",
        )  # fmt: skip
    if missing:
        yield skipped("held pipelines", f"not on the server: {_and(missing)}")
    if loose := sorted(image for image in images if "@sha256:" not in image):
        yield warning(
            "step image", f"not named by digest: {', '.join(loose)}",
            "Compile for a digest, `loopline compile --image NAME@sha256:...`, and upload the result.",
        )  # fmt: skip


def _newest(server: Server, pipeline) -> Compiled | None:
    call = server.pipelines.pipeline_service_list_pipeline_versions
    versions = list(server.list(call, "pipeline_versions", pipeline_id=pipeline.pipeline_id))
    if not versions:
        return None
    spec = max(versions, key=lambda version: version.created_at).pipeline_spec or {}
    return Compiled(pipeline.display_name, spec.get("pipeline_spec", spec), spec.get("platform_spec", {}))


def _same(held: Compiled, here: Compiled) -> bool:
    """Return whether two pipelines are the same but for the step image and the version of the SDK.

    A server gives back what it read, so fields that have their default may be there or not, and numbers be written
    another way: both are brought into one form.
    """
    return _form(held) == _form(here)


def _form(pipeline: Compiled) -> tuple:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = json_format.ParseDict(pipeline.spec, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=True)
    spec.sdk_version = ""
    plain = json_format.MessageToDict(spec)
    for container in values(plain, "deploymentSpec.executors.*.container"):
        container["image"] = ""
    return plain, _without_defaults(pipeline.platform)


def _without_defaults(value: object) -> object:
    if isinstance(value, dict):
        kept = {key: _without_defaults(entry) for key, entry in value.items()}
        return {key: entry for key, entry in kept.items() if entry not in (None, False, "", 0, [], {})}
    if isinstance(value, list):
        return [_without_defaults(entry) for entry in value]
    return value


def _and(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + (words[-1] if words else "none")
