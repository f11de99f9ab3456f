"""Check how sites served in a window: reliability, speed, room to grow, and how fast their budgets burn."""

import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loopline.components.data.sources import safe_name
from loopline.components.delivery.config_repository import ConfigRepository, parse_sites
from loopline.components.delivery.git_repository import open_repository
from loopline.components.delivery.inference import UnreachableError
from loopline.components.documents import write_document
from loopline.components.errors import InputError
from loopline.components.monitoring.activity import Activity, Look, grow
from loopline.components.monitoring.cards import service_card
from loopline.components.monitoring.prometheus import open_prometheus, read_activities
from loopline.components.monitoring.scrape import scrape
from loopline.components.monitoring.slo import RULES, Burn, Slo, surely_more, worst_burn
from loopline.components.monitoring.web import check_url
from loopline.components.monitoring.window import Window

HEALTHY, BURNING, UNKNOWN = "healthy", "burning", "unknown"
#: Seconds over which the highest rate is taken.
_PEAK_S = 300.0
#: Seconds after a window in which counters that are read now still stand for it, or the window's length where longer.
_LATE_S = 3600.0
#: How many windows before a window counters may have been looked at: what grew since is taken for the window's.
_EARLY = 1.5
#: How far back looks are kept for the next run, in seconds, and how many: enough for the slow burn.
_KEPT_S, _KEPT = 6 * 3600.0, 80
#: How many sites are asked at a time.
_AT_A_TIME = 16
#: The share of answers that may take longer than the latency objective, which is a 99th percentile.
_SLOW_SHARE = 0.01
_OVERLAY, _BRANCH = "sites/{site}", "main"

logger = logging.getLogger("loopline")


@dataclass
class SiteService:
    """How one site served.

    Attributes:
        verdict: ``healthy``, ``burning`` or ``unknown``.
        problem: What is wrong or what hinders the judgment, one sentence; empty for nothing.
        since: When it was looked at first, ISO 8601; empty when it was not.
        until: When it was looked at last.
        requests: All requests.
        errors: Those that failed for a reason of the server's.
        refused: Those refused because of what was sent.
        error_share: The share of ``errors``; None without requests.
        refused_share: The share of ``refused``.
        restarts: How often a process began anew, other than to serve another release.
        p50_ms: The latency that half of the answers did not exceed, in milliseconds; None where it is not counted.
        p95_ms: That 95 of 100 did not exceed.
        p99_ms: That 99 of 100 did not exceed.
        rate: Requests a second.
        rate_peak: The same over the busiest five minutes, or as closely as the looks allow.
        capacity: Requests a second that it can take; None when nobody knows.
        saturation: The share of the capacity that the busiest five minutes used.
        open: The most requests seen open at once; None when unknown.
        burn_fast: How many times too fast the budget of failures burned in the worst hour.
        burn_slow: In the worst six hours.
        burn_long: In the worst three days, or in the whole window.
        burn_latency: The highest of the three for answers slower than ``p99_ms`` of the objectives.
        idle: Whether it answered and was asked for nothing.
    """

    verdict: str = UNKNOWN
    problem: str = ""
    since: str = ""
    until: str = ""
    requests: int = 0
    errors: int = 0
    refused: int = 0
    error_share: float | None = None
    refused_share: float | None = None
    restarts: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    rate: float | None = None
    rate_peak: float | None = None
    capacity: float | None = None
    saturation: float | None = None
    open: float | None = None
    burn_fast: float | None = None
    burn_slow: float | None = None
    burn_long: float | None = None
    burn_latency: float | None = None
    idle: bool = False


