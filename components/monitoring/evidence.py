"""What the steps of monitoring found in a window, read from what they wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loopline.components.documents import read_json, reading
from loopline.components.errors import InputError
from loopline.components.monitoring.window import Window

#: By document the step that writes it, and what nothing can be decided without.
_DOCUMENTS = {
    "counts": ("collect_traffic", ("rows", "labeled", "window", "model_digest")),
    "drift": ("detect_drift", ("verdict",)),
    "performance": ("measure_performance", ("verdict", "metric")),
    "service": ("check_service", ("verdict",)),
}


@dataclass(frozen=True)
class Evidence:
    """A window as the steps saw it.

    Attributes:
        counts: What collect_traffic counted.
        drift: What detect_drift found.
        performance: What measure_performance found.
        service: What check_service found.
        window: The window.
    """

    counts: Mapping
    drift: Mapping
    performance: Mapping
    service: Mapping
    window: Window

    @property
    def rows(self) -> int:
        """All rows of the window."""
        return self.counts["rows"]

    @property
    def digest(self) -> str:
        """The digest of the champion."""
        return self.counts["model_digest"]

    @property
    def verdicts(self) -> dict[str, str]:
        """What ``drift``, ``performance`` and ``service`` say."""
        return {name: getattr(self, name)["verdict"] for name in ("drift", "performance", "service")}

    @property
    def metric(self) -> dict:
        """The metric that decides: ``name``, ``lower_is_better``, ``value``, ``low``, ``high`` and ``registered``."""
        name = self.performance["metric"]
        found = (self.performance.get("metrics") or {}).get(name) or {}
        registered = (self.performance.get("registered") or {}).get(name) or {}
        return {
            "name": name,
            "lower_is_better": self.performance.get("lower_is_better", True),
            **{key: found.get(key) for key in ("value", "low", "high")},
            "registered": registered.get("value"),
        }

    @property
    def skill(self) -> dict:
        """What the model is better than a constant by: ``value``, ``low``, ``high`` and ``registered``."""
        found = self.performance.get("skill") or {}
        return {key: found.get(key) for key in ("value", "low", "high", "registered")}

    @property
    def estimate(self) -> dict | None:
        """The metric as estimated without any truth, where that is all there is: ``value``, ``low`` and ``high``."""
        estimate = self.performance.get("estimate")
        if not estimate or not self.performance.get("is_estimate"):
            return None
        found = estimate["metrics"].get(self.performance["metric"]) or {}
        return {"method": estimate.get("method", ""), **{key: found.get(key) for key in ("value", "low", "high")}}


def read_evidence(counts: str | Path, drift: str | Path, performance: str | Path, service: str | Path) -> Evidence:
    """Read what the steps wrote.

    Args:
        counts: The JSON that ``collect_traffic`` wrote.
        drift: That of ``detect_drift``.
        performance: That of ``measure_performance``.
        service: That of ``check_service``.

    Returns:
        All of it.

    Raises:
        InputError: A file is missing or is not what that step writes.
    """
    paths = {"counts": counts, "drift": drift, "performance": performance, "service": service}
    documents = {name: _read(name, path) for name, path in paths.items()}
    return Evidence(**documents, window=read_span(documents["counts"]["window"], str(counts)))


def read_span(window: Mapping, where: str) -> Window:
    """Read a window from a document.

    Args:
        window: ``start`` and ``end``, ISO 8601 with a zone.
        where: The document, for the message.

    Raises:
        InputError: It is no window.
    """
    try:
        start, end = (datetime.fromisoformat(window[key]).astimezone(UTC) for key in ("start", "end"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{where} holds no window with a start and an end: run the monitoring pipeline anew."
        ) from None
    return Window(start, end)


def _read(name: str, path: str | Path) -> dict:
    step, keys = _DOCUMENTS[name]
    if not Path(path).exists():
        raise InputError(f"There is nothing at {path}: pass the {name} output of {step}.")
    with reading(path, f"what {step} writes", f"pass its {name} output"):
        document = read_json(path)
    missing = [key for key in keys if key not in document]
    if missing:
        raise InputError(f"{path} is not what {step} writes (no {missing[0]}): pass its {name} output.")
    return document
