"""Note what monitoring found at a version of a registered model: the one it found it about, or the one it led to."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from loopline.components.documents import read_json
from loopline.components.errors import InputError
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import CHAMPION, check_name, find_aliases, find_version, tag_version

logger = logging.getLogger("loopline")

_PREFIX = "loopline.monitoring."
#: Characters of a tag's value that every MLflow takes, and of its name.
_VALUE, _NAME = 5000, 200
#: Characters of all reasons together: they are read in a table.
_REASONS = 1000


def annotate(name: str, version: int, values: Mapping[str, str]) -> int:
    """Set tags ``loopline.monitoring.<key>`` on a version; those that are right already are left alone.

    Args:
        name: The registered model.
        version: The version; 0 for the champion.
        values: Text by key; what is too long for a tag is cut. The last key is set last.

    Returns:
        The version.

    Raises:
        InputError: There is no such version, a key cannot be one, or MLflow cannot be reached or refuses.
    """
    check_name(name)
    for key in values:
        if not re.fullmatch(rf"[a-zA-Z0-9_.-]{{1,{_NAME}}}", key):
            raise InputError(f"{key!r} cannot be the name of a tag: use letters, digits, '.', '_' and '-'.")
    if version < 0:
        raise InputError(f"version is {version}: use a version from 1, or 0 for the champion.")
    with open_store() as store:
        number = version or (find_aliases(store, name) or {}).get(CHAMPION, 0)
        found = find_version(store, name, number) if number else None
        if found is None:
            wanted = f"version {version}" if version else "champion"
            raise InputError(f"Model {name!r} has no {wanted} to annotate: register and promote one first.")
        for key, value in values.items():
            tag, text = _PREFIX + key, str(value)[:_VALUE]
            if found.tags.get(tag) != text:
                tag_version(store, name, number, tag, text)
    logger.info("version %d of %s: %s", number, name, ", ".join(f"{key} {value}"[:80] for key, value in values.items()))
    return number


def read_decision(path: str | Path) -> dict[str, str]:
    """Return what a version's tags say of a decision, the verdict last.

    Args:
        path: What ``decide_retraining`` wrote.

    Returns:
        ``window_start``, ``window_end``, ``model_digest`` (the model that was judged, which need not be the version's),
        ``drift_score``, ``metric``, ``metric_value``, ``reasons`` and ``verdict``, as far as they are known.

    Raises:
        InputError: It is no decision.
    """
    try:
        decision = read_json(path)
        window, metric = decision["window"], decision["metric"]
        facts = {
            "window_start": window["start"],
            "window_end": window["end"],
            "model_digest": decision["model_digest"],
            "drift_score": _figure(decision["drift_score"]),
            "metric": None if metric["value"] is None else metric["name"],
            "metric_value": _figure(metric["value"]),
            "reasons": " ".join(decision["reasons"])[:_REASONS],
            "verdict": decision["verdict"],
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is not a decision: pass the decision output of decide_retraining.") from None
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
