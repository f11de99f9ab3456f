"""The page about a sweep: which trial is best, how all of them learned, and what each parameter was worth."""

import json
import numbers
from statistics import median

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from loopline.components.plotting import ACCENT, SECOND, SOFT, in_text, panels, short_name, styled
from loopline.components.report import Report, show
from loopline.components.training.finish_sweep import Outcome
from loopline.components.training.study import PRUNED

#: Panels side by side.
_ACROSS = 3


def sweep_report(outcome: Outcome) -> Report:
    """Lay out a sweep as a page.

    Args:
        outcome: What came of it.

    Returns:
        The page, not yet written.
    """
    metric, best, trials = outcome.metric, outcome.best, outcome.trials
    report = Report(
        f"Sweep: trial {best.place + 1} of {len(trials)} is best",
        f"{outcome.target} from {outcome.rows:,} rows, by {in_text(metric.label)} on the validation rows",
    )
    values = [outcome.value(trial) for trial in outcome.complete]
    better = "lower is better" if metric.lower_is_better else "higher is better"
    pruned = len(trials) - len(values)
    start, end = min(t.start for t in trials), max(t.start + t.seconds for t in trials)
    worked = sum(trial.seconds for trial in trials)
    report.tiles(
        [
            ("Best", show(outcome.value(best)), f"{metric.label}, {better}", "good"),
            ("Median", show(median(values)), f"of {len(values)} trials that came to their end"),
            ("Given up", show(pruned), "trials that fell behind"),
            (
                "Time",
                f"{end - start:,.0f} s",
                f"for {worked:,.0f} s of trials, {worked / max(end - start, 1e-9):.1f} at a time",
            ),
        ]
    )
    report.section("Best parameters")
    report.table(["Parameter", "Value"], [(name, show(value)) for name, value in best.params.items()])
    varied = varied_parameters(outcome)
    if varied and len(values) > 1:
        report.section("What each parameter was worth")
        report.figure(
            draw_parameters(outcome, varied),
            f"{metric.label} of each trial that came to its end by the value of each parameter; {better}. With few "
            "trials a pattern can be chance, and parameters were drawn more often where trials before did well.",
        )
    if any(trial.curve for trial in trials):
        report.section("How the trials learned")
        report.figure(
            draw_curves(outcome),
            "The best loss on the validation rows so far, round by round. A curve ends where the trial stopped "
            "gaining, or was given up since it was behind most of those before it.",
        )
    report.section("Trials")
    report.table(*trials_table(outcome))
    return report


def varied_parameters(outcome: Outcome) -> list[str]:
    """Return the parameters that differ between trials, in the order they were given."""
    names = list(dict.fromkeys(name for trial in outcome.trials for name in trial.params))
    return [name for name in names if len({json.dumps(trial.params.get(name)) for trial in outcome.trials}) > 1]


def trials_table(outcome: Outcome) -> tuple[list[str], list[list]]:
    """Return every trial, the best first and those that were given up last: headers and rows."""
    sign = 1 if outcome.metric.lower_is_better else -1
    ordered = sorted(outcome.complete, key=lambda trial: sign * outcome.value(trial))
    ordered += [trial for trial in outcome.trials if trial.state == PRUNED]
    rows = []
    for trial in ordered:
        value = outcome.value(trial) if trial.scores else None
        says = "best" if trial is outcome.best else "" if trial.scores else "given\u00a0up"
        params = ", ".join(f"{name} {show(value)}" for name, value in trial.params.items())
        rows.append([trial.place + 1, says, value, trial.rounds, round(trial.seconds, 1), params])
    return ["Trial", "", outcome.metric.label, "Rounds", "Seconds", "Parameters"], rows


@styled
def draw_parameters(outcome: Outcome, names: list[str]) -> Figure:
    """Draw the score of each complete trial by each parameter, and mark the best.

    Args:
        outcome: What came of the sweep.
        names: The parameters.
    """
    lines = -(-len(names) // _ACROSS)
    figure, _ = panels(2.4 * lines)
    figure.clear()
    grid = figure.subplots(lines, min(_ACROSS, len(names)), squeeze=False, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        shown = [trial for trial in outcome.complete if name in trial.params]
        position = _positions([trial.params[name] for trial in shown], axes)
        for trial in sorted(shown, key=lambda one: one is outcome.best):
            color, size = (SECOND, 9) if trial is outcome.best else (ACCENT, 6)
            x = position[json.dumps(trial.params[name])]
            axes.plot(x, outcome.value(trial), "o", color=color, markersize=size, markeredgecolor="white")
        axes.set_xlabel(short_name(name))
    for axes in grid[:, 0]:
        axes.set_ylabel(outcome.metric.label)
    return figure


def _positions(values: list, axes) -> dict[str, float]:
    """Return where on an axis each value stands: numbers where they are, anything else side by side."""
    if all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values):
        if values and min(values) > 0 and max(values) >= 8 * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif all(isinstance(value, int) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return {json.dumps(value): value for value in values}
    names = list(dict.fromkeys(json.dumps(value) for value in values))
    axes.set_xticks(range(len(names)), [short_name(json.loads(name), 12) for name in names])
    return {name: number for number, name in enumerate(names)}


@styled
def draw_curves(outcome: Outcome) -> Figure:
    """Draw the best loss so far of each trial by boosting round; those that were given up end in a cross.

    Args:
        outcome: What came of the sweep.
    """
    figure, (axes,) = panels(3.6, (1,))
    labels = set()
    for trial in sorted(outcome.trials, key=lambda one: (one is outcome.best, one.state != PRUNED)):
        rounds = sorted(trial.curve)
        if not rounds:
            continue
        given_up = trial.state == PRUNED
        kind = "best" if trial is outcome.best else "given up" if given_up else "came to its end"
        color = {"best": SECOND, "given up": SOFT, "came to its end": ACCENT}[kind]
        axes.plot(
            rounds, [trial.curve[step] for step in rounds], color=color, lw=2.6 if kind == "best" else 1.1,
            label=None if kind in labels else kind, alpha=1 if kind == "best" else 0.5,
        )  # fmt: skip
        axes.plot(
            rounds[-1], trial.curve[rounds[-1]], "x" if given_up else "o", color=SOFT if given_up else color, ms=5
        )
        labels.add(kind)
    axes.set(xlabel="boosting round", ylabel="loss on the validation rows")
    axes.legend(loc="upper right")
    return figure
