"""Monitoring: what the sites saw, whether the model still fits, and when it does not, retrain, judge and deliver."""

from kfp import dsl

from loopline.components import (
    annotate_model,
    check_service,
    collect_traffic,
    decide_retraining,
    detect_drift,
    load_model,
    measure_performance,
    probe_capacity,
    trigger_pipeline,
)
from loopline.pipelines.delivery import delivery
from loopline.pipelines.retraining import retraining
from loopline.pipelines.settings import configure

_STORES = ("loopline-mlflow", "loopline-s3")


@dsl.pipeline(name="monitoring", display_name="Loopline: watch a model, retrain and redeliver it when needed")
def monitoring(
    name: str,
    target: str,
    history: str,
    history_time: str = "",
    csv: str = "{}",
    task: str = "auto",
    traffic: str = "",
    truth: str = "",
    truth_key: str = "request_id,row",
    truth_csv: str = "{}",
    start: str = "",
    end: str = "",
    hours: float = 24.0,
    targets: str = "",
    availability: float = 0.999,
    p99_ms: float = 250.0,
    capacity: str = "",
    engine: str = "alibi",
    metric: str = "",
    worse_by: float = 0.05,
    trigger: str = "performance",
    patience: int = 1,
    drift_patience: int = 2,
    min_labels: int = 1000,
    cooldown_h: float = 24.0,
    since: str = "",
    lookback_h: float = 8760.0,
    test_share: float = 0.3,
    validation_size: float = 0.05,
    expectations: str = "{}",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    slices: str = "",
    margin: float = 0.0,
    repository: str = "",
    image: str = "",
    wave_1: str = "edge",
    wave_2: str = "cloud",
    wave_3: str = "datacenter",
    base: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    mode: str = "direct",
    require_approval: bool = False,
    alert_pipeline: str = "",
    alert_parameters: str = "{}",
    seed: int = 0,
) -> str:
    """Watch a window of traffic: drift, performance and service; decide; retrain, judge and deliver when needed.

    Args:
        name: The registered model; its champion is what the sites serve.
        target: The column it predicts.
        history: The data the champion was trained on, for a retraining: path, glob, s3://bucket/key or https://.
        history_time: The column of the history that says when; none when empty.
        csv: How the history is written as CSV, as a JSON object, where its first lines do not tell; see training.
        task: For a retraining: binary, multiclass, regression, or auto to go by the target.
        traffic: The traffic log: a folder or s3://bucket/prefix; LOOPLINE_TRAFFIC_URI, else this machine's own.
        truth: CSV or Parquet with the key and the target: path, glob or s3://; no truth when empty or not there yet.
        truth_key: The columns by which truth and predictions are joined.
        truth_csv: How the truth is written as CSV, as a JSON object, where its first lines do not tell; see training.
        start: The window's first instant, ISO 8601; the given hours before its end when empty.
        end: The first instant after it; now when empty.
        hours: The window's length when it has no start.
        targets: Sites and URLs to ask for metrics, edge=http://host:port,...; Prometheus or the sites of the
            configuration repository when empty.
        availability: The share of requests that must be answered.
        p99_ms: Highest 99th percentile of the latency, in milliseconds.
        capacity: Requests a second that the sites can take, edge=300,cloud=1200 or one number for all; saturation is
            not judged when empty.
        engine: What runs the drift tests: alibi (Business Source License: production use needs a license) or scipy.
        metric: The metric that decides; log_loss or rmse when empty.
        worse_by: How much worse is worse: a share of the registered loss, and an amount of skill.
        trigger: What calls for a retraining: performance (labeled), drift, or either.
        patience: For so many windows in a row the performance must be worse.
        drift_patience: For so many windows in a row there must be drift.
        min_labels: The fewest labeled rows that are new since the last retraining.
        cooldown_h: Hours after a retraining in which there is no other.
        since: The first instant of the traffic that a retraining learns from, ISO 8601; lookback_h before the window's
            end when empty.
        lookback_h: How much traffic a retraining learns from, in hours, when there is no since.
        test_share: Share of the labeled traffic, the newest, that challenger and champion are compared on.
        validation_size: Share of the rows, just before those, for early stopping.
        expectations: JSON that tightens the schema of the training data; rows that break a rule are set aside.
        params: XGBoost parameters as a JSON object.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain; 0 never stops.
        slices: Comma-separated columns to report by.
        margin: How much better the challenger must be to be promoted, in units of the metric.
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        image: Where to push the model image; a folder under LOOPLINE_HOME when empty.
        wave_1: The sites that get a new model first, comma-separated.
        wave_2: The sites after them; may be empty.
        wave_3: The sites after those; may be empty.
        base: The image below the model by digest; the small one that comes with Loopline when empty.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        mode: direct, or pull-request to leave the delivery to people.
        require_approval: Stop a delivery until somebody has approved the image with loopline approve.
        alert_pipeline: A pipeline on the server to start when people are needed; none when empty.
        alert_parameters: Its parameters as a JSON object.
        seed: Random seed.

    Returns:
        retrain, wait or alert.
    """
    champion = load_model(name=name, alias="champion")
    configure(champion, "Load champion", outside=True, secret=_STORES)
    collected = collect_traffic(
        model=champion.outputs["model"], name=name, uri=traffic, start=start, end=end, hours=hours, truth=truth,
        truth_key=truth_key, truth_csv=truth_csv,
    )  # fmt: skip
    configure(collected, "Collect traffic", outside=True, secret="loopline-s3")
    drift = detect_drift(
        model=champion.outputs["model"], traffic=collected.outputs["traffic"], engine=engine, seed=seed
    )
    configure(drift, "Detect drift", cpu="2")
    performance = measure_performance(
        model=champion.outputs["model"], traffic=collected.outputs["traffic"],
        registered=champion.outputs["found_metrics"], metric=metric, margin=worse_by, seed=seed,
    )  # fmt: skip
    configure(performance, "Measure performance")
    service = check_service(
        name=name, start=collected.outputs["window_start"], end=collected.outputs["window_end"], targets=targets,
        repository=repository, availability=availability, p99_ms=p99_ms, capacity=capacity,
    )  # fmt: skip
    configure(service, "Check service", outside=True, secret=(*_STORES, "loopline-git", "loopline-prometheus"))
    decided = decide_retraining(
        counts=collected.outputs["counts"], drift=drift.outputs["drift"],
        performance=performance.outputs["performance"], service=service.outputs["service"], name=name,
        trigger=trigger, patience=patience, drift_patience=drift_patience, min_labels=min_labels,
        cooldown_h=cooldown_h,
    )  # fmt: skip
    configure(decided, "Decide", outside=True, secret=(*_STORES, "loopline-prometheus"))
    with dsl.If(decided.outputs["Output"] == "retrain", name="does-not-fit"):
        retrained = retraining(
            name=name, target=target, history=history, history_time=history_time, csv=csv, task=task, traffic=traffic,
            truth=truth, truth_key=truth_key, truth_csv=truth_csv, since=since, until=collected.outputs["window_end"],
            lookback_h=lookback_h, test_share=test_share, validation_size=validation_size, expectations=expectations,
            params=params, rounds=rounds, early_stopping_rounds=early_stopping_rounds, slices=slices, metric=metric,
            margin=margin, seed=seed,
        ).set_display_name("Retrain")  # fmt: skip
        with dsl.If(retrained.output == "promote", name="better"):
            delivered = delivery(
                name=name, repository=repository, image=image, wave_1=wave_1, wave_2=wave_2, wave_3=wave_3, base=base,
                branch=branch, overlay=overlay, mode=mode, require_approval=require_approval, p99_ms=p99_ms,
            ).set_display_name("Deliver")  # fmt: skip
            annotated = annotate_model(
                decision=decided.outputs["decision"], name=name, version=delivered.outputs["version"]
            )
            configure(annotated, "Annotate version", outside=True, secret="loopline-mlflow")
    with dsl.If(decided.outputs["Output"] == "alert", name="needs-people"):
        # Models that are watched on one schedule have windows that end together.
        alerted = trigger_pipeline(
            pipeline=alert_pipeline, parameters=alert_parameters, event=f"{name} {collected.outputs['window_end']}"
        )
        configure(alerted, "Call for people", outside=True)
    return decided.outputs["Output"]


@dsl.pipeline(name="capacity", display_name="Loopline: find what rate a service holds")
def capacity(
    name: str,
    url: str,
    p99_ms: float = 250.0,
    most_rate: float = 1000.0,
    seconds: float = 3.0,
    budget_s: float = 120.0,
) -> float:
    """Find the highest rate that a service holds within its latency budget, with the champion's golden rows.

    Args:
        name: The registered model that the service serves.
        url: Where it answers. Nothing else is asked.
        p99_ms: Highest 99th percentile of the latency, in milliseconds.
        most_rate: The highest rate to try, in requests a second.
        seconds: How long each rate is tried.
        budget_s: How long all of it may take.

    Returns:
        Requests a second.
    """
    champion = load_model(name=name, alias="champion")
    configure(champion, "Load champion", outside=True, secret=_STORES)
    probed = probe_capacity(
        model=champion.outputs["model"], url=url, p99_ms=p99_ms, most_rate=most_rate, seconds=seconds, budget_s=budget_s
    )
    configure(probed, "Probe capacity", outside=True)
    return probed.outputs["Output"]
