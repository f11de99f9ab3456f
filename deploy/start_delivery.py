"""Start the delivery pipeline on Data Science Pipelines, once for each event, and wait for it: what Tekton runs.

The server is found as the platform's own clients find it: ``KF_PIPELINES_ENDPOINT``, else the service of the
``dspa`` in this pod's namespace; the token of this pod's service account; the certificate authority of
``KF_PIPELINES_SSL_SA_CERTS`` or ``PIPELINES_SSL_SA_CERTS``, else the cluster's own.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: The certificate authority of the cluster's services; without it the machine's own authorities.
_SERVICE_CA = _ACCOUNT / "service-ca.crt"
_EXPERIMENT = "delivery"
#: States of a run that is over, but for SUCCEEDED. A run in one of them does not count as the delivery of its event.
_LOST = {"FAILED", "CANCELED", "SKIPPED"}
#: How often in a row the server may be away while a run is waited for.
_PATIENCE = 5


def start(parameters: dict, event: str, image: str = "") -> str:
    """Start a delivery, unless the same event has started one that did not fail.

    Args:
        parameters: Parameters of the delivery pipeline by name; text is converted. A ``base`` by tag is resolved to its
            digest, since a tag can name another image tomorrow.
        event: What asked for it, e.g. a commit; empty to start one in any case. The same event for the same model,
            version and base is the same delivery.
        image: The image of the steps; the default one when empty.

    Returns:
        The id of the run.

    Raises:
        InputError: A parameter is wrong, or the server cannot be used.
    """
    from loopline.pipelines.compile import compile_pipeline
    from loopline.pipelines.spec import PipelineFile

    given = {name: value for name, value in parameters.items() if value != ""}
    arguments = PipelineFile.find("delivery").convert(given)
    if arguments.get("base"):
        arguments["base"] = _by_digest(arguments["base"])
    title = _title(arguments, event)
    client = _connect()
    found = _find(client, title) if event else None
    if found:
        logger.info("run %s delivers this event already", found)
        return found
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder) / "delivery.yaml"
        file.write_text(compile_pipeline("delivery", image), encoding="utf-8")
        run = _ask(
            lambda: client.create_run_from_pipeline_package(
                str(file), arguments=arguments, run_name=title, experiment_name=_EXPERIMENT
            )
        )
    logger.info("started run %s: %s", run.run_id, title)
    return run.run_id


def wait(run_id: str, deadline_s: float, poll_s: float = 15.0) -> str:
    """Wait until a run is over.

    Args:
        run_id: The run, what ``start`` returned.
        deadline_s: How long at most, in seconds.
        poll_s: Seconds between two questions.

    Returns:
        Its state: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    Raises:
        InputError: It is not over in time, or the server cannot be used.
    """
    client, end, failures = _connect(), time.monotonic() + deadline_s, 0
    while True:
        try:
            state, failures = _ask(lambda: client.get_run(run_id)).state, 0
        except _AwayError:
            failures += 1
            if failures >= _PATIENCE:
                raise
            state = "unknown: the server does not answer"
        if state == "SUCCEEDED" or state in _LOST:
            return state
        if time.monotonic() > end:
            raise InputError(f"Run {run_id} is not over after {deadline_s:.0f} s: its state is {state}.")
        time.sleep(poll_s)


class _AwayError(InputError):
    """The server does not answer for now."""


def _title(arguments: dict, event: str) -> str:
    """Name a run so that the same event for the same model finds it again."""
    version, base = arguments.get("model_version"), arguments.get("base")
    model = f"{arguments['name']} {version}" if version else arguments["name"]
    below = f" on {base.rpartition('@')[2]}" if base else ""
    return f"delivery of {model}{below}: {event or datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')}"


def _by_digest(base: str) -> str:
    from loopline.components.delivery.reference import ImageReference

    if ImageReference.parse(base).digest:
        return base
    from loopline.components.delivery.fetch import resolve

    return resolve(base)


def _find(client, title: str) -> str:
    """Return the id of the run with a title that did not fail, empty when there is none."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": title}
    answer = _ask(lambda: client.list_runs(page_size=100, filter=json.dumps({"predicates": [predicate]})))
    return next((run.run_id for run in answer.runs or [] if run.state not in _LOST), "")


