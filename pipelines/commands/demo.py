"""``loopline demo``: the whole loop on real flights."""

import argparse

from loopline.pipelines.progress import Progress


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``demo``."""
    parser.description = (
        "Train on the New York flights of January to May 2013, register the model in MLflow, build and test its image "
        "and deliver it to three sites on this machine. Then replay June to December through the sites: after each "
        "month monitoring decides whether to retrain and redeliver, beside a control that is never retrained."
    )
    parser.add_argument("--fast", action="store_true", help="replay a part of two months alone")
    parser.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from loopline.pipelines.demo import run_demo

    progress = Progress.terminal()
    try:
        summary = run_demo(progress, options.fast)
    finally:
        progress.close()
    print(summary)
    return 0
