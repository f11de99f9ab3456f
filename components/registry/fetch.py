"""Fetch a registered model as a model directory."""

import logging
import math
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.model.directory import mark_absent, put_in_place, verify_model
from loopline.components.registry.store import Store, open_store
from loopline.components.registry.versions import DIGEST_TAG, check_name, find_aliases, find_version

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
        version: The version; 0 when there is none.
        digest: The model's digest; empty when there is none.
        run: The MLflow run that registered it; empty when there is none.
        metrics: What that run measured, by name; empty when there is no such run any more.
    """

    version: int
    digest: str
    run: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


def fetch(target: str | Path, name: str, alias: str = "champion", version: int = 0, missing: str = "fail") -> Fetched:
    """Download a registered model and check that it is what was registered.

    Args:
        target: The directory to write.
        name: The registered model.
        alias: Which version, unless ``version`` is given.
        version: The version; 0 to go by ``alias``.
        missing: ``fail``, or ``absent`` to write a directory that says there is no model yet.

    Returns:
        What was fetched.

    Raises:
        InputError: There is no such model and ``missing`` is ``fail``; it was changed; MLflow cannot be used.
    """
    check_name(name)
    if missing not in ("fail", "absent"):
        raise InputError(f"missing is {missing!r}: use 'fail' or 'absent'.")
    if version < 0:
        raise InputError(f"version is {version}: use a version from 1, or 0 to go by the alias.")
    wanted = f"version {version}" if version else f"version with alias {alias!r}"
    with open_store() as store:
        number = version or (find_aliases(store, name) or {}).get(alias, 0)
        found = find_version(store, name, number) if number else None
        if found is not None:
            return _download(store, found, Path(target))
    if missing == "fail":
        raise InputError(f"Model {name!r} has no {wanted}: register and promote one, or set missing to 'absent'.")
    if Path(target).is_dir():
        shutil.rmtree(target)
    mark_absent(target, f"Model {name!r} has no {wanted}.")
    logger.info("%s has no %s", name, wanted)
    return Fetched(0, "")


def _download(store: Store, found: "ModelVersion", target: Path) -> Fetched:
    from mlflow.artifacts import download_artifacts

    number = int(found.version)
    expected = found.tags.get(DIGEST_TAG)
    if not expected:
        raise InputError(
            f"Version {number} of {found.name!r} has no tag {DIGEST_TAG}: it was not registered by register_model."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".loading-", dir=target.parent) as folder:
        source = store.client.get_model_version_download_uri(found.name, str(number))
        path = Path(download_artifacts(f"{source}/data/model", dst_path=folder, tracking_uri=store.uri))
        digest = verify_model(path).digest
        if digest != expected:
            raise InputError(
                f"Version {number} of {found.name!r} was registered as {expected} and holds {digest}: do not use it, "
                "register the model anew."
            )
        put_in_place(path, target)
    logger.info("fetched version %d of %s, %s", number, found.name, digest[:19])
    return Fetched(number, digest, found.run_id or "", _read_metrics(store, found.run_id))


def _read_metrics(store: Store, run: str | None) -> dict[str, float]:
    """Return the finite metrics of a run; none when it was removed for good."""
    from mlflow.exceptions import MlflowException

    if not run:
        return {}
    try:
        metrics = store.client.get_run(run).data.metrics
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)}
