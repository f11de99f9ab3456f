"""Show the verdicts of monitoring in Prometheus, by way of a Pushgateway: a run is over before anyone could scrape it.

Names: https://github.com/prometheus/pushgateway, "API". A group is replaced as a whole, so that a verdict that does not
hold any more is gone.
"""

import logging
import math
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from loopline.components.errors import InputError
from loopline.components.monitoring.past import VERDICTS
from loopline.components.monitoring.web import call, check_url

JOB = "loopline_monitoring"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

logger = logging.getLogger("loopline")


def push(job: str, grouping: Mapping[str, str], values: Mapping[str, float | None]) -> bool:
    """Show gauges at the Pushgateway that ``PROMETHEUS_PUSHGATEWAY_URL`` names; without one nothing is done.

    What was shown for the same group before is gone. A gateway that is away is a warning: the verdict stands without.

    Args:
        job: The job's name.
        grouping: Labels that all gauges have, such as the model's name.
        values: The gauges by name, where there are labels with them as ``with_labels`` writes them; those that are None
            or not finite are left out.

    Returns:
        Whether they were pushed.
    """
    url = os.environ.get("PROMETHEUS_PUSHGATEWAY_URL", "").strip()
    if not url:
        return False
    try:
        address = check_url(url, "PROMETHEUS_PUSHGATEWAY_URL")
        path = "".join(_path_part(name, value) for name, value in {"job": job, **grouping}.items())
        call("PUT", f"{address}/metrics{path}", body=write_gauges(values))
    except InputError as error:
        logger.warning("gauges were not pushed: %s", error)
        return False
    return True


def with_labels(name: str, **labels: str) -> str:
    """Return a gauge's name with labels of its own.

    >>> with_labels("loopline_monitoring_verdict", verdict="wait")
    'loopline_monitoring_verdict{verdict="wait"}'
    """
    escaped = ",".join(f'{label}="{_escape(value)}"' for label, value in labels.items())
    return f"{name}{{{escaped}}}" if labels else name


def decision_gauges(decision: Mapping) -> dict[str, float | None]:
    """Return the gauges of a decision, to be pushed under the model's name.

    Args:
        decision: What decision.json holds.

    Returns:
        ``loopline_drift_score``, ``loopline_drift_columns``, ``loopline_model_loss``, ``loopline_model_skill``,
        ``loopline_monitoring_verdict`` (1 for the verdict that holds, 0 for the others) and
        ``loopline_monitoring_last_window_timestamp_seconds``; None for what the decision does not hold.
    """
    skill, end = decision.get("skill"), (decision.get("window") or {}).get("end")
    return {
        "loopline_drift_score": decision.get("drift_score"),
        "loopline_drift_columns": decision.get("drift_columns"),
        "loopline_model_loss": (decision.get("metric") or {}).get("value"),
        "loopline_model_skill": skill.get("value") if isinstance(skill, Mapping) else skill,
        "loopline_monitoring_last_window_timestamp_seconds": datetime.fromisoformat(end).timestamp() if end else None,
        **{
            with_labels("loopline_monitoring_verdict", verdict=verdict): float(decision.get("verdict") == verdict)
            for verdict in VERDICTS
        },
    }


def write_gauges(values: Mapping[str, float | None]) -> bytes:
    """Write gauges in the text format of Prometheus.

    Raises:
        InputError: A name cannot be one.
    """
    lines, typed = [], set()
    for gauge, value in sorted(values.items()):
        if value is None or not math.isfinite(value):
            continue
        name = gauge.partition("{")[0]
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is not a name of a gauge: write letters, digits and underscores.")
        if name not in typed:
            lines.append(f"# TYPE {name} gauge")
            typed.add(name)
        lines.append(f"{gauge} {float(value)!r}")
    return "".join(f"{line}\n" for line in lines).encode()


def _path_part(name: str, value: str) -> str:
    """Write a label of the group; what cannot stand in a path is written in base 64."""
    if not _LABEL.fullmatch(name):
        raise InputError(f"{name!r} is not a label: write letters, digits and underscores.")
    if "/" in value or not value:
        return f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode() or '='}"
    return f"/{name}/{quote(value, safe='')}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
