"""Register a model in MLflow, once for each content."""

import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest, verify_model
from loopline.components.registry.flavor import save_flavor
from loopline.components.registry.record import read_metrics, run_parameters, version_tags
from loopline.components.registry.store import Store, open_store
from loopline.components.registry.versions import CHALLENGER, check_name, find_digest

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
    candidate = Candidate(Path(model), manifest, read_metrics(metrics), Path(report), tags)
    with open_store() as store:
        versions = find_digest(store, name, manifest.digest)
        if versions:
            logger.info("%s is version %d of %s already", manifest.digest[:19], versions[0], name)
        else:
            versions = [_register_new(store, candidate, name, experiment or name)]
        store.client.set_registered_model_alias(name, CHALLENGER, str(versions[0]))
    return versions[0]


def _register_new(store: Store, candidate: Candidate, name: str, experiment: str) -> int:
    run_id = os.environ.get("MLFLOW_RUN_ID")
    owned = not run_id
    if owned:
        run = store.client.create_run(_experiment_id(store, experiment), run_name=name, tags=candidate.tags)
    else:
        run = store.client.get_run(run_id)
    run_id, finished = run.info.run_id, False
    try:
        model_id = _log(store, candidate, run)
        version = _create_version(store, candidate, name, run_id, model_id)
        finished = True
    finally:
        # A run that the engine made is the engine's to end.
        if owned:
            store.client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
    logger.info("registered %s as version %d of %s", candidate.manifest.digest[:19], version, name)
    return version


def _log(store: Store, candidate: Candidate, run) -> str:
    """Write everything about the model into the run; return the identifier of the logged model."""
    from mlflow.entities import LoggedModelOutput, Metric, Param
    from mlflow.models import Model

    client, run_id = store.client, run.info.run_id
    parameters = run_parameters(candidate.manifest)
    fresh = [Param(key, value) for key, value in parameters.items() if key not in run.data.params]
    for start in range(0, len(fresh), _BATCH):
        client.log_batch(run_id, params=fresh[start : start + _BATCH])
    logged = client.create_logged_model(
        run.info.experiment_id, "model", run_id, tags=candidate.tags, params=parameters, model_type="loopline"
    )
    now = int(time.time() * 1000)
    figures = [Metric(key, value, now, 0, model_id=logged.model_id) for key, value in candidate.metrics.items()]
    client.log_batch(run_id, metrics=figures)
    client.log_artifact(run_id, str(candidate.report), "report")
    flavor = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
    )
    with tempfile.TemporaryDirectory() as folder:
        save_flavor(candidate.path, Path(folder) / "model", flavor)
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged.model_id


def _create_version(store: Store, candidate: Candidate, name: str, run_id: str, model_id: str) -> int:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = store.client.create_model_version(
        name, f"models:/{model_id}", run_id, tags=candidate.tags, model_id=model_id
    )
    return int(version.version)


def _experiment_id(store: Store, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if identifier := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return identifier
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    experiment = store.client.get_experiment_by_name(name)
    if experiment is None:
        location = None if store.artifact_root is None else (store.artifact_root / name).as_uri()
        try:
            return store.client.create_experiment(name, location)
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = store.client.get_experiment_by_name(name)
    return experiment.experiment_id
