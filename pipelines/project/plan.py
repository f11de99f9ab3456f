"""What a project will say: every parameter that the data ask for, and why."""

import json
import re
import unicodedata
from dataclasses import dataclass

from loopline.components.data.summary import ColumnSummary
from loopline.components.errors import InputError
from loopline.pipelines.project.columns import findings, left_out_by_training, reasons_to_exclude
from loopline.pipelines.project.goal import Goal
from loopline.pipelines.project.leaks import find_leaks
from loopline.pipelines.project.look import Look
from loopline.pipelines.project.splits import Split, choose_split, group_columns
from loopline.pipelines.project.words import some

#: A run's parameters may have 10 kB on a cluster; rules for columns get less than half of that.
RULES_BYTES = 4000
#: Values of a text column are listed when there are no more, each in as many rows: nobody is known by one of them.
MOST_VALUES, FEWEST_ROWS_OF_A_VALUE = 12, 10
#: The part of the largest value below which the smallest is close to zero.
_NEAR = 0.05
#: A class with less than this part of an even share of the rows is easily overlooked.
IMBALANCED = 0.2
#: Boosting rounds as a pipeline takes them by itself, and trees in all that a table of many classes may have.
_ROUNDS, _MOST_TREES = 300, 6000


@dataclass(frozen=True)
class Plan:
    """What a project will say.

    Attributes:
        look: The table.
        name: The model's name.
        goal: What is to be predicted.
        split: How the rows are split.
        exclude: The columns not to learn from, with the reason.
        left_out: The columns that training leaves out by itself, with the reason.
        features: The columns to learn from.
        keep: The columns to keep of the table; empty for all.
        rules: What the columns must look like, as ``expectations`` take it.
        unruled: Features without a rule for want of space.
        set_aside: Why rows are set aside; empty when none has to be.
        rounds: Most boosting rounds.
        remarks: What deserves a person's look, a sentence each.
    """

    look: Look
    name: str
    goal: Goal
    split: Split
    exclude: dict[str, str]
    left_out: dict[str, str]
    features: tuple[str, ...]
    keep: tuple[str, ...]
    rules: dict[str, dict]
    unruled: int
    set_aside: tuple[str, ...]
    rounds: int
    remarks: tuple[str, ...]

    @property
    def is_imbalanced(self) -> bool:
        """Whether a class is rare."""
        goal = self.goal
        return goal.is_classification and goal.smallest * len(goal.classes) < IMBALANCED * goal.rows

    @property
    def slices(self) -> list[str]:
        """Text columns of a few values, to report by."""
        counts = {name: self.look[name].counts for name in self.features if self.look[name].kind == "category"}
        return [name for name, values in counts.items() if values and 2 <= len(values) <= MOST_VALUES][:2]


def make_plan(look: Look, goal: Goal, name: str) -> Plan:
    """Decide what to write for a table.

    Args:
        look: The table.
        goal: What is to be predicted.
        name: The model's name.

    Returns:
        The plan.

    Raises:
        InputError: Nothing is left to learn from.
    """
    split, remarks = choose_split(look, goal)
    exclude, left_out, leaks = _sort_columns(look, goal)
    features = [n for n in look.names if n != goal.target and n not in exclude and n not in left_out]
    if not features:
        reasons = "; ".join(f"{n!r}: {why}" for n, why in [*exclude.items(), *left_out.items()][:3])
        raise InputError(
            f"No column of {look.name} is left to predict {goal.target!r} from ({reasons or 'there is no other'}): "
            "add some."
        )
    if leaks:
        remarks.append(f"One column alone nearly tells the target: {some(leaks)}. Is it known before the target is?")
    dropped = [n for n in [*features, *exclude] if look[n].infinite > 0.05 * look.rows]
    if dropped and len(dropped) < len(features):
        remarks.append(f"{some(dropped)} hold infinite values in many rows: columns does not list them.")
        features = [n for n in features if n not in dropped]
        exclude = {n: why for n, why in exclude.items() if n not in dropped}
    else:
        dropped = []
    rules, unruled = _rules(look, goal, features, exclude)
    return Plan(
        look=look,
        name=name,
        goal=goal,
        split=split,
        exclude=exclude,
        left_out=left_out,
        features=tuple(features),
        keep=tuple(n for n in look.names if n not in dropped) if dropped else (),
        rules=rules,
        unruled=unruled,
        set_aside=tuple(_set_aside(look, goal, [*features, *exclude])),
        rounds=_rounds(goal, split),
        remarks=tuple(remarks + findings(look, goal, [*exclude, *left_out, *dropped])),
    )


