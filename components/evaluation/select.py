"""Pick the best of several trained models by the score each recorded on its validation rows."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.evaluation.cards import trials_card
from loopline.components.evaluation.metrics import best_position, find_metric, resolve_direction
from loopline.components.model.directory import Manifest, read_manifest, writing_model

log = logging.getLogger("loopline")


@dataclass(frozen=True)
class Selection:
    """What was picked.

    Attributes:
        position: Of the best model, from 0.
        metric: The metric it was picked by.
        lower_is_better: Its direction.
        values: Each model's score.
        manifests: Each model's manifest.
    """

    position: int
    metric: str
    lower_is_better: bool
    values: list[float]
    manifests: list[Manifest]

    @property
    def metadata(self) -> dict:
        """What the picked model's artifact says of itself."""
        best = self.manifests[self.position]
        return {
            "digest": best.digest,
            "format": best.format,
            "task": best.task,
            "selected_by": self.metric,
            "selected_value": self.values[self.position],
            "trials": len(self.values),
        }

    def _repr_html_(self) -> str:
        return trials_card(self).markup()


def select(paths: Sequence[str | Path], metric: str = "", lower_is_better: str = "auto") -> Selection:
    """Pick the best of several models; the first among equals.

    Args:
        paths: Model directories.
        metric: A metric of the task; its main one when empty.
        lower_is_better: ``auto``, or a belief that is checked: ``true`` or ``false``.

    Returns:
        The selection.

    Raises:
        InputError: There is no model, they predict different things, or one lacks the score.
    """
    if not paths:
        raise InputError("There are no models to select from: give the sweep at least one set of parameters.")
    manifests = [read_manifest(path) for path in paths]
    first = manifests[0]
    for position, manifest in enumerate(manifests):
        if (manifest.task, manifest.target, manifest.classes) != (first.task, first.target, first.classes):
            raise InputError(
                f"Model {position} predicts {manifest.target!r} ({manifest.task}) and model 0 {first.target!r} "
                f"({first.task}): select among models that predict the same."
            )
    chosen = find_metric(first.task, metric)
    resolve_direction(chosen, lower_is_better)
    values = [_validation_score(manifest, chosen.name, position) for position, manifest in enumerate(manifests)]
    best = best_position(chosen, values)
    log.info("model %d of %d is best: validation %s %.5g", best + 1, len(values), chosen.name, values[best])
    return Selection(best, chosen.name, chosen.lower_is_better, values, manifests)


def copy_model(source: str | Path, target: str | Path) -> None:
    """Copy a model directory, all of it or nothing.

    Args:
        source: The directory.
        target: Where to; a model that was there before is replaced.
    """
    with writing_model(target) as made:
        # A link stays one, which whoever uses the model refuses: what it points to is not copied.
        shutil.copytree(source, made, symlinks=True, dirs_exist_ok=True)


def _validation_score(manifest: Manifest, metric: str, position: int) -> float:
    recorded = manifest.training.get("validation") or {}
    value = recorded.get(metric)
    if value is None or not math.isfinite(value):
        known = ", ".join(sorted(recorded)) or "no score at all"
        raise InputError(
            f"Model {position} has no validation score {metric!r}, only {known}: "
            "train with validation rows or select by another metric."
        )
    return float(value)
