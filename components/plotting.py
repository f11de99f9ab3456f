"""The look of every figure in a report: matplotlib figures, made without any global state."""

import re
from collections.abc import Callable, Sequence
from functools import wraps

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

INK, SOFT, LINE = "#1b1f24", "#5b6470", "#d9dee4"
ACCENT, SECOND, THIRD = "#0b5cad", "#c8561b", "#14743f"
#: One color a class; more classes than that go without a curve of their own.
SERIES = (ACCENT, SECOND, THIRD, "#8a5a00", "#7a3e9d", "#2a8c99", "#b3261e", SOFT)
SHADES = LinearSegmentedColormap.from_list("loopline", ["#ffffff", "#cfe0f1", "#6fa3d6", ACCENT, "#07396c"])
#: For counts on a logarithmic scale, where the smallest count must still be seen.
TINTS = LinearSegmentedColormap.from_list("loopline-tints", ["#c3d8ee", "#6fa3d6", ACCENT, "#07396c"])
WIDTH = 9.8
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style without touching matplotlib's global settings."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def panels(height: float, widths: Sequence[float] = (1, 1)) -> tuple[Figure, np.ndarray]:
    """Make a figure as wide as a report with axes side by side; to be called while drawing in the house style.

    Args:
        height: In inches.
        widths: The axes' widths relative to each other, one a panel.

    Returns:
        The figure and its axes, shape (panels,).
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    axes = figure.subplots(1, len(widths), gridspec_kw={"width_ratios": widths}, squeeze=False)[0]
    return figure, axes


def in_text(label: str) -> str:
    """Return a metric's label as it stands inside a sentence: ``log loss``, but ``RMSE``."""
    return label[0].lower() + label[1:] if label[1:2].islower() else label


def short_name(value: object, width: int = 32) -> str:
    """Return a name from the data on one line and no longer than there is room; tables show it in full."""
    # matplotlib takes a label that starts with an underscore for one that is not to be shown.
    name = re.sub(r"[\x00-\x1f\x7f]+|^(?=_)", " ", str(value))
    return name if len(name) <= width else name[: width - 1] + "\u2026"


def percent(axis, decimals: int | None = 0) -> None:
    """Label an axis of shares in percent; as many decimals as the ticks need when None."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
