"""How names, values and goals are called in comments and on terminals."""

import shlex
from collections.abc import Collection

from loopline.pipelines.project.goal import Goal

_LONGEST = 60


def shown(value: object) -> str:
    """Return a name or value as comments and terminals can show it: text in quotes, escaped and not too long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]}...{text[-1]}"


def some(names: Collection[str], most: int = 5) -> str:
    """Name some columns.

    Args:
        names: All of them.
        most: The most to name.

    Returns:
        Their names in quotes, and how many more there are.
    """
    text = ", ".join(shown(name) for name in list(names)[:most])
    return text + (f" and {len(names) - most:,} more" if len(names) > most else "")


def by_reason(reasons: dict[str, str], most: int = 3) -> list[str]:
    """Name columns together that have the same reason.

    Args:
        reasons: The reason by column.
        most: The most columns to name for each.

    Returns:
        Columns and reason, one text a reason.
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{some(group, most)} ({reason})" for reason, group in names.items()]


def run_command(pipeline: str, folder: str, file: str) -> str:
    """Return the command that runs a pipeline with a project's parameters, as a shell takes it."""
    return f"loopline run {pipeline} -f {shlex.quote(f'{folder}/{file}')}"


def describe_goal(goal: Goal, most: int = 4) -> str:
    """Say what is predicted and how it is spread.

    Args:
        goal: The goal.
        most: The most classes to name.

    Returns:
        For example ``2 classes, 'no' 73.5%, 'yes' 26.5%``.
    """
    if not goal.is_classification:
        text = "a quantity"
    else:
        shares = [f"{shown(value)} {rows / goal.rows:.1%}" for value, rows in list(goal.classes.items())[:most]]
        more = f" and {len(goal.classes) - most} more" if len(goal.classes) > most else ""
        text = f"{len(goal.classes)} classes, {', '.join(shares)}{more}"
    return f"{text} ({goal.remark})" if goal.remark else text