@dataclass
class Service:
    """How all sites served in a window.

    Attributes:
        verdict: ``burning`` when a site burns, else ``unknown`` when one cannot be judged or all were idle, else
            ``healthy``.
        reason: Why, in a sentence.
        source: ``prometheus`` or ``metrics``.
        window: The window's start and end, ISO 8601.
        sites: How each site served, by name.
        slo: What they had to hold.
        state: What the counters stood at, by site and URL, for the next run; empty from Prometheus.
    """

    verdict: str
    reason: str
    source: str
    window: dict[str, str]
    sites: dict[str, SiteService]
    slo: Slo
    state: dict = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The main figures, by name: sums over the sites, and the worst of them."""

        def worst(name: str) -> float:
            values = [getattr(site, name) for site in self.sites.values()]
            return max((value for value in values if value is not None), default=math.nan)

        requests = sum(site.requests for site in self.sites.values())
        errors = sum(site.errors for site in self.sites.values())
        found = {
            "sites": len(self.sites),
            "sites_burning": sum(site.verdict == BURNING for site in self.sites.values()),
            "sites_unknown": sum(site.verdict == UNKNOWN and not site.idle for site in self.sites.values()),
            "requests": requests,
            "errors": errors,
            "error_share": errors / requests if requests else math.nan,
            "refused": sum(site.refused for site in self.sites.values()),
            "restarts": sum(site.restarts for site in self.sites.values()),
            **{name: worst(name) for name in ("p50_ms", "p95_ms", "p99_ms", "saturation", "burn_fast", "burn_slow")},
            "rate": sum(site.rate or 0.0 for site in self.sites.values()),
        }
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Args:
            path: The file.
        """
        write_document(path, asdict(self))

    def _repr_html_(self) -> str:
        return service_card(self).markup()


def check_service(
    window: Window, targets: str = "", repository: str = "", sites: str = "", slo: Slo | None = None,
    state: Mapping | None = None, model: str = "",
) -> Service:  # fmt: skip
    """Check how sites served in a window.

    Args:
        window: The window. Counters that are read now have to do with it only when it ends about now; Prometheus
            remembers.
        targets: ``edge=http://host:port,...``, whose ``/metrics`` is read. When empty, the server that
            ``PROMETHEUS_URL`` names is asked, and without one the addresses of the configuration repository.
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        sites: Comma-separated names of the sites that count; all when empty.
        slo: What they have to hold.
        state: ``state`` of the check before; empty for none.
        model: The model, whose servers alone count among those that Prometheus watches; all when empty.

    Returns:
        How they served. A site that cannot be asked says so, and the others are judged.

    Raises:
        InputError: There is nobody to ask, or a parameter makes no sense.
    """
    slo, names = slo or Slo(), parse_sites(sites)
    prometheus = None if targets.strip() else open_prometheus()
    if prometheus:
        found = read_activities(prometheus, window.start, window.end, model)
        wanted = names or sorted(found)
        judged = {site: _judge(site, found[site], slo) if site in found else _unseen(slo, site) for site in wanted}
        return _sum_up("prometheus", window, judged, slo, {})
    urls = read_targets(targets, names) if targets.strip() else _find_urls(repository, names)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        kept = {site: _known_looks(state or {}, site, url) for site, url in urls.items()}
        looks = dict(zip(urls, pool.map(_try_scrape, urls.values()), strict=True))
    judged, left = {}, {}
    for site, url in urls.items():
        judged[site] = _judge_look(site, looks[site], kept[site], window, slo)
        after = [*kept[site], looks[site]] if isinstance(looks[site], Look) else kept[site]
        left[site] = {"url": safe_name(url), "looks": [look.as_dict() for look in _recent(after)]}
    return _sum_up("metrics", window, judged, slo, {"sites": left})


def read_targets(targets: str, sites: Sequence[str] = ()) -> dict[str, str]:
    """Read where sites show their metrics.

    Args:
        targets: ``edge=http://host:port,...``.
        sites: The sites that count; all when empty.

    Returns:
        The address by site.

    Raises:
        InputError: It says something else, or a site that counts is not in it.
    """
    found = {}
    for part in filter(None, (part.strip() for part in targets.split(","))):
        name, equals, url = part.partition("=")
        if not equals:
            raise InputError(f"targets has {safe_name(part)!r}: write sites with addresses, edge=http://host:port,...")
        [site] = parse_sites(name) or [""]
        if not site or site in found:
            raise InputError(f"targets names {site or 'no site'!r} {'twice' if site else ''}: name each site once.")
        found[site] = check_url(url.strip(), f"The address of {site} in targets")
    missing = [site for site in sites if site not in found]
    if missing:
        raise InputError(f"targets has no address of {', '.join(missing)}: add it, or leave it out of sites.")
    return {site: found[site] for site in sites or found}


