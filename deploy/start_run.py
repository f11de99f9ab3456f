"""Start a pipeline that Data Science Pipelines holds, once for each event, and wait for a run: what Tekton runs.

How the server is found: ``loopline.components.pipeline_connection``.
"""

import argparse
import logging
import sys
from pathlib import Path

from loopline.components.documents import read_yaml, reading
from loopline.components.errors import InputError
from loopline.components.monitoring.trigger import trigger
from loopline.components.pipeline_server import wait

logger = logging.getLogger("loopline")


def add_parameters(parser: argparse.ArgumentParser):
    """Add the options that every start has."""
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="empty ones are left out"
    )
    parser.add_argument("--event", default="", help="what asked for it: the same event starts one run")


def add_wait(commands):
    """Add the command that waits for a run."""
    waiting = commands.add_parser("wait", help="wait until a run is over")
    waiting.add_argument("run_id")
    waiting.add_argument("--deadline-s", type=float, default=7200.0)
    waiting.add_argument("--poll-s", type=float, default=15.0)
    waiting.set_defaults(act=_wait)


def read_parameters(texts: list[str]) -> dict[str, str]:
    """Read parameters from a command line.

    Args:
        texts: Each NAME=VALUE.

    Returns:
        The values by name, without the empty ones.

    Raises:
        InputError: One has no value.
    """
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"Parameter {text!r} has no value: write NAME=VALUE.")
        if value:
            parameters[name] = value
    return parameters


def read_parameters_file(path: Path) -> dict[str, object]:
    """Read parameters from a YAML file.

    Args:
        path: The file, an object; there may be none.

    Returns:
        The values by name; text, numbers and dates as they are written: the pipeline says what they are.

    Raises:
        InputError: The file is no YAML object.
    """
    if not path.exists():
        return {}
    with reading(path, "a YAML object of parameters", "write a line NAME: VALUE for each"):
        typed, written = read_yaml(path)
        return {name: value if isinstance(value, str) else typed[name] for name, value in written.items()}


def run(options: argparse.Namespace) -> int:
    """Run the command that a command line names.

    Args:
        options: The command line, with the command's function as ``act``.

    Returns:
        What the command returns, or 2 when something given cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        return options.act(options)
    except InputError as error:
        print(f"loopline: {error}", file=sys.stderr)
        return 2


def main(words: list[str] | None = None) -> int:
    """Run one of the two commands.

    Args:
        words: The command line; that of this process when None.

    Returns:
        0, also when there was nothing to start; 1 when the run failed; 2 when something given cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m loopline.deploy.start_run", description=__doc__.replace("``", ""))
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start a run")
    starting.add_argument(
        "--pipeline", default="", help="the pipeline's name on the server; nothing is done when empty"
    )
    starting.add_argument("--pipeline-version", default="", help="its version by name; the newest when left out")
    add_parameters(starting)
    starting.add_argument(
        "--parameters-file", type=Path, metavar="FILE", help="more of them in YAML; a file that is missing has none"
    )
    starting.add_argument(
        "--experiment", default="", help="the run's experiment; named like the pipeline when left out"
    )
    starting.add_argument(
        "--cooldown-h", type=float, default=0.0, metavar="HOURS", help="after a run of that pipeline, start no other"
    )
    starting.add_argument(
        "--result", type=Path, metavar="FILE", help="where to write the id of the run, empty when there is none"
    )
    starting.set_defaults(act=_start)
    add_wait(commands)
    return run(parser.parse_args(words))


def _start(options: argparse.Namespace) -> int:
    # What no pipeline is named for has no parameters either.
    common = read_parameters_file(options.parameters_file) if options.pipeline and options.parameters_file else {}
    triggered = trigger(
        options.pipeline,
        common | read_parameters(options.parameter),
        options.event,
        experiment=options.experiment,
        cooldown_h=options.cooldown_h,
        version=options.pipeline_version,
    )
    if options.result:
        options.result.write_text(triggered.run_id, encoding="utf-8")
    return 0


def _wait(options: argparse.Namespace) -> int:
    state = wait(options.run_id, options.deadline_s, options.poll_s)
    logger.info("run %s: %s", options.run_id, state)
    return 0 if state == "SUCCEEDED" else 1


if __name__ == "__main__":
    sys.exit(main())
