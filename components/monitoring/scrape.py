"""Read a model server's counters: the names that servers give them, and how to read them from ``/metrics``."""

import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from loopline.components.errors import InputError
from loopline.components.monitoring.activity import Look
from loopline.components.monitoring.web import call

#: The most bytes of metrics that are read.
_MAX_BYTES = 8 * 2**20
_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
#: When the process started, and the sum of what it serves; from the client library and from Loopline's server.
STARTED, MODEL_INFO = "process_start_time_seconds", "loopline_model_info"


@dataclass(frozen=True)
class Metric:
    """Time series of one name.

    Attributes:
        name: The name.
        labels: What its labels must be, as regular expressions of the whole value.
        beside: Only of processes that have this metric, too; empty for all. For Prometheus, which has many.
    """

    name: str
    labels: Mapping[str, str]
    beside: str = ""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a time series of this name is meant."""
        return all(re.fullmatch(wanted, labels.get(name, "")) for name, wanted in self.labels.items())

    @property
    def selector(self) -> str:
        """The same in PromQL."""
        conditions = ",".join(f'{name}=~"{wanted}"' for name, wanted in self.labels.items())
        return f"{self.name}{{{conditions}}}"


@dataclass(frozen=True)
class Dialect:
    """What a kind of server calls its counters.

    Attributes:
        server: The kind.
        answered: Requests answered.
        refused: Requests refused because of what was sent.
        failed: Requests that failed for another reason.
        seconds: The buckets of the latency.
        open: Requests being answered.
        model: A counter that names the model that a process serves, and the label that does.
        unit: How many of the latency's unit are a second.
    """

    server: str
    answered: tuple[Metric, ...]
    refused: tuple[Metric, ...]
    failed: tuple[Metric, ...]
    seconds: tuple[Metric, ...]
    open: tuple[Metric, ...]
    model: tuple[str, str]
    unit: float = 1.0

    def serving(self, model: str) -> str:
        """Return in PromQL the processes that serve a model."""
        name, label = self.model
        return f"{name}{{{label}={json.dumps(model)}}}"


def _outcome(outcome: str) -> tuple[Metric, ...]:
    return (Metric("loopline_requests_total", {"outcome": outcome}),)


def _mlserver(status: str, code: str) -> tuple[Metric, ...]:
    rest = Metric("rest_server_requests_total", {"path": ".*/infer", "status_code": status})
    return rest, Metric("grpc_server_handled_total", {"grpc_method": "ModelInfer", "grpc_code": code})


_IN_PROGRESS = (Metric("rest_server_requests_in_progress", {"method": "POST"}),)
_BLAMED = "INVALID_ARGUMENT|NOT_FOUND|FAILED_PRECONDITION|OUT_OF_RANGE|UNAUTHENTICATED|PERMISSION_DENIED|CANCELLED"
_BLAMELESS = "UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
#: In the order in which they are looked for.
DIALECTS = (
    Dialect(
        "Loopline",
        *(_outcome(outcome) for outcome in ("answered", "refused", "failed")),
        (Metric("loopline_request_seconds_bucket", {}),),
        _IN_PROGRESS,
        ("loopline_requests_total", "model"),
    ),
    Dialect(
        "MLServer",
        _mlserver("2..", "OK"),
        _mlserver("4..", _BLAMED),
        _mlserver("5..", _BLAMELESS),
        (
            Metric("rest_server_request_duration_seconds_bucket", {"path": ".*/infer", "status_code": "2.."}),
            Metric("grpc_server_handling_seconds_bucket", {"grpc_method": "ModelInfer"}),
        ),
        _IN_PROGRESS,
        ("model_infer_request_success_total", "model"),
    ),
    # OpenVINO Model Server: docs.openvino.ai, "Metrics". A malformed request counts as failed there.
    Dialect(
        "OpenVINO Model Server",
        (Metric("ovms_requests_success", {"method": "ModelInfer"}),),
        (),
        (Metric("ovms_requests_fail", {"method": "ModelInfer"}),),
        (Metric("ovms_request_time_us_bucket", {}),),
        (Metric("ovms_current_requests", {}),),
        ("ovms_requests_success", "name"),
        1e6,
    ),
)


@dataclass(frozen=True)
class Sample:
    """One line of ``/metrics``.

    Attributes:
        name: The metric.
        labels: Its labels.
        value: Its value.
    """

    name: str
    labels: Mapping[str, str]
    value: float


def parse_metrics(text: str) -> list[Sample]:
    """Read the text format of Prometheus (prometheus.io, "Exposition formats").

    Args:
        text: What ``/metrics`` answered.

    Raises:
        InputError: A line is of another format.
    """
    samples = []
    for line in text.split("\n"):  # a label may hold what else ends a line
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        try:
            value = float(found[3])
        except (TypeError, ValueError):
            raise InputError(f"{line[:80]!r} is no line of Prometheus' text format: is this /metrics?") from None
        labels = {name: _unescape(text) for name, text in _LABEL.findall(found[2] or "")}
        samples.append(Sample(found[1], labels, value))
    return samples


def read_look(samples: list[Sample], now: float) -> Look:
    """Read the counters of a model server.

    Args:
        samples: What its ``/metrics`` says.
        now: The time, in seconds since 1970.

    Raises:
        InputError: No model server known here counts like this.
    """
    names = {sample.name for sample in samples}
    dialect = next((one for one in DIALECTS if any(metric.name in names for metric in one.answered)), None)
    if dialect is None:
        known = ", ".join(one.server for one in DIALECTS)
        raise InputError(f"There is no count of requests: name the metrics of a model server ({known}).")
    buckets: dict[str, float] = {}
    for sample in _select(samples, dialect.seconds):
        bound = scale_bound(sample.labels.get("le", "+Inf"), dialect.unit)
        buckets[bound] = buckets.get(bound, 0.0) + sample.value
    started = [sample.value for sample in samples if sample.name == STARTED and math.isfinite(sample.value)]
    releases = [sample.labels for sample in samples if sample.name == MODEL_INFO]
    open_now = [sample.value for sample in _select(samples, dialect.open)]
    return Look(
        now,
        max(started, default=None),
        *(
            sum(sample.value for sample in _select(samples, metrics))
            for metrics in (dialect.answered, dialect.refused, dialect.failed)
        ),
        buckets,
        sum(open_now) if open_now else None,
        " ".join(release.get("image_digest") or release.get("model_digest", "") for release in releases),
    )


def scale_bound(bound: str, unit: float) -> str:
    """Return a bucket's bound in seconds, written as Python writes it.

    Raises:
        InputError: It is no number.
    """
    try:
        return str(float(bound) / unit)
    except ValueError:
        raise InputError(f"A bucket ends at {bound[:40]!r}, which is no number: is this a histogram?") from None


def scrape(url: str) -> Look:
    """Look at a server's counters.

    Args:
        url: Its address; ``/metrics`` is added where the path does not end so.

    Raises:
        UnreachableError: Nothing answers there.
        InputError: What answers is not a model server's metrics.
    """
    address = url.rstrip("/")
    address = address if address.endswith("/metrics") else f"{address}/metrics"
    answer = call("GET", address, token=os.environ.get("LOOPLINE_SITE_TOKEN", ""), most_bytes=_MAX_BYTES)
    now = time.time()
    try:
        return read_look(parse_metrics(answer), now)
    except InputError as error:
        raise InputError(f"{address} cannot be used: {error}") from None


def _select(samples: list[Sample], metrics: tuple[Metric, ...]) -> list[Sample]:
    found = [s for s in samples if any(s.name == metric.name and metric.matches(s.labels) for metric in metrics)]
    wrong = next((s for s in found if not (math.isfinite(s.value) and s.value >= 0)), None)
    if wrong:
        raise InputError(f"{wrong.name} stands at {wrong.value}, which is no count: name a model server.")
    return found


def _unescape(text: str) -> str:
    return re.sub(r'\\[\\n"]', lambda found: _ESCAPED[found[0]], text)
