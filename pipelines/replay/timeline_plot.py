"""Draw a timeline: panels under one another over the same months."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loopline.components.evaluation.metrics import find_metric
from loopline.components.plotting import ACCENT, INK, LINE, SECOND, SOFT, in_text, short_name
from loopline.pipelines.replay.svg import PAPER, Drawing
from loopline.pipelines.replay.timeline import Month, Timeline
from loopline.pipelines.replay.timeline_words import name_version

#: Blue and vermilion stay apart for every kind of color vision; each has a shape of its own, too.
LOOP, CONTROL = ACCENT, SECOND
MARK = "#6a2c8f"
_PALE, _BAR = "#eef1f4", "#78828e"
#: None of them close to the colors of loop and control.
_VERSIONS = ("#e6e9ed", "#d6ecd9", "#fdf0c4", "#e8def4", "#cdeaec", "#f8dce6")
_SITES = ("#1b6f7a", "#8a5a00", "#6a2c8f", "#14743f", "#b3261e", "#5b6470")
_DECISIONS = {"retrain": "#efe3f6", "wait": _PALE, "alert": "#fde9c8"}
_TITLE_H, _GAP = 42, 26


class _Key(NamedTuple):
    """What a mark of a panel means."""

    color: str
    label: str
    shape: str = "box"


@dataclass(frozen=True)
class _Axis:
    """Maps values to heights of a panel."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


class _Canvas:
    """A drawing with a column for each month."""

    def __init__(self, timeline: Timeline, width: float, height: float):
        self.timeline, self.months = timeline, timeline.months
        self.is_wide = width > 700
        self.left, self.right = (92, 58) if self.is_wide else (72, 50)
        self.column = (width - self.left - self.right) / len(self.months)
        description = "Month by month: drift, loss with and without retraining, gain, decision, versions, latency."
        self.drawing = Drawing(width, height, f"Timeline of {timeline.name}", description)
        self.end = width - self.right
        self.small = 11 if self.is_wide else 10.5

    def start(self, position: int) -> float:
        return self.left + position * self.column

    def middle(self, position: int) -> float:
        return self.start(position) + self.column / 2

    def title(self, top: float, title: str, keys: Sequence[_Key] = ()) -> None:
        """Write a panel's title and under it what its marks mean."""
        self.drawing.text(0, top + 13, title, bold=True, size=13)
        x = 0.0
        for key in keys:
            if key.shape == "dot":
                self.drawing.dot(x + 5, top + 25, 4.5, key.color)
            elif key.shape == "diamond":
                self.drawing.diamond(x + 5, top + 25, 5.5, key.color, MARK if key.color == PAPER else PAPER)
            else:
                self.drawing.box(x, top + 20, 10, 10, key.color, edge=SOFT)
            self.drawing.text(x + 15, top + 29, key.label, size=self.small, color=SOFT)
            x += 29 + len(key.label) * self.small * 0.55

    def columns(self, top: float, bottom: float) -> None:
        """Draw the borders of the months; a dashed one where a model was trained."""
        for position in range(len(self.months) + 1):
            x = self.start(position)
            if position and self.months[position - 1].retrained:
                self.drawing.line(x, top, x, bottom, MARK, 1.2, "4 3")
            else:
                self.drawing.line(x, top, x, bottom, _PALE)

    def axis(self, values: Sequence[float], top: float, height: float, from_zero: bool = False) -> _Axis:
        """Draw a grid for values and return where they lie."""
        low, high = min(values), max(values)
        low = min(low, 0.0) if from_zero else low
        high = high if high > low else low + 1.0
        step = _step((high - low) / 4)
        decimals = max(0, -math.floor(math.log10(step)))
        axis = _Axis(low, high, top, top + height)
        self.columns(top, top + height)
        for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
            y = axis.y(number * step)
            self.drawing.line(self.left, y, self.end, y, SOFT if from_zero and number == 0 else LINE)
            text = f"{number * step:.{decimals}f}".replace("-", "\u2212")
            self.drawing.text(self.left - 8, y + 4, text, anchor="end", size=self.small, color=SOFT)
        return axis

    def range(self, x: float, y1: float, y2: float, color: str) -> None:
        """Draw an interval."""
        self.drawing.line(x, y1, x, y2, color, 1.6)
        for y in (y1, y2):
            self.drawing.line(x - 4, y, x + 4, y, color, 1.6)


