"""A pipeline server: how it is found, asked and waited for, and how a run is started once.

The server is found as the platform's own clients find it: ``KF_PIPELINES_ENDPOINT``, else the service of the ``dspa``
in this pod's namespace; the token of ``KF_PIPELINES_SA_TOKEN_PATH``, else of this pod's service account; the
certificate authority of ``KF_PIPELINES_SSL_SA_CERTS`` or ``PIPELINES_SSL_SA_CERTS``, else the cluster's own.
"""

import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError, TemporaryError

logger = logging.getLogger("loopline")

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: The certificate authority of the cluster's services; without it the machine's own authorities.
_SERVICE_CA = _ACCOUNT / "service-ca.crt"
#: States of a run that is over, but for SUCCEEDED.
_FAILED = {"FAILED", "CANCELED", "SKIPPED"}
#: A run in one of these states did not do what it was started for.
LOST = _FAILED | {"CANCELING"}
#: How often in a row the server may be away while a run is waited for.
_PATIENCE = 5
#: Servers tell when a run was made in whole seconds: two made within one are told apart once that second is over.
SETTLE_S = 2.0
_PAGE = 100
_FORBIDDEN = "bind it to the role ds-pipeline-user-access-dspa."


def connect(host: str = ""):
    """Connect to a pipeline server, and ask one plain question whose failure says in one sentence what is wrong.

    Args:
        host: Its URL; found as said above when empty.

    Returns:
        A ``kfp.Client``.

    Raises:
        InputError: There is no such server, or it refuses this account.
    """
    token = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or _ACCOUNT / "token")
    elsewhere = bool(host) and not _is_inside(host)
    if elsewhere:
        _check_token_may_go_to(host)
    host = host or os.environ.get("KF_PIPELINES_ENDPOINT") or _endpoint_of_this_namespace()
    named = os.environ.get("KF_PIPELINES_SSL_SA_CERTS") or os.environ.get("PIPELINES_SSL_SA_CERTS")
    of_cluster = str(_SERVICE_CA) if _SERVICE_CA.exists() and not elsewhere else ""
    authority = named or of_cluster or ca_bundle() or None
    _probe(host, token, authority)
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # The token is read again for each question: the cluster replaces it within the hour.
        credentials = ServiceAccountTokenVolumeCredentials(path=str(token))
        return kfp.Client(host=host, credentials=credentials, ssl_ca_cert=authority)


def ask(question: Callable):
    """Put a question to the server; its refusals become sentences.

    Args:
        question: Calls the client.

    Returns:
        What it returns.

    Raises:
        InputError: The server refuses.
        TemporaryError: It is away for now.
    """
    import urllib3
    from kfp_server_api import ApiException

    try:
        return question()
    except ApiException as error:
        if error.status in (401, 403):
            problem = f"The pipeline server refuses this service account (status {error.status}): {_FORBIDDEN}"
        else:
            reason = _reason(error.body)
            problem = f"The pipeline server refuses with {error.status} {error.reason}"
            problem += f": {reason}" if reason else "."
        away = not error.status or error.status >= 500
        raise (TemporaryError if away else InputError)(problem) from None
    except urllib3.exceptions.HTTPError as error:
        raise TemporaryError(f"The pipeline server does not answer ({type(error).__name__}).") from None


def list_all(call: Callable, field: str, **filters) -> Iterator:
    """List everything that the server has of a kind, page by page.

    Args:
        call: A listing of the client.
        field: The answer's field with the entries.
        filters: What else the listing takes.

    Yields:
        The entries.

    Raises:
        InputError: The server refuses or is away.
    """
    token = ""
    while True:
        answer = ask(lambda token=token: call(page_token=token, page_size=_PAGE, **filters))
        yield from getattr(answer, field) or []
        token = answer.next_page_token
        if not token:
            return


def runs_named(client, title: str) -> list:
    """Return the runs of a name that did not fail, the oldest first.

    Args:
        client: What ``connect`` returned.
        title: The name.

    Raises:
        InputError: The server refuses or is away.
    """
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": title}
    named = list_all(client.list_runs, "runs", filter=json.dumps({"predicates": [predicate]}))
    return sorted((run for run in named if run.state not in LOST), key=_age)