def _connect():
    """Return a KFP client, after one plain question whose failure says in one sentence what is wrong."""
    host = os.environ.get("KF_PIPELINES_ENDPOINT") or _endpoint_of_this_namespace()
    token = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or _ACCOUNT / "token")
    named = os.environ.get("KF_PIPELINES_SSL_SA_CERTS") or os.environ.get("PIPELINES_SSL_SA_CERTS")
    authority = named or (str(_SERVICE_CA) if _SERVICE_CA.exists() else None)
    _probe(host, token, authority)
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # The token is read again for each question: the cluster replaces it within the hour.
        credentials = ServiceAccountTokenVolumeCredentials(path=str(token))
        return kfp.Client(host=host, credentials=credentials, ssl_ca_cert=authority)


def _endpoint_of_this_namespace() -> str:
    try:
        namespace = (_ACCOUNT / "namespace").read_text().strip()
    except FileNotFoundError:
        raise InputError("No pipeline server: this is not a pod, so set KF_PIPELINES_ENDPOINT to its URL.") from None
    return f"https://ds-pipeline-dspa.{namespace}.svc.cluster.local:8443"


def _probe(host: str, token: Path, authority: str | None) -> None:
    # kfp itself tries for half a minute, with tracebacks in the log.
    import requests

    try:
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    except OSError as error:
        raise InputError(f"The token {token} cannot be read ({error.strerror}): run as a service account.") from None
    try:
        answer = requests.get(
            f"{host.rstrip('/')}/apis/v2beta1/healthz",
            headers=headers,
            timeout=30,
            verify=authority or True,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError:
        raise InputError(
            f"The certificate of {host} is signed by an authority that is not known here: name the file of the "
            "authority in KF_PIPELINES_SSL_SA_CERTS."
        ) from None
    except requests.exceptions.RequestException as error:
        raise InputError(f"The pipeline server {host} does not answer ({type(error).__name__}).") from None
    except OSError:
        raise InputError(f"The certificate authority {authority} cannot be read: name a PEM file.") from None
    if answer.status_code in (301, 302, 307, 308, 401, 403):
        raise InputError(
            f"The pipeline server {host} refuses this service account (status {answer.status_code}): bind it to the "
            "role ds-pipeline-user-access-dspa."
        )
    if answer.status_code != 200:
        raise InputError(f"{host} is no pipeline server: it answers {answer.status_code} when asked for its health.")


def _ask(question: Callable):
    """Put a question to the server; its refusals become sentences."""
    import urllib3
    from kfp_server_api import ApiException

    try:
        return question()
    except ApiException as error:
        reason = re.search(r'"(?:message|error)":"([^"]*)"', str(error.body or ""))
        sentence = f"The pipeline server refuses with {error.status} {error.reason}"
        raise (_AwayError if not error.status or error.status >= 500 else InputError)(
            f"{sentence}: {reason[1]}" if reason else f"{sentence}."
        ) from None
    except urllib3.exceptions.HTTPError as error:
        raise _AwayError(f"The pipeline server does not answer ({type(error).__name__}).") from None


def main(words: list[str] | None = None) -> int:
    """Run one of the two commands.

    Args:
        words: The command line; that of this process when None.

    Returns:
        0, or 1 when the run failed, or 2 when something given cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m loopline.deploy.start_delivery", description=__doc__.replace("``", "")
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start a delivery")
    starting.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="empty ones are left out"
    )
    starting.add_argument("--event", default="", help="what asked for it: the same event starts one delivery")
    starting.add_argument("--step-image", default="", help="image of the steps")
    starting.add_argument("--result", type=Path, required=True, metavar="FILE", help="where to write the id of the run")
    waiting = commands.add_parser("wait", help="wait for it")
    waiting.add_argument("run_id")
    waiting.add_argument("--deadline-s", type=float, default=7200.0)
    waiting.add_argument("--poll-s", type=float, default=15.0)
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        if options.command == "start":
            parameters = dict(_pair(text) for text in options.parameter)
            options.result.write_text(start(parameters, options.event, options.step_image), encoding="utf-8")
            return 0
        state = wait(options.run_id, options.deadline_s, options.poll_s)
        logger.info("run %s: %s", options.run_id, state)
        return 0 if state == "SUCCEEDED" else 1
    except InputError as error:
        print(f"loopline: {error}", file=sys.stderr)
        return 2


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"Parameter {text!r} has no value: write NAME=VALUE.")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
