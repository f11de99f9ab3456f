"""Register a model in MLflow, once for each content."""

import contextlib
import itertools
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest, verify_model
from loopline.components.registry.experiments import create_once, experiment_id
from loopline.components.registry.flavor import save_flavor
from loopline.components.registry.once import CALL, ensure_run
from loopline.components.registry.record import read_metrics, run_parameters, validation_metrics, version_tags
from loopline.components.registry.store import Store, open_store
from loopline.components.registry.versions import CHALLENGER, DIGEST_TAG, check_name, find_digest

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

logger = logging.getLogger("loopline")

#: How many parameters one request may carry.
_BATCH = 100


@dataclass(frozen=True)
class Candidate:
    """A model to register with what is known about it.

    Attributes:
        path: The model directory.
        manifest: Its manifest, verified.
        metrics: Finite numbers by name.
        report: The HTML report.
        tags: Tags of the run and of the version.
    """

    path: Path
    manifest: Manifest
    metrics: dict[str, float]
    report: Path
    tags: dict[str, str]


def register(
    model: str | Path, metrics: str | Path, report: str | Path, name: str, experiment: str = "", pipeline_run: str = ""
) -> int:
    """Register a model directory and point the alias ``challenger`` at it.

    The same content under the same name is registered once: a model that is there keeps its version and its run.

    Args:
        model: The model directory.
        metrics: The JSON that ``evaluate_model`` wrote.
        report: An HTML file.
        name: The registered model.
        experiment: The MLflow experiment of the run unless the environment names one; ``name`` when empty.
        pipeline_run: The pipeline run to note, empty when unknown.

    Returns:
        The version.

    Raises:
        InputError: The model, the metrics or the name cannot be used, or MLflow cannot.
    """
    check_name(name)
    manifest = verify_model(model)
    if not Path(report).is_file():
        raise InputError(f"There is no report at {report}: pass the report output of evaluate_model.")
    tags = version_tags(manifest, pipeline_run)
    figures = {**validation_metrics(manifest), **read_metrics(metrics)}
    candidate = Candidate(Path(model), manifest, figures, Path(report), tags)
    with open_store() as store:
        versions = find_digest(store, name, manifest.digest)
        if versions:
            logger.info("%s is version %d of %s already", manifest.digest[:19], versions[0], name)
        else:
            versions = [_register_new(store, candidate, name, experiment or name)]
        store.client.set_registered_model_alias(name, CHALLENGER, str(versions[0]))
    return versions[0]


def _register_new(store: Store, candidate: Candidate, name: str, experiment: str) -> int:
    client = store.client
    with _run(store, candidate, name, experiment) as run:
        model_id = _log_model(store, candidate, run)
    version = _create_version(store, candidate, name, run.info.run_id, model_id)
    first = min([version, *find_digest(store, name, candidate.manifest.digest)])
    if first < version:
        # Another process registered the same model meanwhile, or the request was made twice since an answer was lost.
        # The lower version stays: all see it so.
        stays = client.get_model_version(name, str(first)).run_id
        client.delete_model_version(name, str(version))
        if stays != run.info.run_id:
            client.delete_logged_model(model_id)
            if not os.environ.get("MLFLOW_RUN_ID"):
                client.delete_run(run.info.run_id)
        logger.info("another run registered %s as version %d of %s", candidate.manifest.digest[:19], first, name)
    else:
        logger.info("registered %s as version %d of %s", candidate.manifest.digest[:19], version, name)
    return first


@contextlib.contextmanager
def _run(store: Store, candidate: Candidate, name: str, experiment: str) -> "Iterator[Run]":
    """Give the run that the environment names, or one of our own that ends with the block.

    A run in which a step was killed, or that another process fills at this moment, is used again, also by another
    pipeline run: it then says where this model comes from.
    """
    from mlflow.entities import RunTag

    client = store.client
    if identifier := os.environ.get("MLFLOW_RUN_ID"):
        # Who made the run ends it.
        yield client.get_run(identifier)
        return
    place, same = experiment_id(store, experiment), f"tags.`{DIGEST_TAG}` = '{candidate.manifest.digest}'"

    def known() -> "list[Run]":
        return [
            run
            for run in client.search_runs([place], same)
            if run.info.run_name == name and run.info.status in ("RUNNING", "FINISHED")
        ]

    run = ensure_run(store, place, name, candidate.tags, known)
    with _on_failure(lambda: client.set_terminated(run.info.run_id, "FAILED")):
        if other := candidate.tags.items() - run.data.tags.items():
            client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in other])
        yield run
        if run.info.status != "FINISHED":
            client.set_terminated(run.info.run_id, "FINISHED")


