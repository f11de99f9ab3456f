"""Figures of drift: what a column looked like at training, and what it looks like now."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loopline.components.monitoring.drift import ColumnDrift, Drift
from loopline.components.monitoring.reference import Watched
from loopline.components.monitoring.tallies import NumberTally
from loopline.components.plotting import ACCENT, LINE, SECOND, SOFT, panels, percent, short_name, styled

#: Bars of a number's histogram, and categories that are drawn.
_BARS, _LEVELS = 40, 12


@styled
def draw_ranking(drift: Drift, count: int = 15) -> Figure:
    """Draw how far the columns moved that moved most, in multiples of what counts as large."""
    columns = sorted(drift.columns, key=lambda one: one.size)[-count:]
    figure, (axes,) = panels(0.9 + 0.27 * len(columns), (1,))
    sizes = [max(one.size, 0.01) for one in columns]
    colors = [SECOND if one.drifted or one.broken else SOFT for one in columns]
    axes.barh([short_name(one.column.name) for one in columns], sizes, color=colors, height=0.62)
    axes.axvline(1, color=ACCENT, linewidth=1.5, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_xlim(0.01, max(10.0, 1.4 * max(sizes)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set(title="How far each column moved", xlabel="size of the change; from 1 on (dashed) it is large")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def draw_columns(drift: Drift, columns: list[ColumnDrift]) -> Figure:
    """Draw one or two columns at training and now, side by side."""
    figure, axes = panels(2.9, (1, 1))
    for one, place in zip(columns, axes, strict=False):
        _draw_column(place, drift, one)
    for place in axes[len(columns) :]:
        place.set_axis_off()
    return figure


def _draw_column(axes: Axes, drift: Drift, one: ColumnDrift) -> None:
    column, tally = one.column, drift.summary.tallies[one.column.name]
    before, now = column.counts, tally.counts
    if column.is_text:
        _draw_levels(axes, *_categories(column, before, now))
    elif len(column.bins) <= _LEVELS + 4:
        _draw_levels(axes, *_values(column, before, now))
    else:
        _draw_histogram(axes, column, tally)
    axes.set(title=short_name(column.name), ylabel="share of the values")
    percent(axes.yaxis, None)
    top = axes.get_ylim()[1]
    # Room for the legend above the highest bar, but no share above 100 percent.
    axes.set_ylim(0, 1.3 * max(top, 1e-9))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= min(1.0, 1.3 * top)])
    axes.legend(loc="upper right", ncols=2)


def _categories(column: Watched, before: np.ndarray, now: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the most frequent categories with their shares, the others as one."""
    shares = [counts / max(counts.sum(), 1) for counts in (before, now)]
    order = np.argsort(-(shares[0] + shares[1])[:-1], kind="stable")
    groups = [(short_name(list(column.levels)[i], 12), [i]) for i in order[:_LEVELS]]
    groups += [("others", order[_LEVELS:]), ("unseen", [len(before) - 1])]
    return _grouped(groups, *shares)


def _values(column: Watched, before: np.ndarray, now: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the few values that a number takes, each a bin that starts with it, with their shares."""
    shares = [counts / max(counts.sum(), 1) for counts in (before, now)]
    last = len(before) - 1
    names = {0: "false", 1: "true"} if column.kind == "boolean" else {}
    edges = column.bins.edges.tolist()
    groups = [("below", [0, 1])]
    groups += [(names.get(edges[i - 1], f"{edges[i - 1]:g}"), [i]) for i in range(2, last - 1)]
    return _grouped([*groups, ("above", [last - 1, last])], *shares)


def _grouped(groups: list[tuple], before: np.ndarray, now: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Add up shares by group and leave out the groups that are empty on both sides."""
    sums = [(name, before[places].sum(), now[places].sum()) for name, places in groups if len(places)]
    names, first, second = zip(*(one for one in sums if one[1] or one[2]), strict=True)
    return list(names), np.array(first), np.array(second)


def _draw_levels(axes: Axes, names: list[str], before: np.ndarray, now: np.ndarray) -> None:
    places = np.arange(len(names))
    axes.bar(places - 0.2, before, 0.4, color=SOFT, alpha=0.55, label="at training")
    axes.bar(places + 0.2, now, 0.4, color=ACCENT, label="now")
    crowded = len(names) > 5
    axes.set_xticks(places, names, rotation=45 if crowded else 0, ha="right" if crowded else "center")
    axes.grid(axis="x", visible=False)


def _draw_histogram(axes: Axes, column: Watched, tally: NumberTally) -> None:
    """Draw the bins of a profile as bars of equal width over the range that both sides mostly lie in."""
    edges = column.bins.edges.astype(float)
    low, high = _view(column, tally)
    bars = np.linspace(low, high, _BARS + 1)
    for counts, color, label, filled in (
        (column.counts, SOFT, "at training", True),
        (tally.counts, ACCENT, "now", False),
    ):
        if not counts.sum():
            continue
        # What lies beyond the view counts as lying at its ends.
        below = np.interp(bars, edges, np.cumsum(counts)[:-1] / counts.sum())
        below[0], below[-1] = 0.0, 1.0
        shares = np.diff(below)
        if filled:
            axes.stairs(shares, bars, fill=True, color=color, alpha=0.35, label=label)
        else:
            axes.stairs(shares, bars, color=color, linewidth=1.6, label=label)
    axes.axvspan(max(low, float(column.entry["minimum"])), min(high, float(column.entry["maximum"])), color=LINE,
                 alpha=0.25, linewidth=0, zorder=0)  # fmt: skip


def _view(column: Watched, tally: NumberTally) -> tuple[float, float]:
    """Return the range to draw: that of the reference without its outermost values, and as much of what is now."""
    ends = []
    edges = column.bins.edges.astype(float)
    for counts in (column.counts, tally.counts):
        if counts.sum():
            below = np.cumsum(counts)[:-1] / counts.sum()
            first, last = np.searchsorted(below, [0.002, 0.998])
            ends.append((edges[max(first - 1, 0)], edges[min(last, len(edges) - 1)]))
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return (low, high) if high > low else (low - 0.5, low + 0.5)