def _sort_columns(look: Look, goal: Goal) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
    """Return the columns to exclude and those that training leaves out, with reasons, and suspects that are kept."""
    exclude = reasons_to_exclude(look, goal)
    for name in group_columns(look, goal.target):
        exclude.setdefault(name, "an identifier: each value in a few rows")
    left_out = {n: why for n, why in left_out_by_training(look, goal.target).items() if n not in exclude}
    candidates = [n for n in look.names if n != goal.target and n not in exclude and n not in left_out]
    leaks = find_leaks(look, goal, candidates)
    if 2 * len(leaks) > len(candidates):
        # What most columns know is easy to know.
        return exclude, left_out, leaks
    exclude |= {n: f"tells {known:.1%} of the target by itself: known before it is?" for n, known in leaks.items()}
    return {n: exclude[n] for n in look.names if n in exclude}, left_out, {}


def _rules(look: Look, goal: Goal, features: list[str], exclude: dict[str, str]) -> tuple[dict[str, dict], int]:
    """Draft rules for the target and the features, as many as there is space for."""
    rules = {goal.target: _target_rule(goal)}
    # Without this, a column without a value stops a run.
    rules |= {n: {"nullable": True} for n in exclude if look[n].missing == look[n].rows}
    size, unruled = len(json.dumps(rules)), 0
    for feature in features:
        rule = _rule(look[feature], look.whole)
        size += len(json.dumps({feature: rule}))
        if size > RULES_BYTES:
            unruled += 1
        elif rule:
            rules[feature] = rule
    return rules, unruled


def _target_rule(goal: Goal) -> dict:
    if goal.kind == "category" and (goal.rare or len(goal.classes) <= 50):
        return {"nullable": False, "categories": sorted(goal.classes)}
    return {"nullable": False}


def _rule(column: ColumnSummary, whole: bool) -> dict:
    """Draft a rule that the table keeps; of what was not read nothing is known."""
    if not whole:
        return {}
    # A column with gaps gets no leave to be empty: that would let a broken feed pass.
    rule = {} if column.missing else {"nullable": False}
    if column.kind in ("integer", "number") and column.minimum is not None and column.minimum >= 0:
        # Zero is an end where decimals come close to it, and may be none where they stay away: temperatures, say.
        if column.kind == "integer" or column.minimum <= _NEAR * column.maximum:
            rule["minimum"] = 0
        if column.kind == "number" and 0.5 < column.maximum <= 1:
            rule["maximum"] = 1
    few = column.counts is not None and 0 < len(column.counts) <= MOST_VALUES
    if column.kind == "category" and few and min(column.counts.values()) >= FEWEST_ROWS_OF_A_VALUE:
        rule["categories"] = sorted(column.counts)
    return rule


def _set_aside(look: Look, goal: Goal, names: list[str]) -> list[str]:
    reasons = []
    if goal.missing:
        reasons.append(f"{goal.missing:,} rows have no {goal.target!r}")
    if goal.rare:
        reasons.append(f"{len(goal.rare):,} classes have fewer than 3 rows, {sum(goal.rare.values()):,} in all")
    infinite = [n for n in names if look[n].infinite]
    if infinite:
        reasons.append(f"{some(infinite)} hold infinite values")
    if not look.whole:
        reasons.append(f"only the first {look.rows:,} rows were looked at")
    return reasons


def _rounds(goal: Goal, split: Split) -> int:
    if not split.validation_size:
        return 50
    if goal.task == "multiclass":
        return max(10, min(_ROUNDS, _MOST_TREES // len(goal.classes)))
    return _ROUNDS


def model_name(folder: str) -> str:
    """Make a model's name of a folder's, as registries, images and Kubernetes take it."""
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:50].strip("-") or "model"
