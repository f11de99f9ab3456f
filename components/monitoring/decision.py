"""Decide about a window in the light of those before, and leave it to those after."""

import tempfile
from dataclasses import asdict
from pathlib import Path

from loopline.components.monitoring import gauges
from loopline.components.monitoring.decide import Decision, decide
from loopline.components.monitoring.decision_page import decision_report
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.policy import Policy
from loopline.components.monitoring.state import read_history, record, window_key
from loopline.components.report import Report


def decide_window(
    name: str,
    counts: str | Path,
    drift: str | Path,
    performance: str | Path,
    service: str | Path,
    policy: Policy,
) -> tuple[Decision, Report]:
    """Read the history, decide, record the window in MLflow and show the verdict in Prometheus.

    Args:
        name: The registered model.
        counts: The JSON that ``collect_traffic`` wrote.
        drift: That of ``detect_drift``.
        performance: That of ``measure_performance``.
        service: That of ``check_service``.
        policy: When to retrain.

    Returns:
        The decision and its page.

    Raises:
        InputError: An input cannot be used, or MLflow cannot be reached or refuses.
    """
    seen = read_evidence(counts, drift, performance, service)
    history = read_history(name, seen.window.end.isoformat())
    decision = decide(seen, history, policy)
    page = decision_report(decision, history)
    document = asdict(decision)
    files = {"counts.json": counts, "drift.json": drift, "performance.json": performance, "service.json": service}
    with tempfile.TemporaryDirectory() as folder:
        page.write(Path(folder) / "decision.html")
        record(name, window_key(document), document, {**files, "decision.html": Path(folder) / "decision.html"})
    gauges.push(gauges.JOB, {"model": name}, gauges.decision_gauges(document))
    return decision, page
