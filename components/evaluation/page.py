"""The reports of the stage, for people who were not there."""

import numpy as np

from loopline.components.evaluation import plots
from loopline.components.evaluation.cards import (
    describe_gain,
    evaluation_tiles,
    trials_table,
    trials_tiles,
    verdict_tiles,
)
from loopline.components.evaluation.compare import Verdict
from loopline.components.evaluation.evaluate import Evaluation
from loopline.components.evaluation.metrics import METRICS, find_metric
from loopline.components.evaluation.select import Selection
from loopline.components.model.card import describe_conversion, describe_training
from loopline.components.report import Report, show_interval


def evaluation_report(evaluation: Evaluation) -> Report:
    """Lay out an evaluation as a page.

    Args:
        evaluation: The evaluation.

    Returns:
        The page, not yet written.
    """
    manifest = evaluation.manifest
    predicts = "numbers" if manifest.task == "regression" else f"{len(manifest.classes)} classes"
    report = Report(
        f"Evaluation: {manifest.name} predicts {manifest.target}",
        f"{manifest.task.capitalize()} model ({predicts}) on {evaluation.rows:,} labeled test rows",
    )
    report.tiles(evaluation_tiles(evaluation))
    _add_metrics(report, evaluation)
    if manifest.task == "binary":
        _add_binary(report, evaluation)
    elif manifest.task == "multiclass":
        _add_multiclass(report, evaluation)
    else:
        report.section("Predictions and residuals")
        caption = "Darker cells hold more rows (logarithmic scale). The residuals of a good model keep around zero."
        report.figure(plots.draw_residuals(evaluation), caption)
    _add_importance(report, evaluation)
    _add_slices(report, evaluation)
    _add_provenance(report, evaluation)
    return report


def _add_metrics(report: Report, evaluation: Evaluation) -> None:
    report.section("Metrics")
    task = evaluation.manifest.task
    for note in evaluation.notes:
        report.text(note, "warn")
    if gain := describe_gain(evaluation):
        report.text(*gain)
    rows = []
    for metric in METRICS[task]:
        if metric.name in evaluation.metrics:
            entry = evaluation.metrics[metric.name]
            better = "lower" if metric.lower_is_better else "higher"
            constant = evaluation.baseline[metric.name]
            rows.append((metric.label, entry["value"], show_interval(entry), constant, better, metric.meaning))
    report.table(["Metric", "Model", "95% interval", "Constant", "Better", "Meaning"], rows)
    settings = evaluation.settings
    if task == "binary":
        report.text(
            f"Accuracy, precision, recall and F1 call a row {evaluation.manifest.classes[1]} from the probability "
            f"{settings.threshold:g} on."
        )
    if evaluation.resampled:
        text = f"Intervals: percentile bootstrap, {settings.bootstrap:,} replicates of {evaluation.resampled:,} rows"
        if evaluation.resampled < evaluation.rows:
            text += f" chosen at random, scaled to all {evaluation.rows:,}"
        if task == "binary":
            text += "; the calibration error's is centered on its value, since resampling can only raise it"
        report.text(text + ".")


def _add_binary(report: Report, evaluation: Evaluation) -> None:
    truth = evaluation.truth
    if 0 < truth.sum() < len(truth):
        report.section("How well it ranks")
        caption = "The dot is the chosen threshold; the shaded area lies between the model and a guess."
        report.figure(plots.draw_ranking(evaluation), caption)
    report.section("Scores and decisions")
    caption = "Each class is scaled to its own size; the matrix gives rows and their share of the true class."
    report.figure(plots.draw_scores(evaluation), caption)
    if not truth.any():
        return
    report.section("Calibration and thresholds")
    caption = "Bins of about equal size; bars are 95% Wilson intervals. On the dashed line a stated 30% happens in 30%."
    report.figure(plots.draw_calibration(evaluation), caption)
    headers = ["Threshold", "Why", "Called", "Precision", "Recall", "F1"]
    report.table(
        headers,
        [
            (p.threshold, p.why, _share(p.called), _share(p.precision), _share(p.recall), p.f1)
            for p in evaluation.thresholds
        ],
    )


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _add_multiclass(report: Report, evaluation: Evaluation) -> None:
    report.section("Classes")
    caption = "The matrix gives rows and their share of the true class."
    if len(evaluation.manifest.classes) > len(plots.SERIES):
        caption += f" Curves are drawn for the first {len(plots.SERIES)} classes."
    report.figure(plots.draw_confusion(evaluation), caption)
    counts = np.asarray(evaluation.confusion)
    rows = []
    for position, name in enumerate(evaluation.manifest.classes):
        hits, true, called = counts[position, position], counts[position].sum(), counts[:, position].sum()
        precision = float(hits / called) if called else None
        recall = float(hits / true) if true else None
        rows.append((str(name), int(true), int(called), precision, recall))
    report.table(["Class", "True rows", "Predicted rows", "Precision", "Recall"], rows)


def _add_importance(report: Report, evaluation: Evaluation) -> None:
    if not evaluation.importance:
        return
    report.section("What the model relies on")
    unit = find_metric(evaluation.manifest.task).label
    repeats = evaluation.settings.importance_repeats
    caption = (
        f"Permutation importance on {evaluation.importance_rows:,} rows, mean of {repeats} shuffle(s); lines are one "
        "standard deviation. Features that say the same share their worth, so each of them looks small."
    )
    if len(evaluation.importance) > 20:
        caption += f" The first 20 of {len(evaluation.importance)} features."
    report.figure(plots.draw_importance(evaluation.importance, unit), caption)


