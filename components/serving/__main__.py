"""Serve a model directory: python -m loopline.components.serving MODEL_DIR."""

import argparse
import logging
import sys
from pathlib import Path

from loopline.components.errors import InputError

_EPILOG = """\
environment:
  LOOPLINE_IMAGE_DIGEST    digest of the model image, or its reference by digest; stamped on every answer
  LOOPLINE_SITE            name of the site, stamped on every answer
  LOOPLINE_TRAFFIC_URI     folder or s3://bucket/prefix where predicted rows are logged
  LOOPLINE_TRAFFIC_SAMPLE  share of the requests that is logged (0 to 1, default 1)
  LOOPLINE_TRAFFIC_FLUSH_S seconds after which waiting rows are written (default 10)
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_S3_ENDPOINT, AWS_DEFAULT_REGION for s3://

exit status: 0 stopped by SIGTERM or SIGINT, every open request answered; 2 something given cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Run the server.

    Args:
        arguments: The words of the command line; those of this process when None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m loopline.components.serving",
        description="Serve a model directory over the Open Inference Protocol: REST, gRPC, metrics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="MODEL_DIR", help="the model directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--http-port", type=int, default=8080, metavar="N", help="port of REST (default 8080)")
    parser.add_argument(
        "--grpc-port",
        type=int,
        default=8081,
        metavar="N",
        help="port of gRPC, which two servers may share (default 8081)",
    )
    parser.add_argument("--metrics-port", type=int, default=8082, metavar="N", help="port of /metrics (default 8082)")
    parser.add_argument("--http-fd", type=int, metavar="FD", help="listening socket for REST, instead of --http-port")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="written, empty, once requests are answered")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("loopline").setLevel(logging.INFO)
    logging.getLogger("mlserver").propagate = False  # it has a handler of its own
    try:
        # Here, so that --help and a mistake in the options do not wait for MLServer.
        from loopline.components.serving.server import Options, serve

        serve(Options(**{**vars(options), "folder": options.folder.absolute()}))
    except InputError as error:
        print(f"loopline serving: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
