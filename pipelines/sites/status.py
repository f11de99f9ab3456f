"""Show what the sites do: as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from loopline.components.display import Card
from loopline.components.environment import home
from loopline.pipelines.progress import shown_path
from loopline.pipelines.sites.process import Agent, Followed, find_agent, read_followed
from loopline.pipelines.sites.state import SiteState, read_states

_HEAD = ("SITE", "STATE", "WANTED", "RUNNING", "SINCE", "URL")


@dataclass(frozen=True)
class Status:
    """What all sites do at a moment; printed or shown by a notebook it is a table.

    Attributes:
        agent: The agent that runs, if one does.
        followed: What it knows of the configuration repository.
        sites: What each site does.
    """

    agent: Agent | None
    followed: Followed | None
    sites: Sequence[SiteState]

    def __str__(self) -> str:
        return describe(self.agent, self.followed, self.sites)

    def _repr_html_(self) -> str:
        if self.agent is None:
            card = Card("Sites")
            card.lead(str(self), "warn")
            return card.markup()
        first, *others = _describe_agent(self.agent, self.followed)
        card = Card("Sites", first)
        for line in others:
            card.text(line, "bad")
        if all_in_sync(self.sites):
            card.lead("Every site does what the repository says.", "good")
        elif self.sites:
            card.lead("Not every site does what the repository says.", "warn")
        card.table([name.capitalize() for name in _HEAD], [_row(site) for site in self.sites])
        for site in self.sites:
            if site.reason:
                card.text(f"{site.site}: {site.reason}", "bad")
        return card.markup()


def read_status() -> Status:
    """Read what all sites do, as the agent last wrote it."""
    return Status(find_agent(), read_followed(), read_states())


def describe(agent: Agent | None, followed: Followed | None, sites: Sequence[SiteState]) -> str:
    """Return the table a person reads.

    Args:
        agent: The agent that runs, if one does.
        followed: What it knows of the configuration repository.
        sites: What each site does.
    """
    if agent is None:
        return f"The sites of {shown_path(home())} do not run: `loopline sites up` starts them."
    lines = _describe_agent(agent, followed)
    if not sites:
        return "\n".join(lines)
    rows = [_row(site) for site in sites]
    widths = [max(len(row[i]) for row in [_HEAD, *rows]) for i in range(len(_HEAD))]
    lines += ["", _align(_HEAD, widths)]
    for site, row in zip(sites, rows, strict=True):
        lines.append(_align(row, widths))
        if site.reason:
            lines.append(f"  {site.reason}")
    return "\n".join(lines)


def as_json(agent: Agent | None, followed: Followed | None, sites: Sequence[SiteState]) -> dict:
    """Return the same for a program; the arguments are those of ``describe``."""
    return {
        "agent": asdict(agent) if agent else None,
        "followed": asdict(followed) if agent and followed else None,
        "sites": [asdict(site) | {"in_sync": site.in_sync} for site in sites] if agent else [],
    }


def all_in_sync(sites: Sequence[SiteState]) -> bool:
    """Return whether every site does what the repository says; there must be one."""
    return bool(sites) and all(site.in_sync for site in sites)


def _describe_agent(agent: Agent, followed: Followed | None) -> list[str]:
    at = f" at {followed.commit[:12]}" if followed and followed.commit else ""
    lines = [f"Following branch {agent.branch} of {agent.repository}{at}"]
    if followed and followed.problem:
        lines.append(f"It cannot be read now: {followed.problem}")
    return lines


def _row(site: SiteState) -> tuple[str, ...]:
    since = datetime.fromisoformat(site.since).astimezone().strftime("%m-%d %H:%M:%S") if site.since else "-"
    wanted, running = _name(site.wanted_version, site.wanted), _name(site.running_version, site.running)
    return site.site, site.state, wanted, running, since, site.url or "-"


def _name(version: str, image: str) -> str:
    """Name an image as a person does: version and the first digits of its digest."""
    digest = image.rpartition("@sha256:")[2][:12]
    return f"{version or '?'} ({digest})" if image else "-"


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
