"""``loopline compile``: the pipelines as files for a cluster."""

import argparse


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``compile``."""
    parser.description = "Compile every pipeline to YAML, as Data Science Pipelines takes it."
    parser.add_argument("--image", default="", help="the image of every step, by digest: name@sha256:...")
    parser.add_argument("--output", default="compiled", metavar="FOLDER", help="where to write (default: compiled)")
    parser.set_defaults(command=_compile)


def _compile(options: argparse.Namespace) -> int:
    from loopline.pipelines.compile import write_compiled

    for file in write_compiled(options.output, options.image):
        print(file)
    return 0
