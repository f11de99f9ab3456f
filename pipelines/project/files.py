"""Write what a run needs as YAML that says why each value is what it is."""

import json
import shlex
import textwrap
from collections.abc import Iterable

import yaml

from loopline.components.data.summary import ColumnSummary
from loopline.pipelines.project.plan import Plan
from loopline.pipelines.project.words import by_reason, describe_goal, run_command, shown

_WIDTH = 118
#: Comments begin here where the value leaves room; those of rules where the longest ends, but not behind this.
_COMMENT, _WIDEST = 44, 70


def params_file(plan: Plan, project: str) -> str:
    """Write the parameters of the training pipeline.

    Args:
        plan: What to say.
        project: The project's folder as a person types it, for the commands in the comments.

    Returns:
        YAML.
    """
    look, goal = plan.look, plan.goal
    rows = f"{look.rows:,} rows" if look.whole else f"the first {look.rows:,} rows"
    blocks = [
        _note(
            f"For `{run_command('training', project, 'params.yaml')}`, written by `loopline init` after looking at "
            f"{shown(look.name)} ({rows}, {len(look.columns):,} columns). Change what you know better; `loopline run "
            "training --help` explains every parameter."
        ),
        _source(plan),
        [*_note(f"What to predict: {describe_goal(goal)}."), f"target: {scalar(goal.target)}", f"task: {goal.task}"],
        [*_note("The model's name, in the registry and at the sites."), f"name: {scalar(plan.name)}"],
        _excluded(plan),
        _split(plan),
        _expectations(plan),
        _on_error(plan),
        _learning(plan),
        [*_note("What people say of the model, for its card."), "# intended_use: ...", "# limits: ..."],
        _remarks(plan),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def monitoring_file(plan: Plan, project: str) -> str:
    """Write the parameters of the monitoring pipeline.

    Args:
        plan: What to say.
        project: The project's folder as a person types it.

    Returns:
        YAML.
    """
    goal, target = plan.goal, shown(plan.goal.target)
    command = run_command("monitoring", project, "monitoring.yaml")
    intro = _note(
        f"For `{command}`, once the model is delivered (`loopline sites up`, `loopline run delivery --name "
        f"{shlex.quote(plan.name)}`) and has answered. `loopline run monitoring --help` explains every parameter."
    )
    subject = [f"name: {scalar(plan.name)}", f"target: {scalar(goal.target)}", f"task: {goal.task}"]
    history = _note("What the model was trained on; a retraining adds the traffic that has its truth.")
    truth = _note(
        f"Where the true {target} arrives, later: CSV or Parquet with the columns request_id, row and {target}. "
        "Without truth there is drift to see, and no judgment."
    )
    window = _note("The hours to look at, and how many labeled rows are needed for a verdict.")
    engine = _note(
        "What runs the drift tests: alibi (Business Source License: production use needs a license) or scipy."
    )
    blocks = [
        intro,
        subject,
        [*history, *_history(plan)],
        _rare_classes(plan),
        [*truth, "# truth: truth/*.csv"],
        [*window, "hours: 24.0", f"min_labels: {max(100, min(1000, goal.rows // 5))}"],
        [*engine, "engine: scipy"],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _rare_classes(plan: Plan) -> list[str]:
    target = plan.goal.target
    if not plan.goal.rare:
        return []
    lines = _note("As in params.yaml: classes with too few rows are set aside.")
    return [*lines, "expectations:", *_rule_lines([(target, plan.rules[target])], plan)]


def scalar(value: object) -> str:
    """Return a value as YAML on one line, fit to stand in a list or mapping."""
    text = yaml.safe_dump([value], allow_unicode=True, width=float("inf"), default_flow_style=True).strip()[1:-1]
    return json.dumps(value) if "\n" in text else text


def _source(plan: Plan) -> list[str]:
    look = plan.look
    lines = _note(
        "The data: a path or glob (absolute, so that a run may start anywhere), s3://bucket/key or https://"
        + (f"; {look.written}." if look.written else ".")
    )
    lines.append(f"uri: {scalar(look.uri)}")
    if look.csv:
        lines += _csv(plan)
    if plan.keep:
        lines += [*_note("All columns but those that hold infinite values in many rows."), "columns:"]
        lines += [f"  - {scalar(name)}" for name in plan.keep]
    return lines


def _csv(plan: Plan) -> list[str]:
    text = "How the CSV is written, where its first lines do not tell."
    if "encoding" in plan.look.csv:
        text += " Where letters come out wrong the encoding is another."
    if "null_values" in plan.look.csv:
        text += " The words in null_values mean that there is no value."
    return [*_note(text), *_csv_options(plan)]


def _csv_options(plan: Plan) -> list[str]:
    return ["csv:", *(f"  {key}: {scalar(value)}" for key, value in plan.look.csv.items())]


def _history(plan: Plan) -> list[str]:
    lines = [f"history: {scalar(plan.look.uri)}"]
    if plan.split.method == "time":
        lines.append(f"history_time: {scalar(plan.split.column)}")
    if plan.look.csv:
        lines += _csv_options(plan)
    return lines


def _excluded(plan: Plan) -> list[str]:
    lines = []
    if plan.left_out:
        lines += _note(f"Training leaves out by itself: {'; '.join(by_reason(plan.left_out, most=5))}.")
    if not plan.exclude:
        return [*lines, *_note("Columns not to learn from, e.g. what is known only after the target."), "exclude: []"]
    lines += [*_note("Columns not to learn from. Take one off the list to learn from it."), "exclude:"]
    return lines + [_commented(f"  - {scalar(name)}", reason) for name, reason in plan.exclude.items()]


def _split(plan: Plan) -> list[str]:
    split = plan.split
    lines = [*_note(f"How the rows are split: {split.reason}."), f"split_method: {split.method}"]
    if split.column:
        lines.append(f"split_column: {scalar(split.column)}")
    if split.test_start:
        share = f"{split.share:.1%} of the rows; move it on when newer rows come"
        lines.append(_commented(f"test_start: {scalar(split.test_start)}", share))
    else:
        lines.append(_commented(f"test_size: {split.test_size}", "share of the rows that the model is judged on"))
    return [*lines, _commented(f"validation_size: {split.validation_size}", "share that says when to stop training")]


def _expectations(plan: Plan) -> list[str]:
    lines = _note(
        "What the data must look like, in this run and in later ones; what is not said here is taken from the data "
        "themselves. Keys: nullable, minimum, maximum, categories, kind. Correct and add what you know."
    )
    # Features without a rule are there to be given one, unless there are too many.
    free = [] if plan.unruled else [(name, {}) for name in plan.features if name not in plan.rules][:20]
    lines += ["expectations:", *_rule_lines([*plan.rules.items(), *free], plan)]
    if plan.unruled:
        lines += _note(f"{plan.unruled:,} more columns have no rule, for want of space in a run's parameters.", "  ")
    return lines


def _rule_lines(rules: Iterable[tuple[str, dict]], plan: Plan) -> list[str]:
    """Return a line for each rule, one without fields as a comment, with what was seen behind it."""
    lines = {}
    for name, rule in rules:
        fields = ", ".join(f"{key}: {scalar(value)}" for key, value in rule.items())
        lines[name] = f"  {'' if rule else '# '}{scalar(name)}: {{{fields}}}"
    width = min(max(len(line) for line in lines.values()) + 2, _WIDEST)
    return [_commented(line, _seen(plan, plan.look[name]), width) for name, line in lines.items()]


def _seen(plan: Plan, column: ColumnSummary) -> str:
    """Say what a column holds, without any value of it."""
    kind = {"category": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
    text = kind.get(column.kind, column.kind)
    if column.name == plan.goal.target:
        text = f"the target, {text}"
    if column.counts is not None and column.kind == "category":
        text += f", {len(column.counts):,} different"
    share = column.missing / column.rows
    return text + (f", {share:.1%} missing" if share >= 0.001 else f", {column.missing} missing" if share else "")


def _on_error(plan: Plan) -> list[str]:
    if plan.set_aside:
        lines = _note(
            f"Rows that break a rule are set aside and reported: {'; '.join(plan.set_aside)}. Or fail, to stop."
        )
        return [*lines, "on_error: quarantine"]
    lines = _note("A row that breaks a rule stops the run; quarantine sets it aside and reports it.")
    return [*lines, "on_error: fail"]


def _learning(plan: Plan) -> list[str]:
    lines = _note("How to learn: parameters of XGBoost, and the most boosting rounds.")
    lines += ["params: {max_depth: 6, learning_rate: 0.1}"]
    why = ""
    if not plan.split.validation_size:
        why = "few: there are no rows to spare that say when to stop"
    elif plan.rounds < 300:
        why = f"each is a tree for each of {len(plan.goal.classes)} classes"
    lines.append(_commented(f"rounds: {plan.rounds}", why))
    if plan.is_imbalanced:
        share = f"{plan.goal.smallest / plan.goal.rows:.2%}"
        lines += [
            *_note(
                f"The smallest class is {share} of the rows. With balanced weights it is found more often, and the "
                "probabilities no longer say how often it happens."
            ),
            "# class_weight: balanced",
        ]
    if plan.slices:
        slices = ", ".join(scalar(name) for name in plan.slices)
        lines += [*_note("Columns to report by, each of their values by itself."), f"# slices: [{slices}]"]
    return lines


def _remarks(plan: Plan) -> list[str]:
    if not plan.remarks:
        return []
    lines = _note("Worth a look:")
    for remark in plan.remarks[:20]:
        lines += _note(f"- {remark}", hanging="  ")
    return lines


def _commented(line: str, comment: str, width: int = _COMMENT) -> str:
    return f"{line.ljust(width - 2)}  # {comment}" if comment else line


def _note(text: str, indent: str = "", hanging: str = "") -> list[str]:
    """Break a comment into lines at blanks."""
    first, others = f"{indent}# ", f"{indent}# {hanging}"
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
