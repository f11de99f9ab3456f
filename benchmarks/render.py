"""Write benchmarks/README.md from the results: tables, plots, and who wins in each."""

import statistics
from pathlib import Path

from benchmarks import plots
from benchmarks.measure import markdown
from benchmarks.registry import BENCHMARKS
from benchmarks.result import Curve, Point, Result, Side, Table, Text, load_results

PAGE = Path(__file__).with_name("README.md")
#: Cores that others keep busy above which a reader must know of it.
_BUSY = 0.3
#: Measures for which a side is a limit; how much memory such a side takes says nothing, unless it has nothing else.
_LIMITED = ("seconds", "s a further task", "rows/s")
#: Sides that are nearer than this to each other are not told apart.
_EQUAL = 1.02
_INTRODUCTION = """# Measurements

Written by `python3 make.py bench [NAME ...]`, which measures on your machine what is below, keeps the raw samples in
[results](results), and writes this page from them. Without a name it runs what is quick; `--list` shows all, and
`--render` only writes the page. Do not edit it.

Every side runs in a process of its own, and the sides take turns. Figures are the median (smallest-largest) of the
runs. Seconds are wall time, after imports where nothing else is said; CPU seconds are of all threads and child
processes; peak MB is the resident memory of the whole process (2^20 bytes). A limit is what cannot be avoided on that
machine with the same format, such as only reading the file. Where the ranges of two sides overlap or come within 2% of
each other, neither wins. `over` is the figure beside Loopline's."""


def render_page(results: dict[str, Result] | None = None, page: Path = PAGE) -> Path:
    """Write the page and its plots; returns the page.

    Args:
        results: By name; those that are kept when None.
        page: Where to; the plots go to ``plots`` beside it.
    """
    results = load_results() if results is None else results
    plots.draw_all(results.values(), page.with_name("plots"))
    page.write_text(page_text(results), encoding="utf-8")
    return page


def page_text(results: dict[str, Result]) -> str:
    """Return the page as Markdown."""
    known = [results[name] for name in BENCHMARKS if name in results]
    others = [result for name, result in results.items() if name not in BENCHMARKS]
    ordered = known + others
    newest = max(ordered, key=lambda result: (result.date, result.name), default=None)
    parts = [_INTRODUCTION]
    if newest:
        versions = ", ".join(f"{name} {version}" for name, version in newest.versions.items())
        parts.append(f"Where a section says nothing else: {_machine(newest)}; {versions}.")
        parts.append(_where_peers_win(ordered))
    parts += [render_section(result, newest) for result in ordered]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_section(result: Result, usual: Result | None = None) -> str:
    """Return one section.

    Args:
        result: The result.
        usual: The one whose machine and versions the page names at its top.
    """
    parts = [f"## {result.title}"]
    for part in result.parts:
        if isinstance(part, Text):
            parts.append(part.text)
        else:
            parts += _table(part) if isinstance(part, Table) else _curve(part)
    if plots.drawable(result):
        parts.append(f"![{result.title}](plots/{result.name}.svg)")
    parts.append(f"_{_footnote(result, usual)}_")
    return "\n\n".join(parts)


def _footnote(result: Result, usual: Result | None) -> str:
    words = [f"`{result.name}`, {result.date}"]
    if result.took_s:
        words.append(f"{result.took_s:.0f} s to measure")
    if usual is None or _machine(result) != _machine(usual):
        words.append(_machine(result))
    if usual:
        other = [
            f"{name} {version}" for name, version in result.versions.items() if usual.versions.get(name) != version
        ]
        words += [f"then with {', '.join(other)}"] if other else []
    if not result.versions:
        words.append("with that day's `constraints.txt`")
    if float(result.machine.get("busy", 0)) > _BUSY:
        words.append(f"**others kept {result.machine['busy']} cores busy** when it began or ended")
    if result.peers:
        words.append("fetched: " + ", ".join(f"{name} {version}" for name, version in sorted(result.peers.items())))
    if result.machine.get("commit"):
        words.append(f"commit {result.machine['commit']}")
    return "; ".join(words)


def _machine(result: Result) -> str:
    names = ("cores", "processor", "memory", "system", "python")
    return ", ".join(result.machine[name] for name in names if result.machine.get(name))


