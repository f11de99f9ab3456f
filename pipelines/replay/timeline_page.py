"""Lay out a timeline as one page: what the loop was worth, month by month, and why it did what it did."""

from loopline.components.evaluation.metrics import find_metric
from loopline.components.plotting import in_text
from loopline.components.report import Report
from loopline.pipelines.replay import timeline_words as words
from loopline.pipelines.replay.scores import METRICS, SKILL
from loopline.pipelines.replay.timeline import Month, Timeline
from loopline.pipelines.replay.timeline_plot import draw_timeline

#: Widths that the drawing is made for.
WIDE, NARROW = 980, 520


def timeline_page(timeline: Timeline) -> str:
    """Lay out a timeline.

    Args:
        timeline: The replay.

    Returns:
        A whole HTML page: no script, no request to anywhere, every value escaped.
    """
    report = Report(f"{timeline.name}: the loop against a model that is never retrained", _subtitle(timeline))
    report.section("What retraining gained")
    sentence, tone = words.headline(timeline)
    report.lead(sentence, tone)
    if not timeline.months:
        return report.markup()
    report.text(words.outcome_sentence(timeline.overall()))
    for note in timeline.notes:
        report.text(note, "warn")
    report.tiles(_tiles(timeline))
    report.section("Timeline")
    report.drawing(
        draw_timeline(timeline, WIDE),
        draw_timeline(timeline, NARROW),
        "Whiskers are 95% intervals. A dashed line is the end of a month after which a model was trained: what was "
        "decided there serves from the next month on.",
    )
    _add_months(report, timeline)
    _add_decisions(report, timeline)
    _add_figures(report, timeline)
    _add_service(report, timeline)
    _add_commits(report, timeline)
    _add_reading(report, timeline)
    return report.markup()


def _subtitle(timeline: Timeline) -> str:
    months = timeline.months
    parts = [f"Predicting {timeline.target}"]
    if timeline.trained_on:
        parts.append(f"first trained on {timeline.trained_on}")
    if months:
        parts.append(f"replayed {months[0].label} to {months[-1].label} through {len(timeline.sites)} sites")
    if timeline.created:
        parts.append(f"run {timeline.created[:16].replace('T', ' ')}")
    return ", ".join(parts)


def _tiles(timeline: Timeline) -> list[tuple]:
    overall, metric = timeline.overall(), find_metric(timeline.task, timeline.metric)
    gain = overall.gain[metric.name]
    outcomes = {name: len(labels) for name, labels in overall.outcomes.items()}
    better, worse = outcomes.get("better", 0), outcomes.get("worse", 0)
    lost = f"{overall.lost:,} requests lost" if overall.lost else "no request lost"
    return [
        (f"Gain in {in_text(metric.label)}", words.figure(gain.value, signed=True), words.interval(gain, signed=True)),
        ("Months better / worse", f"{better} / {worse}", f"surely; {len(timeline.months) - better - worse} neither"),
        ("Retrained", str(len(overall.retrained)), f"{len(overall.promoted)} were better and delivered"),
        ("Commits", str(overall.commits), "to the configuration repository"),
        (timeline.units.capitalize(), f"{overall.rows:,}", lost, "bad" if overall.lost else ""),
    ]


def _add_months(report: Report, timeline: Timeline) -> None:
    report.section("The months")
    rows = []
    for month in timeline.months:
        drift, then = (month.drift.verdict, month.drift.score), words.decision_words(month)
        rows.append((month.label, month.rows, month.labeled, *drift, words.versions_words(month), then))
    head = ["Month", timeline.units.capitalize(), "Labels in time", "Drift", "Score", "Version", "Decision at its end"]
    report.table(head, rows)


