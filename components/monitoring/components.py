"""Components of the monitoring stage: what the services saw, whether the model still fits, and what to do about it."""

from typing import List

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from loopline.components.step import step


@step
def collect_traffic(
    model: Input[Model],
    traffic: Output[Dataset],
    counts: Output[Metrics],
    report: Output[HTML],
    window_start: OutputPath(str),
    window_end: OutputPath(str),
    name: str,
    uri: str = "",
    start: str = "",
    end: str = "",
    hours: float = 24.0,
    sites: str = "",
    truth: str = "",
    truth_key: str = "request_id,row",
    truth_csv: str = "{}",
) -> int:
    """Collect what the sites predicted in a window of time, joined with the truth where it has arrived.

    Args:
        model: The champion's model directory: what the rows must look like.
        traffic: The rows as Parquet in the order of time: the log's columns, the features, the predictions and the
            target, which is null where no truth has arrived.
        counts: How many rows there are by site and version, and what was dropped and why; its file is JSON.
        report: The same as a page.
        window_start: The window's first instant, ISO 8601 in UTC.
        window_end: The first instant after it.
        name: The model's name in the traffic log.
        uri: The traffic log: a folder or s3://bucket/prefix; LOOPLINE_TRAFFIC_URI, else this machine's own, when empty.
        start: ISO 8601; the given hours before the end when empty.
        end: ISO 8601; now when empty.
        hours: The window's length when it has no start.
        sites: Comma-separated; all when empty.
        truth: CSV or Parquet with the key and the target: path, glob or s3://; no truth when empty or not there yet.
        truth_key: The columns by which truth and predictions are joined.
        truth_csv: JSON that says how the truth is written as CSV, where its first lines do not tell, e.g.
            {"encoding": "cp1252"}; see ingest_data.

    Returns:
        How many rows the window has.

    Raises:
        InputError: The log cannot be read or lacks a feature, or a parameter makes no sense.
    """
    from loopline.components.monitoring.collect import collect
    from loopline.components.monitoring.window import read_window

    window = read_window(start, end, hours)
    collected = collect(model.path, traffic.path, name, uri, window, sites, truth, truth_key, truth_csv)
    for path, instant in ((window_start, window.start), (window_end, window.end)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(instant.isoformat())
    for key, value in collected.metrics.items():
        counts.log_metric(key, value)
    collected.save(counts.path)
    collected.report().write(report.path)
    return collected.rows


@step
def detect_drift(
    model: Input[Model],
    traffic: Input[Dataset],
    drift: Output[Metrics],
    report: Output[HTML],
    engine: str = "alibi",
    alpha: float = 0.05,
    seed: int = 0,
) -> str:
    """Say whether the traffic still looks like the data the model was trained on, and which columns moved.

    Drift is what is significant over all columns together and larger than a stated effect: inputs, predictions, and
    correlations that no single column shows. Data that are broken rather than drifted are told apart.

    Args:
        model: The model directory, with its reference profile and rows.
        traffic: What collect_traffic wrote.
        drift: The verdict and every column's tests and effects; its file is JSON.
        report: The columns ranked, with plots before and after.
        engine: What runs the tests: alibi (alibi-detect, Business Source License 1.1: production use needs a license
            from Seldon) or scipy (the same tests and outputs, no such license).
        alpha: The share of false alarms allowed, over all columns and tests together.
        seed: Random seed; the same input and parameters give the same verdict.

    Returns:
        "drift", "none", "broken" or "too_few".

    Raises:
        InputError: An input cannot be used or the engine is not installed.
    """
    from loopline.components.monitoring.drift import DriftSettings, detect
    from loopline.components.monitoring.drift_page import drift_report

    found = detect(model.path, traffic.path, DriftSettings(engine=engine, alpha=alpha, seed=seed))
    page = drift_report(found)
    for key, value in found.metrics.items():
        drift.log_metric(key, value)
    found.save(drift.path)
    page.write(report.path)
    return found.verdict


@step
def list_windows(start: str = "", end: str = "", hours: float = 24.0, pieces: int = 24) -> List[str]:
    """Cut a window of time at full hours, so that its traffic can be summarized side by side.

    Args:
        start: The window's first instant, ISO 8601; the given hours before its end when empty.
        end: The first instant after it; now when empty.
        hours: The window's length when it has no start.
        pieces: The most pieces: each becomes a step of its own.

    Returns:
        The start and end of each piece in ISO 8601, with a slash between.

    Raises:
        InputError: The window makes no sense.
    """
    from loopline.components.monitoring.slices import cut_window
    from loopline.components.monitoring.window import read_window

    return cut_window(read_window(start, end, hours), pieces)


@step
def summarize_traffic(
    model: Input[Model],
    summary: Output[Artifact],
    counts: Output[Metrics],
    name: str,
    window: str,
    uri: str = "",
    sites: str = "",
    seed: int = 0,
) -> int:
    """Count what the sites predicted in a piece of time in the bins of the training data, and draw a sample of it.

    Args:
        model: The model directory, with its reference profile.
        summary: Counts and sample, some hundred kilobytes however many rows there were; summaries add up.
        counts: How many rows there are by site and version, and what was dropped and why; its file is JSON.
        name: The model's name in the traffic log.
        window: Start and end with a slash between, what list_windows returned.
        uri: The traffic log: a folder or s3://bucket/prefix; LOOPLINE_TRAFFIC_URI, else this machine's own, when empty.
        sites: Comma-separated; all when empty.
        seed: Random seed of the sample, the same for all pieces of a window.

    Returns:
        How many rows the piece has.

    Raises:
        InputError: The log cannot be read or lacks a feature, or a parameter makes no sense.
    """
    from loopline.components.monitoring.slices import read_slice, summarize_slice

    collected = summarize_slice(model.path, summary.path, name, uri, read_slice(window), sites, seed)
    for key, value in collected.metrics.items():
        counts.log_metric(key, value)
    collected.save(counts.path)
    return collected.rows


@step
def detect_drift_over_windows(
    model: Input[Model],
    summaries: Input[List[Artifact]],
    drift: Output[Metrics],
    report: Output[HTML],
    engine: str = "alibi",
    alpha: float = 0.05,
    seed: int = 0,
) -> str:
    """Give the verdict of detect_drift on a window whose traffic was summarized in pieces.

    Args:
        model: The model directory that the summaries were made with.
        summaries: What summarize_traffic wrote, one a piece.
        drift: The verdict and every column's tests and effects; its file is JSON.
        report: The columns ranked, with plots before and after.
        engine: What runs the tests: alibi or scipy; see detect_drift.
        alpha: The share of false alarms allowed, over all columns and tests together.
        seed: Random seed.

    Returns:
        "drift", "none", "broken" or "too_few".

    Raises:
        InputError: An input cannot be used or the engine is not installed.
    """
    from loopline.components.monitoring.drift_page import drift_report
    from loopline.components.monitoring.drift_settings import DriftSettings
    from loopline.components.monitoring.slices import detect_over_slices

    settings = DriftSettings(engine=engine, alpha=alpha, seed=seed)
    found = detect_over_slices(model.path, [summary.path for summary in summaries], settings)
    page = drift_report(found)
    for key, value in found.metrics.items():
        drift.log_metric(key, value)
    found.save(drift.path)
    page.write(report.path)
    return found.verdict


@step
def measure_performance(
    model: Input[Model],
    traffic: Input[Dataset],
    performance: Output[Metrics],
    report: Output[HTML],
    registered: str = "{}",
    metric: str = "",
    margin: float = 0.05,
    seed: int = 0,
) -> str:
    """Measure how good the served predictions were, as far as the truth is known; estimate it where it is not.

    Args:
        model: The model directory.
        traffic: What collect_traffic wrote.
        performance: Metrics with 95 percent intervals against the registered ones, and the estimate, marked as one;
            its file is JSON.
        report: The same as a page.
        registered: The metrics of the registered version as JSON, found_metrics of load_model; those on the model's
            held-out reference rows when empty.
        metric: The metric that decides; log_loss or rmse when empty.
        margin: How much worse is worse: a share of the registered loss, and an amount of skill.
        seed: Random seed of the bootstrap.

    Returns:
        "worse", "steady", "better" or "unknown" while too few labels have arrived.

    Raises:
        InputError: An input cannot be used.
    """
    from loopline.components.monitoring.performance import measure
    from loopline.components.monitoring.performance_page import performance_report

    measured = measure(model.path, traffic.path, registered, metric, margin=margin, seed=seed)
    page = performance_report(measured)
    for key, value in measured.flat_metrics.items():
        performance.log_metric(key, value)
    measured.save(performance.path)
    page.write(report.path)
    return measured.verdict


@step
def check_service(
    service: Output[Metrics],
    report: Output[HTML],
    name: str,
    start: str,
    end: str,
    targets: str = "",
    repository: str = "",
    sites: str = "",
    availability: float = 0.999,
    p99_ms: float = 250.0,
    capacity: str = "",
) -> str:
    """Check how the sites served: errors and restarts, latency, rate against capacity, and how fast the budget burns.

    Read from Prometheus where PROMETHEUS_URL is set, else from each site's own /metrics. What the counters stood at
    the time before lies in MLflow.

    Args:
        service: The verdict and every site's figures; its file is JSON.
        report: The same as a page.
        name: The registered model.
        start: The window's first instant, ISO 8601: window_start of collect_traffic.
        end: The first instant after it.
        targets: Sites and URLs, edge=http://host:port,...; from Prometheus or the configuration repository when empty.
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        sites: Comma-separated; all when empty.
        availability: The share of requests that must be answered.
        p99_ms: The highest 99th percentile of the latency, in milliseconds.
        capacity: Requests a second that the sites can take, edge=300,cloud=1200 or one number for all, as
            probe_capacity finds it; saturation is not judged when empty.

    Returns:
        "healthy", "burning" or "unknown".

    Raises:
        InputError: Nothing can be asked, or a parameter makes no sense.
    """
    from loopline.components.monitoring.service import check_service
    from loopline.components.monitoring.service_page import service_report
    from loopline.components.monitoring.slo import Slo
    from loopline.components.monitoring.state import read_service_state
    from loopline.components.monitoring.window import read_window

    window, slo = read_window(start, end, 0), Slo(availability, p99_ms, capacity)
    found = check_service(window, targets, repository, sites, slo, read_service_state(name, start), name)
    page = service_report(found)
    for key, value in found.metrics.items():
        service.log_metric(key, value)
    found.save(service.path)
    page.write(report.path)
    return found.verdict


@step
def decide_retraining(
    counts: Input[Metrics],
    drift: Input[Metrics],
    performance: Input[Metrics],
    service: Input[Metrics],
    decision: Output[Artifact],
    report: Output[HTML],
    name: str,
    trigger: str = "performance",
    patience: int = 1,
    drift_patience: int = 2,
    min_labels: int = 1000,
    cooldown_h: float = 24.0,
) -> str:
    """Decide from all that monitoring found, and from the windows before, whether to retrain.

    The windows before lie in MLflow, experiment NAME-monitoring, one run a window; this window becomes one, too.

    Args:
        counts: What collect_traffic counted.
        drift: What detect_drift found.
        performance: What measure_performance found.
        service: What check_service found.
        decision: The verdict, its reasons and the evidence as JSON; the main values stand in its metadata.
        report: The same as a page, with the windows before.
        name: The registered model.
        trigger: What calls for a retraining: performance (labeled), drift, or either.
        patience: For so many windows in a row the performance must be worse.
        drift_patience: For so many windows in a row there must be drift.
        min_labels: The fewest labeled rows that are new since the last retraining.
        cooldown_h: Hours after a retraining in which there is no other.

    Returns:
        "retrain", "wait" or "alert": people are needed.

    Raises:
        InputError: An input cannot be used, or MLflow cannot be reached or refuses.
    """
    from loopline.components.monitoring.decision import decide_window
    from loopline.components.monitoring.policy import Policy

    policy = Policy(trigger, patience, drift_patience, min_labels, cooldown_h)
    decided, page = decide_window(name, counts.path, drift.path, performance.path, service.path, policy)
    decision.metadata.update(decided.metadata)
    decided.save(decision.path)
    page.write(report.path)
    return decided.verdict


@step
def trigger_pipeline(
    pipeline: str = "",
    parameters: str = "{}",
    event: str = "",
    cooldown_h: float = 0.0,
    verdict: str = "",
    starts_on: str = "retrain",
) -> str:
    """Start another pipeline through the Kubeflow Pipelines API, once for each event.

    Server, token and certificate authority come from the environment: KF_PIPELINES_ENDPOINT, else the service of this
    namespace.

    Args:
        pipeline: The pipeline's name on the server; nothing is started when empty.
        parameters: Its parameters as a JSON object.
        event: What asks for it; the same event starts one run. Empty to start one in any case.
        cooldown_h: Hours after a run of that pipeline in which there is no other.
        verdict: What decide_retraining returned, for engines without conditions; empty to start in any case.
        starts_on: The verdict that starts the pipeline: retrain or alert. With any other nothing is started.

    Returns:
        The id of the run; empty when none was started.

    Raises:
        InputError: There is no such pipeline or parameter, or the server cannot be used.
    """
    from loopline.components.monitoring.trigger import is_called_for, trigger
    from loopline.components.parameters import parse_object

    if not is_called_for(verdict, starts_on):
        return ""
    return trigger(
        pipeline, parse_object(parameters, "parameters", '{"name": "flights"}'), event, cooldown_h=cooldown_h
    ).run_id


@step
def probe_capacity(
    model: Input[Model],
    capacity: Output[Metrics],
    report: Output[HTML],
    url: str,
    p99_ms: float = 250.0,
    most_rate: float = 1000.0,
    seconds: float = 3.0,
    budget_s: float = 120.0,
) -> float:
    """Find the highest rate that a service holds within its latency budget, with a load that has hard limits.

    Never asks anything but the URL it is given. A service that answers with an error is left alone at once.

    Args:
        model: The model directory, whose golden rows are sent.
        capacity: The rate, and the latency at each rate tried; its file is JSON.
        report: The same as a page.
        url: Where the service answers, e.g. http://host:port.
        p99_ms: The highest 99th percentile of the latency, in milliseconds.
        most_rate: The highest rate to try, in requests a second.
        seconds: How long each rate is tried.
        budget_s: How long all of it may take.

    Returns:
        Requests a second.

    Raises:
        InputError: The service does not answer, or a parameter makes no sense.
    """
    from loopline.components.monitoring.probe import probe
    from loopline.components.monitoring.probe_page import capacity_report

    found = probe(url, model.path, p99_ms, most_rate, seconds, budget_s)
    page = capacity_report(found)
    for key, value in found.metrics.items():
        capacity.log_metric(key, value)
    found.save(capacity.path)
    page.write(report.path)
    return found.rate
