"""What commands that speak to a pipeline server have in common."""

import argparse

HELP = """\
how the server is found:
  in a workbench or pod      with its token and certificates; nothing to set
  elsewhere, after oc login  in the current project
  else                       --host and --token-file, or KF_PIPELINES_ENDPOINT and KF_PIPELINES_SA_TOKEN_PATH;
                             KF_PIPELINES_SSL_SA_CERTS for its certificate authority"""


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a server."""
    group = parser.add_argument_group("the pipeline server")
    group.add_argument("--host", default="", metavar="URL", help="where it is (default: found)")
    group.add_argument("--token-file", default="", metavar="FILE", help="the file of a token for it (default: found)")


def add_step_image(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the image of the steps; ``--image`` is a parameter of some pipelines."""
    parser.add_argument(
        "--step-image", default="", metavar="IMAGE", help="image of the steps, by digest (default: LOOPLINE_IMAGE)"
    )


def server_of(options: argparse.Namespace) -> dict[str, str]:
    """Return how the options name the server, as the functions of ``loopline.pipelines.launching`` take it."""
    return {"host": options.host, "token_path": options.token_file}