def _find_urls(repository: str, sites: Sequence[str]) -> dict[str, str]:
    with open_repository(repository, _BRANCH) as git:
        names = sites or sorted(git.list_folders(_OVERLAY.partition("/{site}")[0]))
        return ConfigRepository(git, _OVERLAY).read_urls(names)


def _try_scrape(url: str) -> Look | InputError:
    """Look at a site's counters; what hinders it belongs to that site alone."""
    try:
        return scrape(url)
    except InputError as error:
        return error


def _known_looks(state: Mapping, site: str, url: str) -> list[Look]:
    """Return the looks that the runs before had at a site."""
    known = state.get("sites", {}).get(site, {})
    return [Look(**look) for look in known.get("looks", ())] if known.get("url") == safe_name(url) else []


def _recent(looks: Sequence[Look]) -> list[Look]:
    return [look for look in looks if look.time > looks[-1].time - _KEPT_S][-_KEPT:] if looks else []


def _judge_look(site: str, look: Look | InputError, kept: list[Look], window: Window, slo: Slo) -> SiteService:
    """Judge a site by its counters now and at earlier looks."""
    if isinstance(look, InputError):
        # One that answered before does not serve any more; of another, the address may be wrong.
        gone = bool(kept) and isinstance(look, UnreachableError)
        problem = f"It answered before and does not now: {look}" if gone else str(look)
        return SiteService(BURNING if gone else UNKNOWN, problem, capacity=slo.capacity_of(site))
    length = (window.end - window.start).total_seconds()
    if look.time > window.end.timestamp() + max(_LATE_S, length):
        problem = f"Its counters are of now, and the window ended at {_iso(window.end)}: set PROMETHEUS_URL."
        return SiteService(UNKNOWN, problem, capacity=slo.capacity_of(site))
    oldest = window.start.timestamp() - max(_LATE_S, _EARLY * length)
    kept = [before for before in kept if oldest <= before.time < look.time]
    inside = [before for before in kept if before.time >= window.start.timestamp()]
    looks = [*kept[len(kept) - len(inside) - 1 :][:1], *inside, look] if len(kept) > len(inside) else [*inside, look]
    began = look.started is not None and look.started >= oldest and not kept
    activity = grow(looks, look.started if began else None)
    if len(activity.times) < 2:
        return SiteService(
            UNKNOWN,
            "Nobody looked at it when the window began: the next run knows more.",
            capacity=slo.capacity_of(site),
        )
    return _judge(site, activity, slo)


def _unseen(slo: Slo, site: str) -> SiteService:
    return SiteService(UNKNOWN, "Prometheus has no count of its requests.", capacity=slo.capacity_of(site))


def _judge(site: str, activity: Activity, slo: Slo) -> SiteService:
    """Judge a site by what it did."""
    answered, refused, errors = (float(count) for count in activity.counts.sum(axis=0))
    requests, capacity = answered + refused + errors, slo.capacity_of(site)
    peak = activity.peak_rate(_PEAK_S)
    failing = _burns(activity, activity.requests, activity.counts[:, 2], 1 - slo.availability, slo)
    slow = activity.slower_than(slo.p99_ms / 1e3)
    slowing = _burns(activity, activity.timed, slow, _SLOW_SHARE, slo)
    found = SiteService(
        since=_iso(activity.times[0]),
        until=_iso(activity.times[-1]),
        requests=round(requests),
        errors=round(errors),
        refused=round(refused),
        error_share=errors / requests if requests else None,
        refused_share=refused / requests if requests else None,
        restarts=activity.restarts,
        p50_ms=activity.percentile_ms(50),
        p95_ms=activity.percentile_ms(95),
        p99_ms=activity.percentile_ms(99),
        rate=requests / activity.seconds,
        rate_peak=peak,
        capacity=capacity,
        saturation=peak / capacity if capacity else None,
        open=activity.open,
        **{f"burn_{name}": burn.rate for name, burn in failing.items()},
        burn_latency=max((burn.rate for burn in slowing.values()), default=None),
        idle=not requests,
    )
    problems = [
        *_explain_failures(found, failing, slo),
        *_explain_latency(found, slowing, float(slow.sum()), float(activity.timed.sum()), slo),
        *_explain_load(found, slo),
    ]
    found.problem = " ".join(problems) or activity.problem or ("" if requests else "It was asked for nothing.")
    found.verdict = BURNING if problems else HEALTHY if requests and not activity.problem else UNKNOWN
    return found


