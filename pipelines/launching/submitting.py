"""Start a pipeline on the server."""

import secrets
from datetime import UTC, datetime
from pathlib import Path

from loopline.pipelines.launching.connection import connect, find_or_make
from loopline.pipelines.launching.package import Package
from loopline.pipelines.launching.run import ServerRun
from loopline.pipelines.launching.versions import by_name, ensure_experiment, upload


def submit(
    pipeline: str | Path,
    arguments: dict | None = None,
    *,
    experiment: str = "",
    image: str = "",
    caching: bool = True,
    host: str = "",
    token: str = "",
    token_path: str = "",
) -> ServerRun:
    """Start a pipeline on Data Science Pipelines. It is uploaded unless the server holds this very content.

    Args:
        pipeline: The name of a pipeline that comes with Loopline, or the path of a compiled YAML.
        arguments: Its parameters by name; text is converted to the parameter's type.
        experiment: The experiment of the run; named like the pipeline when empty.
        image: The image of every step, by digest; ``LOOPLINE_IMAGE`` when empty, else the default one.
        caching: Whether steps may be skipped whose result is known, as far as the pipeline lets them.
        host: The server's URL; found in a workbench or pod, and after ``oc login``, when empty.
        token: A token for it; found likewise.
        token_path: A file with one.

    Returns:
        The run.

    Raises:
        InputError: The pipeline or a parameter is wrong, or the server cannot be used.
    """
    import kfp_server_api

    package = Package.find(pipeline, image, caching)
    values = package.file.convert(arguments or {})
    server = connect(host, token, token_path)
    version, uploaded = upload(server, package)
    body = kfp_server_api.V2beta1Run(
        experiment_id=ensure_experiment(server, experiment or package.name),
        display_name=_title(package.name, values),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=values),
    )

    def find():
        # The name is of this call alone: an answer that got lost starts no second run.
        return next(server.list(server.runs.run_service_list_runs, "runs", filter=by_name(body.display_name)), None)

    run = find_or_make(find, lambda: server.ask(server.runs.run_service_create_run, body))
    told = f"{package.version}, {'uploaded now' if uploaded else 'as the server holds it'}"
    return ServerRun(server, run.run_id, run.display_name, run.created_at, told)


def _title(pipeline: str, values: dict) -> str:
    model = f" {values['name']}"[:100] if isinstance(values.get("name"), str) else ""
    return f"{pipeline}{model} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} {secrets.token_hex(2)}"
