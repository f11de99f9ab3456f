"""Say in words and figures what a replay showed: the headline, and cells of its tables."""

from collections.abc import Sequence

from loopline.components.evaluation.metrics import find_metric
from loopline.components.plotting import in_text
from loopline.pipelines.replay.scores import Interval
from loopline.pipelines.replay.timeline import Month, Overall, Timeline

_OUTCOMES = {
    "better": "surely better",
    "worse": "surely worse",
    "unclear": "no sure difference",
    "unknown": "without interval",
    "same": "the same model on both sides",
}


def headline(timeline: Timeline) -> tuple[str, str]:
    """Say honestly what retraining gained.

    Args:
        timeline: The replay.

    Returns:
        The sentences, and their tone: ``good``, ``bad`` or ``note``.
    """
    if not timeline.months:
        return "No month has been replayed yet.", "note"
    overall, label = timeline.overall(), in_text(find_metric(timeline.task, timeline.metric).label)
    if set(overall.outcomes) == {"same"}:
        trained = f"retrained {_times(len(overall.retrained))}" if overall.retrained else "not retrained"
        return (
            f"Retraining gained nothing: the model was {trained}, and in no month did another version serve than the "
            f"first.",
            "note",
        )
    gain = overall.gain[timeline.metric]
    both = f"{label} {figure(overall.loop[timeline.metric].value)} with the loop and "
    both += f"{figure(overall.control[timeline.metric].value)} for the model that was never retrained"
    over = f"over {overall.rows:,} {timeline.units} in {len(timeline.months)} months"
    return f"{_verdict(gain)}: {both}, {over} ({_difference(gain, overall, timeline)}).", _tone(gain)


def outcome_sentence(overall: Overall) -> str:
    """Count the months by what retraining did to them."""
    parts = [
        f"{words} in {len(overall.outcomes[name])} ({', '.join(overall.outcomes[name])})"
        for name, words in _OUTCOMES.items()
        if name in overall.outcomes
    ]
    return "Month by month, the loop against its control: " + "; ".join(parts) + "."


def outcome_words(month: Month) -> str:
    """Say what the loop was against its control in a month."""
    return {"same": "same model", "unclear": "not sure", "unknown": ""}.get(month.outcome, month.outcome)


def versions_words(month: Month, after: bool = False) -> str:
    """Name the versions that served in a month, or after it: one where all sites agree."""
    named = {name: name_version(site.after if after else site.version) for name, site in month.sites.items()}
    if len(set(named.values())) == 1:
        return next(iter(named.values()))
    return ", ".join(f"{site} {version}" for site, version in named.items())


def decision_words(month: Month) -> str:
    """Say what was decided and what came of it."""
    if not month.retrained:
        return month.verdict
    return f"{month.verdict}, " + ("delivered" if month.promoted else "not better, kept")


def name_version(version: str) -> str:
    """Return a version as a person reads it: a model that is not registered has its digest for one."""
    return version.removeprefix("sha256:")[:7] if version.startswith("sha256:") else version or "?"


def figure(value: float | None, signed: bool = False) -> str:
    """Show a figure with the decimals that tell months apart; a dash where it is undefined."""
    if value is None:
        return "\u2013"
    if signed and round(value, 4) == 0:
        return "0"
    decimals = 4 if abs(value) < 10 else 1
    return (f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}").replace("-", "\u2212")


def interval(one: Interval, signed: bool = False) -> str:
    """Show both ends of an interval on one line; empty where there is none."""
    if one.low is None or one.high is None:
        return ""
    return f"{figure(one.low, signed)}\u00a0to\u00a0{figure(one.high, signed)}"


def align(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lay out cells as lines of text.

    Args:
        rows: The cells, with the head first.
        right: For each column whether it is set to the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(right))]
    return [
        "  ".join(
            cell.rjust(width) if flag else cell.ljust(width)
            for cell, width, flag in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def timeline_text(timeline: Timeline) -> str:
    """Print a timeline for a terminal.

    Args:
        timeline: The replay.

    Returns:
        A table with a line a month, and under it what it comes to.
    """
    metric = find_metric(timeline.task, timeline.metric)
    head = (
        "",
        timeline.units,
        "drift",
        in_text(metric.label),
        "control",
        "gain",
        "95% interval",
        "",
        "version",
        "then",
    )
    rows = [head]
    for month in timeline.months:
        scores, gain = month.scores, month.gain
        is_same = month.outcome == "same"
        rows.append(
            (
                month.label, f"{month.rows:,}", f"{month.drift.score:.2f}" if month.drift.score is not None else "",
                figure(scores.loop[metric.name].value), figure(scores.control[metric.name].value),
                "0" if is_same else figure(gain.value, signed=True), "" if is_same else interval(gain, signed=True),
                outcome_words(month), versions_words(month), decision_words(month),
            )
        )  # fmt: skip
    sentences = [headline(timeline)[0]]
    if timeline.months:
        sentences.append(outcome_sentence(timeline.overall()))
    right = (False, True, True, True, True, True, True, False, True, False)
    text = "\n".join([*align(rows, right), "", *sentences])
    return text.replace("\u2212", "-").replace("\u2013", "-").replace("\u00a0", " ")


def _verdict(gain: Interval) -> str:
    if gain.low is None or gain.high is None:
        return "What retraining gained, without an interval"
    if gain.low > 0:
        return "Retraining paid"
    return "Retraining did harm" if gain.high < 0 else "Retraining gained nothing that is sure"


def _tone(gain: Interval) -> str:
    if gain.low is None or gain.high is None:
        return "note"
    return "good" if gain.low > 0 else "bad" if gain.high < 0 else "note"


def _difference(gain: Interval, overall: Overall, timeline: Timeline) -> str:
    control = overall.control[timeline.metric].value
    share = f", {abs(gain.value / control):.1%}" if control else ""
    text = f"{'better' if gain.value >= 0 else 'worse'} by {figure(abs(gain.value))}{share}"
    ends = interval(gain, signed=True)
    return text + (f"; 95% interval of the gain {ends}" if ends else "")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