def draw_timeline(timeline: Timeline, width: float) -> str:
    """Draw drift, losses, gain, decisions, versions and latency of every month.

    Args:
        timeline: The replay, with at least one month.
        width: In pixels; what is over 700 has room for longer labels.

    Returns:
        An ``svg`` element.
    """
    lanes = 26 * len(timeline.sites)
    panels: list[tuple[Callable[[_Canvas, float, float], None], float]] = [
        (_draw_drift, 84), (_draw_losses, 170), (_draw_gain, 120), (_draw_decisions, 24), (_draw_versions, lanes),
        (_draw_latency, 100),
    ]  # fmt: skip
    top = 34.0
    height = top + sum(_TITLE_H + size + _GAP for _, size in panels)
    canvas = _Canvas(timeline, width, height)
    _label_months(canvas, 18)
    for draw, size in panels:
        draw(canvas, top, size)
        top += _TITLE_H + size + _GAP
    _label_months(canvas, height - 8)
    return canvas.drawing.markup()


def _label_months(canvas: _Canvas, y: float) -> None:
    fits = max(len(month.label) for month in canvas.months) * 7.8 < canvas.column
    for position, month in enumerate(canvas.months):
        label = month.label if fits else month.label[:3]
        canvas.drawing.text(canvas.middle(position), y, label, anchor="middle", bold=True)


def _draw_drift(canvas: _Canvas, top: float, height: float) -> None:
    keys = [_Key(_BAR, "drift"), _Key(_PALE, "no drift")]
    if any(month.drift.verdict == "broken" for month in canvas.months):
        keys.append(_Key(CONTROL, "broken data"))
    canvas.title(top, "Drift: how far the most moved input is from training (PSI)", keys)
    top += _TITLE_H
    scores = [month.drift.score or 0.0 for month in canvas.months]
    axis = canvas.axis([*scores, max(scores) * 1.25, 0.1], top, height, from_zero=True)
    colors = {"drift": _BAR, "broken": CONTROL}
    for position, month in enumerate(canvas.months):
        width = min(40, canvas.column * 0.5)
        x, score = canvas.middle(position), month.drift.score
        color = colors.get(month.drift.verdict, _PALE)
        if score is not None:
            note = f"{month.label}: {month.drift.verdict}, " + ", ".join(one.name for one in month.drift.columns)
            y = axis.y(score)
            canvas.drawing.box(x - width / 2, y, width, axis.bottom - y, color, edge=SOFT, note=note)
        text = {"too_few": "too few"}.get(month.drift.verdict, "" if score is None else f"{score:.2f}")
        if canvas.is_wide and month.drift.columns and month.drift.verdict == "drift":
            text += " " + short_name(month.drift.columns[0].name, 11)
        canvas.drawing.text(x, axis.y(score or 0) - 5, text, anchor="middle", size=canvas.small)


def _draw_losses(canvas: _Canvas, top: float, height: float) -> None:
    metric = find_metric(canvas.timeline.task, canvas.timeline.metric)
    better = "lower" if metric.lower_is_better else "higher"
    keys = [_Key(LOOP, "loop", "dot"), _Key(CONTROL, "control: never retrained", "diamond")]
    canvas.title(top, f"{metric.label} on each month's {canvas.timeline.units}: {better} is better", keys)
    sides = [(LOOP, "loop", -5), (CONTROL, "control", 5)]
    found = {name: [getattr(month.scores, name)[metric.name] for month in canvas.months] for _, name, _ in sides}
    ends = [
        end
        for figures in found.values()
        for one in figures
        for end in (one.value, one.low, one.high)
        if end is not None
    ]
    room = (max(ends) - min(ends)) * 0.06 if ends else 0.0
    ends = [min(ends) - room, max(ends) + room] if ends else [0.0, 1.0]
    axis = canvas.axis(ends, top + _TITLE_H, height)
    last = {}
    for color, name, shift in sides:
        points = [
            (canvas.middle(position) + shift, one) for position, one in enumerate(found[name]) if one.value is not None
        ]
        canvas.drawing.path([(x, axis.y(one.value)) for x, one in points], color, 1.6, "" if name == "loop" else "6 3")
        for x, one in points:
            if one.low is not None and one.high is not None:
                canvas.range(x, axis.y(one.low), axis.y(one.high), color)
            mark = canvas.drawing.dot if name == "loop" else canvas.drawing.diamond
            mark(x, axis.y(one.value), 4.5 if name == "loop" else 5.5, color)
        if points:
            last[name] = (axis.y(points[-1][1].value), color)
    _label_ends(canvas, last)