def start_once(client, create: Callable, rivals: Callable[[], list]) -> tuple[object, bool]:
    """Start a run unless there is one that makes it needless.

    Servers have no unique names, so two who ask at the same moment both find nothing and both start a run. Each then
    looks again, and the one whose run is the later takes it back.

    Args:
        client: What ``connect`` returned.
        create: Starts the run and returns it.
        rivals: Lists the runs that make it needless, the one to name first.

    Returns:
        The run, and whether it was started here.

    Raises:
        InputError: The server refuses or is away.
    """
    found = rivals()
    if found:
        return found[0], False
    own = ask(create)
    time.sleep(SETTLE_S)
    earlier = [run for run in rivals() if _age(run) < _age(own)]
    if not earlier:
        return own, True
    ask(lambda: client.terminate_run(own.run_id))
    logger.info("run %s was started at the same moment: %s is taken back", earlier[0].run_id, own.run_id)
    return earlier[0], False


def wait(run_id: str, deadline_s: float, poll_s: float = 15.0) -> str:
    """Wait until a run is over.

    Args:
        run_id: The run.
        deadline_s: How long at most, in seconds.
        poll_s: Seconds between two questions.

    Returns:
        Its state: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    Raises:
        InputError: It is not over in time, or the server cannot be used.
    """
    client, end, failures = connect(), time.monotonic() + deadline_s, 0
    while True:
        try:
            state, failures = ask(lambda: client.get_run(run_id)).state, 0
        except TemporaryError:
            failures += 1
            if failures >= _PATIENCE:
                raise
            state = "unknown: the server does not answer"
        if state == "SUCCEEDED" or state in _FAILED:
            return state
        if time.monotonic() > end:
            raise InputError(f"Run {run_id} is not over after {deadline_s:.0f} s: its state is {state}.")
        time.sleep(poll_s)


def _age(run) -> tuple:
    return run.created_at, run.run_id


def _reason(body: object) -> str:
    """Return what a refusal says, in one line; empty when it says nothing that can be read."""
    try:
        told = json.loads(body or "{}")
    except (TypeError, ValueError):
        return ""
    text = (told.get("message") or told.get("error")) if isinstance(told, dict) else ""
    return " ".join(str(text or "").split())[:300]


def _endpoint_of_this_namespace() -> str:
    try:
        namespace = (_ACCOUNT / "namespace").read_text().strip()
    except FileNotFoundError:
        raise InputError("No pipeline server: this is not a pod, so set KF_PIPELINES_ENDPOINT to its URL.") from None
    return f"https://ds-pipeline-dspa.{namespace}.svc.cluster.local:8443"


def _is_inside(host: str) -> bool:
    return (urlsplit(host).hostname or "").endswith((".svc", ".svc.cluster.local"))


def _check_token_may_go_to(host: str):
    # A parameter must not be enough to send this account's token anywhere.
    if urlsplit(host).scheme != "https":
        raise InputError(f"The pipeline server {host!r} would get a token in the clear: write it as https://HOST:PORT.")
    if not os.environ.get("KF_PIPELINES_SA_TOKEN_PATH"):
        raise InputError(
            f"The pipeline server {host} is outside this cluster, where this account's token is not sent: name the "
            "file of a token for it in KF_PIPELINES_SA_TOKEN_PATH."
        )


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
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise InputError(f"{host!r} is no URL of a pipeline server: write it as https://HOST:PORT.") from None
    except requests.exceptions.RequestException as error:
        raise TemporaryError(f"The pipeline server {host} does not answer ({type(error).__name__}).") from None
    except OSError:
        raise InputError(f"The certificate authority {authority} cannot be read: name a PEM file.") from None
    if answer.status_code in (301, 302, 307, 308, 401, 403):
        raise InputError(
            f"The pipeline server {host} refuses this service account (status {answer.status_code}): {_FORBIDDEN}"
        )
    if answer.status_code != 200:
        raise InputError(f"{host} is no pipeline server: it answers {answer.status_code} when asked for its health.")
