"""What each component needs of a cluster, as the compiled pipelines say it: secrets, and whether results are cached."""

from collections.abc import Iterable
from dataclasses import dataclass

from loopline.components.cluster_secrets import SECRETS
from loopline.pipelines.elyra.graph import component_name, read_documents


@dataclass(frozen=True)
class Needs:
    """What a component needs.

    Attributes:
        secrets: The secrets that it reads, ``name``, or ``name/key`` for one key, sorted.
        cached: Whether its result depends on its inputs alone.
    """

    secrets: tuple[str, ...]
    cached: bool


def read_needs(texts: Iterable[str]) -> dict[str, Needs]:
    """Read what components need from the settings of their tasks.

    Args:
        texts: Compiled pipelines.

    Returns:
        Needs by the component's name in ``loopline.components``; what any of its tasks needs.
    """
    secrets: dict[str, set[str]] = {}
    outside: set[str] = set()
    for text in texts:
        document, *platform = read_documents(text)
        settings = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
        components = document["components"]
        names = {key: component_name(document, entry) for key, entry in components.items() if "dag" not in entry}
        for key, name in names.items():
            secrets.setdefault(name, set()).update(_secrets(settings.get(components[key]["executorLabel"], {})))
        for part in (document["root"], *components.values()):
            for task in part.get("dag", {}).get("tasks", {}).values():
                name = names.get(task["componentRef"]["name"])
                if name and not task.get("cachingOptions", {}).get("enableCache"):
                    outside.add(name)
    return {name: Needs(tuple(sorted(found)), name not in outside) for name, found in secrets.items()}


def _secrets(settings: dict) -> set[str]:
    found = {entry["secretName"] for entry in settings.get("secretAsVolume", ())}
    for entry in settings.get("secretAsEnv", ()):
        keys = [key["secretKey"] for key in entry["keyToEnv"]]
        whole = set(keys) == set(SECRETS[entry["secretName"]])
        found |= {entry["secretName"]} if whole else {f"{entry['secretName']}/{key}" for key in keys}
    return found
