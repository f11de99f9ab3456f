"""``loopline follow``: a run that goes on on Data Science Pipelines."""

import argparse
import sys

from loopline.components.errors import InputError
from loopline.pipelines.commands.server import HELP, add_server, server_of
from loopline.pipelines.progress import Progress


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``follow``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Follow a run on Data Science Pipelines until it is over. Ctrl-C leaves it alone."
    parser.epilog = (
        f"{HELP}\n\nexit status: 0 the run succeeded, 1 it failed or was canceled, 2 something given cannot be used; "
        "130 after Ctrl-C."
    )
    parser.add_argument("run", metavar="RUN_ID", help="the run, as `loopline submit` and the dashboard name it")
    add_server(parser)
    parser.set_defaults(command=_follow)


def _follow(options: argparse.Namespace) -> int:
    from loopline.pipelines.launching import ServerRun

    run = ServerRun.find(options.run, **server_of(options))
    print(f"Run {run.title}\n  {run.link}", flush=True)
    return show(run)


def show(run) -> int:
    """Show a run until it is over, and what it wrote.

    Args:
        run: A ``loopline.pipelines.launching.ServerRun``.

    Returns:
        The exit status: 0 when it succeeded, 1 when not, 130 when Ctrl-C ended the looking.
    """
    progress = Progress.terminal()
    try:
        outcome = run.follow(progress)
    except KeyboardInterrupt:
        progress.close()
        print(f"\nDetached: the run goes on. `loopline follow {run.run_id}` attaches again.", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if outcome.failure:
        if outcome.failure.traceback:
            print(f"\n{outcome.failure.traceback}", file=sys.stderr)
        print(f"\nloopline: step {outcome.failure.step} failed: {outcome.failure.message}", file=sys.stderr)
    print(f"\nThe run {_WORDS[outcome.state]} after {outcome.seconds:.0f} s.")
    _show_artifacts(run)
    return 0 if outcome.state == "SUCCEEDED" else 1


_WORDS = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "was canceled", "SKIPPED": "was skipped"}


def _show_artifacts(run) -> None:
    try:
        artifacts = run.artifacts()
    except InputError as error:
        print(f"What it wrote is not listed ({str(error).rstrip('.')}); see {run.link}")
        return
    for artifact in artifacts:
        print(f"  {artifact.step} {artifact.name}: {artifact.uri}")
