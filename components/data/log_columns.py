"""The columns of the traffic log that are neither features nor predictions: what every logged row says of itself."""

#: Before the name of each of them, so that none is taken for a feature.
PREFIX = "loopline_"
#: The request, the row's position in it, when it was answered, and how long that took.
ID, ROW, TIME, LATENCY = (f"{PREFIX}{name}" for name in ("request_id", "row", "time", "latency_ms"))
#: The model that answered: its name, version and digest, the image it came in, and where it is served.
NAME, VERSION, DIGEST, IMAGE, SITE = (
    f"{PREFIX}{name}" for name in ("model_name", "model_version", "model_digest", "image_digest", "site")
)
