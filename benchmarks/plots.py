"""Draw results as small SVG files: bars for sides, lines on logarithmic axes for growth."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks.result import Curve, Result, Table

_COLORS = {"ours": "#0066cc", "peer": "#8a8d90", "limit": "#3e8635", "other": "#73b3f0"}
#: The measures that are drawn, in this order.
_DRAWN = ("seconds", "peak MB", "s a further task", "requests/s", "rows/s")
_LINES = ("#0066cc", "#c9190b", "#3e8635", "#f0ab00", "#5752d1", "#009596")


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
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = _panels(result)
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [max(_height(part) for part, _ in row) for row in rows]
    # The same figures give the same bytes, and text stays text.
    settings = {"svg.hashsalt": result.name, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(10, sum(heights)), layout="constrained")
        FigureCanvasSVG(figure)
        grid = figure.add_gridspec(len(rows), 2, height_ratios=heights)
        for i, row in enumerate(rows):
            for j, (part, measure) in enumerate(row):
                axes = figure.add_subplot(grid[i, j])
                (_bars if isinstance(part, Table) else _lines)(axes, part, measure)
                axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")


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
    axes.set_title(f"{measure}" + (" (more is better)" if measure.endswith("/s") else ""), fontsize=9, loc="left")


def _lines(axes, curve: Curve, measure: str) -> None:
    for color, (name, points) in zip(_LINES * 3, curve.lines.items(), strict=False):
        points = [point for point in points if point.samples.get(measure)]
        sizes = [point.x for point in points]
        middles = [statistics.median(point.samples[measure]) for point in points]
        axes.plot(sizes, middles, marker="o", markersize=4, color=color, label=_plain(name))
        for point in points:
            values = point.samples[measure]
            axes.plot([point.x] * 2, [min(values), max(values)], color=color, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color="#e0e0e0", linewidth=0.5)
    axes.set_xlabel(curve.along)
    axes.set_title(measure, fontsize=9, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _plain(text: str) -> str:
    return text.replace("`", "").replace("$", "")
