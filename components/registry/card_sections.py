"""What a model card says, section by section, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from loopline.components.evaluation.metrics import METRICS, find_metric
from loopline.components.licenses import license_of
from loopline.components.model.card import describe_conversion, describe_training
from loopline.components.monitoring.drift_settings import DriftSettings
from loopline.components.registry.card_facts import CardFacts
from loopline.components.report import show, show_interval

NOT_STATED = "Not stated."
#: Categories of a column that are named.
_CATEGORIES = 12
_DRIFT = {
    "alpha": "share of false alarms, over all columns and tests together",
    "shift": "Wasserstein distance, in standard deviations of the reference",
    "share": "Kolmogorov-Smirnov statistic, total variation, or change of the share of missing values",
    "psi": "population stability index, bias-corrected",
    "correlation": "change of a rank correlation",
    "auc": "area under the ROC curve of a classifier that tells window and reference apart",
    "min_rows": "fewer rows of traffic say nothing",
}


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        headers: The columns' names.
        rows: The cells, row by row; None for nothing.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A part of a card.

    Attributes:
        title: Its headline.
        parts: Paragraphs and tables, in order.
    """

    title: str
    parts: Sequence[str | Table]


def card_sections(facts: CardFacts) -> list[Section]:
    """Write a card.

    Args:
        facts: What it is made of.

    Returns:
        Its sections.
    """
    stated = facts.stated
    sections = [
        Section("Intended use", _paragraphs(stated.get("intended_use")) or [NOT_STATED]),
        _data(facts),
        _performance(facts),
        *_slices(facts),
        _calibration(facts),
        _comparison(facts),
        _limits(facts),
        _drift(),
        _made_of(facts),
        _governance(facts),
    ]
    return [section for section in sections if section]


def main_figures(facts: CardFacts) -> list[tuple[str, str, str]]:
    """Return what a reader looks for first: label, value and detail."""
    evaluation, task = facts.evaluation, facts.manifest.task
    figures = []
    if evaluation:
        metric = find_metric(task)
        entry = evaluation["metrics"].get(metric.name) or {}
        figures.append((metric.label, show(entry.get("value")), _interval(entry) or "no interval"))
        figures.append(("Test rows", show(evaluation.get("rows")), "with a label"))
    figures.append(("Training rows", show(facts.manifest.training.get("rows")), "learned from"))
    if facts.verdict:
        figures.append(("Verdict", facts.verdict["verdict"], "against the champion"))
    figures.append(("Approved", "yes" if facts.approvals else "no", "by people, for the sites"))
    return figures


def _paragraphs(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split("\n\n") if part.strip()]


def _data(facts: CardFacts) -> Section:
    manifest, provenance = facts.manifest, facts.manifest.provenance
    periods = provenance.get("period") or {}
    rows = [
        ("Source", facts.stated.get("data_uri") or NOT_STATED),
        ("Training table", provenance.get("data_digest")),
        ("Rows learned from", manifest.training.get("rows")),
        *((f"Period of {column}", str(period).replace("/", " to ")) for column, period in periods.items()),
        *([] if periods else [("Period", "not known: the table has no column of timestamps")]),
        ("Test table", facts.evaluation.get("data_digest")),
        ("Test rows", facts.evaluation.get("rows")),
        ("Target", manifest.target),
        ("Classes", ", ".join(map(str, manifest.classes)) or None),
        ("Features", ", ".join(one.name for one in facts.schema.columns if one.name != manifest.target)),
    ]
    parts: list[str | Table] = [Table(["", ""], [row for row in rows if row[1] not in (None, "")])]
    if left_out := manifest.training.get("left_out"):
        parts.append(Table(["Left out", "Because"], list(left_out.items())))
    return Section("Data", parts)


def _performance(facts: CardFacts) -> Section:
    evaluation = facts.evaluation
    if not evaluation:
        return Section("Performance", ["No evaluation is recorded with this version."])
    baseline, rows = evaluation.get("baseline") or {}, []
    for metric in METRICS[facts.manifest.task]:
        if entry := evaluation["metrics"].get(metric.name):
            better = "lower" if metric.lower_is_better else "higher"
            value = entry.get("value")
            rows.append((metric.label, value, _interval(entry), baseline.get(metric.name), better, metric.meaning))
    parts: list[str | Table] = [
        Table(["Metric", "Model", "95% interval", "Best constant", "Better", "Meaning"], rows),
        *(evaluation.get("notes") or []),
    ]
    bootstrap = evaluation.get("bootstrap") or {}
    if bootstrap.get("replicates"):
        parts.append(f"Intervals: percentile bootstrap, {show(bootstrap['replicates'])} replicates.")
    if evaluation.get("threshold") is not None:
        parts.append(f"Accuracy, precision, recall and F1 at the threshold {show(evaluation['threshold'])}.")
    return Section("Performance on test rows", parts)


