"""What is said of a model to people: in one line, and as the card that a notebook shows."""

import json
from typing import TYPE_CHECKING

from loopline.components.display import Card
from loopline.components.report import show

if TYPE_CHECKING:
    from loopline.components.model.directory import Manifest

#: Of the validation scores, the first ones.
_SCORES = 3


def manifest_card(manifest: "Manifest") -> Card:
    """Show what a model directory holds."""
    card = Card(f"Model {manifest.name}", f"{manifest.task.capitalize()} model of {manifest.target}")
    training = manifest.training
    scores = list((training.get("validation") or {}).items())[:_SCORES]
    tiles = [(name.replace("_", " "), show(value), "on the validation rows") for name, value in scores]
    if training.get("rows"):
        tiles.append(("rows", show(training["rows"]), "learned from"))
    if training.get("best_iteration"):
        tiles.append(("rounds", show(training["best_iteration"]), f"kept of at most {show(training['rounds'])}"))
    card.tiles(tiles)
    rows = [
        ("Estimator", describe_training(manifest)),
        ("Format", f"{manifest.format} ({manifest.file})"),
        ("Conversion", describe_conversion(manifest)),
        ("Digest", manifest.digest),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())),
    ]
    if manifest.is_classification:
        rows.insert(0, ("Classes", ", ".join(map(str, manifest.classes))))
    card.table(["", ""], [row for row in rows if row[1]])
    return card


def describe_conversion(manifest: "Manifest") -> str:
    """Say in one line what is known of the model's conversion into its format.

    Args:
        manifest: The model's manifest.

    Returns:
        The evidence, or why there is none.
    """
    conversion = manifest.conversion
    if conversion.get("reason"):
        return f"not converted: {conversion['reason']}"
    if "max_difference" in conversion:
        return (
            f"largest difference to the native model {_short(conversion['max_difference'])} on "
            f"{show(conversion.get('rows'))} rows, tolerance {show(conversion.get('tolerance'))}"
        )
    return "none: the file is the training library's own"


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else show(value)


def describe_training(manifest: "Manifest") -> str:
    """Name a model's estimator and its parameters in one line."""
    training = manifest.training
    params = json.dumps(training.get("params") or {}, sort_keys=True)
    return f"{training.get('estimator') or training.get('component') or 'not recorded'} {params}"
