"""The reports of the stage, for people who were not there."""

import json

import numpy as np

from loopline.components.evaluation import plots
from loopline.components.evaluation.compare import Verdict
from loopline.components.evaluation.evaluate import Evaluation
from loopline.components.evaluation.metrics import METRICS, find_metric
from loopline.components.evaluation.select import Selection, validation_names
from loopline.components.model.directory import Manifest
from loopline.components.report import Report, show, show_interval

_TILES = {
    "binary": ("roc_auc", "average_precision", "log_loss", "calibration_error"),
    "multiclass": ("macro_roc_auc", "log_loss", "accuracy", "macro_f1"),
    "regression": ("rmse", "mae", "r2", "median_absolute_error"),
}


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
    report.tiles(_tiles(evaluation))
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


def _tiles(evaluation: Evaluation) -> list[tuple]:
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


def _add_metrics(report: Report, evaluation: Evaluation) -> None:
    report.section("Metrics")
    task = evaluation.manifest.task
    for note in evaluation.notes:
        report.text(note, "warn")
    main = find_metric(task)
    value, constant = evaluation.metrics[main.name]["value"], evaluation.baseline[main.name]
    # Where all rows are alike the best constant is nearly perfect by hindsight, and a percentage of nothing.
    if np.ptp(evaluation.truth) > 0:
        gain = 1 - value / constant
        says = f"{gain:.0%} below" if gain >= 0 else f"{-gain:.0%} above"
        report.text(
            f"{main.label} is {says} that of the best constant prediction"
            + (", the mean of these rows." if task == "regression" else ", the share of each class in these rows."),
            "note" if gain > 0 else "bad",
        )
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


def describe_conversion(manifest: Manifest) -> str:
    """Say in one line what is known of the model's conversion into its format.

    Args:
        manifest: The model's manifest.

    Returns:
        The evidence, or why there is none.
    """
    conversion = manifest.conversion
    if conversion.get("reason"):
        return f"not converted: {conversion['reason']}"
    if "max_difference" in conversion:
        return (
            f"largest difference to the native model {conversion['max_difference']:.2g} on "
            f"{show(conversion.get('rows'))} rows, tolerance {show(conversion.get('tolerance'))}"
        )
    return "none: the file is the training library's own"


def describe_training(manifest: Manifest) -> str:
    """Name a model's estimator and its parameters in one line."""
    training = manifest.training
    params = json.dumps(training.get("params") or {}, sort_keys=True)
    return f"{training.get('estimator') or training.get('component') or 'not recorded'} {params}"


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
    tone = "good" if verdict.verdict == "promote" else "warn"
    tiles = [("Verdict", verdict.verdict, f"by {metric.label}", tone)]
    for name, side in (("Champion", verdict.champion), ("Challenger", verdict.challenger)):
        tiles.append((name, show(side.get("value")), metric.label if side else "there is none yet"))
    if verdict.difference:
        detail = f"{verdict.confidence:.0%}: {show_interval(verdict.difference)}"
        tiles.append(("Improvement", show(verdict.difference["value"]), detail))
    report.tiles(tiles)
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
    manifests, best = selection.manifests, selection.position
    task = manifests[0].task
    metric = find_metric(task, selection.metric)
    count = len(selection.values)
    report = Report(f"Trials: number {best + 1} of {count} is best", f"By {metric.label} on the validation rows")
    better = "lower is better" if metric.lower_is_better else "higher is better"
    report.tiles(
        [
            ("Best", show(selection.values[best]), f"{metric.label}, {better}", "good"),
            ("Median", show(float(np.median(selection.values))), metric.label),
            ("Trials", show(count), manifests[best].target),
        ]
    )
    report.section("Trials")
    if count > 1:
        report.figure(plots.draw_trials(selection.values, best, metric.label), f"{metric.label}: {better}.")
    names = validation_names(manifests)
    rows = []
    for position, manifest in enumerate(manifests):
        scores = [manifest.training["validation"][name] for name in names]
        rows.append([position + 1, "best" if position == best else "", *scores, describe_training(manifest)])
    report.table(["Trial", "", *(find_metric(task, name).label for name in names), "Estimator"], rows)
    return report
