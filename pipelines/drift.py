"""Drift over partitions: the drift verdict on a window whose traffic is too much for one step."""

from kfp import dsl

from loopline.components import detect_drift_over_windows, list_windows, load_model, summarize_traffic
from loopline.pipelines.settings import configure


@dsl.pipeline(name="drift-partitioned", display_name="Loopline: judge the drift of much traffic")
def drift_partitioned(
    name: str,
    traffic: str = "",
    start: str = "",
    end: str = "",
    hours: float = 24.0,
    pieces: int = 24,
    sites: str = "",
    engine: str = "alibi",
    alpha: float = 0.05,
    seed: int = 0,
) -> str:
    """Summarize the traffic of a window piece by piece, side by side, and judge all of it as monitoring does.

    Args:
        name: The registered model; its champion is what the sites serve.
        traffic: The traffic log: a folder or s3://bucket/prefix; LOOPLINE_TRAFFIC_URI, else this machine's own.
        start: The window's first instant, ISO 8601; the given hours before its end when empty.
        end: The first instant after it; now when empty.
        hours: The window's length when it has no start.
        pieces: The most pieces: each becomes a step of its own.
        sites: Comma-separated; all when empty.
        engine: What runs the drift tests: alibi (Business Source License: production use needs a license) or scipy.
        alpha: The share of false alarms allowed, over all columns and tests together.
        seed: Random seed.

    Returns:
        drift, none, broken or too_few.
    """
    champion = load_model(name=name, alias="champion")
    configure(champion, "Load champion", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    # Never cached: without an end it is another window each time.
    listed = configure(list_windows(start=start, end=end, hours=hours, pieces=pieces), "Cut the window", outside=True)
    with dsl.ParallelFor(listed.output, name="windows", parallelism=8) as window:
        summarized = summarize_traffic(
            model=champion.outputs["model"], name=name, window=window, uri=traffic, sites=sites, seed=seed
        )
        configure(summarized, "Summarize traffic", outside=True, secret="loopline-s3")
    judged = detect_drift_over_windows(
        model=champion.outputs["model"], summaries=dsl.Collected(summarized.outputs["summary"]), engine=engine,
        alpha=alpha, seed=seed,
    )  # fmt: skip
    configure(judged, "Detect drift", cpu="2")
    return judged.outputs["Output"]