def _label_ends(canvas: _Canvas, last: dict[str, tuple[float, str]]) -> None:
    """Write names beside the ends of lines, apart where the ends meet."""
    ranked = sorted(last.items(), key=lambda item: item[1][0])
    heights = [y for _, (y, _) in ranked]
    if len(heights) == 2 and heights[1] - heights[0] < 15:
        middle = sum(heights) / 2
        heights = [middle - 7.5, middle + 7.5]
    for (name, (_, color)), y in zip(ranked, heights, strict=True):
        canvas.drawing.text(canvas.end + 6, y + 4, name, size=canvas.small, color=color, bold=True)


def _draw_gain(canvas: _Canvas, top: float, height: float) -> None:
    keys = [_Key(LOOP, "surely better"), _Key(CONTROL, "surely worse"), _Key(_PALE, "not sure")]
    label = in_text(find_metric(canvas.timeline.task, canvas.timeline.metric).label)
    canvas.title(top, f"What retraining gained: difference in {label}, up is better", keys)
    gains = [month.gain for month in canvas.months]
    ends = [end for one in gains for end in (one.value, one.low, one.high) if end is not None] or [0.0]
    room = (max(*ends, 0.0) - min(*ends, 0.0)) * 0.2 or 0.001
    axis = canvas.axis([min(*ends, 0.0) - room, max(*ends, 0.0) + room], top + _TITLE_H, height, from_zero=True)
    colors = {"better": LOOP, "worse": CONTROL}
    for position, month in enumerate(canvas.months):
        x, gain = canvas.middle(position), month.gain
        if gain.value is None or month.outcome == "same":
            text = "same model" if canvas.is_wide else "same"
            canvas.drawing.text(x, axis.y(0) - 6, text, anchor="middle", size=canvas.small, color=SOFT)
            continue
        width = min(40, canvas.column * 0.5)
        y = axis.y(max(gain.value, 0.0))
        color = colors.get(month.outcome, _PALE)
        canvas.drawing.box(x - width / 2, y, width, abs(axis.y(gain.value) - axis.y(0)), color, edge=SOFT, round_=0)
        ends = (gain.value, gain.low or gain.value, gain.high or gain.value)
        if gain.low is not None and gain.high is not None:
            canvas.range(x, axis.y(gain.low), axis.y(gain.high), INK)
        y = axis.y(max(ends)) - 6 if gain.value >= 0 else axis.y(min(ends)) + 14
        canvas.drawing.text(x, y, _signed(gain.value), anchor="middle", size=canvas.small, bold=True)


def _draw_decisions(canvas: _Canvas, top: float, height: float) -> None:
    kept = "trained, not better: kept" if canvas.is_wide else "trained, kept the old"
    keys = [_Key(MARK, "new model delivered", "diamond"), _Key(PAPER, kept, "diamond")]
    canvas.title(top, "Decision at the end of the month", keys)
    top += _TITLE_H
    for position, month in enumerate(canvas.months):
        fill = _DECISIONS.get(month.verdict, _PALE)
        note = f"{month.label}: {' '.join(month.reasons)}"
        canvas.drawing.box(canvas.start(position) + 6, top, canvas.column - 12, height, fill, round_=4, note=note)
        is_loud = month.verdict != "wait"
        x, y = canvas.middle(position), top + height / 2 + 4
        color = INK if is_loud else SOFT
        canvas.drawing.text(x, y, month.verdict, anchor="middle", bold=is_loud, color=color, size=canvas.small)
    for position, month in enumerate(canvas.months):
        if month.retrained:
            fill = MARK if month.promoted else PAPER
            canvas.drawing.diamond(canvas.start(position + 1), top + height / 2, 6, fill, MARK)


