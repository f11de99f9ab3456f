"""One verdict from all that monitoring found in a window and in those before it: retrain, wait, or call for people.

Performance that was measured against the truth decides: of the signals that need no truth, none told where a
retraining paid. An estimate never retrains. Broken data are for people: what learns from them is worse than what waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from loopline.components.documents import write_document
from loopline.components.monitoring.cards import decision_card
from loopline.components.monitoring.evidence import Evidence
from loopline.components.monitoring.past import RETRAIN, Past
from loopline.components.monitoring.policy import DRIFT, EITHER, PERFORMANCE, Policy
from loopline.components.monitoring.soundness import find_broken

WAIT, ALERT = "wait", "alert"
#: A site that should have had so many rows and had none is silent.
_SILENT_ROWS = 50
#: So many retrainings in a row without a better model are enough to call for people.
_IN_VAIN = 2
#: Drifted columns that a sentence names.
_NAMED = 5


@dataclass(frozen=True)
class Decision:
    """What is to be done about a model after a window.

    Attributes:
        verdict: ``retrain``, ``wait`` or ``alert``: people are needed.
        reasons: Why, in sentences; the first says what happens.
        alerts: What people should look at, whatever the verdict.
        signals: What ``data`` (``ok``, ``broken`` or ``empty``), ``drift``, ``performance`` and ``service`` say.
        window: ``start`` and ``end``, ISO 8601.
        rows: Rows of the window.
        labeled: Those with truth.
        own: Those that the champion predicted.
        own_labeled: Those of them with truth.
        new_labels: Labeled rows since the last retraining, about.
        by_site: Rows by site.
        by_version: Rows by model version.
        model_digest: The champion's.
        drift_score: How far the most moved input is from training.
        drift_columns: How many columns drifted; None when unknown.
        drifted: Their names, the most moved first.
        metric: The metric that decides: ``name``, ``value``, ``low``, ``high``, ``registered``, ``lower_is_better``.
        skill: ``value``, ``low``, ``high`` and ``registered``.
        estimate: The metric as estimated, while it cannot be measured; None else.
        policy: What it was held against.
    """

    verdict: str
    reasons: list[str]
    alerts: list[str]
    signals: dict[str, str]
    window: dict[str, str]
    rows: int
    labeled: int
    own: int
    own_labeled: int
    new_labels: int
    by_site: dict[str, int]
    by_version: dict[str, int]
    model_digest: str
    drift_score: float | None
    drift_columns: int | None
    drifted: list[str]
    metric: dict
    skill: dict
    estimate: dict | None
    policy: dict = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON."""
        write_document(path, asdict(self))

    @property
    def metadata(self) -> dict:
        """The main values, flat; without what is unknown."""
        values = {
            "verdict": self.verdict,
            "reason": self.reasons[0],
            "alerts": len(self.alerts),
            "window_start": self.window["start"],
            "window_end": self.window["end"],
            "rows": self.rows,
            "labeled": self.labeled,
            "drift_score": self.drift_score,
            "drift_columns": self.drift_columns,
            "skill": self.skill["value"],
            self.metric["name"]: self.metric["value"],
            **{f"signal_{name}": said for name, said in self.signals.items()},
        }
        return {name: value for name, value in values.items() if value is not None}

    def _repr_html_(self) -> str:
        return decision_card(self).markup()


@dataclass(frozen=True)
class _Call:
    """A signal that may call for a retraining.

    Attributes:
        says: What it says, in a sentence.
        streak: For how many windows in a row.
        needed: How many it takes.
    """

    says: str
    streak: int
    needed: int

    @property
    def stands(self) -> bool:
        return self.streak >= self.needed

    @property
    def sentence(self) -> str:
        windows = "window" if self.streak == 1 else "windows in a row"
        return f"{self.says} That holds for {self.streak} {windows}, and it takes {self.needed}."


