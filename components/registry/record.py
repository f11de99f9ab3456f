"""What a run in MLflow says about a model: parameters, metrics and tags."""

import json
import math
import numbers
import re
from pathlib import Path

from loopline.components.documents import read_json
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest

#: MLflow's limits: characters of a parameter, and of a tag.
_PARAMETER_CHARACTERS, _TAG_CHARACTERS = 6000, 5000
#: Characters of the name of a parameter or metric, and what no such name may hold in every MLflow.
_NAME_CHARACTERS, _UNSAFE = 250, r"[^a-zA-Z0-9_. -]"


def read_metrics(path: str | Path) -> dict[str, float]:
    """Read the metrics that ``evaluate_model`` wrote.

    Args:
        path: The JSON file of its ``metrics`` artifact.

    Returns:
        Finite numbers: each metric by name and, where known, its interval as ``<name>_low`` and ``<name>_high``, and
        what the best constant prediction scores on the same rows as ``baseline_<name>``.

    Raises:
        InputError: The file is missing or has another form.
    """
    try:
        document = read_json(path)
        values = {}
        for name, entry in document["metrics"].items():
            for suffix, key in (("", "value"), ("_low", "low"), ("_high", "high")):
                if _is_finite(entry.get(key)):
                    values[_safe_name(name, suffix)] = float(entry[key])
        for name, value in document.get("baseline", {}).items():
            if _is_finite(value):
                values[_safe_name(f"baseline_{name}")] = float(value)
    except FileNotFoundError:
        raise InputError(f"There are no metrics at {path}: pass the metrics output of evaluate_model.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f'{path} does not hold metrics of the form {{"metrics": {{name: {{"value": number}}}}}}: pass the metrics '
            "output of evaluate_model."
        ) from None
    return values


def validation_metrics(manifest: Manifest) -> dict[str, float]:
    """Return the scores on the validation rows that training noted.

    Args:
        manifest: The model's manifest.

    Returns:
        Finite numbers by name: ``validation_<metric>``.
    """
    scores = manifest.training.get("validation") or {}
    return {_safe_name(f"validation_{name}"): float(value) for name, value in scores.items() if _is_finite(value)}


def run_parameters(manifest: Manifest) -> dict[str, str]:
    """Return what a run says about how a model was trained.

    Args:
        manifest: The model's manifest.

    Returns:
        Text by name; nested values as ``outer.inner``, and as one JSON value where a name comes from the data.
    """
    training = {name: value for name, value in manifest.training.items() if name != "validation"}
    if left_out := training.pop("left_out", None):
        training["left_out"] = _as_json(left_out)
    facts = {"task": manifest.task, "target": manifest.target, "format": manifest.format, **training}
    return {name: str(value)[:_PARAMETER_CHARACTERS] for name, value in _flatten(facts)}


def version_tags(manifest: Manifest, pipeline_run: str) -> dict[str, str]:
    """Return the tags of a run and of a model version: where the model comes from.

    Args:
        manifest: The model's manifest.
        pipeline_run: The pipeline run, empty when unknown.

    Returns:
        ``loopline.model_digest``, ``loopline.pipeline_run`` and each entry of the manifest's provenance.
    """
    facts = {**dict(_flatten(manifest.provenance)), "model_digest": manifest.digest}
    if pipeline_run:
        facts["pipeline_run"] = pipeline_run
    return {
        f"loopline.{name}": str(value)[:_TAG_CHARACTERS] for name, value in facts.items() if value not in ("", None)
    }


def _flatten(values: dict, prefix: str = "") -> list[tuple[str, object]]:
    pairs = []
    for name, value in values.items():
        if isinstance(value, dict) and _can_be_names(value):
            pairs.extend(_flatten(value, f"{prefix}{name}."))
        else:
            pairs.append((prefix + name, _as_json(value) if isinstance(value, dict) else value))
    return pairs


def _can_be_names(keys: dict) -> bool:
    """Tell whether MLflow takes the keys as parts of a name: columns and labels of the data can hold anything."""
    return all(re.fullmatch(r"[a-zA-Z0-9_-]{1,100}", key) for key in keys)


def _as_json(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _safe_name(name: str, suffix: str = "") -> str:
    return re.sub(_UNSAFE, "_", name)[: _NAME_CHARACTERS - len(suffix)] + suffix


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
