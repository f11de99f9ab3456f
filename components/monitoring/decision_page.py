"""The page of a decision: what is to be done, why, and how it came to that over the windows before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
from matplotlib.figure import Figure

from loopline.components.monitoring.cards import TONES, decision_tiles
from loopline.components.monitoring.decide import ALERT, WAIT, Decision
from loopline.components.monitoring.past import RETRAIN
from loopline.components.monitoring.policy import DRIFT, EITHER, PERFORMANCE
from loopline.components.plotting import ACCENT, INK, SECOND, SOFT, WIDTH, styled
from loopline.components.report import Report

#: By verdict its mark in the timeline: color and shape.
_MARKS = {RETRAIN: (SECOND, "^"), WAIT: (SOFT, "o"), ALERT: ("#b3261e", "X")}
_GOOD = {"ok", "none", "steady", "better", "healthy"}
#: By trigger what calls for a retraining.
_WORSE, _DRIFT = "performance that is worse in {patience} window(s) in a row", "drift in {drift_patience}"
_TRIGGERS = {
    PERFORMANCE: f"A retraining is called for by {_WORSE}.",
    DRIFT: f"A retraining is called for by {_DRIFT} window(s) in a row.",
    EITHER: f"A retraining is called for by {_WORSE}, or by {_DRIFT}.",
}
#: The most windows that the table lists.
_LISTED = 30


def decision_report(decision: Decision, history: Sequence[Mapping] = ()) -> Report:
    """Make the page of a decision.

    Args:
        decision: The decision.
        history: Those of the windows before, the newest last.
    """
    page = Report("Retrain, wait or alert", f"{decision.window['start']} to {decision.window['end']}")
    page.tiles(decision_tiles(decision))
    page.section("Why")
    for position, reason in enumerate(decision.reasons):
        page.text(reason, "" if position else TONES[decision.verdict])
    if decision.alerts:
        page.section("For people to look at")
        for alert in decision.alerts:
            page.text(alert, "bad")
    _add_signals(page, decision)
    _add_timeline(page, [*history, asdict(decision)])
    return page


def _add_signals(page: Report, decision: Decision) -> None:
    page.section("Signals")
    page.table(["Signal", "Says"], [[name, said] for name, said in decision.signals.items()])
    page.table(
        ["Rows", "With truth", "Of the champion", "Of these with truth"],
        [[decision.rows, decision.labeled, decision.own, decision.own_labeled]],
    )
    policy = decision.policy
    page.text(
        f"{_TRIGGERS[policy['trigger']].format(**policy)} It takes {policy['min_labels']:,} new labeled rows, comes "
        f"{policy['cooldown_h']:g} h after the one before at the soonest, and never learns from data of which more "
        f"than {policy['max_dropped']:.0%} is unusable. An estimate calls for people and never for a retraining."
    )


def _add_timeline(page: Report, windows: Sequence[Mapping]) -> None:
    page.section("The windows so far")
    page.figure(
        _plot(windows),
        "Above: the metric of each window with its interval; the dashed line is what the model of that window was "
        "registered with. Below: how far the most moved input is from training. Triangles call for a retraining, "
        "crosses for people; a dotted line is a new champion.",
    )
    rows = []
    for window in reversed(windows[-_LISTED:]):
        metric, signals = window["metric"], window["signals"]
        unusual = ", ".join(f"{name}: {said}" for name, said in signals.items() if said not in _GOOD)
        rows.append(
            [window["window"]["end"], window["verdict"], window["rows"], window["labeled"], metric["value"],
             window["skill"]["value"], window["drift_score"], unusual or None]
        )  # fmt: skip
    label = windows[-1]["metric"]["name"].replace("_", " ").capitalize()
    page.table(["Ended", "Verdict", "Rows", "With truth", label, "Skill", "Drift score", "Not as it should be"], rows)


@styled
def _plot(windows: Sequence[Mapping]) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    ends = [datetime.fromisoformat(window["window"]["end"]).astimezone(UTC) for window in windows]
    _plot_metric(upper, ends, windows)
    scores = _column([window["drift_score"] for window in windows])
    lower.plot(ends, scores, color=ACCENT, marker="o", markersize=4)
    lower.set_ylabel("drift score")
    lower.set_ylim(bottom=0)
    for before, window, end in zip(windows, windows[1:], ends[1:], strict=False):
        if window["model_digest"] != before["model_digest"]:
            for axes in (upper, lower):
                axes.axvline(end, color=SOFT, linewidth=1, linestyle=":")
    if len(windows) == 1:
        lower.set_xticks(ends)
    figure.autofmt_xdate(rotation=0, ha="center")
    return figure


def _plot_metric(axes, ends: Sequence[datetime], windows: Sequence[Mapping]) -> None:
    """Draw the metric with its interval, what was registered, and the verdicts as marks below."""
    name = windows[-1]["metric"]["name"]
    found = [window["metric"] if window["metric"]["name"] == name else {} for window in windows]
    values, low, high, registered = (
        _column([one.get(key) for one in found]) for key in ("value", "low", "high", "registered")
    )
    axes.errorbar(
        ends, values, yerr=np.vstack([values - low, high - values]).clip(0), color=ACCENT, marker="o", markersize=4,
        capsize=3, linewidth=1.5, label="measured",
    )  # fmt: skip
    axes.step(ends, registered, where="mid", color=INK, linewidth=1, linestyle="--", label="registered")
    for verdict, (color, shape) in _MARKS.items():
        chosen = [end for end, window in zip(ends, windows, strict=True) if window["verdict"] == verdict]
        if chosen:
            # At the bottom of the panel whatever the scale.
            axes.plot(
                chosen, [0.04] * len(chosen), transform=axes.get_xaxis_transform(), color=color, marker=shape,
                linestyle="none", label=verdict, clip_on=False,
            )  # fmt: skip
    axes.margins(y=0.25)
    axes.set_ylabel(name.replace("_", " "))
    axes.legend(loc="upper left", ncols=5)


def _column(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)
