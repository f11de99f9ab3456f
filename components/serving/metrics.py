"""Loopline's own metrics, shown at ``/metrics`` beside those of MLServer."""

from prometheus_client import Counter, Gauge, Histogram

MODEL = Gauge(
    "loopline_model_info",
    "The model that is served; always 1",
    ["model", "version", "model_digest", "image_digest", "site"],
)
PREDICTIONS = Counter(
    "loopline_predictions", "Rows predicted, by their most probable class; empty for a regression", ["model", "label"]
)
TRAFFIC_LOGGED = Counter("loopline_traffic_rows_logged", "Predicted rows written to the traffic log")
TRAFFIC_DROPPED = Counter("loopline_traffic_rows_dropped", "Predicted rows that the traffic log lost", ["reason"])
REQUESTS = Counter(
    "loopline_requests",
    "Inference requests: answered, refused because of what was sent, or failed for another reason",
    ["model", "site", "protocol", "outcome"],
)
SECONDS = Histogram(
    "loopline_request_seconds",
    "Time from an inference request to its answer; answered requests alone",
    ["model", "site", "protocol"],
    # MLServer's own begin at 5 ms, which most models stay far below.
    buckets=[0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
)


class RequestCounts:
    """Counts the inference requests that come by one protocol, by what becomes of them.

    All series are there from the start: Prometheus sees no growth in a series that begins with it.

    Args:
        model: The model's name.
        site: Where it is served, empty when unknown.
        protocol: ``rest`` or ``grpc``.
    """

    def __init__(self, model: str, site: str, protocol: str):
        labels = (model, site, protocol)
        outcomes = [REQUESTS.labels(*labels, outcome) for outcome in ("answered", "refused", "failed")]
        self._answered, self._refused, self._failed = outcomes
        self._seconds = SECONDS.labels(*labels)

    def answered(self, seconds: float) -> None:
        """Count an answer and how long it took."""
        self._answered.inc()
        self._seconds.observe(seconds)

    def refused(self) -> None:
        """Count a request that nobody could answer."""
        self._refused.inc()

    def failed(self) -> None:
        """Count a request that should have been answered."""
        self._failed.inc()

    def ended(self, status: int, seconds: float) -> None:
        """Count a request by its status of HTTP.

        Args:
            status: The status.
            seconds: How long it took.
        """
        if status < 400:
            self.answered(seconds)
        elif status < 500:
            self.refused()
        else:
            self.failed()
