"""What a replay leaves behind: month by month what was sent, seen, decided and changed, as one JSON document."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loopline.components.errors import InputError
from loopline.pipelines.replay.scores import METRICS, SKILL, Interval, MonthScores, pool
from loopline.pipelines.replay.send import Sent, SiteTraffic

#: Columns that are kept of those that moved most.
TOP_COLUMNS = 5


@dataclass(frozen=True)
class Moved:
    """A column that is not as at training.

    Attributes:
        name: The column.
        effect: How far it moved, as population stability index; None where unknown.
    """

    name: str
    effect: float | None


@dataclass(frozen=True)
class MonthDrift:
    """What drift detection said of a month.

    Attributes:
        verdict: ``drift``, ``none``, ``broken`` or ``too_few``.
        score: How far the most moved input is from training; None where unknown.
        columns: The most moved columns, the first most.
    """

    verdict: str
    score: float | None = None
    columns: list[Moved] = field(default_factory=list)

    @classmethod
    def from_document(cls, drift: Mapping) -> "MonthDrift":
        """Read what drift detection wrote as ``drift.json``."""
        by_name = {column["name"]: column.get("psi") for column in drift.get("columns", [])}
        names = list(drift.get("drifted") or [])[:TOP_COLUMNS]
        return cls(drift["verdict"], drift.get("score"), [Moved(name, by_name.get(name)) for name in names])


@dataclass(frozen=True)
class SiteMonth:
    """A site in a month.

    Attributes:
        version: The model version that answered most rows of the month.
        image: Its image by digest; empty when unknown.
        after: The version that the site serves after the month's monitoring.
        after_image: Its image.
        traffic: What the site was asked.
    """

    version: str
    image: str
    after: str
    after_image: str
    traffic: SiteTraffic


@dataclass(frozen=True)
class Commit:
    """A commit to the configuration repository.

    Attributes:
        id: Its hash.
        site: The site it is for; empty when it is for none alone.
        subject: Its first line.
        time: When it was made, ISO 8601.
    """

    id: str
    site: str
    subject: str
    time: str = ""


@dataclass(frozen=True)
class Month:
    """One month of the replay; what is decided at its end takes effect in the next.

    Attributes:
        label: Its name.
        rows: Rows that the sites answered.
        labeled: Rows whose truth was known to the month's monitoring.
        scores: What loop and control are worth on all rows of the month.
        drift: What drift detection said.
        verdict: ``retrain``, ``wait`` or ``alert``.
        reasons: Why.
        alerts: What people are told.
        retrained: Whether a model was trained.
        promoted: Whether it was better and delivered.
        sites: Each site by name.
        commits: Commits to the configuration repository in this month.
        seconds: How long each stage took.
        start: Where the month's traffic begins by the log's clock, ISO 8601; empty when unknown.
        end: Where it ends.
    """

    label: str
    rows: int
    labeled: int
    scores: MonthScores
    drift: MonthDrift
    verdict: str
    reasons: list[str]
    alerts: list[str]
    retrained: bool
    promoted: bool
    sites: dict[str, SiteMonth]
    commits: list[Commit] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    start: str = ""
    end: str = ""

    @property
    def gain(self) -> Interval:
        """What the loop gained in the task's main metric; positive when it was better."""
        return self.scores.gain[self.scores.metric]

    @property
    def outcome(self) -> str:
        """``same`` (one model), ``better``, ``worse`` (for sure), ``unclear`` or ``unknown`` (without interval)."""
        if self.scores.same:
            return "same"
        gain = self.gain
        if gain.low is None or gain.high is None:
            return "unknown"
        return "better" if gain.low > 0 else "worse" if gain.high < 0 else "unclear"

    @property
    def lost(self) -> int:
        """Requests that no site answered."""
        return sum(site.traffic.failed for site in self.sites.values())


@dataclass(frozen=True)
class Overall:
    """All months together.

    Attributes:
        rows: Rows that the sites answered.
        loop: By metric the mean of the months, weighted by rows.
        control: The same of the control.
        gain: The same of the difference.
        outcomes: Labels of the months by their outcome.
        retrained: Months after which a model was trained.
        promoted: Months after which one was delivered.
        commits: Commits to the configuration repository.
        lost: Requests that no site answered.
    """

    rows: int
    loop: dict[str, Interval]
    control: dict[str, Interval]
    gain: dict[str, Interval]
    outcomes: dict[str, list[str]]
    retrained: list[str]
    promoted: list[str]
    commits: int
    lost: int