def _slices(facts: CardFacts) -> list[Section]:
    evaluation = facts.evaluation
    if not evaluation:
        return []
    slices = evaluation.get("slices") or []
    if not slices:
        return [Section("Slices", ["Not measured: no columns were named to report by, in the parameter slices."])]
    label, found = find_metric(facts.manifest.task).label, []
    for column in dict.fromkeys(one["column"] for one in slices):
        rows = [
            (one["name"], one["rows"], one["value"], _interval(one), "too few" if one["small"] else "")
            for one in slices
            if one["column"] == column
        ]
        found.append(Section(f"By {column}", [Table([column, "Rows", label, "95% interval", ""], rows)]))
    return found


def _calibration(facts: CardFacts) -> Section | None:
    bins = facts.evaluation.get("calibration")
    if not bins:
        return None
    rows = [(f"{one['predicted']:.1%}", f"{one['observed']:.1%}", _shares(one), one["rows"]) for one in bins]
    text = f"What the model states for {facts.manifest.classes[1]}, and how often that is what happened."
    return Section("Calibration", [text, Table(["Stated", "Happened", "95% interval", "Rows"], rows)])


def _shares(entry: dict) -> str:
    return f"{entry['low']:.1%} to {entry['high']:.1%}"


def _comparison(facts: CardFacts) -> Section:
    verdict = facts.verdict
    if not verdict:
        return Section("Comparison with the champion", ["No comparison is recorded with this version."])
    champion, challenger, difference = (verdict.get(name) or {} for name in ("champion", "challenger", "difference"))
    rows = [
        ("Verdict", verdict["verdict"]),
        ("By", find_metric(facts.manifest.task, verdict.get("metric", "")).label),
        ("Champion", show(champion.get("value")) if champion else "there was none"),
        ("This model", show(challenger.get("value"))),
        ("Improvement", f"{show(difference['value'])} ({_interval(difference)})" if difference else None),
        ("Margin asked for", show(verdict.get("margin"))),
        ("Champion's digest", champion.get("digest")),
    ]
    return Section(
        "Comparison with the champion",
        [str(verdict.get("reason", "")), Table(["", ""], [row for row in rows if row[1] is not None])],
    )


def _limits(facts: CardFacts) -> Section:
    parts: list[str | Table] = _paragraphs(facts.stated.get("limits")) or [f"Known limits: {NOT_STATED.lower()}"]
    parts.append(
        "The figures hold for rows like the test rows. Outside of what it has seen, below, the model guesses: watch "
        "its traffic for drift."
    )
    rows, counted = [], facts.profile.get("rows") or 0
    for column in facts.schema.columns:
        seen = (facts.profile.get("columns") or {}).get(column.name)
        if seen and column.name != facts.manifest.target:
            missing = f"{seen.get('missing', 0) / counted:.1%}" if counted else ""
            rows.append((column.name, column.kind, _range(seen), missing))
    parts.append(Table(["Feature", "Kind", "Seen in training", "Missing"], rows))
    small = [f"{one['column']} {one['name']}" for one in facts.evaluation.get("slices") or [] if one["small"]]
    if small:
        parts.append(f"Too few test rows to say much about: {', '.join(small)}.")
    return Section("Limits", parts)


def _range(seen: dict) -> str:
    if "minimum" in seen:
        return "no value" if seen["minimum"] is None else f"{show(seen['minimum'])} to {show(seen['maximum'])}"
    counts = seen.get("counts") or {}
    names = sorted(counts, key=lambda name: (-counts[name], name)) if isinstance(counts, dict) else []
    more = f" and {len(names) - _CATEGORIES:,} more" if len(names) > _CATEGORIES else ""
    return ", ".join(names[:_CATEGORIES]) + more


def _drift() -> Section:
    defaults = {one.name: one.default for one in fields(DriftSettings)}
    rows = [(name, defaults[name], meaning) for name, meaning in _DRIFT.items()]
    text = "What detect_drift calls drift unless it is told otherwise: significant, and at least as large as this."
    return Section("Drift thresholds", [text, Table(["Threshold", "From", "Of"], rows)])


def _made_of(facts: CardFacts) -> Section:
    manifest = facts.manifest
    rows = [
        ("Estimator", describe_training(manifest)),
        ("Format", f"{manifest.format} ({manifest.file})"),
        ("Conversion", describe_conversion(manifest)),
        ("Digest", manifest.digest),
    ]
    libraries = [(name, version, license_of(name)) for name, version in sorted(manifest.libraries.items())]
    return Section("Model", [Table(["", ""], rows), Table(["Trained with", "Version", "License"], libraries)])


def _governance(facts: CardFacts) -> Section:
    provenance = facts.manifest.provenance
    rows = [
        ("Trained", provenance.get("created")),
        ("Code", provenance.get("code_version")),
        ("Pipeline run", provenance.get("pipeline_run")),
        ("MLflow run", facts.run),
        ("Image", facts.image or "none yet"),
        *(("Approved by", approval) for approval in facts.approvals),
        *([] if facts.approvals else [("Approved by", "nobody")]),
    ]
    return Section("Provenance and approval", [Table(["", ""], [row for row in rows if row[1]])])


def _interval(entry: dict) -> str:
    return show_interval({"low": entry.get("low"), "high": entry.get("high")})
