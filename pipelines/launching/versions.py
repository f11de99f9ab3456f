"""Upload a pipeline once for each content."""

import json
import tempfile
from pathlib import Path

from loopline.components.errors import InputError
from loopline.pipelines.launching.connection import Server, find_or_make
from loopline.pipelines.launching.package import Package

#: What a server takes at most.
_MOST_BYTES = 1 << 20


def upload(server: Server, package: Package):
    """Bring a pipeline to the server, unless it holds this very content.

    Two who upload at once, or one whose upload got lost, make one version: its name follows from the content, and the
    server takes a name once.

    Args:
        server: The server.
        package: The pipeline.

    Returns:
        The version as the server describes it, and whether it was uploaded now.

    Raises:
        InputError: The server refuses or is away.
    """
    if len(package.text.encode()) > _MOST_BYTES:
        raise InputError(f"{package.file.path} is larger than 1 MB, the most that a pipeline server takes.")
    pipeline = find_or_make(lambda: _find_pipeline(server, package.name), lambda: _make_pipeline(server, package))
    made = []

    def make():
        made.append(_upload_version(server, pipeline.pipeline_id, package))
        return made[0]

    version = find_or_make(lambda: _find_version(server, pipeline.pipeline_id, package.version), make)
    return version, bool(made)


def ensure_experiment(server: Server, name: str) -> str:
    """Return the id of an experiment, which is made when it is missing.

    Args:
        server: The server.
        name: Its name.

    Raises:
        InputError: The server refuses or is away.
    """
    import kfp_server_api

    body = kfp_server_api.V2beta1Experiment(display_name=name)
    create = server.experiments.experiment_service_create_experiment
    found = find_or_make(
        lambda: _first(server, server.experiments.experiment_service_list_experiments, "experiments", name),
        lambda: server.ask(create, experiment=body),
    )
    return found.experiment_id


def by_name(name: str) -> str:
    """Return the filter for a name, as a listing takes it."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _first(server: Server, call, field: str, name: str, **more):
    return next(server.list(call, field, filter=by_name(name), **more), None)


def _find_pipeline(server: Server, name: str):
    return _first(server, server.pipelines.pipeline_service_list_pipelines, "pipelines", name)


def _find_version(server: Server, pipeline_id: str, name: str):
    call = server.pipelines.pipeline_service_list_pipeline_versions
    return _first(server, call, "pipeline_versions", name, pipeline_id=pipeline_id)


def _make_pipeline(server: Server, package: Package):
    # Not uploaded with its first version: the server would give that the pipeline's name.
    import kfp_server_api

    body = kfp_server_api.V2beta1Pipeline(
        display_name=package.name, name=package.name, description=package.file.description
    )
    return server.ask(server.pipelines.pipeline_service_create_pipeline, pipeline=body)


def _upload_version(server: Server, pipeline_id: str, package: Package):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{package.name}.yaml"
        file.write_text(package.text, encoding="utf-8")
        return server.ask(
            server.uploads.upload_pipeline_version, str(file), name=package.version, pipelineid=pipeline_id
        )
