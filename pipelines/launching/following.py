"""Follow a run on the server as if it ran here."""

import time
from dataclasses import dataclass

from loopline.components.errors import InputError, TemporaryError
from loopline.pipelines.launching.connection import Server
from loopline.pipelines.launching.logs import StepLogs
from loopline.pipelines.launching.steps import OVER, Step, read_steps
from loopline.pipelines.progress import Progress, StepFailed, failure_of

#: Seconds between two looks at a run: short for what ends at once, longer as it goes on.
_FIRST_S, _LONGEST_S, _GROWTH = 0.5, 3.0, 1.3
#: For how long in a row the server may be away.
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: SUCCEEDED, FAILED, CANCELED or SKIPPED.
        seconds: How long it took.
        failure: What went wrong, when a step failed.
    """

    state: str
    seconds: float
    failure: StepFailed | None


def follow(server: Server, run_id: str, progress: Progress, patience_s: float = PATIENCE_S) -> Outcome:
    """Show a run's steps as they happen, until it is over.

    Args:
        server: The server.
        run_id: The run.
        progress: Where to show them.
        patience_s: For how many seconds in a row the server may be away.

    Returns:
        How it ended.

    Raises:
        InputError: There is no such run, or the server stays away; the run goes on.
    """
    view, pause, away_since, began = _View(StepLogs(server, run_id), progress), _FIRST_S, None, time.monotonic()
    spec = find_spec(server, server.look(server.runs.run_service_get_run, run_id))
    while True:
        try:
            run = server.ask(server.runs.run_service_get_run, run_id)
            away_since = None
        except TemporaryError as error:
            if away_since is None:
                away_since = time.monotonic()
                progress.note(f"{error} The run goes on; looking again.")
            elif time.monotonic() - away_since > patience_s:
                raise InputError(f"{error} The run goes on: `loopline follow {run_id}` looks at it again.") from None
        else:
            for step in read_steps(run, spec):
                view.show(step)
            if run.state in OVER:
                seconds = _seconds(run) or time.monotonic() - began
                return Outcome(run.state, seconds, view.failure or _failure_of_run(run))
        time.sleep(pause)
        pause = min(_LONGEST_S, pause * _GROWTH)


def find_spec(server: Server, run) -> dict:
    """Return the specification of a run's pipeline.

    Args:
        server: The server.
        run: The run as the server describes it.

    Raises:
        InputError: The server refuses or is away.
    """
    if run.pipeline_spec:
        return run.pipeline_spec
    reference = run.pipeline_version_reference
    call = server.pipelines.pipeline_service_get_pipeline_version
    return server.look(call, reference.pipeline_id, reference.pipeline_version_id).pipeline_spec or {}


class _View:
    """What has been shown of each step."""

    def __init__(self, logs: StepLogs, progress: Progress):
        self._logs = logs
        self._progress = progress
        self._names: dict[str, str] = {}
        self._over: set[str] = set()
        self.failure: StepFailed | None = None

    def show(self, step: Step) -> None:
        if step.id in self._over or step.state in ("PENDING", "RUNTIME_STATE_UNSPECIFIED"):
            return
        if step.state == "SKIPPED":
            self._over.add(step.id)
            return self._progress.note(f"{step.title} skipped")
        if step.id not in self._names:
            self._names[step.id] = self._progress.start(step.title)
        name = self._names[step.id]
        for line in self._logs.news(step):
            self._progress.line(name, line)
        if step.state not in OVER:
            return None
        self._over.add(step.id)
        if step.state == "SUCCEEDED":
            return self._progress.done(name, step.seconds)
        failure = self._failure(name, step)
        self.failure = self.failure or failure
        return self._progress.fail(name, failure, step.seconds)

    def _failure(self, name: str, step: Step) -> StepFailed:
        if step.state == "CANCELED":
            return StepFailed(name, "it was canceled.", "")
        log = self._logs.whole(step)
        if log:
            return failure_of(name, log, 1)
        return StepFailed(name, f"{step.problem or 'the server does not say why'}; its log cannot be read.", "")


def _failure_of_run(run) -> StepFailed | None:
    message = run.error.message if run.error else ""
    return StepFailed("run", message, "") if run.state == "FAILED" and message else None


def _seconds(run) -> float:
    began, ended = run.created_at, run.finished_at
    if not began or not ended or ended.year <= 1970:
        return 0.0
    return max(0.0, (ended - began).total_seconds())