def decide(seen: Evidence, history: Sequence[Mapping], policy: Policy) -> Decision:
    """Decide what is to be done about a model; the same input always gives the same decision.

    Args:
        seen: The window as the steps saw it, see ``read_evidence``.
        history: The decisions of earlier windows, see ``read_history``.
        policy: When to retrain.

    Returns:
        The decision.

    Raises:
        InputError: A decision of the history is none.
    """
    past = Past(history, seen.window, seen.digest)
    new_labels = past.new_labels(seen.counts["labeled"])
    broken = find_broken(seen, policy.max_dropped)
    calls = _find_calls(seen, past, policy)
    alerts = [*broken, *_find_alerts(seen, past, policy)]
    if broken:
        verdict, reasons = ALERT, _explain_broken(broken, calls)
    elif any(call.stands for call in calls):
        verdict, reasons = _answer(calls, past, seen, new_labels, policy)
    else:
        verdict, reasons = WAIT, _explain_waiting(seen, calls, policy)
    if verdict == WAIT and alerts:
        verdict, reasons = ALERT, ["People are needed: see the alerts.", *reasons]
    signals = {"data": "broken" if broken else "ok" if seen.rows else "empty", **seen.verdicts}
    facts = {**_describe_window(seen), "new_labels": new_labels, "policy": asdict(policy)}
    return Decision(verdict=verdict, reasons=reasons, alerts=alerts, signals=signals, **facts)


def _describe_window(seen: Evidence) -> dict:
    """Return what a decision keeps of a window."""
    drifted = list(seen.drift.get("drifted") or [])
    return {
        "window": seen.window.to_dict(),
        "rows": seen.rows,
        "labeled": seen.counts["labeled"],
        "own": seen.counts.get("own") or 0,
        "own_labeled": seen.counts.get("own_labeled") or 0,
        "by_site": dict(seen.counts.get("by_site") or {}),
        "by_version": dict(seen.counts.get("by_version") or {}),
        "model_digest": seen.digest,
        "drift_score": seen.drift.get("score"),
        "drift_columns": None if seen.drift["verdict"] == "too_few" else len(drifted),
        "drifted": drifted,
        "metric": seen.metric,
        "skill": seen.skill,
        "estimate": seen.estimate,
    }


def _find_calls(seen: Evidence, past: Past, policy: Policy) -> list[_Call]:
    calls = []
    if seen.performance["verdict"] == "worse" and policy.trigger in (PERFORMANCE, EITHER):
        streak = past.streak("performance", "worse", unclear=("unknown", ""))
        calls.append(_Call(_describe_performance(seen), streak, policy.patience))
    if seen.drift["verdict"] == "drift" and policy.trigger in (DRIFT, EITHER):
        streak = past.streak("drift", "drift", unclear=("too_few", ""))
        calls.append(_Call(_describe_drift(seen), streak, policy.drift_patience))
    return calls


def _answer(
    calls: Sequence[_Call], past: Past, seen: Evidence, new_labels: int, policy: Policy
) -> tuple[str, list[str]]:
    """Retrain, unless it is too early or there is too little to learn from."""
    sentences = [call.sentence for call in calls]
    last, cooldown = past.last_retraining, timedelta(hours=policy.cooldown_h)
    holds = []
    if last and seen.window.end - last < cooldown:
        passed = (seen.window.end - last) / timedelta(hours=1)
        holds.append(
            f"The last retraining was called for {passed:.3g} h ago, at {last.isoformat()}, and the cooldown is "
            f"{policy.cooldown_h:g} h: a window that ends at {(last + cooldown).isoformat()} or later may call again."
        )
    if new_labels < policy.min_labels:
        holds.append(
            f"{new_labels:,} labeled rows are new{' since the last retraining' if last else ''}, and a retraining "
            f"needs {policy.min_labels:,}: it waits for more truth."
        )
    if holds:
        return WAIT, ["A retraining is called for and has to wait.", *holds, *sentences]
    learned = (
        f"A new model is trained and compared with the champion: {new_labels:,} labeled rows are new, and "
        f"{policy.min_labels:,} are needed."
    )
    return RETRAIN, [learned, *sentences]


def _explain_broken(broken: Sequence[str], calls: Sequence[_Call]) -> list[str]:
    reasons = [
        f"Nothing is learned from broken data: {len(broken)} finding{'s' if len(broken) > 1 else ''} to mend; run the "
        "window again then."
    ]
    return [*reasons, *(f"{call.says} That is judged anew when the data are whole." for call in calls)]