def _add_slices(report: Report, evaluation: Evaluation) -> None:
    task = evaluation.manifest.task
    main = find_metric(task)
    overall = evaluation.metrics[main.name]["value"]
    for column in evaluation.settings.slices:
        slices = [one for one in evaluation.slices if one.column == column]
        report.section(f"By {column}")
        caption = f"{main.label} with 95% interval, {'lower' if main.lower_is_better else 'higher'} is better."
        if any(one.small for one in slices):
            caption += " Hollow: too few rows, or too few of a class, to say much."
        report.figure(plots.draw_slices(slices, overall, main.label), caption)
        headers = [column, "Rows", "Share"]
        if task != "multiclass":
            headers += ["Base rate", "Mean score"] if task == "binary" else ["Mean true", "Mean predicted"]
        headers += [main.label, "95% interval"] + (["ROC AUC"] if task == "binary" else []) + [""]
        report.table(headers, [_slice_cells(task, one) for one in slices])


def _slice_cells(task: str, one) -> list:
    cells = [one.name, one.rows, _share(one.share)]
    if task == "binary":
        cells += [_share(one.truth), _share(one.predicted)]
    elif task == "regression":
        cells += [one.truth, one.predicted]
    cells += [one.value, show_interval({"low": one.low, "high": one.high})]
    return cells + ([one.roc_auc] if task == "binary" else []) + ["too few" if one.small else ""]


def _add_provenance(report: Report, evaluation: Evaluation) -> None:
    manifest = evaluation.manifest
    report.section("What was evaluated")
    rows = [
        ("Model", manifest.digest),
        ("Format", f"{manifest.format} ({manifest.file})"),
        ("Conversion", describe_conversion(manifest)),
        ("Estimator", describe_training(manifest)),
        ("Trained on", manifest.provenance.get("data_digest", "not recorded")),
        ("Test table", evaluation.data_digest),
        ("Test rows", f"{evaluation.rows:,} with a label, {evaluation.unlabeled:,} without"),
        ("Target", manifest.target),
    ]
    if manifest.is_classification:
        rows.append(("Classes", ", ".join(map(str, manifest.classes))))
    report.table(["", ""], rows)


def verdict_report(verdict: Verdict, differences: np.ndarray) -> Report:
    """Lay out a comparison as a page.

    Args:
        verdict: The verdict.
        differences: The improvement in each replicate, shape (replicates,); empty when nothing was resampled.

    Returns:
        The page, not yet written.
    """
    metric = find_metric(verdict.task, verdict.metric)
    report = Report(f"Verdict: {verdict.verdict}", f"Champion and challenger on the same {verdict.rows:,} test rows")
    report.tiles(verdict_tiles(verdict))
    report.section("Why")
    report.text(verdict.reason, "note")
    if verdict.difference:
        _add_difference(report, verdict, differences, metric.label)
    report.section("Every metric")
    rows = []
    for one in METRICS[verdict.task]:
        if one.name in verdict.challenger["metrics"]:
            champion = verdict.champion.get("metrics", {}).get(one.name)
            better = "lower" if one.lower_is_better else "higher"
            rows.append((one.label, champion, verdict.challenger["metrics"][one.name], better))
    report.table(["Metric", "Champion", "Challenger", "Better"], rows)
    if verdict.task == "binary":
        report.text("Accuracy, precision, recall and F1 at the threshold 0.5.")
    sides = (("Champion", verdict.champion), ("Challenger", verdict.challenger))
    report.table(["", "Model", "Format"], [(name, side.get("digest"), side.get("format")) for name, side in sides])
    if verdict.unlabeled:
        report.text(f"{verdict.unlabeled:,} rows without a label were left out.", "warn")
    return report


def _add_difference(report: Report, verdict: Verdict, differences: np.ndarray, label: str) -> None:
    difference = verdict.difference
    figure = plots.draw_difference(differences, difference["low"], difference["high"], verdict.margin, label)
    text = f"Paired bootstrap: {len(differences):,} replicates of {verdict.resampled:,} rows"
    if verdict.resampled < verdict.rows:
        text += f" chosen at random, scaled to all {verdict.rows:,}"
    report.figure(
        figure,
        f"{text}, both models on the same draws. The bar on the axis is the {verdict.confidence:.0%} interval; the "
        "challenger is promoted when all of it lies to the right of the margin.",
    )


def trials_report(selection: Selection) -> Report:
    """Lay out the trials of a sweep as a page.

    Args:
        selection: What was picked among them.

    Returns:
        The page, not yet written.
    """
    best, count = selection.position, len(selection.values)
    metric = find_metric(selection.manifests[0].task, selection.metric)
    report = Report(f"Trials: number {best + 1} of {count} is best", f"By {metric.label} on the validation rows")
    better = "lower is better" if metric.lower_is_better else "higher is better"
    report.tiles(trials_tiles(selection))
    report.section("Trials")
    if count > 1:
        report.figure(plots.draw_trials(selection.values, best, metric.label), f"{metric.label}: {better}.")
    report.table(*trials_table(selection))
    return report
