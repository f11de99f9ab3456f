"""Start a pipeline that a pipeline server holds: once for each event, and not too often."""

import contextlib
import hashlib
import io
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loopline.components import pipeline_server
from loopline.components.arguments import convert_arguments
from loopline.components.errors import InputError
from loopline.components.monitoring.past import VERDICTS

logger = logging.getLogger("loopline")

#: The longest name of a run; the server's column holds 255 characters, its older ones 191 bytes.
_LONGEST = 160


@dataclass(frozen=True)
class Triggered:
    """What came of an event.

    Attributes:
        run_id: The run that was started, or the one that the same event started before; empty when there is none.
        started: Whether it was started now.
        reason: Why, or why not, in one sentence.
    """

    run_id: str
    started: bool
    reason: str


def trigger(
    pipeline: str,
    parameters: dict,
    event: str = "",
    host: str = "",
    experiment: str = "",
    cooldown_h: float = 0.0,
    version: str = "",
) -> Triggered:
    """Start a pipeline, unless the same event has started it or it ran a short while ago.

    Runs that failed, were canceled or skipped count for nothing: the same event may start another one.

    Args:
        pipeline: The pipeline's name on the server; nothing is done when empty.
        parameters: Its parameters by name; text and whole floats are converted to the parameter's type.
        event: What asks for it, e.g. an alert and when it began; the same event starts one run. Empty to start one in
            any case.
        host: The server's URL; see ``pipeline_connection`` when empty. A server outside this cluster gets a token of
            its own, from the file named in ``KF_PIPELINES_SA_TOKEN_PATH``.
        experiment: The experiment of the run; named like the pipeline when empty.
        cooldown_h: Hours after a run of that pipeline, whatever started it, in which no other is started. Where
            ``parameters`` has a ``name``, runs for another name do not count.
        version: The pipeline's version by name; the newest when empty.

    Returns:
        The run, and whether it was started.

    Raises:
        InputError: There is no such pipeline, version or parameter, or the server cannot be used.
    """
    if not pipeline:
        return _tell(Triggered("", False, "No pipeline is named: nothing was started."))
    if not (math.isfinite(cooldown_h) and cooldown_h >= 0):
        raise InputError(f"cooldown_h is {cooldown_h}: write hours, 0 for none.")
    client = pipeline_server.connect(host)
    chosen = _find_version(client, _find_pipeline(client, pipeline), version)
    arguments = convert_arguments(pipeline, *_asked(chosen.pipeline_spec or {}), parameters)
    title = _title(pipeline, event)
    since = datetime.now(UTC) - timedelta(hours=cooldown_h)

    def same_event() -> list:
        return pipeline_server.runs_named(client, title) if event else []

    def rivals() -> list:
        recent = _recent_runs(client, chosen.pipeline_id, since, arguments.get("name")) if cooldown_h else []
        return [*same_event(), *recent]

    def create():
        # The client prints a link.
        with contextlib.redirect_stdout(io.StringIO()):
            return client.run_pipeline(
                pipeline_server.ensure_experiment(client, experiment or pipeline),
                title,
                params=arguments,
                pipeline_id=chosen.pipeline_id,
                version_id=chosen.pipeline_version_id,
            )

    run, started = pipeline_server.start_once(client, create, rivals)
    if started:
        return _tell(Triggered(run.run_id, True, f"Run {run.run_id} of {pipeline} {chosen.display_name} was started."))
    if event and run.display_name == title:
        return _tell(Triggered(run.run_id, False, f"This event started run {run.run_id} of {pipeline} before."))
    return _tell(
        Triggered(
            "",
            False,
            f"Run {run.run_id} of {pipeline} began at {run.created_at:%Y-%m-%d %H:%M} UTC, within the cooldown of "
            f"{cooldown_h:g} h: nothing was started.",
        )
    )


def is_called_for(verdict: str, starts_on: str) -> bool:
    """Say whether a verdict of ``decide_retraining`` calls for a pipeline.

    Args:
        verdict: The verdict; empty when nothing was decided, and the pipeline is called for in any case.
        starts_on: The verdict that calls for the pipeline.

    Returns:
        Whether it does.

    Raises:
        InputError: One of them is no verdict.
    """
    if not verdict:
        return True
    for name, value in (("verdict", verdict), ("starts_on", starts_on)):
        if value not in VERDICTS:
            raise InputError(f"{name} is {value!r}: use {', '.join(VERDICTS)}, what decide_retraining returns.")
    if verdict != starts_on:
        logger.info("the verdict is %s, not %s: nothing was started", verdict, starts_on)
    return verdict == starts_on


def _tell(triggered: Triggered) -> Triggered:
    logger.info("%s", triggered.reason)
    return triggered


def _title(pipeline: str, event: str) -> str:
    """Name a run so that the same event finds it again."""
    title = f"{pipeline}: {event or datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')}"
    if len(title) <= _LONGEST:
        return title
    digest = hashlib.sha256(title.encode()).hexdigest()[:16]
    return f"{title[: _LONGEST - 20]}... {digest}"


def _find_pipeline(client, name: str):
    held = list(pipeline_server.list_all(client.list_pipelines, "pipelines"))
    found = next((entry for entry in held if entry.display_name == name), None)
    if found is None:
        known = ", ".join(sorted(entry.display_name for entry in held)) or "none"
        raise InputError(f"The pipeline server has no pipeline {name!r} but {known}: import it first.")
    return found


def _asked(spec: dict) -> tuple[dict[str, str], set[str]]:
    """Return the type of each parameter and the required ones, of a specification as the server holds it.

    It stands alone, or under ``pipeline_spec`` beside its Kubernetes settings.
    """
    root = spec.get("pipeline_spec", spec).get("root") or {}
    entries = (root.get("inputDefinitions") or {}).get("parameters") or {}
    required = {name for name, entry in entries.items() if "defaultValue" not in entry and not entry.get("isOptional")}
    return {name: entry.get("parameterType", "") for name, entry in entries.items()}, required


def _find_version(client, pipeline, name: str):
    versions = list(
        pipeline_server.list_all(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline.pipeline_id)
    )
    if not versions:
        raise InputError(f"Pipeline {pipeline.display_name!r} has no version on the server: import one.")
    versions.sort(key=lambda version: version.created_at)
    if not name:
        return versions[-1]
    found = next((version for version in versions if version.display_name == name), None)
    if found is None:
        known = ", ".join(version.display_name for version in versions)
        raise InputError(f"Pipeline {pipeline.display_name!r} has no version {name!r} but {known}.")
    return found


def _recent_runs(client, pipeline_id: str, since: datetime, name: object) -> list:
    """Return the runs of a pipeline since a time that did not fail; only those for a name, when there is one."""
    found = []
    for run in pipeline_server.list_all(client.list_runs, "runs", sort_by="created_at desc"):
        if run.created_at < since:
            break
        reference, settings = run.pipeline_version_reference, run.runtime_config
        if reference is None or reference.pipeline_id != pipeline_id or run.state in pipeline_server.LOST:
            continue
        if name is None or ((settings and settings.parameters) or {}).get("name") == name:
            found.append(run)
    return found
