"""The page of the service check."""

from loopline.components.monitoring.cards import TONES, describe_window, service_tiles, show_share
from loopline.components.monitoring.service import Service, SiteService
from loopline.components.monitoring.slo import RULES
from loopline.components.report import Report

_SOURCES = {
    "prometheus": "Read from Prometheus, which watches every process of a site.",
    "metrics": "Read from /metrics of each site and compared with what the run before saw there. What a process did "
    "between the last look at it and its end is in no counter; PROMETHEUS_URL names a server that sees more.",
}


def service_report(service: Service) -> Report:
    """Make the page of a service check.

    Args:
        service: What was found.
    """
    page = Report("Service", describe_window(service.window))
    page.tiles(service_tiles(service))
    page.section("Verdict")
    page.text(service.reason, TONES[service.verdict])
    page.text(_SOURCES[service.source])
    _add_reliability(page, service)
    _add_speed(page, service)
    _add_load(page, service)
    return page


def _add_reliability(page: Report, service: Service) -> None:
    page.section("Reliability")
    page.table(
        ["Site", "Verdict", "Requests", "Failed", "Refused", "Restarts", *(f"Burn, {rule.name}" for rule in RULES)],
        [
            [
                name, site.verdict, site.requests, show_share(site.error_share), show_share(site.refused_share),
                site.restarts, site.burn_fast, site.burn_slow, site.burn_long,
            ]
            for name, site in service.sites.items()
        ],
    )  # fmt: skip
    limits = ", ".join(
        f"{rule.spent * service.slo.period_h / rule.long_h:.3g} over {rule.long_h:g} h ({rule.name})" for rule in RULES
    )
    page.text(
        f"The objective is {service.slo.availability:.5g}. A burn of 1 uses up what may fail in just "
        f"{service.slo.period_h / 24:g} days; too fast is {limits}, both over that time and over the last twelfth of "
        "it. Where less time was watched, the limit is higher: as much of the budget is too much. Refused requests are "
        "the sender's fault and do not count; many of them are a sign that a sender changed."
    )
    for name, site in service.sites.items():
        if site.problem:
            page.text(f"{name}: {site.problem}", TONES[site.verdict])


def _add_speed(page: Report, service: Service) -> None:
    page.section("Speed")
    page.table(
        ["Site", "p50 ms", "p95 ms", "p99 ms", "Burn", "Watched since", "Until"],
        [
            [name, site.p50_ms, site.p95_ms, site.p99_ms, site.burn_latency, site.since or None, site.until or None]
            for name, site in service.sites.items()
        ],
    )
    page.text(
        "Percentiles come from histograms and are as fine as their buckets. The burn is that of the 1% of the answers "
        f"that may take longer than {service.slo.p99_ms:g} ms."
    )


def _add_load(page: Report, service: Service) -> None:
    page.section("Room to grow")

    def row(name: str, site: SiteService) -> list:
        return [name, site.rate, site.rate_peak, site.capacity, show_share(site.saturation), site.open]

    page.table(
        ["Site", "Requests/s", "Busiest five minutes", "Capacity", "Used", "Most open at once"],
        [row(name, site) for name, site in service.sites.items()],
    )
    if not any(site.capacity for site in service.sites.values()):
        page.text("Nobody said how many requests a second the sites can take: probe_capacity finds out.")
