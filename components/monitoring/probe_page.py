"""The page of a capacity probe."""

from matplotlib.figure import Figure

from loopline.components.monitoring.probe import Capacity, Trial
from loopline.components.plotting import ACCENT, SECOND, SOFT, panels, styled
from loopline.components.report import Report, show

_LIMITS = {
    "latency": "the service was too slow",
    "errors": "the service answered with errors",
    "generator": "the load generator was too slow",
    "most_rate": "no higher rate was allowed",
    "time": "the time was over",
}


def capacity_report(capacity: Capacity) -> Report:
    """Make the page of a capacity probe.

    Args:
        capacity: What was found.
    """
    page = Report("Capacity", f"{capacity.model} at {capacity.url}")
    best = max((trial for trial in capacity.trials if trial.held), key=lambda trial: trial.rate, default=None)
    page.tiles(
        [
            ("Holds", f"{'at least ' * capacity.at_least}{show(capacity.rate)}/s", "requests of one row"),
            ("p99 there", f"{best.p99_ms:.3g} ms" if best else "\u2013", f"at most {capacity.p99_ms:g} ms"),
            ("Stopped because", capacity.limit, _LIMITS[capacity.limit], "warn" if capacity.at_least else ""),
        ]
    )
    page.section("Result")
    page.text(capacity.reason)
    if capacity.at_least:
        page.text("This is no limit of the service: it may hold more.", "note")
    timed = [trial for trial in capacity.trials if trial.p99_ms is not None]
    if timed:
        page.figure(
            draw_curve(timed, capacity.p99_ms),
            "Latency by rate, from when a request was due; filled where the service held the rate.",
        )
    page.section("Rates")
    page.table(
        ["Requests/s", "Answered/s", "p50 ms", "p95 ms", "p99 ms", "Unanswered", "Open", "Sent late, ms", "Outcome"],
        [
            [
                trial.rate, trial.answered_rate, trial.p50_ms, trial.p95_ms, trial.p99_ms, trial.unanswered,
                trial.open, trial.late_ms, "held" if trial.held else trial.reason,
            ]
            for trial in capacity.trials
        ],
    )  # fmt: skip
    page.text(
        "Requests were due at random times that do not wait for answers, as those of many users, and latency counts "
        "from when a request was due. A rate at which the service was too slow was tried twice where there was time."
    )
    return page


@styled
def draw_curve(trials: list[Trial], budget_ms: float) -> Figure:
    """Draw latency by rate.

    Args:
        trials: Those with answers.
        budget_ms: The latency budget.
    """
    figure, (axes,) = panels(3.6, [1])
    ranked = sorted(trials, key=lambda trial: trial.rate)
    for name, color in (("p50_ms", ACCENT), ("p99_ms", SECOND)):
        # Where a rate was tried twice, the second trial counts.
        last = {trial.rate: getattr(trial, name) for trial in ranked}
        axes.plot(list(last), list(last.values()), color=color, label=name.partition("_")[0])
        for trial in ranked:
            fill = color if trial.held else "white"
            axes.plot(trial.rate, getattr(trial, name), "o", color=color, markerfacecolor=fill)
    axes.axhline(budget_ms, color=SOFT, linestyle="--", label="budget of p99")
    axes.set(xscale="log", yscale="log", xlabel="Requests a second", ylabel="Latency, ms")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.legend()
    return figure
