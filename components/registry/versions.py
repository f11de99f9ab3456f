"""Versions and aliases of registered models."""

import logging
import re
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.registry.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger("loopline")

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
#: The tag of a version that holds the digest of its model.
DIGEST_TAG = "loopline.model_digest"


def check_name(name: str) -> str:
    """Return a registered model's name if it can be one.

    Args:
        name: What the user gave.

    Returns:
        The name.

    Raises:
        InputError: It is empty or has characters that MLflow, its filters or its URIs do not take.
    """
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise InputError(
            f"The model name {name!r} cannot be used: use letters, digits, '.', '_', '-' and spaces, a letter or "
            "digit first."
        )
    return name


def find_aliases(store: Store, name: str) -> dict[str, int] | None:
    """Return the versions that a model's aliases point to.

    Args:
        store: The open store.
        name: The registered model.

    Returns:
        Version by alias; None when there is no such model.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return {alias: int(version) for alias, version in model.aliases.items()}


def find_version(store: Store, name: str, version: int) -> "ModelVersion | None":
    """Return a version of a registered model, None when there is none.

    Args:
        store: The open store.
        name: The registered model.
        version: Its version.

    Returns:
        What MLflow knows of it, or None.
    """
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def find_digest(store: Store, name: str, digest: str) -> list[int]:
    """Return the versions of a registered model that hold a model, by its digest.

    Args:
        store: The open store.
        name: The registered model.
        digest: The model's digest.

    Returns:
        Versions, ascending; none when the model is not registered.
    """
    found = store.client.search_model_versions(f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{digest}'")
    return sorted(int(version.version) for version in found)


def promote(name: str, version: int) -> int:
    """Make a version the champion and keep the one before as ``previous``.

    Args:
        name: The registered model.
        version: The version to promote.

    Returns:
        The version that was champion before; 0 when there was none.

    Raises:
        InputError: There is no such version, or MLflow cannot be used.
    """
    check_name(name)
    with open_store() as store:
        aliases = find_aliases(store, name)
        if aliases is None or find_version(store, name, version) is None:
            raise InputError(f"There is no version {version} of model {name!r} to promote: register the model first.")
        champion = aliases.get(CHAMPION, 0)
        if champion == version:
            logger.info("version %d of %s is the champion already", version, name)
            before = aliases.get(PREVIOUS, 0)
            return before if before != version else 0
        # In this order an interruption leaves the old champion in place.
        if champion:
            store.client.set_registered_model_alias(name, PREVIOUS, str(champion))
        store.client.set_registered_model_alias(name, CHAMPION, str(version))
    logger.info("version %d of %s is the champion now, before it was %s", version, name, champion or "none")
    return champion
