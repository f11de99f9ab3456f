"""Versions and aliases of registered models."""

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.registry.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger("loopline")

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
#: The tag of a version that holds the digest of its model.
DIGEST_TAG = "loopline.model_digest"
#: How databases word that two have written the same row at once.
_COLLISION = re.compile("UNIQUE constraint failed|duplicate key value|Duplicate entry", re.IGNORECASE)
#: Characters of a name: it becomes that of folders and experiments, with more behind it.
_LONGEST = 200


def check_name(name: str) -> str:
    """Return a registered model's name if it can be one.

    Args:
        name: What the user gave.

    Returns:
        The name.

    Raises:
        InputError: It is empty or has characters that MLflow, its filters or its URIs do not take.
    """
    if not re.fullmatch(rf"\w[\w .-]{{0,{_LONGEST - 1}}}", name):
        raise InputError(
            f"The model name {name[:_LONGEST]!r} cannot be used: use letters, digits, '.', '_', '-' and spaces, a "
            f"letter or digit first, and at most {_LONGEST} of them."
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


def tag_version(store: Store, name: str, version: int, tag: str, value: str) -> None:
    """Set a tag of a version.

    Of two that set a new one at the same moment, MLflow's database refuses the second, which then finds it there.

    Args:
        store: An open store.
        name: The registered model.
        version: The version.
        tag: The tag's name.
        value: What it says.
    """
    from mlflow.exceptions import MlflowException

    try:
        store.client.set_model_version_tag(name, str(version), tag, value)
    except MlflowException as error:
        if not _COLLISION.search(str(error)):
            raise
        store.client.set_model_version_tag(name, str(version), tag, value)


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


def list_versions(name: str) -> list[dict]:
    """List the versions of a registered model, as a table a person reads.

    Args:
        name: The registered model.

    Returns:
        By version, ascending: ``version``, ``aliases`` (sorted), ``digest``, ``created`` (UTC) and ``tags``.

    Raises:
        InputError: There is no such model, or MLflow cannot be used.
    """
    check_name(name)
    with open_store() as store:
        aliases = find_aliases(store, name)
        if aliases is None:
            raise InputError(f"There is no registered model {name!r}: train one, or check the name.")
        found = store.client.search_model_versions(f"name = '{name}'")
    return [
        {
            "version": int(one.version),
            "aliases": sorted(alias for alias, version in aliases.items() if version == int(one.version)),
            "digest": one.tags.get(DIGEST_TAG, ""),
            "created": datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
            "tags": dict(one.tags),
        }
        for one in sorted(found, key=lambda one: int(one.version))
    ]


def promote(name: str, version: int, compared_with: int = -1, verdict: str = "promote") -> int:
    """Make a version the champion and keep the one before as ``previous``.

    MLflow has no condition on writing an alias: two promotions within the same moment are not told apart. What is
    refused is to replace a champion that the version was never compared with, minutes or hours after the comparison.

    Args:
        name: The registered model.
        version: The version to promote.
        compared_with: The champion it was compared with, 0 when there was none; -1 to promote whatever is champion.
        verdict: ``promote``, or ``keep`` to leave the champion as it is.

    Returns:
        The version that was champion before; 0 when there was none. The champion stays, and is what is returned, when
        it is not ``compared_with`` or the verdict is ``keep``.

    Raises:
        InputError: There is no such version or verdict, ``compared_with`` is below -1, or MLflow cannot be used.
    """
    check_name(name)
    if verdict not in ("promote", "keep"):
        raise InputError(f"verdict is {verdict!r}: use promote or keep, what compare_models returned.")
    if compared_with < -1:
        raise InputError(f"compared_with is {compared_with}: use a version, 0 for no champion, or -1 not to check.")
    with open_store() as store:
        aliases = find_aliases(store, name)
        if aliases is None or find_version(store, name, version) is None:
            raise InputError(f"There is no version {version} of model {name!r} to promote: register the model first.")
        champion = aliases.get(CHAMPION, 0)
        if verdict == "keep":
            logger.info("%s stays the champion of %s: the verdict is keep", _describe(champion), name)
            return champion
        if champion == version:
            logger.info("version %d of %s is the champion already", version, name)
            before = aliases.get(PREVIOUS, 0)
            return before if before != version else 0
        if compared_with not in (-1, champion):
            logger.info(
                "%s stays the champion of %s: version %d was compared with %s, and the champion changed meanwhile",
                _describe(champion), name, version, _describe(compared_with),
            )  # fmt: skip
            return champion
        # In this order an interruption leaves the old champion in place.
        if champion:
            store.client.set_registered_model_alias(name, PREVIOUS, str(champion))
        store.client.set_registered_model_alias(name, CHAMPION, str(version))
    logger.info("version %d of %s is the champion now, before it was %s", version, name, champion or "none")
    return champion


def _describe(champion: int) -> str:
    return f"version {champion}" if champion else "no model"
