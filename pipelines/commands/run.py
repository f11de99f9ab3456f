"""``loopline run``: a pipeline on this machine."""

import argparse
from pathlib import Path

from loopline.pipelines.commands.arguments import add_pipeline, read_arguments
from loopline.pipelines.progress import Progress, shown_path


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``run``; they follow from the pipeline named on the command line."""
    parser.description = "Run a compiled pipeline on this machine, step by step as on a cluster."
    add_pipeline(parser, words)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from loopline.pipelines.engine import run_pipeline

    values = read_arguments(options)
    progress = Progress.terminal()
    try:
        run = run_pipeline(options.pipeline, values, progress)
    finally:
        progress.close()
    print(f"\nDone. Everything this run wrote is in {shown_path(run.folder)}")
    for name, value in run.outputs.items():
        if not hasattr(value, "path"):
            print(f"  {name}: {value}")
        elif value.schema_title != "system.HTML":  # reports are listed below, where a browser opens them
            print(f"  {name}: {shown_path(Path(value.path))}")
    for report in run.reports:
        print(f"  report: {shown_path(report)}")
    return 0
