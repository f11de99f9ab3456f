"""MLflow experiments: found by name, made when missing."""

import os
from collections.abc import Callable

from loopline.components.registry.store import Store


def find_experiment(store: Store, name: str) -> str | None:
    """Return the identifier of an experiment, None when there is none.

    Args:
        store: The open store.
        name: The experiment's name.
    """
    experiment = store.client.get_experiment_by_name(name)
    return experiment.experiment_id if experiment else None


def ensure_experiment(store: Store, name: str) -> str:
    """Return the identifier of an experiment, which is made when missing.

    Args:
        store: The open store.
        name: The experiment's name.
    """
    identifier = find_experiment(store, name)
    if identifier is None:
        location = store.artifact_root.as_uri() if store.artifact_root else None
        create_once(lambda: store.client.create_experiment(name, location))
        identifier = find_experiment(store, name)
    return identifier


def experiment_id(store: Store, name: str) -> str:
    """Return the identifier of the experiment that the environment names, else of one that is made when missing.

    Args:
        store: The open store.
        name: The experiment's name where neither MLFLOW_EXPERIMENT_ID nor MLFLOW_EXPERIMENT_NAME is set.
    """
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or ensure_experiment(
        store, os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    )


def create_once(create: Callable[[], object]) -> None:
    """Create something that may be there already, or that another process is faster to create."""
    from mlflow.exceptions import MlflowException

    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