def _draw_versions(canvas: _Canvas, top: float, height: float) -> None:
    title = "Which version served where" + (", and each commit that changed it" if canvas.is_wide else "")
    canvas.title(top, title, [_Key(MARK, "commit to the configuration repository", "diamond")])
    top += _TITLE_H
    canvas.columns(top, top + height)
    sites = canvas.timeline.sites
    numbers = list(dict.fromkeys(version for month in canvas.months for version in _versions(month)))
    for row, site in enumerate(sites):
        y = top + row * 26
        canvas.drawing.text(canvas.left - 8, y + 17, short_name(site, 11), anchor="end", size=canvas.small, color=SOFT)
        for first, end, version, image in _spans(canvas.months, site):
            fill = _VERSIONS[numbers.index(version) % len(_VERSIONS)]
            x, width = canvas.start(first), (end - first) * canvas.column
            note = f"{site}: version {version}, {image}"
            canvas.drawing.box(x + 1, y + 1, width - 2, 24, fill, edge=LINE, round_=3, note=note)
            text = f"version {name_version(version)}" if canvas.is_wide else f"v{name_version(version)}"
            canvas.drawing.text(x + width / 2, y + 17, text, anchor="middle", size=canvas.small)
        last = canvas.months[-1].sites.get(site)
        if last and last.after != last.version:
            text = f"next: {name_version(last.after)}"
            canvas.drawing.text(canvas.end + 9, y + 17, text, size=canvas.small, bold=True)
    for position, month in enumerate(canvas.months):
        for commit in month.commits:
            rows = [sites.index(commit.site)] if commit.site in sites else range(len(sites))
            for row in rows:
                note = f"{commit.id[:7]} {commit.subject}"
                canvas.drawing.diamond(canvas.start(position + 1), top + row * 26 + 13, 5, MARK, note=note)


def _draw_latency(canvas: _Canvas, top: float, height: float) -> None:
    sites = canvas.timeline.sites
    colors = {site: _SITES[row % len(_SITES)] for row, site in enumerate(sites)}
    keys = [_Key(colors[site], short_name(site, 14), "dot") for site in sites]
    canvas.title(top, "Latency of a request in ms: dot p50, bar p99", keys)
    traffic = [one.traffic for month in canvas.months for one in month.sites.values()]
    axis = canvas.axis([one.p99_ms or 0.0 for one in traffic] or [1.0], top + _TITLE_H, height, from_zero=True)
    step = min(16, canvas.column / (len(sites) + 1))
    for position, month in enumerate(canvas.months):
        for row, site in enumerate(sites):
            one = month.sites.get(site)
            if one is None or one.traffic.p50_ms is None or one.traffic.p99_ms is None:
                continue
            x = canvas.middle(position) + (row - (len(sites) - 1) / 2) * step
            p50, p99 = axis.y(one.traffic.p50_ms), axis.y(one.traffic.p99_ms)
            canvas.drawing.line(x, p50, x, p99, colors[site], 1.6)
            canvas.drawing.line(x - 5, p99, x + 5, p99, colors[site], 2.4)
            note = f"{month.label}, {site}: p50 {one.traffic.p50_ms:.1f} ms, p99 {one.traffic.p99_ms:.1f} ms"
            canvas.drawing.dot(x, p50, 4, colors[site], note=note)


def _versions(month: Month) -> list[str]:
    return [version for site in month.sites.values() for version in (site.version, site.after)]


def _spans(months: Sequence[Month], site: str) -> list[tuple[int, int, str, str]]:
    """Return first month, month after the last, version and image of each stretch of one version."""
    spans: list[tuple[int, int, str, str]] = []
    for position, month in enumerate(months):
        one = month.sites.get(site)
        if one is None:
            continue
        if spans and spans[-1][1] == position and spans[-1][2:] == (one.version, one.image):
            spans[-1] = (spans[-1][0], position + 1, one.version, one.image)
        else:
            spans.append((position, position + 1, one.version, one.image))
    return spans


def _signed(value: float) -> str:
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}".replace("-", "\u2212")


def _step(rough: float) -> float:
    """Return the round step next above a rough one."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