def _add_figures(report: Report, timeline: Timeline) -> None:
    for name in (*METRICS[timeline.task], SKILL):
        label, better = "Skill", "higher"
        if name != SKILL:
            metric = find_metric(timeline.task, name)
            label, better = metric.label, "lower" if metric.lower_is_better else "higher"
        report.section(f"{label}: {better} is better")
        rows = []
        for month in timeline.months:
            cells = [month.label]
            for one in (month.scores.loop[name], month.scores.control[name]):
                cells += [words.figure(one.value), words.interval(one)]
            rows.append(cells + _gain_cells(month, name))
        report.table(["Month", "Loop", "95% interval", "Control", "95% interval", "Gain", "95% interval"], rows)


def _gain_cells(month: Month, name: str) -> list[str]:
    if month.outcome == "same":
        return ["same model", ""]
    gain = month.scores.gain[name]
    return [words.figure(gain.value, signed=True), words.interval(gain, signed=True)]


def _add_decisions(report: Report, timeline: Timeline) -> None:
    report.section("What was decided, and why")
    rows = []
    for month in timeline.months:
        why = [*month.reasons, *(f"Alert: {alert}" for alert in month.alerts if alert not in month.reasons)]
        moved = ", ".join(
            one.name if one.effect is None else f"{one.name}\u00a0{one.effect:.2f}" for one in month.drift.columns
        )
        rows.append((month.label, words.decision_words(month), " ".join(why), moved or None))
    report.table(["End of", "Decision", "Why", "Moved most (PSI)"], rows)


def _add_service(report: Report, timeline: Timeline) -> None:
    report.section("What served, and how fast")
    rows = []
    for month in timeline.months:
        for name, site in month.sites.items():
            one = site.traffic
            served = f"{words.name_version(site.version)} ({site.image.removeprefix('sha256:')[:12] or 'no image'})"
            latency = [None if value is None else round(value, 1) for value in (one.p50_ms, one.p99_ms)]
            rows.append((month.label, name, served, one.requests, one.failed, one.retried, *latency))
    head = ["Month", "Site", "Version (image)", "Requests", "Lost", "Sent again", "p50 ms", "p99 ms"]
    report.table(head, rows)
    problems = dict.fromkeys(
        f"{month.label}, {name}: {site.traffic.problem}"
        for month in timeline.months
        for name, site in month.sites.items()
        if site.traffic.problem
    )
    for problem in problems:
        report.text(problem, "warn")
    stages = list(dict.fromkeys(stage for month in timeline.months for stage in month.seconds))
    if stages:
        seconds = [
            (month.label, *(_rounded(month.seconds.get(stage)) for stage in stages)) for month in timeline.months
        ]
        report.table(["Seconds for", *stages], seconds)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _add_commits(report: Report, timeline: Timeline) -> None:
    rows = [
        (month.label, commit.id[:12], commit.site or None, commit.subject, commit.time or None)
        for month in timeline.months
        for commit in month.commits
    ]
    if rows:
        report.section("Commits to the configuration repository")
        report.table(["After", "Commit", "Site", "Subject", "Time"], rows)


def _add_reading(report: Report, timeline: Timeline) -> None:
    metric = find_metric(timeline.task, timeline.metric)
    report.section("How to read it")
    texts = [
        f"Every month's {timeline.units} were sent through the served model over HTTP, each to one site chosen by a "
        "hash. The loop is what the sites answered. The control is the first model, scored on the same rows and never "
        "retrained. Both are measured on the whole month, with the truth that came in later.",
        f"{metric.label}: {metric.meaning}. Skill is the share of the loss of the best constant prediction that a "
        "model saves; it can be compared between months with other shares of classes.",
        "Gain is loop against control, turned so that up is better. Its interval comes from drawing whole days again "
        "with replacement, both models on the same draws: what happens on one day hangs together. Better and worse "
        "are said only where the interval leaves out zero. One interval in twenty misses by chance.",
        "The figure over all months is their mean, weighted by rows; its interval adds up the months as independent.",
        "PSI, the population stability index, compares the inputs of a month with those of training: 0 is no change. "
        "Drift alone need not hurt; the decision rests on labeled performance.",
    ]
    for text in texts:
        report.text(text)
