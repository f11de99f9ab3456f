"""Start the delivery pipeline on Data Science Pipelines, once for each event, and wait for it: what Tekton runs.

The pipeline is compiled for the image of its steps, so it need not be on the server. How the server is found:
``loopline.components.pipeline_connection``.
"""

import argparse
import contextlib
import io
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from loopline.components.pipeline_server import connect, runs_named, start_once
from loopline.deploy.start_run import add_parameters, add_wait, read_parameters, run

logger = logging.getLogger("loopline")

_EXPERIMENT = "delivery"


def start(parameters: dict, event: str, image: str = "") -> str:
    """Start a delivery, unless the same event has started one that did not fail.

    Args:
        parameters: Parameters of the delivery pipeline by name; text is converted. A ``base`` by tag is resolved to its
            digest, since a tag can name another image tomorrow.
        event: What asked for it, e.g. a commit; empty to start one in any case. The same event for the same model,
            version and base is the same delivery.
        image: The image of the steps; the default one when empty.

    Returns:
        The id of the run.

    Raises:
        InputError: A parameter is wrong, or the server cannot be used.
    """
    from loopline.pipelines.compile import compile_pipeline
    from loopline.pipelines.spec import PipelineFile

    given = {name: value for name, value in parameters.items() if value != ""}
    arguments = PipelineFile.find("delivery").convert(given)
    if arguments.get("base"):
        arguments["base"] = _by_digest(arguments["base"])
    title = _title(arguments, event)
    client = connect()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder) / "delivery.yaml"
        file.write_text(compile_pipeline("delivery", image), encoding="utf-8")
        started, new = start_once(
            client,
            lambda: (
                client.create_run_from_pipeline_package(
                    str(file), arguments=arguments, run_name=title, experiment_name=_EXPERIMENT
                ).run_info
            ),
            lambda: runs_named(client, title) if event else [],
        )
    if new:
        logger.info("started run %s: %s", started.run_id, title)
    else:
        logger.info("run %s delivers this event already", started.run_id)
    return started.run_id


def _title(arguments: dict, event: str) -> str:
    """Name a run so that the same event for the same model finds it again."""
    version, base = arguments.get("model_version"), arguments.get("base")
    model = f"{arguments['name']} {version}" if version else arguments["name"]
    below = f" on {base.rpartition('@')[2]}" if base else ""
    return f"delivery of {model}{below}: {event or datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')}"


def _by_digest(base: str) -> str:
    from loopline.components.delivery.reference import ImageReference

    if ImageReference.parse(base).digest:
        return base
    from loopline.components.delivery.fetch import resolve

    return resolve(base)


def main(words: list[str] | None = None) -> int:
    """Run one of the two commands.

    Args:
        words: The command line; that of this process when None.

    Returns:
        0, or 1 when the run failed, or 2 when something given cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m loopline.deploy.start_delivery", description=__doc__.replace("``", "")
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start a delivery")
    add_parameters(starting)
    starting.add_argument("--step-image", default="", help="image of the steps")
    starting.add_argument("--result", type=Path, required=True, metavar="FILE", help="where to write the id of the run")
    starting.set_defaults(act=_start)
    add_wait(commands)
    return run(parser.parse_args(words))


def _start(options: argparse.Namespace) -> int:
    run_id = start(read_parameters(options.parameter), options.event, options.step_image)
    options.result.write_text(run_id, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
