"""Loopline's own metrics, shown at ``/metrics`` beside those of MLServer."""

from prometheus_client import Counter, Gauge

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
