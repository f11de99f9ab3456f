"""``loopline elyra``: the components in JupyterLab's visual pipeline editor."""

import argparse

_DESCRIPTION = """\
The components as nodes of Elyra, the visual pipeline editor of JupyterLab and of the
workbenches of OpenShift AI, and pipelines drawn with them."""

_EPILOG = """\
examples:
  loopline elyra install --image registry.example.com/ml/loopline-step@sha256:...
      the nodes into the editor's palette, each running in that image
  loopline elyra pipelines drawn
      training.pipeline and monitoring.pipeline into the folder drawn, to open in JupyterLab"""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the commands of ``elyra``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    install = actions.add_parser(
        "install", help="put the nodes into the palette",
        description="Write the palette and register it with the Elyra of this machine; again, to renew it.",
    )  # fmt: skip
    install.add_argument(
        "--image", default="", help="the image of every node, by digest: name@sha256:... (default: LOOPLINE_IMAGE)"
    )
    install.add_argument(
        "--output", default="", metavar="FOLDER", help="where its files stay (default: elyra under LOOPLINE_HOME)"
    )
    install.set_defaults(command=_install)
    pipelines = actions.add_parser(
        "pipelines", help="write the drawn pipelines", description="Write the pipelines that are drawn with the nodes."
    )
    pipelines.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where to (default: here)")
    pipelines.add_argument("--force", action="store_true", help="write over files that are there")
    pipelines.set_defaults(command=_pipelines)


def _install(options: argparse.Namespace) -> int:
    from loopline.pipelines.elyra.catalog import HEADING, install_palette

    folder = install_palette(options.image, options.output)
    print(f"The nodes are in {folder} and registered with Elyra: the palette shows them under {HEADING}.")
    print(
        "Load the page of JupyterLab anew, open a .pipeline file and press Run. `loopline elyra pipelines` writes some."
    )
    return 0


def _pipelines(options: argparse.Namespace) -> int:
    from loopline.pipelines.elyra.catalog import write_pipelines

    for file in write_pipelines(options.folder, options.force):
        print(file)
    return 0
