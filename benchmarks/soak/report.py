"""What a soak found, as Markdown, JSON and a verdict."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import markdown
from benchmarks.soak.journal import FAULT, Event
from benchmarks.soak.load import Sample
from benchmarks.soak.memory import Growth

#: The growth of memory that is too much, percent.
MOST_GROWTH = 5.0


@dataclass(frozen=True)
class Soak:
    """A soak that is over.

    Attributes:
        seed: Of its choices.
        started: When it began, ISO 8601.
        seconds: How long it was.
        per_second: Requests a second to each site.
        setting: Where it ran, and against what.
        start: When it began, of ``time.monotonic``.
        samples: The requests.
        events: What happened.
        memory: The processes that lived long.
        versions: The versions that were delivered, in order.
        leftovers: Processes that outlived it.
    """

    seed: int
    started: str
    seconds: float
    per_second: float
    setting: str
    start: float
    samples: list[Sample]
    events: list[Event]
    memory: list[Growth]
    versions: list[int]
    leftovers: list[str]

    def excused(self, sample: Sample) -> bool:
        """Return whether an outage of its site was under way while a request was."""
        return any(
            event.outage and sample.site in event.sites and event.overlaps(sample.due, sample.due + sample.seconds)
            for event in self.events
        )

    def undisturbed(self, sample: Sample) -> bool:
        """Return whether nothing was done to its site while a request was under way."""
        return not any(
            sample.site in event.sites and event.overlaps(sample.due, sample.due + sample.seconds)
            for event in self.events
        )

    @property
    def lost(self) -> list[Sample]:
        """The requests that failed outside of every outage."""
        return [sample for sample in self.samples if sample.problem and not self.excused(sample)]

    @property
    def problems(self) -> list[str]:
        """What must not be, a sentence each; empty when the soak is passed."""
        found = []
        if not self.samples:
            found.append("No request was sent.")
        if lost := self.lost:
            kinds = Counter(sample.problem[:120] for sample in lost).most_common(3)
            listed = "; ".join(f"{count} x {kind}" for kind, count in kinds)
            found.append(f"{len(lost):,} requests failed outside of outages ({listed}).")
        if not any(growth.judged for growth in self.memory):
            found.append("No process lived long enough for its memory to be judged.")
        for growth in self.memory:
            if growth.judged and growth.percent > MOST_GROWTH:
                found.append(f"The {growth.name} grew by {growth.percent:.1f}% (more than {MOST_GROWTH:g}%).")
        found += [f"{event.name} ({', '.join(event.sites)}): {event.problem}" for event in self.events if event.problem]
        found += [f"A process was left over: {process}" for process in self.leftovers]
        return found


def write_report(soak: Soak, folder: Path) -> Path:
    """Write ``report.md`` and ``report.json``; returns the first."""
    values = asdict(soak) | {"problems": soak.problems, "passed": not soak.problems}
    values["samples"] = len(soak.samples)
    values["failed"] = [asdict(sample) | {"outage": soak.excused(sample)} for sample in soak.samples if sample.problem]
    (folder / "report.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
    page = folder / "report.md"
    page.write_text(report_text(soak), encoding="utf-8")
    return page


def report_text(soak: Soak) -> str:
    """Return the report as Markdown."""
    failed, problems = [sample for sample in soak.samples if sample.problem], soak.problems
    faults = [event for event in soak.events if event.kind == FAULT]
    lines = [
        f"# Soak of {soak.seconds / 60:.1f} minutes: {'FAILED' if problems else 'passed'}",
        *(f"- {problem}" for problem in problems),
        f"{soak.started}, seed {soak.seed}. {soak.setting}",
        f"{len(soak.samples):,} requests, {soak.per_second:g} a second to each site on a fixed schedule, none sent "
        f"twice. {len(failed):,} failed: {len(failed) - len(soak.lost):,} in outages, **{len(soak.lost):,} outside**. "
        f"{len(soak.versions)} deliveries (versions {', '.join(map(str, soak.versions)) or 'none'}), "
        f"{len(faults)} faults, {len(soak.leftovers)} processes left over.",
        "## Requests",
        markdown(["site", "requests", "failed in outages", "failed outside", *_HEADS], _request_rows(soak)),
        "Latencies from the moment a request was due. Undisturbed: nothing was done to the site meanwhile.",
        "## Memory",
        markdown(
            ["process", "pid", "seen for s", "start MB", "end MB", "growth %", ""],
            [_memory_row(growth) for growth in soak.memory],
        ),
        "Resident set by a line through what was seen every two seconds, after the warm-up. Only processes that were "
        "seen for long are judged; the others were ended by deliveries and faults.",
        "## What happened",
        markdown(_EVENT_HEADS, [_event_row(event, soak) for event in soak.events]),
    ]
    return "\n\n".join(lines) + "\n"


_EVENT_HEADS = ["from s", "to s", "what", "sites", "outage", "came of it"]
_HEADS = ("p50 ms", "p99 ms", "undisturbed p50 ms", "p99 ms", "max ms")


def _request_rows(soak: Soak) -> list[list]:
    rows = []
    for site in sorted({sample.site for sample in soak.samples}):
        some = [sample for sample in soak.samples if sample.site == site]
        failed = [sample for sample in some if sample.problem]
        lost = sum(not soak.excused(sample) for sample in failed)
        answered = [sample.seconds * 1e3 for sample in some if not sample.problem]
        calm = [sample.seconds * 1e3 for sample in some if not sample.problem and soak.undisturbed(sample)]
        times = [*_percentiles(answered, 50, 99), *_percentiles(calm, 50, 99, 100)]
        rows.append([site, f"{len(some):,}", len(failed) - lost, lost, *times])
    return rows


def _percentiles(values: Sequence[float], *shares: float) -> list[str]:
    return [f"{value:.1f}" for value in np.percentile(values, shares)] if values else ["-"] * len(shares)


def _memory_row(growth: Growth) -> list[str]:
    sizes = [f"{value:.1f}" for value in (growth.seconds, growth.start_mb, growth.end_mb, growth.percent)]
    return [growth.name, str(growth.pid), *sizes, "judged" if growth.judged else "too short"]


def _event_row(event: Event, soak: Soak) -> list[str]:
    came = (event.problem or event.note or "mended").replace("|", "/").replace("\n", " ")
    times = [f"{moment - soak.start:.1f}" for moment in (event.start, event.end)]
    return [*times, event.name, ", ".join(event.sites), "yes" if event.outage else "", came[:200]]
