"""Put a pipeline on a schedule, in place of the schedule of the same name."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loopline.components.errors import InputError
from loopline.pipelines.launching.connection import Server, connect, find_or_make
from loopline.pipelines.launching.package import Package
from loopline.pipelines.launching.recurring import ServerSchedule, held_under, mark, show_time
from loopline.pipelines.launching.timing import Timing
from loopline.pipelines.launching.versions import ensure_experiment, upload
from loopline.pipelines.launching.zones import Zone, find_zone

#: Within this time the server starts what is due.
LAG = timedelta(seconds=30)
#: A time that is so near is awaited.
_SOON = timedelta(seconds=10)
#: A fire time is looked for so often.
_LOOK_S = 2.0
_MONITORING = "monitoring"


@dataclass(frozen=True)
class Scheduled:
    """What came of a call of ``schedule``.

    Attributes:
        schedule: The schedule that is on the server now.
        version: The version of the pipeline, and whether it was uploaded now.
        made: Whether it was made now; otherwise the very same one was there.
        replaced: The schedules of the same name that it took the place of.
        notes: What else there is to know, in sentences.
    """

    schedule: ServerSchedule
    version: str
    made: bool
    replaced: tuple[ServerSchedule, ...]
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        card = self.schedule.card()
        for note in self.notes:
            card.text(note, "warn")
        return card.markup()


def schedule(
    pipeline: str | Path,
    arguments: dict | None = None,
    *,
    cron: str = "",
    every: str = "",
    name: str = "",
    experiment: str = "",
    image: str = "",
    time_zone: str = "",
    host: str = "",
    token: str = "",
    token_path: str = "",
    note: Callable[[str], None] = print,
) -> Scheduled:
    """Let a pipeline run again and again: one run at a time, nothing made up for but the last time missed, no caching.

    A schedule of the same name is replaced: the new one is made before the old one goes, so that no time is missed. A
    call that is interrupted in between leaves both, and the next one mends that. A run of the old schedule that goes on
    is left alone; until it is over the old schedule stays, paused.

    Args:
        pipeline: The name of a pipeline that comes with Loopline, or the path of a compiled YAML.
        arguments: Its parameters by name; text is converted to the parameter's type.
        cron: When, as a cron expression of six fields, seconds first, in the cluster's time zone.
        every: Or how often: ``6h``, ``90m``, ``1d12h``.
        name: The schedule's name; the pipeline's when empty, with the parameter ``name`` behind it where there is one.
        experiment: The experiment of the runs; named like the pipeline when empty.
        image: The image of every step, by digest; ``LOOPLINE_IMAGE`` when empty, else the default one.
        time_zone: The cluster's time zone for schedules; found when empty.
        host: The server's URL; found in a workbench or pod, and after ``oc login``, when empty.
        token: A token for it; found likewise.
        token_path: A file with one.
        note: Told what is being waited for.

    Returns:
        The schedule, and what it replaced.

    Raises:
        InputError: The pipeline, a parameter or a time is wrong, or the server cannot be used.
    """
    package = Package.find(pipeline, image, caching=False)
    values = package.file.convert(arguments or {})
    timing = Timing.read(cron, every)
    name = name or _name(package.name, values)
    server = connect(host, token, token_path)
    zone = find_zone(time_zone, server.namespace)
    version, uploaded = upload(server, package)
    held = _of_pipeline(held_under(server, name, zone), version.pipeline_id)
    wanted = _wanted(name, values, version, ensure_experiment(server, experiment or package.name))
    made = not (held and _is(held[-1], wanted, timing))
    if made:
        begin = _phase(held, timing)
        if held:
            _let_pass(held[-1], note)
        wanted.trigger = timing.trigger(begin)
        # By its description it is found again if the answer gets lost.
        wanted.description = mark(held[-1].number + 1 if held else 1)
        _make(server, wanted, timing, zone)
        held = held_under(server, name, zone)
    # Whoever replaces it at the same time agrees on which one stays: the newest that there is.
    others = tuple(held[:-1])
    notes = [_left_alone(other, run) for other in others if (run := other.retire()) is not None]
    left = held_under(server, name, zone) if others else held
    if not left:
        raise InputError(f"Somebody deleted schedule {name!r} as it was made: look at the schedules, or make it again.")
    kept = left[-1]
    if made and kept.recurring.description != wanted.description:
        notes.append("Somebody else set this schedule at the same moment, and theirs stays: look at it, or try again.")
    notes += _window_notes(package.name, values, timing)
    told = f"{package.version}, {'uploaded now' if uploaded else 'as the server holds it'}"
    return Scheduled(kept, told, made, others, tuple(notes))


def _name(pipeline: str, values: dict) -> str:
    return f"{pipeline}-{values['name']}" if values.get("name") else pipeline


def _wanted(name: str, values: dict, version, experiment_id: str):
    import kfp_server_api

    return kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        experiment_id=experiment_id,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=values),
        mode="ENABLE",
        max_concurrency="1",
        no_catchup=True,
    )


def _of_pipeline(held: list[ServerSchedule], pipeline_id: str) -> list[ServerSchedule]:
    """Return schedules, unless one is of another pipeline: somebody else chose the same name for something else."""
    for entry in held:
        reference = entry.recurring.pipeline_version_reference
        if reference is None or reference.pipeline_id != pipeline_id:
            raise InputError(
                f"There is a schedule {entry.name!r} of {entry.pipeline or 'another pipeline'}: choose another name, "
                "or delete that one."
            )
    return held


def _is(held: ServerSchedule, wanted, timing: Timing) -> bool:
    """Return whether a schedule is what is wanted."""
    recurring = held.recurring
    return (
        held.enabled
        and held.timing is not None
        and held.timing.same(timing)
        and held.parameters == wanted.runtime_config.parameters
        and recurring.pipeline_version_reference == wanted.pipeline_version_reference
        and recurring.experiment_id == wanted.experiment_id
        and str(recurring.max_concurrency) == wanted.max_concurrency
        and bool(recurring.no_catchup)
    )


def _make(server: Server, wanted, timing: Timing, zone: Zone) -> None:
    def find():
        held = held_under(server, wanted.display_name, zone)
        return next((entry for entry in held if entry.recurring.description == wanted.description), None)

    call = server.recurring_runs.recurring_run_service_create_recurring_run
    find_or_make(find, lambda: server.ask(call, wanted))


def _phase(held: list[ServerSchedule], timing: Timing) -> datetime | None:
    """Return from when on a period is counted: as before, where there was one, so that replacing it delays nothing."""
    before = held[-1].timing if held and held[-1].enabled else None
    if timing.cron or before is None or before.cron:
        return None
    period = timedelta(seconds=before.period_s)
    return before.begin + period * max(0, (datetime.now(UTC) - before.begin) // period)


def _let_pass(held: ServerSchedule, note: Callable[[str], None]) -> None:
    """Wait while a schedule is about to fire: until its run is there, or the server has had time to start it.

    It would be lost if the schedule went now, and be run twice if the new one came before it.
    """
    if held.timing is None or not held.enabled or held.timing.longest_gap() < 4 * LAG:
        return
    now, zone = datetime.now(UTC), held.zone.info
    soon = next(held.timing.times(now, zone), None)
    due = soon if soon and soon - now < _SOON else held.timing.last_before(now, zone, LAG)
    if due is None:
        return
    note(f"Waiting for the run of {show_time(due)}, so that replacing the schedule neither loses nor doubles it.")
    while datetime.now(UTC) < due + LAG:
        time.sleep(max(_LOOK_S, (due - datetime.now(UTC)).total_seconds()))
        run = held.newest_run()
        if run is not None and run.created_at >= due:
            return


def _left_alone(other: ServerSchedule, run) -> str:
    return (
        f"The schedule of {other.created_at:%Y-%m-%d %H:%M} UTC is paused and not deleted, since its run {run.run_id} "
        "goes on and might end with it: the next `loopline schedule` of this name deletes it."
    )


def _window_notes(pipeline: str, values: dict, timing: Timing) -> list[str]:
    """Say where the windows of a scheduled monitoring leave gaps."""
    if pipeline != _MONITORING:
        return []
    if values.get("start") or values.get("end"):
        return ["The window has a fixed start or end: every run looks at the same traffic. Leave them out."]
    gap = timing.longest_gap() / timedelta(hours=1)
    hours = float(values.get("hours", 24.0))
    if hours < gap:
        return [
            f"A window is {hours:g} hours long and runs are up to {gap:g} hours apart: traffic in between is never "
            f"looked at. Set hours to {gap:g}."
        ]
    if hours > gap:
        return [
            f"A window is {hours:g} hours long and runs are {gap:g} hours apart, so that windows overlap: right where "
            f"the truth comes late, else set hours to {gap:g}."
        ]
    return []
