"""Say whether the rows of a window still look like what a model was trained on.

Drift is what is **significant** over all tests together and **large**: a million rows make every difference
significant, and a hundred make every difference look large. Both are needed (``drift_settings.py`` says what is large).
"""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loopline.components.documents import write_document
from loopline.components.monitoring.broken import find_fault, typical_sizes
from loopline.components.monitoring.cards import drift_card
from loopline.components.monitoring.drift_settings import DriftSettings
from loopline.components.monitoring.drift_tests import Significance, test_window
from loopline.components.monitoring.effects import Effects, measure_effects
from loopline.components.monitoring.reference import Reference, Watched, read_reference
from loopline.components.monitoring.summary import Summary, summarize_traffic

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class ColumnDrift:
    """What was found of one column.

    Attributes:
        column: The column.
        effects: How far it moved.
        test: The test that speaks loudest; empty when none was made.
        p_value: Of all tests of the column together; None when none was made.
        adjusted_p: Comparable with alpha, whatever else was tested.
        drifted: Whether the change is significant and large.
        broken: What is wrong with it, when it is broken rather than drifted.
        size: How large the change is: 1 is just large.
    """

    column: Watched
    effects: Effects
    test: str
    p_value: float | None
    adjusted_p: float | None
    drifted: bool
    broken: str
    size: float

    def to_dict(self) -> dict:
        """Return it as plain JSON values."""
        effects = asdict(self.effects)
        return {
            "name": self.column.name,
            "role": self.column.role,
            "kind": self.column.kind,
            "test": self.test,
            "p_value": self.p_value,
            "adjusted_p": self.adjusted_p,
            **effects,
            "size": self.size,
            "drifted": self.drifted,
            "broken": self.broken,
        }