def _log_model(store: Store, candidate: Candidate, run: "Run") -> str:
    """Write the model into the run, unless it is there; returns its identifier. It is ready when all is written."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client, run_id = store.client, run.info.run_id
    logged = _ensure_logged_model(store, candidate, run)
    if other := dict(candidate.tags.items() - (logged.tags or {}).items()):
        client.set_logged_model_tags(logged.model_id, other)
    if logged.status == LoggedModelStatus.READY:
        _log_run(store, candidate, run, logged.model_id)
        return logged.model_id
    with _on_failure(lambda: client.finalize_logged_model(logged.model_id, "FAILED")):
        flavor = Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
        )
        with tempfile.TemporaryDirectory() as folder:
            save_flavor(candidate.path, Path(folder) / "model", flavor)
            client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
        _log_output(store, run_id, logged.model_id)
        _log_run(store, candidate, run, logged.model_id)
        client.finalize_logged_model(logged.model_id, "READY")
    return logged.model_id


def _ensure_logged_model(store: Store, candidate: Candidate, run: "Run") -> "LoggedModel":
    """Return the run's entry for the model, which is made when there is none; as ``ensure_run`` does for runs."""
    from mlflow.entities import LoggedModelStatus

    client, call = store.client, uuid.uuid4().hex

    def known() -> "list[LoggedModel]":
        found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        whole = [one for one in found if one.status != LoggedModelStatus.FAILED]
        whole = [one for one in whole if (one.tags or {}).get(DIGEST_TAG) == candidate.manifest.digest]
        return sorted(whole, key=lambda one: (one.creation_timestamp, one.model_id))

    if found := known():
        return found[0]
    client.create_logged_model(
        run.info.experiment_id,
        "model",
        run.info.run_id,
        tags={**candidate.tags, CALL: call},
        params=run_parameters(candidate.manifest),
        model_type="loopline",
    )
    stays, *others = known()
    for other in others:
        if (other.tags or {}).get(CALL) == call:
            client.delete_logged_model(other.model_id)
    return stays


def _log_output(store: Store, run_id: str, model_id: str) -> None:
    """Say that the run made the model; MLflow refuses to be told twice."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    def is_known() -> bool:
        outputs = store.client.get_run(run_id).outputs
        return any(output.model_id == model_id for output in (outputs.model_outputs if outputs else ()))

    if is_known():
        return
    try:
        store.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    except MlflowException:
        # It is told twice where the answer to the first time is lost, or another process tells it at this moment.
        if not is_known():
            raise


def _log_run(store: Store, candidate: Candidate, run: "Run", model_id: str) -> None:
    from mlflow.entities import Metric

    _log_parameters(store, candidate, run)
    now = int(time.time() * 1000)
    # Where the run is written again, no metric gets the value that it has a second time.
    new = {key: value for key, value in candidate.metrics.items() if run.data.metrics.get(key) != value}
    figures = [Metric(key, value, now, 0, model_id=model_id) for key, value in new.items()]
    store.client.log_batch(run.info.run_id, metrics=figures)
    store.client.log_artifact(run.info.run_id, str(candidate.report), "report")


def _log_parameters(store: Store, candidate: Candidate, run: "Run") -> None:
    """Write the parameters that the run lacks; one of the engine may hold some, and MLflow refuses to change them."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    wanted, known = run_parameters(candidate.manifest), set(run.data.params)
    while missing := {key: value for key, value in wanted.items() if key not in known}:
        batch = dict(itertools.islice(missing.items(), _BATCH))
        try:
            store.client.log_batch(run.info.run_id, params=[Param(*one) for one in batch.items()])
            known |= batch.keys()
        except MlflowException:
            # The database refuses what another process that fills the run was faster to write.
            new = set(store.client.get_run(run.info.run_id).data.params) - known
            if not new:
                raise
            known |= new


def _create_version(store: Store, candidate: Candidate, name: str, run_id: str, model_id: str) -> int:
    client = store.client
    create_once(lambda: client.create_registered_model(name))
    # Tags and version in one request: there is no version without its digest.
    source = f"models:/{model_id}"
    return int(client.create_model_version(name, source, run_id, tags=candidate.tags, model_id=model_id).version)


@contextlib.contextmanager
def _on_failure(mark: Callable[[], object]) -> Iterator[None]:
    """Mark what was begun as failed when the block fails; the block's own error is the one to report."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BaseException:
        try:
            mark()
        except MlflowException:
            logger.warning("what was begun in MLflow could not be marked as failed")
        raise
