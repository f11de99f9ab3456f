"""What reports of the stage begin with, and what a notebook shows of its results."""

from typing import TYPE_CHECKING

import numpy as np

from loopline.components.display import Card
from loopline.components.evaluation.metrics import METRICS, find_metric
from loopline.components.model.card import describe_training
from loopline.components.report import show, show_interval

if TYPE_CHECKING:
    from loopline.components.evaluation.compare import Verdict
    from loopline.components.evaluation.evaluate import Evaluation
    from loopline.components.evaluation.select import Selection
    from loopline.components.model.directory import Manifest

_TILES = {
    "binary": ("roc_auc", "average_precision", "log_loss", "calibration_error"),
    "multiclass": ("macro_roc_auc", "log_loss", "accuracy", "macro_f1"),
    "regression": ("rmse", "mae", "r2", "median_absolute_error"),
}


def evaluation_card(evaluation: "Evaluation") -> Card:
    """Show an evaluation: what the model is better than a constant by, and its main metrics."""
    manifest = evaluation.manifest
    card = Card(f"Evaluation: {manifest.name} predicts {manifest.target}", f"{evaluation.rows:,} labeled test rows")
    if gain := describe_gain(evaluation):
        card.lead(*gain)
    for note in evaluation.notes:
        card.text(note, "warn")
    card.tiles(evaluation_tiles(evaluation))
    return card


def evaluation_tiles(evaluation: "Evaluation") -> list[tuple]:
    """Return the main metrics with their intervals."""
    tiles = []
    varied = np.ptp(evaluation.truth) > 0
    for name in _TILES[evaluation.manifest.task]:
        entry, constant = evaluation.metrics[name], evaluation.baseline.get(name)
        metric = find_metric(evaluation.manifest.task, name)
        detail = show_interval(entry) if entry["value"] is not None else "undefined on these rows"
        tone = ""
        if varied and entry["value"] is not None and constant is not None and name != "calibration_error":
            better = entry["value"] < constant if metric.lower_is_better else entry["value"] > constant
            tone = "" if better else "bad"
        tiles.append((metric.label, show(entry["value"]), detail, tone))
    if evaluation.manifest.task == "binary":
        detail = f"rows of class {evaluation.manifest.classes[1]}"
        tiles.append(("Base rate", f"{evaluation.truth.mean():.1%}", detail))
    return tiles


def describe_gain(evaluation: "Evaluation") -> tuple[str, str] | None:
    """Say in a sentence what the model is better than a constant by, and in what tone.

    Returns:
        Sentence and tone; None where all rows are alike: the best constant is then nearly perfect by hindsight, and the
        gain a percentage of nothing.
    """
    if np.ptp(evaluation.truth) == 0:
        return None
    task = evaluation.manifest.task
    main = find_metric(task)
    gain = 1 - evaluation.metrics[main.name]["value"] / evaluation.baseline[main.name]
    says = f"{gain:.0%} below" if gain >= 0 else f"{-gain:.0%} above"
    constant = "the mean of these rows" if task == "regression" else "the share of each class in these rows"
    sentence = f"{main.label} is {says} that of the best constant prediction, {constant}."
    return sentence, "note" if gain > 0 else "bad"


def verdict_card(verdict: "Verdict") -> Card:
    """Show a comparison: the verdict, why, and both models' figures."""
    card = Card("Champion and challenger", f"On the same {verdict.rows:,} test rows")
    card.lead(verdict.reason)
    card.tiles(verdict_tiles(verdict))
    return card


def verdict_tiles(verdict: "Verdict") -> list[tuple]:
    """Return the verdict, both models' figures and the improvement with its interval."""
    metric = find_metric(verdict.task, verdict.metric)
    tone = "good" if verdict.verdict == "promote" else "warn"
    tiles = [("Verdict", verdict.verdict, f"by {metric.label}", tone)]
    for name, side in (("Champion", verdict.champion), ("Challenger", verdict.challenger)):
        tiles.append((name, show(side.get("value")), metric.label if side else "there is none yet"))
    if verdict.difference:
        detail = f"{verdict.confidence:.0%}: {show_interval(verdict.difference)}"
        tiles.append(("Improvement", show(verdict.difference["value"]), detail))
    return tiles


def trials_card(selection: "Selection") -> Card:
    """Show the trials of a sweep, the best marked."""
    metric = find_metric(selection.manifests[0].task, selection.metric)
    title = f"Trials: number {selection.position + 1} of {len(selection.values)} is best"
    card = Card(title, f"By {metric.label} on the validation rows")
    card.tiles(trials_tiles(selection))
    card.table(*trials_table(selection))
    return card


def trials_tiles(selection: "Selection") -> list[tuple]:
    """Return the best and the median score."""
    manifests, best = selection.manifests, selection.position
    metric = find_metric(manifests[0].task, selection.metric)
    better = "lower is better" if metric.lower_is_better else "higher is better"
    return [
        ("Best", show(selection.values[best]), f"{metric.label}, {better}", "good"),
        ("Median", show(float(np.median(selection.values))), metric.label),
        ("Trials", show(len(selection.values)), manifests[best].target),
    ]


def trials_table(selection: "Selection") -> tuple[list[str], list[list]]:
    """Return every trial with what it scored: headers and rows."""
    manifests = selection.manifests
    task, names = manifests[0].task, validation_names(manifests)
    rows = []
    for position, manifest in enumerate(manifests):
        scores = [manifest.training["validation"][name] for name in names]
        mark = "best" if position == selection.position else ""
        rows.append([position + 1, mark, *scores, describe_training(manifest)])
    return ["Trial", "", *(find_metric(task, name).label for name in names), "Estimator"], rows


def validation_names(manifests: "list[Manifest]") -> list[str]:
    """Return the metrics that every model recorded, in the order of the reports."""
    names = [metric.name for metric in METRICS[manifests[0].task]]
    return [name for name in names if all(name in (one.training.get("validation") or {}) for one in manifests)]
