"""The plots of the stage's reports."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from loopline.components.evaluation.curves import thin_precision_recall, thin_roc
from loopline.components.evaluation.evaluate import Evaluation
from loopline.components.evaluation.importance import Importance
from loopline.components.evaluation.slices import Slice
from loopline.components.plotting import (
    ACCENT,
    INK,
    LINE,
    SECOND,
    SERIES,
    SHADES,
    SOFT,
    THIRD,
    TINTS,
    in_text,
    panels,
    percent,
    short_name,
    styled,
)


def _square(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    percent(axes.xaxis)
    percent(axes.yaxis)


@styled
def draw_ranking(evaluation: Evaluation) -> Figure:
    """Draw ROC and precision-recall curve of a binary model, with the chosen threshold on both."""
    truth, probability = evaluation.truth, evaluation.scores[:, 1]
    figure, (left, right) = panels(4.2)
    false, true, _ = thin_roc(truth, probability, 400)
    left.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    left.fill_between(false, true, false, color=ACCENT, alpha=0.08, linewidth=0)
    left.plot(false, true, color=ACCENT)
    left.annotate("chance", (0.62, 0.57), color=SOFT, fontsize=9)
    (tn, fp), (fn, tp) = evaluation.confusion
    left.plot(fp / (fp + tn), tp / (tp + fn), "o", color=SECOND, markersize=8, markeredgecolor="white")
    _square(left, "ROC curve", "false positive rate", "true positive rate (recall)")
    recall, precision, _ = thin_precision_recall(truth, probability)
    share = truth.mean()
    right.axhline(share, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    above = share < 0.12
    right.annotate(
        f"base rate {share:.1%}", (0, share), xytext=(6, 4 if above else -4), textcoords="offset points", color=SOFT,
        fontsize=9, va="bottom" if above else "top",
    )  # fmt: skip
    right.fill_between(recall, precision, share, color=ACCENT, alpha=0.08, linewidth=0)
    right.plot(recall, precision, color=ACCENT)
    if tp + fp:
        label = f"threshold {evaluation.settings.threshold:g}"
        right.plot(
            tp / (tp + fn), tp / (tp + fp), "o", color=SECOND, markersize=8, markeredgecolor="white", label=label
        )
        right.legend(loc="lower right" if share > 0.25 else "upper right")
    _square(right, "Precision and recall", "recall", "precision")
    return figure


@styled
def draw_scores(evaluation: Evaluation) -> Figure:
    """Draw how the probabilities spread for each of two classes, beside the confusion matrix."""
    truth, probability = evaluation.truth, evaluation.scores[:, 1]
    figure, (left, right) = panels(3.9, (1.25, 1))
    edges = np.linspace(0, 1, 41)
    for position, color in ((0, SOFT), (1, ACCENT)):
        part = probability[truth == position]
        if len(part):
            shares = np.histogram(part, edges)[0] / len(part)
            name = f"{short_name(evaluation.manifest.classes[position], 20)} ({len(part):,} rows)"
            left.stairs(shares, edges, fill=True, color=color, alpha=0.28)
            left.stairs(shares, edges, color=color, linewidth=1.5, label=name)
    threshold = evaluation.settings.threshold
    left.axvline(threshold, color=SECOND, linewidth=1.5, label=f"threshold {threshold:g}")
    name = short_name(evaluation.manifest.classes[1])
    left.set(title="Scores by true class", xlabel=f"probability of {name}", ylabel="share of the class", xlim=(0, 1))
    percent(left.yaxis, None)
    # Room for the legend above the highest bar, so that it hides none.
    left.set_ylim(0, 1.32 * left.get_ylim()[1])
    left.legend(loc="best")
    _draw_matrix(right, evaluation)
    return figure


@styled
def draw_confusion(evaluation: Evaluation) -> Figure:
    """Draw the confusion matrix of a model of several classes, beside each class's ROC curve."""
    figure, (left, right) = panels(4.6, (1.15, 1))
    _draw_matrix(left, evaluation)
    right.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    for position, color in zip(range(len(evaluation.manifest.classes)), SERIES, strict=False):
        hits = evaluation.truth == position
        if hits.any() and not hits.all():
            false, true, _ = thin_roc(hits, evaluation.scores[:, position])
            right.plot(false, true, color=color, label=short_name(evaluation.manifest.classes[position], 20))
    _square(right, "ROC curve, each class against the rest", "false positive rate", "true positive rate (recall)")
    if right.get_legend_handles_labels()[0]:
        right.legend(loc="lower right", title="class", alignment="left")
    return figure


