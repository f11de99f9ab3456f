"""The page of measured and estimated performance."""

from loopline.components.evaluation.metrics import METRICS, find_metric
from loopline.components.monitoring import performance_plots as plots
from loopline.components.monitoring.performance import Performance
from loopline.components.monitoring.performance_card import TONES, describe_rows, describe_time, performance_tiles
from loopline.components.plotting import in_text
from loopline.components.report import Report, show_interval


def performance_report(performance: Performance) -> Report:
    """Lay out a measurement as a page.

    Args:
        performance: What was measured.

    Returns:
        The page, not yet written.
    """
    report = Report(f"Performance: {performance.verdict}", describe_rows(performance))
    report.tiles(performance_tiles(performance))
    report.section("Verdict")
    report.text(performance.reason, TONES[performance.verdict])
    for note in performance.notes:
        report.text(note, "warn")
    _add_figures(report, performance)
    _add_labels(report, performance)
    _add_parts(report, performance)
    _add_errors(report, performance)
    _add_estimate(report, performance)
    _add_method(report, performance)
    return report


def _add_figures(report: Report, performance: Performance) -> None:
    if not performance.metrics:
        return
    report.section("Measured, registered and expected")
    rows = []
    for metric in METRICS[performance.task]:
        entry = performance.metrics.get(metric.name)
        if entry is None:
            continue
        before, expected = performance.registered.get(metric.name), performance.expected.get(metric.name)
        better = "lower" if metric.lower_is_better else "higher"
        constant = performance.baseline.get(metric.name)
        rows.append((metric.label, *_cells(entry), *_cells(before), *_cells(expected), constant, better))
    skill = performance.skill
    if skill["value"] is not None:
        before = {key: skill[f"registered{end}"] for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))}
        expected = performance.expected.get("skill")
        rows.append(("Skill", *_cells(skill), *_cells(before), *_cells(expected), 0.0, "higher"))
    confidence = f"{performance.settings['confidence']:.0%}"
    headers = ["Metric", "Measured", confidence, "Registered", "95%", "Expected*", confidence, "Constant", "Better"]
    report.table(headers, rows)
    if performance.registered_source:
        report.text(f"Registered: on {performance.registered_source}.")
    report.text(
        "Constant: the best constant prediction for these very rows, by hindsight. Skill: the share of its "
        f"{in_text(find_metric(performance.task, performance.metric).label)} that the model avoids; 0 is no better "
        "than the constant."
    )
    if performance.expected:
        report.text(
            "* An estimate: what a model that still fits would score on these same rows. Where the measured value lies "
            "outside, the world has changed; where it lies inside, the rows are harder or easier."
        )


def _cells(entry: dict | None) -> tuple:
    return (None, "") if entry is None else (entry["value"], show_interval(entry) if entry["value"] is not None else "")


def _add_labels(report: Report, performance: Performance) -> None:
    if not performance.by_time:
        return
    report.section("Over the window")
    labels = performance.labels
    if labels["behind_s"] is None:
        report.text("No truth has arrived yet.", "warn")
    else:
        report.text(
            f"{labels['share']:.1%} of the rows have a label; the newest one with a label is from "
            f"{describe_time(labels['last'])}, {_duration(labels['behind_s'])} before the newest row."
        )
    label = find_metric(performance.task, performance.metric).label
    report.figure(
        plots.draw_time(performance),
        f"The {in_text(label)} of the labeled rows with interval, where there are any, against the registered one; "
        "rows served, and how many of them have their label so far. Times in UTC.",
    )


def _add_parts(report: Report, performance: Performance) -> None:
    rows = [
        (kind, name or "unknown", entry["rows"], *_cells(entry))
        for kind, parts in (("site", performance.by_site), ("version", performance.by_version))
        for name, entry in parts.items()
    ]
    if not rows:
        return
    report.section("Where")
    report.figure(
        plots.draw_parts(performance),
        "Hollow is estimated, not measured. The dashed line is the registered value. Versions count every labeled row "
        "of the window, also those that another version predicted.",
    )
    label = find_metric(performance.task, performance.metric).label
    report.table(["", "Name", "Labeled rows", label, f"{performance.settings['confidence']:.0%} interval"], rows)


def _add_errors(report: Report, performance: Performance) -> None:
    if performance.calibration:
        report.section("What a stated probability was worth")
        caption = (
            "Bins of about equal size, bars are 95% Wilson intervals; on the dashed line a stated 30% happens in 30%."
        )
        report.figure(plots.draw_calibration(performance), caption)
    elif performance.residuals:
        report.section("Errors")
        caption = "Bins of about equal size by predicted value. A model that still fits keeps around zero."
        report.figure(plots.draw_residuals(performance), caption)


def _add_estimate(report: Report, performance: Performance) -> None:
    report.section("Estimate without labels")
    estimate = performance.estimate
    if estimate is None:
        report.text("Nothing can be estimated: there are no served rows, or no reference rows the model has not seen.")
        return
    report.text(
        "These figures are estimated, not measured: they say what the model would score on all served rows if rows of "
        "the same features still turned out the same. They follow harder rows; they cannot see that the world changed.",
        "warn",
    )
    rows = []
    for name, entry in estimate["metrics"].items():
        metric = find_metric(performance.task, name)
        rows.append((metric.label, *_cells(entry), estimate["registered"].get(name)))
    rows.append(("Skill", *_cells(estimate["skill"]), performance.skill["registered"]))
    headers = ["Metric", "Estimate", f"{performance.settings['confidence']:.0%} interval", "Registered"]
    report.table(headers, [row for row in rows if row[1] is not None])
    report.text(f"Method: {estimate['method']} over {estimate['rows']:,} rows ({estimate['paper']}).")


def _add_method(report: Report, performance: Performance) -> None:
    report.section("How it was judged")
    settings = performance.settings
    label = in_text(find_metric(performance.task, performance.metric).label)
    report.text(
        f"Worse means: the {label} is surely (p < 0.01) worse than registered by more than {settings['margin']:.0%} of "
        f"it while the skill is lower, too, or the skill is surely lower by more than {settings['margin']:g}; and a "
        "model that still fits would not have shown most of that fall on the same rows, or this one is no better than "
        "a constant. "
        f"Under {settings['min_rows']:,} labeled rows there is no verdict."
    )
    rows = [("Model", performance.model["digest"]), ("Predictions", "as logged at the time, not predicted again")]
    rows.append(("Intervals", f"percentile bootstrap, {settings['bootstrap']:,} replicates, seed {settings['seed']}"))
    report.table(["", ""], rows)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
