"""What the report of a performance begins with, and what a notebook shows of it."""

from typing import TYPE_CHECKING

from loopline.components.display import Card
from loopline.components.evaluation.metrics import find_metric
from loopline.components.plotting import in_text
from loopline.components.report import show, show_interval

if TYPE_CHECKING:
    from loopline.components.monitoring.performance import Performance

TONES = {"worse": "bad", "steady": "good", "better": "good", "unknown": "warn"}


def performance_card(performance: "Performance") -> Card:
    """Show how good served predictions were."""
    card = Card(f"Performance of {performance.model['name']}", describe_rows(performance))
    card.lead(performance.reason, TONES[performance.verdict])
    for note in performance.notes:
        card.text(note, "warn")
    card.tiles(performance_tiles(performance))
    return card


def performance_tiles(performance: "Performance") -> list[tuple]:
    """Return the verdict, the metric with its interval, measured or estimated, and what was registered."""
    metric = find_metric(performance.task, performance.metric)
    measured, before = performance.metrics.get(metric.name), performance.registered.get(metric.name)
    detail = f"by {in_text(metric.label)} and skill"
    tiles = [("Verdict", performance.verdict, detail, TONES[performance.verdict])]
    if measured:
        tiles.append((metric.label, show(measured["value"]), show_interval(measured)))
    elif performance.is_estimate:
        entry = performance.estimate["metrics"].get(metric.name)
        if entry:
            tiles.append((f"{metric.label}, ESTIMATE", show(entry["value"]), show_interval(entry), "warn"))
    if before:
        tiles.append(("Registered", show(before["value"]), show_interval(before) or performance.registered_source))
    skill = performance.skill
    if skill["value"] is not None:
        known = skill["registered"] is not None
        tiles.append(("Skill", f"{skill['value']:.3f}", f"registered {skill['registered']:.3f}" if known else ""))
    share = performance.labels["share"]
    detail = f"{performance.labeled:,} of {performance.rows:,} rows"
    tiles.append(("With a label", "none" if share is None else f"{share:.1%}", detail))
    return tiles


def describe_rows(performance: "Performance") -> str:
    """Say in a line which rows were looked at."""
    last = performance.labels["last_row"]
    span = f", last row {describe_time(last)}" if last else ""
    return (
        f"{performance.model['name']} predicts {performance.model['target']}: {performance.rows:,} served rows, "
        f"{performance.labeled:,} of them with a label{span}"
    )


def describe_time(time: str) -> str:
    """Say an instant, given as ISO 8601 in UTC, to the minute."""
    return time[:16].replace("T", " ") + " UTC"
