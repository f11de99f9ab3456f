"""Train with XGBoost on several machines, and write the same model directory as training on one."""

import hashlib
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import xgboost

from loopline.components.errors import InputError, TemporaryError
from loopline.components.model.directory import Manifest
from loopline.components.training.distributed.exchange import Exchange, open_exchange
from loopline.components.training.distributed.jobs import Job
from loopline.components.training.distributed.messages import MODEL, ORDER, RESULT, Failure, find_failure
from loopline.components.training.distributed.order import Order
from loopline.components.training.distributed.shares import Part, list_parts
from loopline.components.training.train import announced_plan, given_params
from loopline.components.training.write import Origin, write_model
from loopline.components.training.xgboost_model import XGBoostModel, boost, plan_boosting

#: Seconds between two looks at a job: one here, and one on a cluster.
_POLL_S = {True: 0.3, False: 2.0}
#: Seconds for a worker that knows the cause to say so, after another one has lost it.
_SETTLE_S = 6
_MINUTE_S = 60

logger = logging.getLogger("loopline")


def train_on_workers(
    train: str | Path,
    validation: str | Path | None,
    schema: str | Path,
    model: str | Path,
    *,
    train_uri: str = "",
    validation_uri: str = "",
    model_uri: str = "",
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    features: str = "",
    exclude: str = "",
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
    workers: int = 2,
    memory: str = "4Gi",
    cpu: str = "2",
    runtime: str = "loopline",
    start_minutes: int = 15,
) -> Manifest:
    """Train with XGBoost on the workers of a job and write the model directory.

    Args:
        train: The training table.
        validation: The validation table; None or empty for none.
        schema: The schema file.
        model: The model directory to write.
        train_uri: Where workers read the training table: ``s3://bucket/key`` makes the job one of the cluster; the
            table's path when empty, for processes of this machine.
        validation_uri: Where workers read the validation table.
        model_uri: Beside which step and workers share their files; a temporary folder when no ``s3://``.
        target: See ``train_boosted_trees``, as all that is not here.
        task: See ``train_boosted_trees``.
        params: See ``train_boosted_trees``.
        rounds: See ``train_boosted_trees``.
        early_stopping_rounds: See ``train_boosted_trees``.
        class_weight: See ``train_boosted_trees``.
        features: See ``train_boosted_trees``.
        exclude: See ``train_boosted_trees``.
        name: See ``train_boosted_trees``.
        seed: See ``train_boosted_trees``.
        pipeline_run: See ``train_boosted_trees``.
        workers: Machines to train on; one trains in this process.
        memory: Memory of each, as Kubernetes writes it.
        cpu: CPUs of each.
        runtime: The training runtime of the cluster that the job is made of.
        start_minutes: How long the job may wait for its machines.

    Returns:
        The manifest of the written model.

    Raises:
        InputError: Something given cannot be used.
        TemporaryError: A worker died, or the job did not start.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}.")
    if start_minutes < 1:
        raise InputError(f"start_minutes must be at least 1, not {start_minutes}.")
    plan = announced_plan(train, schema, target, task, features, exclude)
    recipe = plan_boosting(train, plan, params, rounds, early_stopping_rounds, class_weight, seed)
    remote = _is_remote(train_uri)
    tables = [
        list_parts(path, _object_uri(uri) if remote else str(Path(path).absolute())) if path is not None else []
        for path, uri in ((train, train_uri), (validation, validation_uri))
    ]
    workers = _count_workers(workers, *tables)
    if workers == 1:
        fitted = boost(train, validation, plan, recipe)
    else:
        settings = {"nthread": _threads(cpu, workers, remote)} | recipe.settings
        order = Order(workers, *tables, plan, replace(recipe, settings=settings), local=not remote)
        if remote:
            fitted = _train_on_cluster(order, name, start_minutes * _MINUTE_S, model_uri, memory, cpu, runtime)
        else:
            fitted = _train_here(order, name, start_minutes * _MINUTE_S)
    details = {"best_iteration": fitted.best_iteration, "class_weight": class_weight, "rounds": rounds}
    origin = Origin(
        "train_distributed", "XGBoost", given_params(params), seed, pipeline_run, name, details | {"workers": workers}
    )
    return write_model(model, fitted, plan, train, validation, origin)


def _is_remote(uri: str) -> bool:
    return uri.partition("://")[0] in ("s3", "minio")


def _object_uri(uri: str) -> str:
    """Return an address of the artifact store as S3 knows it: the engine calls some stores minio."""
    return "s3://" + uri.partition("://")[2].partition("?")[0]


def _count_workers(wanted: int, train: list[Part], validation: list[Part]) -> int:
    """Give every worker at least one row of each table."""
    fewest = min(sum(part.rows for part in parts) for parts in (train, validation) if parts)
    if fewest < wanted:
        logger.info("a table has only %d row(s): %d worker(s) instead of %d", fewest, fewest, wanted)
    return min(wanted, fewest)


def _threads(cpu: str, workers: int, remote: bool) -> int:
    try:
        given = float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)
    except ValueError:
        given = 0
    if given <= 0:
        raise InputError(f"cpu {cpu!r} is no number of CPUs: write it like 2 or 500m.")
    return max(1, int(given) if remote else (os.cpu_count() or 1) // workers)


def _train_here(order: Order, name: str, start_s: float) -> XGBoostModel:
    from loopline.components.training.distributed.local import LocalJob

    with tempfile.TemporaryDirectory() as folder:
        place = open_exchange(str(Path(folder).absolute() / "shared"))
        return _run(LocalJob(_job_name(name, place, order), place, order.workers), place, order, start_s)


def _train_on_cluster(order: Order, name: str, start_s: float, model_uri: str, *machines: str) -> XGBoostModel:
    from loopline.components.training.distributed.cluster import ClusterJob

    place = open_exchange(f"{_object_uri(model_uri)}-workers")
    return _run(ClusterJob(_job_name(name, place, order), place, order.workers, *machines), place, order, start_s)


def _job_name(name: str, place: Exchange, order: Order) -> str:
    """Return a name that a retry of the same step has again, and nothing else: the engine gives each step a place."""
    key = f"{place.uri}\n{order.to_json()}"
    words = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name.lower())[:20].strip("-")
    return f"train-{words}-{hashlib.sha256(key.encode()).hexdigest()[:10]}".replace("--", "-")


def _run(job: Job, place: Exchange, order: Order, start_s: float) -> XGBoostModel:
    """Run a job to its end, whatever comes, and return what its workers trained."""
    job.prepare()
    place.clear()
    place = open_exchange(place.uri)
    with _ended_by_signal():
        try:
            place.write(ORDER, order.to_json().encode())
            job.start()
            _wait(job, place, order, start_s)
            found = json.loads(place.read(RESULT) or b"{}")
            data = place.read(MODEL)
        finally:
            job.stop()
            place.clear()
    rows = sum(part.rows for part in order.train)
    if data is None or sum(found.get("rows", [])) != rows:
        raise TemporaryError("The job ended without a model of all rows: run the step again.")
    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    logger.info("%d workers trained on %s rows", order.workers, " + ".join(f"{count:,}" for count in found["rows"]))
    return XGBoostModel(booster, order.plan, found["best_iteration"])


def _wait(job: Job, place: Exchange, order: Order, start_s: float) -> None:
    """Return when the job is complete; raises when it failed or does not start."""
    end = time.monotonic() + start_s
    while True:
        state = job.state()
        for line in job.new_lines():
            logger.info("%s", line)
        failure = find_failure(place, place.names())
        if failure or state.phase == "failed":
            raise _error(job, place, failure)
        if state.phase == "complete":
            return
        if state.phase == "running":
            end = float("inf")
        elif time.monotonic() > end:
            reason = state.reason or "nothing says why"
            raise TemporaryError(f"The training job did not start within {start_s / _MINUTE_S:g} minute(s): {reason}.")
        time.sleep(_POLL_S[order.local])


def _error(job: Job, place: Exchange, failure: Failure | None) -> InputError:
    """Return the most telling of what workers and job say, some moments later."""
    end = time.monotonic() + _SETTLE_S
    while (failure is None or failure.cause == "others") and time.monotonic() < end:
        time.sleep(0.5)
        failure = find_failure(place, place.names())
    reason = job.state().reason
    for line in job.new_lines():
        logger.info("%s", line)
    if failure and failure.cause == "input":
        return InputError(failure.message)
    told = f"{reason.rstrip('.')}." if reason else "The lines of its workers above say more."
    if failure and (failure.cause != "others" or not reason):
        told = failure.message
    return TemporaryError(f"Training on several machines failed. {told}")


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that the job ends with its step."""

    def end(*_):
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
