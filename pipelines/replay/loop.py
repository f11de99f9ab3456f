"""The loop over a replay: each month is served, watched and, when the verdict says so, learned from and redelivered."""

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from loopline.components.delivery.git import default_repository, run_git
from loopline.components.errors import InputError
from loopline.pipelines.engine import Run, run_pipeline
from loopline.pipelines.progress import Progress
from loopline.pipelines.replay.control import score_control
from loopline.pipelines.replay.request import Request
from loopline.pipelines.replay.scores import score_month
from loopline.pipelines.replay.send import Sent, send
from loopline.pipelines.replay.timeline import Commit, Month, Timeline, describe_month
from loopline.pipelines.sites.app import NAME as APP
from loopline.pipelines.sites.server import TRAFFIC_FLUSH_S
from loopline.pipelines.sites.state import SiteState, read_states


@dataclass(frozen=True)
class Source:
    """A past that can be replayed month by month.

    Attributes:
        requests: Returns the requests of a month, given its number and the sites.
        write_truth: Writes what is known of a month's outcome by a day, given its number, its requests and the day.
        truth: Where all of it is written, as a URI with a pattern.
        label: Names a month.
    """

    requests: Callable[[int, list[str]], list[Request]]
    write_truth: Callable[[int, list[Request], datetime.date], Path]
    truth: str
    label: Callable[[int], str]


class Loop:
    """Replays months through the sites, one after the other, with a control that is never retrained.

    Args:
        source: The past.
        control: The model directory of the control.
        parameters: Of the monitoring pipeline, but for the truth and the window.
        timeline: Where the months are added.
        delay_days: After so many days the outcome of a row is known.
        progress: Where to show the steps.
    """

    def __init__(
        self,
        source: Source,
        control: str | Path,
        parameters: dict,
        timeline: Timeline,
        delay_days: int,
        progress: Progress,
    ):
        self._source, self._control, self._timeline = source, control, timeline
        self._progress, self._delay = progress, datetime.timedelta(days=delay_days)
        self._parameters = {**parameters, "truth": source.truth, "since": datetime.datetime.now(UTC).isoformat()}
        self._before: tuple[int, list[Request]] | None = None

    def play(self, month: int) -> Month:
        """Replay a month and do what monitoring then asks for.

        Args:
            month: Its number.

        Returns:
            What came of it, added to the timeline.

        Raises:
            InputError: There is no site, or no site answered.
            StepFailed: A step of the monitoring run failed.
        """
        label = self._source.label(month)
        states = _serving()
        requests = self._source.requests(month, [state.site for state in states])
        rows = sum(len(request.truth) for request in requests)
        self._progress.note(f"{label}: sending {rows:,} rows in {len(requests):,} requests to {len(states)} sites")
        head, started = _head(), time.monotonic()
        sent = send(requests, {state.site: state.url for state in states}, self._parameters["name"])
        if not sent.answered:
            raise InputError(f"No site answered in {label}: see `loopline sites status`.")
        seconds = {"send": time.monotonic() - started}
        self._reveal(month, requests)
        time.sleep(float(TRAFFIC_FLUSH_S) + 0.5)  # the sites write what they logged
        run = self._watch(sent, states)
        seconds["monitoring"] = run.total_seconds
        started = time.monotonic()
        scores = score_month(
            sent.truth, sent.scores, score_control(self._control, sent.requests), groups=sent.days,
            task=self._timeline.task,
        )  # fmt: skip
        seconds["score"] = time.monotonic() - started
        steps = set(run.seconds)
        done = describe_month(
            label, sent, scores, read_document(run, "detect-drift", "drift"),
            read_document(run, "decide-retraining", "decision"),
            {state.site: (state.running_version, state.running) for state in _serving()},
            retrained=any(step.startswith("train-") for step in steps),
            promoted=any(step.startswith("promote-to-site") for step in steps),
            commits=_commits_since(head), seconds=seconds,
        )  # fmt: skip
        self._timeline.months.append(done)
        return done

    def _reveal(self, month: int, requests: list[Request]) -> None:
        """Let the truth arrive: the rest of the month before, and this one's but for its last days."""
        if self._before:
            number, earlier = self._before
            self._source.write_truth(number, earlier, max(request.day for request in earlier))
        self._source.write_truth(month, requests, max(request.day for request in requests) - self._delay)
        self._before = month, requests

    def _watch(self, sent: Sent, states: list[SiteState]) -> Run:
        window = {"start": sent.start.isoformat(), "end": datetime.datetime.now(UTC).isoformat()}
        targets = ",".join(f"{state.site}={state.metrics.removesuffix('/metrics')}" for state in states)
        return run_pipeline("monitoring", {**self._parameters, **window, "targets": targets}, self._progress)


def read_document(run: Run, step: str, name: str) -> dict:
    """Read the JSON that a step of a run wrote as an artifact.

    Args:
        run: The finished run.
        step: The step.
        name: The artifact.

    Raises:
        InputError: The run has no such artifact, or more than one.
    """
    files = list(run.folder.glob(f"*/{step}/{name}"))
    if len(files) != 1:
        raise InputError(f"{run.folder} holds {len(files)} artifacts {name!r} of step {step!r}: run the pipeline anew.")
    return json.loads(files[0].read_text(encoding="utf-8"))


def _serving() -> list[SiteState]:
    states = [state for state in read_states() if state.site != APP and state.running]
    if not states:
        raise InputError("No site serves a model: deliver one with `loopline run delivery`.")
    return states


def _git(*words: str) -> str:
    return run_git(["--git-dir", str(default_repository()), *words])


def _head() -> str:
    return _git("rev-parse", "main").strip()


def _commits_since(head: str) -> list[Commit]:
    """List the commits after one, the oldest first, with the site whose folder each changed."""
    commits = []
    for entry in _git("log", "--reverse", "--format=%x1e%H%x1f%s%x1f%cI", "--name-only", f"{head}..main").split("\x1e"):
        if not entry.strip():
            continue
        first, *files = entry.strip().splitlines()
        identity, subject, when = first.split("\x1f")
        sites = {file.split("/")[1] for file in files if file.startswith("sites/")}
        commits.append(Commit(identity, sites.pop() if len(sites) == 1 else "", subject, when))
    return commits