@dataclass(frozen=True)
class Timeline:
    """A replay.

    Attributes:
        name: The model's name.
        target: What it predicts.
        months: The months so far, in order.
        task: ``binary``, ``multiclass`` or ``regression``.
        trained_on: What the first model was trained on, for a sentence: ``January to May 2013``.
        control_version: The version of the control.
        units: What a row is, in the plural.
        created: When the replay ran, ISO 8601.
        notes: What a reader must know to judge the figures.
    """

    name: str
    target: str
    months: list[Month] = field(default_factory=list)
    task: str = "binary"
    trained_on: str = ""
    control_version: str = "1"
    units: str = "rows"
    created: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return METRICS[self.task][0]

    @property
    def sites(self) -> list[str]:
        """The sites in the order in which they came."""
        return list(dict.fromkeys(site for month in self.months for site in month.sites))

    def overall(self) -> Overall:
        """Sum up the months."""
        months = self.months
        names = [*METRICS[self.task], SKILL]

        def pooled(kind: str) -> dict[str, Interval]:
            figures = [(month.rows, getattr(month.scores, kind)) for month in months]
            return {name: pool([(rows, found[name]) for rows, found in figures if name in found]) for name in names}

        outcomes: dict[str, list[str]] = {}
        for month in months:
            outcomes.setdefault(month.outcome, []).append(month.label)
        return Overall(
            rows=sum(month.rows for month in months),
            loop=pooled("loop"),
            control=pooled("control"),
            gain=pooled("gain"),
            outcomes=outcomes,
            retrained=[month.label for month in months if month.retrained],
            promoted=[month.label for month in months if month.promoted],
            commits=sum(len(month.commits) for month in months),
            lost=sum(month.lost for month in months),
        )

    def save(self, path: str | Path) -> None:
        """Write the timeline as JSON; a reader sees the file before or after, never in between."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(asdict(self), indent=2, allow_nan=False), encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "Timeline":
        """Read a timeline that ``save`` wrote.

        Raises:
            InputError: There is no such file, or it is not a timeline.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(**{**values, "months": [_read_month(month) for month in values["months"]]})
        except FileNotFoundError:
            raise InputError(f"There is no timeline at {path}: `loopline demo` writes one.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is not a timeline ({error}): run the replay anew.") from None


def describe_month(
    label: str,
    sent: Sent,
    scores: MonthScores,
    drift: Mapping,
    decision: Mapping,
    after: Mapping[str, tuple[str, str]],
    *,
    retrained: bool,
    promoted: bool,
    commits: Sequence[Commit] = (),
    seconds: Mapping[str, float] | None = None,
) -> Month:
    """Put together what is known of a month.

    Args:
        label: The month's name.
        sent: What came of sending its rows.
        scores: What loop and control are worth on them.
        drift: The monitoring run's ``drift.json``.
        decision: Its ``decision.json``.
        after: By site the version and the image, its digest or its reference by digest, that it serves after the
            monitoring run.
        retrained: Whether a model was trained.
        promoted: Whether it was delivered.
        commits: Commits to the configuration repository in this month.
        seconds: How long each stage took.
    """
    sites = {}
    for site, traffic in sent.sites.items():
        version, image = _most(traffic.versions), _most(traffic.images)
        next_version, next_image = after.get(site, (version, image))
        sites[site] = SiteMonth(version, _digest(image), next_version, _digest(next_image), traffic)
    return Month(
        label=label,
        rows=len(sent.truth),
        labeled=int(decision.get("labeled") or 0),
        scores=scores,
        drift=MonthDrift.from_document(drift),
        verdict=decision["verdict"],
        reasons=list(decision.get("reasons") or []),
        alerts=list(decision.get("alerts") or []),
        retrained=retrained,
        promoted=promoted,
        sites=sites,
        commits=list(commits),
        seconds=dict(seconds or {}),
        start=sent.start.isoformat(),
        end=sent.end.isoformat(),
    )


def _most(counts: Mapping[str, int]) -> str:
    return max(counts, key=counts.get) if counts else ""


def _digest(image: str) -> str:
    return image.rpartition("@")[2]


def _read_month(values: Mapping) -> Month:
    scores = dict(values["scores"])
    for kind in ("loop", "control", "gain"):
        scores[kind] = {name: Interval(**figure) for name, figure in scores[kind].items()}
    drift = {**values["drift"], "columns": [Moved(**column) for column in values["drift"]["columns"]]}
    sites = {
        name: SiteMonth(**{**site, "traffic": SiteTraffic(**site["traffic"])}) for name, site in values["sites"].items()
    }
    commits = [Commit(**commit) for commit in values["commits"]]
    read = {"scores": MonthScores(**scores), "drift": MonthDrift(**drift), "sites": sites, "commits": commits}
    return Month(**{**values, **read})
