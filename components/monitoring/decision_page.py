"""The page of a decision: what is to be done, why, and how it came to that over the windows before."""

from collections.abc import Mapping, Sequence

from loopline.components.monitoring.decide import Decision
from loopline.components.report import Report, show

_TONES = {"retrain": "warn", "wait": "good", "alert": "bad"}


def decision_report(decision: Decision, history: Sequence[Mapping] = ()) -> Report:
    """Make the page of a decision.

    Args:
        decision: The decision.
        history: Those of the windows before, the newest last.
    """
    page = Report("Decision", f"{decision.window['start']} to {decision.window['end']}")
    page.tiles([("Verdict", decision.verdict, "", _TONES[decision.verdict]), ("Rows", show(decision.rows))])
    page.section("Why")
    for reason in decision.reasons:
        page.text(reason)
    return page