def _table(table: Table) -> list[str]:
    first = table.measures[0]
    ours = table.measured("ours", first)
    rows = []
    for side in table.sides:
        cells = [_cell(side.samples.get(measure)) for measure in table.measures]
        over = f"{side.median(first) / ours[0].median(first):.2f}" if ours and side.samples.get(first) else "-"
        name = f"**{side.name}**" if side.role == "ours" else side.name
        rows.append([f"{name} (limit)" if side.role == "limit" else name, cells[0], over, *cells[1:]])
    headers = ["side", table.measures[0], "over", *table.measures[1:]]
    notes = [f"{side.name}: {side.note}." for side in table.sides if side.note]
    counts = [len(side.samples[first]) for side in table.sides if side.samples.get(first)]
    runs = f"{min(counts)}" if min(counts, default=0) == max(counts, default=0) else f"{min(counts)} to {max(counts)}"
    return [
        f"{table.title}. Runs: {runs}.",
        markdown(headers, rows),
        " ".join([*verdicts(table), *notes]),
    ]


def verdicts(table: Table) -> list[str]:
    """Say, from the samples, who wins by each measure, and how far the limit is."""
    sentences = []
    for measure in table.measures:
        ours, peers = table.measured("ours", measure), table.measured("peer", measure)
        if ours and peers:
            sentences.append(_verdict(measure, ours[0], peers[0]))
    for measure in table.measures:
        ours, limits = table.measured("ours", measure), table.measured("limit", measure)
        if ours and limits and (measure in _LIMITED or len(limits[0].samples) == 1):
            ratio = ours[0].median(measure) / limits[0].median(measure)
            sentences.append(f"{measure[0].upper()}{measure[1:]}: {ours[0].name} is at {ratio:.2f} times the limit.")
    return sentences


def winner(measure: str, ours: Side, peer: Side) -> Side | None:
    """Return the better of two sides; None where their ranges overlap or come closer than ``_EQUAL``."""
    low, high = sorted((ours, peer), key=lambda side: side.median(measure))
    if max(low.samples[measure]) * _EQUAL >= min(high.samples[measure]):
        return None
    return high if measure.endswith("/s") else low


def _verdict(measure: str, ours: Side, peer: Side) -> str:
    better = winner(measure, ours, peer)
    high, low = sorted((ours.median(measure), peer.median(measure)), reverse=True)
    times = f"{high / low:.1f} times" if low and high / low >= 1.15 else f"{high / low - 1:.0%}" if low else "far"
    name = measure[0].upper() + measure[1:]
    if better is None:
        return f"{name}: {ours.name} and {peer.name} are not told apart."
    if better is peer:
        return f"{name}: **{peer.name} wins** over {ours.name}, by {times}."
    return f"{name}: {ours.name} wins, by {times} over {peer.name}, the next."


def _where_peers_win(results: list[Result]) -> str:
    rows = []
    for result in results:
        for table in (part for part in result.parts if isinstance(part, Table)):
            for measure in table.measures:
                ours, peers = table.measured("ours", measure), table.measured("peer", measure)
                if ours and peers and winner(measure, ours[0], peers[0]) is peers[0]:
                    cells = [_short(peers[0].median(measure)), _short(ours[0].median(measure))]
                    rows.append([result.title, measure, peers[0].name, cells[0], ours[0].name, cells[1]])
    if not rows:
        return ""
    headers = ["where", "by", "who wins", "with", "over", "with"]
    return "**Where a peer wins**, in all that is below:\n\n" + markdown(headers, rows)


def _curve(curve: Curve) -> list[str]:
    sizes = sorted({point.x for points in curve.lines.values() for point in points})
    parts = [f"{curve.title}. The last column is the fitted growth: cost ~ {curve.along}^k over the last two decades."]
    for measure in curve.measures:
        rows = []
        for name, points in curve.lines.items():
            found = {point.x: point.samples[measure] for point in points if measure in point.samples}
            if not found:
                continue
            power = exponent(points, measure)
            rows.append(
                [name, *(_cell(found.get(size)) for size in sizes), "-" if power is None else f"k = {power:.2f}"]
            )
        parts.append(markdown([f"{measure}, by {curve.along}", *(f"{size:,.0f}" for size in sizes), "growth"], rows))
    return parts


def exponent(points: list[Point], measure: str) -> float | None:
    """Return the slope of a line through the logarithms of cost and size, over the last two decades of size.

    What a start costs hides growth where little is done, so smaller sizes are left out.
    """
    import numpy as np

    points = [point for point in points if point.samples.get(measure)]
    points = [point for point in points if point.x >= points[-1].x / 100]
    if len(points) < 2:
        return None
    costs = [statistics.median(point.samples[measure]) for point in points]
    return float(np.polyfit(np.log([point.x for point in points]), np.log(costs), 1)[0])


def _cell(values: list[float] | None) -> str:
    if not values:
        return "-"
    middle = _short(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    """Return about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"
