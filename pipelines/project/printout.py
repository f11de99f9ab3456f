"""What was seen of a table and decided for it, in some ten lines for a person to read."""

import textwrap
from collections import Counter

from loopline.pipelines.project.plan import Plan
from loopline.pipelines.project.words import by_reason, describe_goal, shown

_WIDTH, _LABEL = 110, 11
_KINDS = {"integer": "numbers", "number": "numbers", "category": "text", "boolean": "true or false"}


def describe_plan(plan: Plan) -> str:
    """Say what was seen and decided.

    Args:
        plan: The plan.

    Returns:
        Lines of text.
    """
    look, goal = plan.look, plan.goal
    rows = f"{look.rows:,} rows" if look.whole else f"the first {look.rows:,} rows"
    written = f"; {look.written}" if look.written else ""
    kinds = Counter(_KINDS[look[name].kind] for name in plan.features)
    of_kinds = ", ".join(f"{count:,} of {kind}" for kind, count in kinds.most_common())
    lines = [
        f"{shown(look.name)}: {rows}, {len(look.columns):,} columns{written}",
        _line("target", f"{shown(goal.target)}, {goal.task}: {describe_goal(goal)}"),
        _line("features", f"{len(plan.features):,} of the columns: {of_kinds}" if len(kinds) > 1 else f"{of_kinds}"),
    ]
    gone = by_reason({**plan.exclude, **plan.left_out})
    if gone:
        more = "; more in params.yaml" if len(gone) > 6 else ""
        lines.append(_line("left out", "; ".join(gone[:6]) + more))
    lines.append(_line("split", _split(plan)))
    if plan.set_aside:
        lines.append(_line("set aside", "; ".join(plan.set_aside)))
    if "encoding" in look.csv:
        lines.append(_line("encoding", f"not UTF-8, read as {look.csv['encoding']}: do its letters come out right?"))
    if plan.is_imbalanced:
        lines.append(
            _line("balance", f"the smallest class has {goal.smallest:,} rows: see class_weight in params.yaml")
        )
    for remark in plan.remarks[:4]:
        lines.append(_line("look at", remark))
    if len(plan.remarks) > 4:
        lines.append(_line("", f"{len(plan.remarks) - 4:,} more remarks are at the end of params.yaml"))
    return "\n".join(lines)


def _split(plan: Plan) -> str:
    split = plan.split
    if split.test_start:
        return f"{split.reason}; the test begins with {split.test_start}, {split.share:.0%} of the rows"
    return f"{split.reason}; {split.share:.0%} of the rows to test on, {split.validation_size:.0%} for validation"


def _line(label: str, text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=f"  {label}".ljust(_LABEL + 2), subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