@dataclass(frozen=True)
class Drift:
    """The verdict on a window and what it rests on.

    Attributes:
        verdict: ``drift``, ``none``, ``broken`` or ``too_few``.
        reason: Why, in one or two sentences.
        columns: What was found of each column: broken ones first, then drifted ones, the most moved first.
        pairs: The pairs of numbers whose correlation changed most, as JSON values.
        joint: The shift of all numbers together; None when not tested.
        domain: What a classifier found that tells the window from the reference; None when not tested.
        settings: What counts as drift.
        reference: What was compared with.
        summary: What was counted.
    """

    verdict: str
    reason: str
    columns: list[ColumnDrift]
    pairs: list[dict]
    joint: dict | None
    domain: dict | None
    settings: DriftSettings
    reference: Reference = field(repr=False)
    summary: Summary = field(repr=False)

    @property
    def score(self) -> float:
        """The largest population stability index of the inputs: 0 is as at training."""
        return max((one.effects.psi or 0.0 for one in self.columns if one.column.role == "input"), default=0.0)

    @property
    def metrics(self) -> dict[str, float]:
        """The main figures by name."""
        found = {
            "rows": self.summary.rows,
            "own_rows": self.summary.own_rows,
            "columns": len(self.columns),
            "columns_drifted": sum(one.drifted for one in self.columns),
            "columns_broken": sum(bool(one.broken) for one in self.columns),
            "pairs_drifted": sum(pair["drifted"] for pair in self.pairs),
            "score": self.score,
        }
        if self.domain:
            found["domain_auc"] = self.domain["auc"]
        return {name: float(value) for name, value in found.items()}

    def to_dict(self) -> dict:
        """Return everything but the counts as plain JSON values."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "rows": self.summary.rows,
            "own_rows": self.summary.own_rows,
            "reference_rows": self.reference.rows,
            "engine": self.settings.engine,
            "columns": [one.to_dict() for one in self.columns],
            "pairs": self.pairs,
            "joint": self.joint,
            "domain_classifier": self.domain,
            "drifted": [one.column.name for one in self.columns if one.drifted],
            "broken": [one.broken for one in self.columns if one.broken],
            "score": self.score,
            "settings": asdict(self.settings),
        }

    def save(self, path: str | Path) -> None:
        """Write the verdict as JSON."""
        write_document(path, self.to_dict())

    def _repr_html_(self) -> str:
        return drift_card(self).markup()


def detect(model: str | Path, traffic: str | Path, settings: DriftSettings | None = None) -> Drift:
    """Say whether traffic still looks like what a model was trained on.

    Args:
        model: The model directory.
        traffic: The collected table.
        settings: What counts as drift.

    Returns:
        The verdict.

    Raises:
        InputError: An input cannot be used or the engine is not installed.
    """
    settings = settings or DriftSettings()
    reference = read_reference(model)
    summary = summarize_traffic([traffic], reference, settings.sample, settings.seed)
    found = judge(reference, summary, settings)
    logger.info("%s rows: %s (%s)", f"{summary.rows:,}", found.verdict, found.reason)
    return found


def judge(reference: Reference, summary: Summary, settings: DriftSettings | None = None) -> Drift:
    """Say whether summarized rows look like a reference.

    Args:
        reference: What is compared with.
        summary: The rows, summarized with that reference.
        settings: What counts as drift.

    Returns:
        The verdict; the same for the same rows, however they were spread over files.

    Raises:
        InputError: The engine is unknown or not installed.
    """
    settings = settings or DriftSettings()
    effects = {column.name: measure_effects(column, summary.tallies[column.name]) for column in reference.columns}
    faults = {column.name: _fault(column, effects[column.name], reference, summary) for column in reference.columns}
    broken = {name for name, fault in faults.items() if fault}
    enough = summary.rows >= settings.min_rows
    tests = test_window(reference, summary, settings, broken) if enough else Significance()
    columns = []
    for column in reference.columns:
        name = column.name
        test, p_value, adjusted = tests.columns.get(name, ("", None, None))
        size = settings.size(effects[name])
        drifted = bool(adjusted is not None and adjusted < settings.alpha and size >= 1)
        columns.append(ColumnDrift(column, effects[name], test, p_value, adjusted, drifted, faults[name], size))
    columns.sort(key=lambda one: (not one.broken, not one.drifted, -one.size, one.column.name))
    verdict = _verdict(columns, tests, enough)
    reason = _reason(verdict, columns, tests, settings, summary)
    return Drift(verdict, reason, columns, tests.pairs, tests.joint, tests.domain, settings, reference, summary)


def _fault(column: Watched, effects: Effects, reference: Reference, summary: Summary) -> str:
    sizes = None
    if column.role == "input" and not column.is_text and summary.rows:
        sizes = typical_sizes(reference.sample[column.name], summary.sample.columns[column.name])
    return find_fault(column, summary.tallies[column.name], effects, sizes)


def _verdict(columns: list[ColumnDrift], tests: Significance, enough: bool) -> str:
    if any(one.broken for one in columns):
        return "broken"
    if not enough:
        return "too_few"
    return "drift" if any(one.drifted for one in columns) or tests.drifted else "none"


def _reason(
    verdict: str, columns: list[ColumnDrift], tests: Significance, settings: DriftSettings, summary: Summary
) -> str:
    if verdict == "broken":
        faults = [one.broken for one in columns if one.broken]
        more = f" {len(faults) - 2} more columns are broken." if len(faults) > 2 else ""
        return " ".join(faults[:2]) + more
    if verdict == "too_few":
        rows = "One row is" if summary.rows == 1 else f"{summary.rows:,} rows are"
        return f"{rows} too few to say anything: {settings.min_rows:,} are needed."
    if verdict == "none":
        return f"Nothing in {len(columns)} columns is both significant and large."
    moved = [one for one in columns if one.drifted]
    parts = []
    if moved:
        names = ", ".join(repr(one.column.name) for one in moved[:3]) + (" and others" if len(moved) > 3 else "")
        parts.append(f"{len(moved)} of {len(columns)} columns moved ({names})")
    parts += tests.sentences
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]
