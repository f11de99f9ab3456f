"""Draw results as small SVG files: bars for sides, lines on logarithmic axes for growth."""

import statistics
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.result import Curve, Result, Table
from loopline.components.plotting import ACCENT, SERIES, THIRD, WIDTH, styled

_COLORS = {"ours": ACCENT, "peer": "#9aa3ad", "limit": THIRD, "other": "#6fa3d6"}
#: The measures that are drawn, in this order.
_DRAWN = ("seconds", "peak MB", "s a further task", "requests/s", "rows/s")


def drawable(result: Result) -> bool:
    """Return whether there is anything to draw."""
    return bool(_panels(result))


def draw_all(results: Iterable[Result], folder: Path) -> None:
    """Draw every result to ``folder/NAME.svg``."""
    folder.mkdir(exist_ok=True)
    for result in results:
        if drawable(result):
            _draw(result, folder / f"{result.name}.svg")


def _panels(result: Result) -> list[tuple[Table | Curve, str]]:
    panels = []
    for part in result.parts:
        if isinstance(part, Table | Curve):
            panels += [(part, measure) for measure in _DRAWN if measure in part.measures]
    return panels


def _draw(result: Result, path: Path) -> None:
    # The same figures give the same bytes, and text stays text.
    with matplotlib.rc_context({"svg.hashsalt": result.name, "svg.fonttype": "none"}):
        _figure(_panels(result)).savefig(path, format="svg", metadata={"Date": None, "Creator": None})


@styled
def _figure(panels: list[tuple[Table | Curve, str]]) -> Figure:
    several = len({part.title for part, _ in panels}) > 1
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [max(_height(part) for part, _ in row) for row in rows]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(len(rows), 2, height_ratios=heights)
    for i, row in enumerate(rows):
        for j, (part, measure) in enumerate(row):
            axes = figure.add_subplot(grid[i, j])
            (_bars if isinstance(part, Table) else _lines)(axes, part, measure)
            title = measure + (" (more is better)" if measure.endswith("/s") else "")
            # Several parts in one figure are told apart by what their titles begin with.
            axes.set_title(f"{part.title.partition(',')[0][:48]}: {title}" if several else title, fontsize=10)
    return figure


def _height(part: Table | Curve) -> float:
    return 3.4 if isinstance(part, Curve) else 0.9 + 0.3 * len(part.sides)


def _bars(axes, table: Table, measure: str) -> None:
    sides = [side for side in table.sides if side.samples.get(measure)]
    for place, side in enumerate(reversed(sides)):
        values, middle = side.samples[measure], side.median(measure)
        axes.barh(place, middle, color=_COLORS[side.role], height=0.65)
        axes.plot([min(values), max(values)], [place, place], color="black", linewidth=1)
    axes.set_yticks(range(len(sides)), [_plain(side.name) for side in reversed(sides)])
    highs = [side.median(measure) for side in sides]
    if max(highs) > 30 * min(highs) > 0:
        axes.set_xscale("log")
    axes.grid(axis="y", visible=False)


def _lines(axes, curve: Curve, measure: str) -> None:
    for color, (name, points) in zip(SERIES * 2, curve.lines.items(), strict=False):
        points = [point for point in points if point.samples.get(measure)]
        sizes = [point.x for point in points]
        middles = [statistics.median(point.samples[measure]) for point in points]
        axes.plot(sizes, middles, marker="o", markersize=4, color=color, label=_plain(name))
        for point in points:
            values = point.samples[measure]
            axes.plot([point.x] * 2, [min(values), max(values)], color=color, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(curve.along)
    axes.legend()


def _plain(text: str) -> str:
    return text.replace("`", "").replace("$", "")
