"""``loopline submit``: a pipeline on Data Science Pipelines."""

import argparse

from loopline.pipelines.commands.arguments import add_pipeline, read_arguments
from loopline.pipelines.commands.follow import show
from loopline.pipelines.commands.server import HELP, add_server, add_step_image, server_of

_EPILOG = f"""\
{HELP}

exit status: 0 the run succeeded, 1 it failed or was canceled, 2 something given cannot be used; 130 after Ctrl-C, which
leaves the run alone."""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``submit``; they follow from the pipeline named on the command line."""
    parser.description = (
        "Run a pipeline on Data Science Pipelines: upload it if its content is new, start it, follow it."
    )
    parser.epilog = _EPILOG
    parser.add_argument("--experiment", default="", help="the run's experiment (default: named like the pipeline)")
    add_step_image(parser)
    parser.add_argument("--no-caching", action="store_true", help="run every step, also those whose result is known")
    parser.add_argument("--detach", action="store_true", help="start the run and leave it alone")
    add_server(parser)
    add_pipeline(parser, words)
    parser.set_defaults(command=_submit)


def _submit(options: argparse.Namespace) -> int:
    from loopline.pipelines.launching import submit

    run = submit(
        options.pipeline,
        read_arguments(options),
        experiment=options.experiment,
        image=options.step_image,
        caching=not options.no_caching,
        **server_of(options),
    )
    print(f"Pipeline {run.version}.")
    print(f"Run {run.title}\n  {run.link}", flush=True)
    if options.detach:
        print(f"It goes on by itself: `loopline follow {run.run_id}` looks at it.")
        return 0
    return show(run)