def _draw_matrix(axes: Axes, evaluation: Evaluation) -> None:
    counts = np.asarray(evaluation.confusion, float)
    shares = np.divide(counts, counts.sum(axis=1, keepdims=True), out=np.zeros_like(counts), where=counts > 0)
    names = [short_name(one, 14) for one in evaluation.manifest.classes]
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 5 else 60)
    axes.set_yticks(range(len(names)), names)
    axes.set(title="Confusion matrix", xlabel="predicted class", ylabel="true class")
    axes.grid(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if len(names) <= 12:
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            text = f"{int(count):,}\n{share:.0%}" if len(names) <= 6 else f"{share:.0%}"
            color = "white" if share > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11 if len(names) <= 4 else 9)


@styled
def draw_calibration(evaluation: Evaluation) -> Figure:
    """Draw stated probability against what happened, beside precision and recall by threshold."""
    figure, (left, right) = panels(4.2)
    bins = evaluation.calibration
    top = min(1.0, 1.08 * max(max(one.high, one.predicted) for one in bins))
    predicted, observed = [one.predicted for one in bins], [one.observed for one in bins]
    spread = [[one.observed - one.low for one in bins], [one.high - one.observed for one in bins]]
    left.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="as stated")
    style = {"color": ACCENT, "marker": "o", "markersize": 5, "linewidth": 1.5, "elinewidth": 1.2}
    left.errorbar(predicted, observed, spread, label="this model", **style)
    left.legend(loc="upper left")
    left.set(title="Calibration", xlabel="stated probability (mean of the bin)", ylabel="observed share")
    left.set(xlim=(-0.01 * top, top), ylim=(-0.01 * top, top))
    percent(left.xaxis, None)
    percent(left.yaxis, None)
    recall, precision, thresholds = thin_precision_recall(evaluation.truth, evaluation.scores[:, 1])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    for values, color, name in ((precision, ACCENT, "precision"), (recall, SECOND, "recall"), (f1, THIRD, "F1")):
        right.plot(thresholds, values, color=color, label=name)
    right.axvline(evaluation.settings.threshold, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    _square(right, "What a threshold does", "threshold", "")
    right.set_xlim(0, 1)
    right.legend(loc="best")
    return figure


@styled
def draw_residuals(evaluation: Evaluation) -> Figure:
    """Draw predicted against true values, beside the residuals over the predicted value."""
    truth, predicted = evaluation.truth, evaluation.scores
    residual = truth - predicted
    target = short_name(evaluation.manifest.target)
    figure, (left, right) = panels(4.4)
    low, high = _range(np.concatenate([truth, predicted]))
    options = {"gridsize": 45, "cmap": TINTS, "bins": "log", "mincnt": 1, "linewidths": 0.1, "rasterized": True}
    left.hexbin(truth, predicted, extent=(low, high, low, high), **options)
    left.plot([low, high], [low, high], color=SECOND, linewidth=1.2)
    left.set(title="Predicted against true", xlabel=f"true {target}", ylabel=f"predicted {target}")
    left.set(xlim=(low, high), ylim=(low, high))
    first, last = _range(predicted)
    bottom, top = _range(residual)
    right.hexbin(predicted, residual, extent=(first, last, bottom, top), **options)
    right.axhline(0, color=SECOND, linewidth=1.2)
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, 11)))
    if len(edges) > 2:
        bins = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, len(edges) - 2)
        middle = [(np.median(predicted[bins == k]), *np.quantile(residual[bins == k], [0.1, 0.5, 0.9]))
                  for k in np.unique(bins)]  # fmt: skip
        x, p10, p50, p90 = np.transpose(middle)
        right.plot(x, p50, color=INK, linewidth=1.5, marker="o", markersize=4, label="median")
        right.plot(x, p10, color=INK, linewidth=1, linestyle=(0, (3, 2)), label="10th and 90th percentile")
        right.plot(x, p90, color=INK, linewidth=1, linestyle=(0, (3, 2)))
        right.legend(loc="best")
    right.set(title="Residuals", xlabel=f"predicted {target}", ylabel="true minus predicted")
    right.set(xlim=(first, last), ylim=(bottom, top))
    return figure


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return where nearly all values lie, a little wider: one outlier must not flatten the picture."""
    low, high = np.quantile(values, [0.001, 0.999])
    pad = 0.04 * (high - low) or 1.0
    return float(low - pad), float(high + pad)


@styled
def draw_importance(importance: Sequence[Importance], unit: str) -> Figure:
    """Draw what each of the most important features is worth.

    Args:
        importance: The features, the most important first; the first twenty are drawn.
        unit: What the bars count.
    """
    shown = list(importance[:20])[::-1]
    figure, (axes,) = panels(0.9 + 0.3 * len(shown), (1,))
    values = [one.value for one in shown]
    colors = [ACCENT if value > 0 else LINE for value in values]
    axes.barh(range(len(shown)), values, color=colors, height=0.62)
    axes.set_yticks(range(len(shown)), [short_name(one.feature) for one in shown])
    axes.errorbar(values, range(len(shown)), xerr=[one.spread for one in shown], fmt="none", ecolor=INK, elinewidth=1)
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set(xlabel=f"rise of the {in_text(unit)} when the feature is shuffled")
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


@styled
def draw_slices(slices: Sequence[Slice], overall: float, unit: str) -> Figure:
    """Draw the main metric of each slice of one column, with its interval.

    Args:
        slices: The slices.
        overall: The metric over all rows.
        unit: The metric's label.
    """
    figure, (axes,) = panels(0.9 + 0.32 * len(slices), (1,))
    for position, one in enumerate(slices):
        color = SOFT if one.small else ACCENT
        if one.low is not None:
            axes.plot([one.low, one.high], [position, position], color=color, linewidth=2)
        axes.plot(one.value, position, "o", color="white" if one.small else color, markeredgecolor=color, markersize=7)
    axes.axvline(overall, color=SECOND, linewidth=1.2)
    axes.annotate(
        f"all rows {overall:.4g}", (overall, 1), xycoords=("data", "axes fraction"), xytext=(4, 2), color=SECOND,
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    axes.set_yticks(range(len(slices)), [f"{short_name(one.name)}  ({one.rows:,})" for one in slices])
    axes.set(xlabel=unit, ylim=(len(slices) - 0.4, -0.6))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


@styled
def draw_difference(differences: np.ndarray, low: float, high: float, margin: float, unit: str) -> Figure:
    """Draw the improvement in each bootstrap replicate, with its interval and the margin.

    Args:
        differences: The improvements, shape (replicates,).
        low: Lower end of the interval.
        high: Upper end of the interval.
        margin: What the improvement must exceed.
        unit: What the improvement counts.
    """
    figure, (axes,) = panels(3.4, (1,))
    counts, edges = np.histogram(differences, bins=min(60, max(10, len(differences) // 20)))
    axes.stairs(counts, edges, fill=True, color=ACCENT, alpha=0.35)
    axes.stairs(counts, edges, color=ACCENT, linewidth=1)
    axes.axvspan(low, high, ymax=0.02, color=ACCENT)
    for value, color, name in ((0.0, SOFT, "no difference"), (margin, SECOND, f"margin {margin:g}")):
        if value or name == "no difference":
            axes.axvline(value, color=color, linewidth=1.5, linestyle=(0, (4, 3)) if not value else "-", label=name)
    axes.set(xlabel=f"improvement of the {in_text(unit)} by the challenger", ylabel="replicates")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="best")
    return figure


@styled
def draw_trials(values: Sequence[float], best: int, unit: str) -> Figure:
    """Draw the score of each trial and mark the best.

    Args:
        values: The scores, trial by trial.
        best: The position of the best.
        unit: The metric's label.
    """
    figure, (axes,) = panels(3.0, (1,))
    trials = np.arange(1, len(values) + 1)
    axes.plot(trials, values, "o", color=ACCENT, markersize=6)
    axes.plot(trials[best], values[best], "o", color=SECOND, markersize=10, markeredgecolor="white", label="best")
    axes.set(xlabel="trial", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.legend(loc="best")
    return figure
