"""The plots of the performance page."""

from collections.abc import Sequence
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from loopline.components.evaluation.metrics import find_metric
from loopline.components.monitoring.performance import Performance
from loopline.components.plotting import ACCENT, INK, LINE, SECOND, SOFT, THIRD, panels, percent, short_name, styled

_DASHED = (0, (4, 3))


@styled
def draw_time(performance: Performance) -> Figure:
    """Draw how many rows have their truth over the window, and beside it the metric where there is any."""
    measured = [span for span in performance.by_time if span["value"] is not None]
    figure, (*left, right) = panels(3.6, (1.7, 1) if measured else (1,))
    if measured:
        _draw_metric(left[0], performance, measured)
    spans = performance.by_time
    starts, ends = ([_time(span[key]) for span in spans] for key in ("start", "end"))
    widths = [end - start for start, end in zip(starts, ends, strict=True)]
    right.bar(starts, [span["served"] for span in spans], widths, align="edge", color=LINE, label="served")
    right.bar(starts, [span["rows"] for span in spans], widths, align="edge", color=ACCENT, label="with a label")
    # Room for the legend above the highest bar.
    right.set(title="Rows and labels", ylabel="rows", ylim=(0, 1.3 * right.get_ylim()[1]))
    right.legend(loc="upper right", ncols=2)
    for axes in (*left, right):
        axes.set_xlim(starts[0], ends[-1])
        locator = AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def _draw_metric(axes: Axes, performance: Performance, spans: Sequence[dict]) -> None:
    before = performance.registered.get(performance.metric, {})
    if before.get("value") is not None:
        axes.axhline(before["value"], color=SECOND, linewidth=1.2, label="registered")
        if before["low"] is not None:
            axes.axhspan(before["low"], before["high"], color=SECOND, alpha=0.12, linewidth=0)
    middles = [_time(span["start"]) + (_time(span["end"]) - _time(span["start"])) / 2 for span in spans]
    for middle, span in zip(middles, spans, strict=True):
        if span["low"] is not None:
            axes.plot([middle, middle], [span["low"], span["high"]], color=ACCENT, linewidth=2)
    values = [span["value"] for span in spans]
    axes.plot(middles, values, "o-", color=ACCENT, linewidth=1, markersize=5, label="measured")
    label = find_metric(performance.task, performance.metric).label
    axes.set(title=f"{label} over the window", ylabel=label)
    axes.legend(loc="best")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@styled
def draw_parts(performance: Performance) -> Figure:
    """Draw the metric with its interval at registration, measured, expected, estimated, by site and by version."""
    rows = list(_parts(performance))
    figure, (axes,) = panels(0.9 + 0.32 * len(rows), (1,))
    for position, (_, entry, color, hollow) in enumerate(rows):
        if entry["low"] is not None:
            axes.plot([entry["low"], entry["high"]], [position, position], color=color, linewidth=2)
        axes.plot(
            entry["value"], position, "o", color="white" if hollow else color, markeredgecolor=color, markersize=7
        )
    before = performance.registered.get(performance.metric, {}).get("value")
    if before is not None:
        axes.axvline(before, color=SECOND, linewidth=1, linestyle=_DASHED)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set(xlabel=find_metric(performance.task, performance.metric).label, ylim=(len(rows) - 0.4, -0.6))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


def _parts(performance: Performance):
    """List name, figure, color and whether it is estimated, of all that has a value."""
    name = performance.metric
    estimate = (performance.estimate or {}).get("metrics", {})
    entries = [
        ("at registration", performance.registered.get(name), SECOND, False),
        (f"measured ({performance.labeled:,} rows)", performance.metrics.get(name), INK, False),
        ("expected of a model that still fits", performance.expected.get(name), THIRD, True),
        (f"estimate ({performance.rows:,} rows)", estimate.get(name), THIRD, True),
    ]
    for word, parts in (("site", performance.by_site), ("version", performance.by_version)):
        entries += [
            (f"{word} {short_name(part or 'unknown', 24)} ({entry['rows']:,})", entry, ACCENT, False)
            for part, entry in parts.items()
        ]
    return (one for one in entries if one[1] is not None and one[1].get("value") is not None)


@styled
def draw_calibration(performance: Performance) -> Figure:
    """Draw stated probability against what happened, in the window and on the reference rows."""
    figure, (axes,) = panels(4.2, (1,))
    parts = performance.calibration
    bins = [one for part in parts.values() for one in part]
    low = max(0.0, 0.95 * min(min(one["low"], one["predicted"]) for one in bins))
    top = min(1.0, 1.05 * max(max(one["high"], one["predicted"]) for one in bins))
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=_DASHED, label="as stated")
    for part, color, name in (("reference", SOFT, "reference rows"), ("window", ACCENT, "this window")):
        _draw_bins(axes, parts[part], color, name)
    classes = performance.model["classes"]
    event = f"share of {short_name(classes[1])}" if len(classes) == 2 else "share of right answers"
    axes.set(title="Calibration", xlabel="stated probability (mean of the bin)", ylabel=f"observed {event}")
    axes.set(xlim=(low, top), ylim=(low, top))
    percent(axes.xaxis, None)
    percent(axes.yaxis, None)
    axes.legend(loc="upper left")
    return figure


def _draw_bins(axes: Axes, bins: Sequence[dict], color: str, name: str) -> None:
    observed = [one["observed"] for one in bins]
    spread = [[one["observed"] - one["low"] for one in bins], [one["high"] - one["observed"] for one in bins]]
    style = {"color": color, "marker": "o", "markersize": 5, "linewidth": 1.5, "elinewidth": 1.2}
    axes.errorbar([one["predicted"] for one in bins], observed, spread, label=name, **style)


@styled
def draw_residuals(performance: Performance) -> Figure:
    """Draw how far the truth lies from the predictions, by predicted value."""
    figure, (axes,) = panels(3.8, (1,))
    bins = performance.residuals
    x = [one["predicted"] for one in bins]
    axes.axhline(0, color=SECOND, linewidth=1.2)
    axes.fill_between(x, [one["low"] for one in bins], [one["high"] for one in bins], color=ACCENT, alpha=0.15)
    axes.plot(x, [one["middle"] for one in bins], "o-", color=ACCENT, markersize=5, label="median")
    axes.plot([], [], color=ACCENT, alpha=0.3, linewidth=8, label="10th to 90th percentile")
    target = short_name(performance.model["target"])
    axes.set(title="Residuals", xlabel=f"predicted {target}", ylabel="true minus predicted")
    axes.legend(loc="best")
    return figure
