"""What makes a version of a pipeline, and how it is named for it: the same wherever it is brought to a server from."""

import hashlib
import json

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DIGITS = 12


def version_content(compiled: str) -> dict:
    """Return what a pipeline server holds of a version and does not let anybody change.

    Args:
        compiled: The YAML: the pipeline, and behind it the Kubernetes settings of its tasks, if it has any.

    Returns:
        ``pipelineName``, ``description``, ``pipelineSpec`` and, where there are settings, ``platformSpec``, as a
        ``PipelineVersion`` has them.
    """
    pipeline, *platform = yaml.load_all(compiled, _LOADER)
    info = pipeline["pipelineInfo"]
    content = {"pipelineName": info["name"], "description": info.get("description", ""), "pipelineSpec": pipeline}
    return content | ({"platformSpec": platform[0]} if platform else {})


def version_name(content: dict) -> str:
    """Name a version after its content.

    Args:
        content: What ``version_content`` returned.

    Returns:
        The pipeline's name and twelve hexadecimal digits, e.g. ``training-3f2a9c1b7d04``. Another content has another
        name, the same one the same; comments and layout of the YAML do not count.
    """
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{content['pipelineName']}-{digest[:_DIGITS]}"
