"""Run the app: python -m loopline.examples.flights.app."""

import argparse
import logging
import os
import signal
import sys

from loopline.components.errors import InputError

#: Seconds that open requests get to end when the app is told to stop.
_STOP_S = 10
_EPILOG = """\
environment:
  LOOPLINE_SERVICES    where the model server of each site answers, the nearest first:
                       {"edge": "http://127.0.0.1:8080", "cloud": "https://flights.example.com"}
  LOOPLINE_MODEL       the model's name (default flights)
  HOST, PORT           where to listen (default 127.0.0.1, 8100)
  LOOPLINE_SITE_TOKEN  bearer token of protected services
  SSL_CERT_FILE        certificate authorities to trust

exit status: 0 stopped by SIGTERM or SIGINT; 1 the port is taken; 2 a setting cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Serve the page until told to stop.

    Args:
        arguments: The words of the command line; those of this process when None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m loopline.examples.flights.app",
        description="A web page that tells how likely a flight is to arrive late.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    # The server hands a signal on once it has stopped: it ends this process as it should.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Here, so that --help does not wait for the web framework.
    import uvicorn

    from loopline.examples.flights.app.server import make_app
    from loopline.examples.flights.app.service import trust
    from loopline.examples.flights.app.settings import read_settings

    try:
        settings = read_settings(os.environ)
        trust()
    except InputError as error:
        print(f"flights app: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        make_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        timeout_graceful_shutdown=_STOP_S,
        log_config=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
