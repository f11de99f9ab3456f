"""What one run of monitoring leaves for the next: each window is a run in MLflow, experiment ``<name>-monitoring``.

A window's metrics have its end as their step, so that MLflow's own pages draw the timeline. A window that is recorded
anew becomes a new run, and only when that is whole is the one before deleted: readers see one or the other.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.data.tables import file_digest
from loopline.components.documents import read_json, reading, write_document
from loopline.components.errors import InputError
from loopline.components.monitoring.window import read_instant
from loopline.components.registry.artifacts import fetch_artifact
from loopline.components.registry.experiments import ensure_experiment, find_experiment
from loopline.components.registry.once import ensure_run
from loopline.components.registry.store import Store, open_store
from loopline.components.registry.versions import check_name

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger("loopline")

_DECISION, _SERVICE = "decision.json", "service.json"
_KEY, _CONTENT, _VERDICT = "loopline.monitoring.key", "loopline.monitoring.content", "loopline.monitoring.verdict"
_START, _END = "loopline_window_start_s", "loopline_window_end_s"
#: Files are fetched side by side: each is a request.
_AT_A_TIME = 8
#: Runs that one request asks for; those of one window are few.
_PAGE = 100


def window_key(decision: Mapping) -> str:
    """Return what a window of a model goes by: its start, its end and the model's digest.

    Args:
        decision: What decision.json holds.
    """
    window = decision["window"]
    return f"{window['start']}/{window['end']}/{decision['model_digest']}"


def record(name: str, key: str, decision: Mapping, files: Mapping[str, str | Path]) -> str:
    """Record a window, once for each content.

    Args:
        name: The registered model.
        key: What the window goes by, see ``window_key``.
        decision: What decision.json holds.
        files: Further files by the name they get: ``drift.json`` and its like, pages.

    Returns:
        The MLflow run. A run that was interrupted is completed; one of the same window and another content is replaced.

    Raises:
        InputError: MLflow cannot be reached or refuses.
    """
    check_name(name)
    digest = hashlib.sha256(key.encode()).hexdigest()
    content = _digest(decision, files)
    with open_store() as store:
        experiment = ensure_experiment(store, _experiment(name))

        def known() -> list:
            return _search(store, experiment, f"tags.`{_KEY}` = '{digest}'")

        def same() -> list:
            return [run for run in known() if run.data.tags.get(_CONTENT) == content]

        tags = {_KEY: digest, _CONTENT: content, _VERDICT: decision["verdict"]}
        tags["loopline.model_digest"] = decision["model_digest"]
        whole = [run for run in same() if run.info.status == "FINISHED"]
        title = f"window to {decision['window']['end']}"
        run = whole[0] if whole else ensure_run(store, experiment, title, tags, same)
        if not whole:
            _fill(store, run.info.run_id, decision, files)
        for other in known():
            if other.info.run_id != run.info.run_id:
                store.client.delete_run(other.info.run_id)
    logger.info("window to %s is recorded in %s: %s", decision["window"]["end"], _experiment(name), decision["verdict"])
    return run.info.run_id


def read_history(name: str, before: str, limit: int = 60) -> list[dict]:
    """Read the decisions of earlier windows.

    Args:
        name: The registered model.
        before: ISO 8601: windows that ended at this instant or later are not seen.
        limit: The most windows, the newest; the last one that called for a retraining comes on top.

    Returns:
        What decision.json of each holds, the newest last; none when nothing was recorded.

    Raises:
        InputError: MLflow cannot be reached or refuses.
    """
    check_name(name)
    with open_store() as store:
        experiment = find_experiment(store, _experiment(name))
        if experiment is None:
            return []
        earlier = f"attributes.status = 'FINISHED' AND metrics.{_END} < {_seconds(before):.6f}"
        runs = _search(store, experiment, earlier, limit)
        runs += _search(store, experiment, f"{earlier} AND tags.`{_VERDICT}` = 'retrain'", 1)
        # An interrupted replacement leaves two runs of a window: the newer counts.
        newest = {run.data.tags.get(_KEY): run for run in sorted(runs, key=lambda run: run.info.start_time)}
        decisions = _read_files(store, [run.info.run_id for run in newest.values()], _DECISION)
    return sorted(decisions, key=lambda decision: [_seconds(decision["window"][key]) for key in ("end", "start")])


def read_document(name: str, decision: Mapping, file: str) -> dict:
    """Read a document that a decision rests on.

    Args:
        name: The registered model.
        decision: One of ``read_history``.
        file: ``counts.json``, ``drift.json``, ``performance.json`` or ``service.json``.

    Returns:
        What it holds.

    Raises:
        InputError: MLflow holds no such document of that window, cannot be reached or refuses.
    """
    digest = hashlib.sha256(window_key(decision).encode()).hexdigest()
    with open_store() as store:
        experiment = find_experiment(store, _experiment(check_name(name)))
        condition = f"attributes.status = 'FINISHED' AND tags.`{_KEY}` = '{digest}'"
        runs = _search(store, experiment, condition, 1) if experiment else []
        found = _read_files(store, [run.info.run_id for run in runs], file)
    if not found:
        raise InputError(
            f"MLflow holds no {file} of the window to {decision['window']['end']} in {_experiment(name)}: name one of "
            "counts.json, drift.json, performance.json and service.json, and a window that was recorded."
        )
    return found[0]


def read_service_state(name: str, before: str) -> dict:
    """Read what the counters of the sites stood at when monitoring last looked.

    Args:
        name: The registered model.
        before: ISO 8601, the start of a window: the newest of the windows that began earlier tells.

    Returns:
        ``state`` of its service.json; empty when there is none.

    Raises:
        InputError: MLflow cannot be reached or refuses.
    """
    check_name(name)
    with open_store() as store:
        experiment = find_experiment(store, _experiment(name))
        if experiment is None:
            return {}
        earlier = f"attributes.status = 'FINISHED' AND metrics.{_START} < {_seconds(before):.6f}"
        runs = _search(store, experiment, earlier, 1)
        found = _read_files(store, [run.info.run_id for run in runs], _SERVICE)
    return (found[0].get("state") or {}) if found else {}


def _experiment(name: str) -> str:
    return f"{name}-monitoring"


def _seconds(instant: str) -> float:
    return read_instant(instant, "The instant").timestamp()


def _search(store: Store, experiment: str, condition: str, limit: int = _PAGE) -> "list[Run]":
    """Return runs that were not deleted, those of the newest windows first, and of one window the newest first."""
    order = [f"metrics.{_END} DESC", "attributes.start_time DESC"]
    return list(store.client.search_runs([experiment], condition, max_results=limit, order_by=order))


def _fill(store: Store, run: str, decision: Mapping, files: Mapping[str, str | Path]) -> None:
    """Write a run; what is there already is written again, the same."""
    from mlflow.entities import Metric

    end = _seconds(decision["window"]["end"])
    values = {_START: _seconds(decision["window"]["start"]), _END: end, **_figures(decision)}
    # A run may be written again, and a step may not hold two values of one metric.
    written = store.client.get_run(run).data.metrics
    figures = [Metric(key, value, int(end * 1000), int(end)) for key, value in values.items() if key not in written]
    store.client.log_batch(run, metrics=figures)
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / _DECISION
        for name, path in files.items():
            target = Path(folder) / name
            target.write_bytes(Path(path).read_bytes())
            store.client.log_artifact(run, str(target))
        write_document(document, decision)
        store.client.log_artifact(run, str(document))
    store.client.set_terminated(run, "FINISHED", end_time=int(datetime.now(UTC).timestamp() * 1000))


def _figures(decision: Mapping) -> dict[str, float]:
    """Return what the timeline shows of a decision."""
    metric, skill = decision.get("metric") or {}, decision.get("skill") or {}
    values = {
        "rows": decision.get("rows"),
        "labeled": decision.get("labeled"),
        "drift_score": decision.get("drift_score"),
        "drift_columns": decision.get("drift_columns"),
        "alerts": len(decision.get("alerts") or []),
        "retrain": float(decision.get("verdict") == "retrain"),
        "skill": skill.get("value"),
        "registered_skill": skill.get("registered"),
    }
    if metric.get("name"):
        values[metric["name"]] = metric.get("value")
        values[f"registered_{metric['name']}"] = metric.get("registered")
    return {name: float(value) for name, value in values.items() if value is not None}


def _digest(decision: Mapping, files: Mapping[str, str | Path]) -> str:
    documents = {name: file_digest(path) for name, path in files.items()}
    return hashlib.sha256(json.dumps([decision, documents], sort_keys=True).encode()).hexdigest()


def _read_files(store: Store, runs: list[str], name: str) -> list[dict]:
    """Return what a JSON file of each run holds; a run whose file somebody deleted is left out."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_AT_A_TIME, "history") as pool:
        found = list(pool.map(lambda run: _read_file(store, run, name, Path(folder) / run), runs))
    return [document for document in found if document is not None]


def _read_file(store: Store, run: str, name: str, folder: Path) -> dict | None:
    from mlflow.exceptions import MlflowException

    folder.mkdir()
    try:
        path = fetch_artifact(store, run, name, folder)
    except (MlflowException, OSError):
        if any(file.path == name for file in store.client.list_artifacts(run)):
            raise
        logger.warning("run %s has no %s any more and is left out", run, name)
        return None
    with reading(path, f"the {name} of run {run}", "delete that run in MLflow"):
        return read_json(path)