def _explain_waiting(seen: Evidence, calls: Sequence[_Call], policy: Policy) -> list[str]:
    if not seen.rows:
        return ["There is no traffic in the window, and so nothing to judge."]
    reasons = ["Nothing calls for a retraining."]
    if calls:
        reasons = ["A retraining is not called for yet: the next windows decide.", *(call.sentence for call in calls)]
    if seen.performance["verdict"] != "worse":
        reasons.append(_describe_performance(seen))
    if seen.drift["verdict"] == "drift" and policy.trigger == PERFORMANCE:
        reasons.append(f"{_describe_drift(seen)} Drift alone does not call while the trigger is {policy.trigger!r}.")
    elif seen.drift["verdict"] != "drift" and seen.drift.get("reason"):
        reasons.append(seen.drift["reason"])
    return reasons


def _find_alerts(seen: Evidence, past: Past, policy: Policy) -> list[str]:
    found = []
    if seen.service["verdict"] == "burning":
        found.append(f"The service does not hold its objectives. {seen.service.get('reason', '')}".strip())
    found += _silence(seen, past)
    if seen.rows and not seen.counts.get("own") and past.champion_seen:
        versions = ", ".join(sorted(seen.counts.get("by_version") or {}))
        found.append(
            f"No site answers with the champion, {seen.digest[:19]}; they serve version {versions}: deliver it, or "
            "make what they serve the champion."
        )
    if seen.performance["verdict"] == "worse":
        if policy.trigger == DRIFT:
            found.append(
                f"{_describe_performance(seen)} That calls for no retraining while the trigger is {policy.trigger!r}: "
                f"set it to {EITHER!r}."
            )
        if past.in_vain >= _IN_VAIN:
            found.append(
                f"{past.in_vain} retrainings in a row gave no better model than {seen.digest[:19]}: look for what its "
                "features do not tell."
            )
    return [*found, *_estimated_decay(seen)]


def _silence(seen: Evidence, past: Past) -> list[str]:
    before = past.last_with_rows
    if before is None:
        return []
    if not seen.rows:
        return [
            f"There is no traffic, and the window that ended at {before.window.end.isoformat()} had {before.rows:,} "
            "rows: look whether the sites serve and log."
        ]
    share = (seen.window.end - seen.window.start) / (before.window.end - before.window.start)
    present = seen.counts.get("by_site") or {}
    return [
        f"Site {site!r} logged nothing, and {rows:,} rows in the window that ended at {before.window.end.isoformat()}: "
        "look whether it serves and logs."
        for site, rows in (before.decision.get("by_site") or {}).items()
        if not present.get(site) and rows * share >= _SILENT_ROWS
    ]


def _estimated_decay(seen: Evidence) -> list[str]:
    """Call for people when the estimate, which is all there is, is surely and by much worse than registered."""
    estimate, metric = seen.estimate, seen.metric
    if estimate is None or metric["registered"] is None:
        return []
    sign = 1 if metric["lower_is_better"] else -1
    best = estimate["low"] if sign > 0 else estimate["high"]
    margin = (seen.performance.get("settings") or {}).get("margin", 0.05)
    if best is None or sign * (best - metric["registered"]) <= margin * abs(metric["registered"]):
        return []
    return [
        f"The {_label(metric)} is estimated, not measured, at {estimate['value']:.4g} where {metric['registered']:.4g} "
        f"was registered, surely more than {margin:.0%} worse: nothing is retrained on an estimate, bring the truth."
    ]


def _describe_performance(seen: Evidence) -> str:
    reason = seen.performance.get("reason")
    return reason or f"The performance is {seen.performance['verdict']}."


def _describe_drift(seen: Evidence) -> str:
    if seen.drift.get("reason"):
        return seen.drift["reason"]
    drifted = list(seen.drift.get("drifted") or [])
    named = ", ".join(drifted[:_NAMED]) + (" and others" if len(drifted) > _NAMED else "")
    return f"{len(drifted)} columns drifted{f': {named}' if named else ''}."


def _label(metric: Mapping) -> str:
    return metric["name"].replace("_", " ")
