"""The reports of the stage."""

from loopline.components.evaluation.evaluate import Evaluation
from loopline.components.evaluation.metrics import METRICS
from loopline.components.report import Report


def evaluation_report(evaluation: Evaluation) -> Report:
    """Lay out an evaluation as a page."""
    manifest = evaluation.manifest
    report = Report(f"Evaluation of {manifest.target}", f"{evaluation.rows:,} test rows")
    report.section("Metrics")
    metrics, base = evaluation.metrics, evaluation.baseline
    rows = [
        (one.label, metrics[one.name]["value"], metrics[one.name]["low"], metrics[one.name]["high"], base[one.name])
        for one in METRICS[manifest.task]
        if one.name in metrics
    ]
    report.table(["Metric", "Value", "Low", "High", "Constant"], rows)
    return report


def verdict_report(verdict, deviations) -> Report:
    """Lay out a comparison as a page."""
    report = Report(f"Verdict: {verdict.verdict}", verdict.reason)
    return report


def trials_report(selection) -> Report:
    """Lay out the trials of a sweep as a page."""
    report = Report("Trials", f"best of {len(selection.values)} by {selection.metric}")
    report.section("Trials")
    report.table(["Trial", selection.metric], list(enumerate(selection.values)))
    return report
