"""A pipeline server: how it is asked and waited for, and how a run is started once."""

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator

from loopline.components.errors import InputError, TemporaryError
from loopline.components.pipeline_connection import FORBIDDEN, find_connection

logger = logging.getLogger("loopline")

#: States of a run that is over, but for SUCCEEDED.
_FAILED = {"FAILED", "CANCELED", "SKIPPED"}
#: A run in one of these states did not do what it was started for.
LOST = _FAILED | {"CANCELING"}
#: How often in a row the server may be away while a run is waited for.
_PATIENCE = 5
#: Servers tell when a run was made in whole seconds: two made within one are told apart once that second is over.
SETTLE_S = 2.0
_PAGE = 100
#: Seconds to wait for a connection, and for the next bytes on one.
TIMEOUT = (10, 60)


def connect(host: str = ""):
    """Connect to the server that is found from here.

    Args:
        host: Its URL; see ``pipeline_connection`` when empty.

    Returns:
        A ``kfp.Client``.

    Raises:
        InputError: There is no such server, or it refuses this account.
    """
    connection = find_connection(host)
    # In a step kfp is loaded without its client, which then comes in only by way of this module.
    import kfp.dsl.component_decorator  # noqa: F401
    from kfp.client import Client
    from kfp_server_api import rest

    class Patient(rest.RESTClientObject):
        """Waits for a server that goes silent no longer than this; KFP's own client waits without end."""

        def request(self, *words, _request_timeout=None, **named):
            return super().request(*words, _request_timeout=_request_timeout or TIMEOUT, **named)

    # KFP's client has no setting for it.
    original, rest.RESTClientObject = rest.RESTClientObject, Patient
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return Client(host=connection.host, credentials=connection, ssl_ca_cert=connection.authority)
    finally:
        rest.RESTClientObject = original


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
            problem = f"The pipeline server refuses this account (status {error.status}): {FORBIDDEN}"
        else:
            reason = _reason(error.body)
            problem = f"The pipeline server refuses with {error.status} {error.reason}"
            problem += f": {reason.rstrip('.')}." if reason else "."
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


def ensure_experiment(client, name: str) -> str:
    """Return the id of an experiment, which is made when it is missing; who comes second takes what the first made.

    Args:
        client: What ``connect`` returned.
        name: The experiment.
    """
    from kfp_server_api import ApiException

    try:
        return client.create_experiment(name).experiment_id
    except ApiException as error:
        if error.status != 409:
            raise
        return client.get_experiment(experiment_name=name).experiment_id


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
    except (TypeError, ValueError, RecursionError):
        return ""
    text = (told.get("message") or told.get("error")) if isinstance(told, dict) else ""
    return " ".join(str(text or "").split())[:300]