def _burns(activity: Activity, total: np.ndarray, bad: np.ndarray, budget: float, slo: Slo) -> dict[str, Burn]:
    found = {rule.name: worst_burn(rule, activity.times, total, bad, budget, slo.period_h) for rule in RULES}
    return {name: burn for name, burn in found.items() if burn}


def _explain_failures(site: SiteService, burns: Mapping[str, Burn], slo: Slo) -> list[str]:
    burning = [burn for burn in burns.values() if burn.burning]
    if not burning:
        return []
    worst = max(burning, key=lambda burn: burn.rate / burn.limit)
    return [
        f"{site.errors:,} of {site.requests:,} requests failed, {_explain_burn(worst)} "
        f"the objective of {slo.availability:.5g} allows."
    ]


def _explain_latency(site: SiteService, burns: Mapping[str, Burn], slow: float, timed: float, slo: Slo) -> list[str]:
    if surely_more(slow, timed, _SLOW_SHARE):
        return [
            f"{slow / timed:.1%} of the answers took longer than {slo.p99_ms:g} ms, and 1% may: p99 is "
            f"{site.p99_ms:,.0f} ms."
        ]
    burning = [burn for burn in burns.values() if burn.burning]
    if not burning:
        return []
    worst = max(burning, key=lambda burn: burn.rate / burn.limit)
    return [f"Answers took longer than {slo.p99_ms:g} ms {_explain_burn(worst)} 1 in 100 allows."]


def _explain_burn(burn: Burn) -> str:
    length = f"{burn.seconds / 3600:.3g} h" if burn.seconds >= 3600 else f"{burn.seconds / 60:.3g} min"
    return f"in the {length} before {_iso(burn.at)} {burn.rate:.3g} times as fast (limit {burn.limit:.3g}) as"


def _explain_load(site: SiteService, slo: Slo) -> list[str]:
    found = []
    if site.restarts > slo.restarts:
        found.append(f"It restarted {site.restarts} times, and {slo.restarts} may be: look at its log.")
    if site.saturation is not None and site.saturation > slo.saturation:
        found.append(
            f"Its busiest minutes took {site.rate_peak:.3g} requests/s, {site.saturation:.0%} of the {site.capacity:g} "
            "that it can take: give it more replicas."
        )
    return found


def _sum_up(source: str, window: Window, sites: dict[str, SiteService], slo: Slo, state: dict) -> Service:
    for name, site in sites.items():
        logger.info("%s: %s%s", name, site.verdict, f" ({site.problem.rstrip('.')})" if site.problem else "")
    burning = [name for name, site in sites.items() if site.verdict == BURNING]
    unknown = [name for name, site in sites.items() if site.verdict == UNKNOWN and not site.idle]
    if burning:
        verdict, named = BURNING, burning
    elif unknown or all(site.idle for site in sites.values()):
        verdict, named = UNKNOWN, unknown or list(sites)
    else:
        verdict, named = HEALTHY, []
    reasons = [f"{name}: {sites[name].problem.rstrip('.')}" for name in named[:5]]
    requests = sum(site.requests for site in sites.values())
    reason = "; ".join(reasons) or f"{requests:,} requests within the objectives"
    reason = reason if sites else "No site was found"
    return Service(verdict, f"{reason}.", source, window.to_dict(), sites, slo, state)


def _iso(moment: datetime | float) -> str:
    moment = moment if isinstance(moment, datetime) else datetime.fromtimestamp(float(moment), UTC)
    return moment.isoformat(timespec="seconds")
