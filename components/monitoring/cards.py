"""What reports of the stage begin with, and what a notebook shows of its verdicts."""

from datetime import datetime
from typing import TYPE_CHECKING

from loopline.components.display import Card
from loopline.components.report import show, show_interval

if TYPE_CHECKING:
    from loopline.components.monitoring.decide import Decision
    from loopline.components.monitoring.drift import Drift
    from loopline.components.monitoring.service import Service

#: By verdict of the stage its tone.
TONES = {
    "drift": "warn", "none": "good", "broken": "bad", "too_few": "warn",
    "healthy": "good", "burning": "bad", "unknown": "warn",
    "retrain": "warn", "wait": "good", "alert": "bad",
}  # fmt: skip
DRIFT_VERDICTS = {"drift": "drift", "none": "no drift", "broken": "broken data", "too_few": "too few rows"}
_DECISIONS = {
    "retrain": "a new model is trained and compared",
    "wait": "nothing to do",
    "alert": "people are needed",
}
#: Columns that a card names.
_NAMED = 8


def drift_card(drift: "Drift") -> Card:
    """Show whether a window looks like the training data, and the columns that moved most."""
    card = Card(f"Drift of {drift.reference.name}", f"{drift.reference.rows:,} rows of training to compare with")
    card.lead(drift.reason, TONES[drift.verdict])
    card.tiles(drift_tiles(drift))
    moved = [one for one in drift.columns if one.drifted or one.broken]
    if moved:
        rows = [(one.column.name, "broken" if one.broken else "drifted", one.effects.psi) for one in moved[:_NAMED]]
        card.table(["Column", "State", "PSI"], rows)
    return card


def drift_tiles(drift: "Drift") -> list[tuple]:
    """Return the verdict, what was counted and how far the most moved column is from training."""
    moved, broken = (int(drift.metrics[name]) for name in ("columns_drifted", "columns_broken"))
    total = f"of {len(drift.columns)}"
    tiles = [
        ("Verdict", DRIFT_VERDICTS[drift.verdict], "", TONES[drift.verdict]),
        ("Rows", f"{drift.summary.rows:,}", f"{drift.summary.own_rows:,} predicted by this model"),
        ("Columns moved", f"{moved:,}", total, "warn" if moved else ""),
        ("Columns broken", f"{broken:,}", total, "bad" if broken else ""),
        ("Largest PSI", f"{drift.score:.3f}", "of an input; 0 is as at training"),
    ]
    if drift.domain:
        tone = "warn" if drift.domain["drifted"] else ""
        detail = f"of a classifier, {drift.domain['auc_low']:.3f} to {drift.domain['auc_high']:.3f}"
        tiles.append(("AUC", f"{drift.domain['auc']:.3f}", detail, tone))
    return tiles


def service_card(service: "Service") -> Card:
    """Show how the sites served, one line a site."""
    card = Card("Service of the sites", describe_window(service.window))
    card.lead(service.reason, TONES[service.verdict])
    card.tiles(service_tiles(service))
    rows = [
        (name, site.verdict, site.requests, show_share(site.error_share), site.restarts, site.p50_ms, site.p99_ms)
        for name, site in service.sites.items()
    ]
    card.table(["Site", "Verdict", "Requests", "Failed", "Restarts", "p50 ms", "p99 ms"], rows)
    return card


def service_tiles(service: "Service") -> list[tuple]:
    """Return the verdict and the figures of all sites together, or of the worst."""
    found = service.metrics
    p99 = found.get("p99_ms")
    return [
        ("Verdict", service.verdict, f"{len(service.sites)} sites", TONES[service.verdict]),
        ("Requests", show(found["requests"]), f"{show(found['errors'])} failed"),
        ("p99", show(None) if p99 is None else f"{p99:.3g} ms", f"worst site; at most {service.slo.p99_ms:g} ms"),
        ("Busiest", show_share(found.get("saturation")) or show(None), "of a site's capacity, in five minutes"),
    ]


def describe_window(window: dict[str, str]) -> str:
    """Say from when to when a window is."""
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    return f"{start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"


def show_share(share: float | None) -> str | None:
    """Return a share as a percentage, a small one with more digits."""
    return None if share is None else f"{share:.3%}" if share < 0.01 else f"{share:.1%}"


def decision_card(decision: "Decision") -> Card:
    """Show what is to be done about a model, and why."""
    card = Card("Retrain, wait or alert", describe_window(decision.window))
    first, *others = decision.reasons
    card.lead(first, TONES[decision.verdict])
    for reason in others:
        card.text(reason)
    for alert in decision.alerts:
        card.text(alert, "bad")
    card.tiles(decision_tiles(decision))
    return card


def decision_tiles(decision: "Decision") -> list[tuple]:
    """Return the verdict and the figures that it rests on."""
    metric, skill = decision.metric, decision.skill
    columns = "unknown" if decision.drift_columns is None else f"{decision.drift_columns} columns drifted"
    details = (show_interval(metric), f"registered {show(metric['registered'])}")
    return [
        ("Verdict", decision.verdict, _DECISIONS[decision.verdict], TONES[decision.verdict]),
        (metric["name"].replace("_", " ").capitalize(), show(metric["value"]), "; ".join(filter(None, details))),
        ("Skill", show(skill["value"]), f"registered {show(skill['registered'])}"),
        ("Drift score", show(decision.drift_score), columns),
        ("New truth", show(decision.new_labels), f"of {decision.policy['min_labels']:,} that a retraining needs"),
    ]
