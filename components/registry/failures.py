"""Say in one sentence what is wrong between a step and MLflow, without credentials."""

import re

from loopline.components.errors import InputError, TemporaryError, errno_in, explain
from loopline.components.secrecy import hide, without_credentials

#: The statuses with which a server says that it is busy or away for now, and how MLflow words them.
_AWAY = (408, 429, 500, 502, 503, 504)
_BUSY = re.compile(rf"(?:too many|failed with error code) ({'|'.join(map(str, _AWAY))})\b")
#: How a connection that was cut shows while files are fetched, and what else keeps a server out of reach.
_BROKEN = ("Connection reset by peer", "Connection broken", "Connection aborted", "IncompleteRead", "Read timed out")
_CAUSES = (
    "Connection refused",
    "timed out",
    "Name or service not known",
    "Failed to resolve",
    "CERTIFICATE_VERIFY_FAILED",
    "Remote end closed connection",
)
#: How long a server may take to answer the first request, in seconds, and how often it is asked again.
_SECONDS, _RETRIES = 5, 1


def probe_server(uri: str) -> None:
    """Ask an MLflow server for something small, so that what is wrong shows within seconds.

    MLflow itself repeats a failing request for minutes, which is right in the middle of a run and wrong at its start.

    Args:
        uri: The server's address.

    Raises:
        InputError: The server cannot be reached, is no MLflow server or refuses the credentials.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    where = without_credentials(uri)
    try:
        response = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/registered-models/search",
            "GET",
            params={"max_results": 1},
            max_retries=_RETRIES,
            backoff_factor=1,
            timeout=_SECONDS,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise explain_failure(error, uri) from None
    if response.status_code in (401, 403):
        raise InputError(_refusal(where, f"status {response.status_code}: {_shorten(response.text, 80)}"))
    if response.status_code in _AWAY:
        raise TemporaryError(f"MLflow at {where} is busy or away (status {response.status_code}): try again.")
    if response.status_code != 200 or "json" not in response.headers.get("content-type", ""):
        raise InputError(
            f"{where} does not answer like an MLflow server (status {response.status_code}): check MLFLOW_TRACKING_URI "
            "and that the server is healthy."
        )


def explain_failure(error: Exception, uri: str) -> InputError:
    """Turn MLflow's exception into one sentence.

    Args:
        error: What MLflow or the network under it raised.
        uri: The tracking URI in use.

    Returns:
        The error to raise instead.
    """
    where = without_credentials(uri)
    message = str(error)
    if getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
        return InputError(_refusal(where, _shorten(message, 200)))
    if busy := _BUSY.search(message):
        return TemporaryError(f"MLflow at {where} is busy or away (status {busy[1]}): try again.")
    asked = "API request to" in message and ("failed with exception" in message or "failed with timeout" in message)
    if asked or any(sign in message for sign in _BROKEN):
        return TemporaryError(
            f"MLflow at {where} cannot be reached ({_cause(message)}): check MLFLOW_TRACKING_URI and that the server "
            "runs."
        )
    # Files that are fetched: what a disk or folder refuses is none of the server's faults.
    if number := errno_in(message):
        refused = explain(OSError(number, ""))
        if refused:
            return refused
    return InputError(f"MLflow at {where} cannot do what is asked of it: {_sentence(_shorten(message, 500))}")


def _refusal(where: str, why: str) -> str:
    return (
        f"MLflow at {where} denies access ({why}): check MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, MLFLOW_WORKSPACE and the role of this account."
    )


def _cause(message: str) -> str:
    """Return the part of a nested network error that a person wants to know."""
    return next((cause for cause in (*_CAUSES, *_BROKEN) if cause in message), _shorten(message, 200))


def _sentence(message: str) -> str:
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _shorten(message: str, characters: int) -> str:
    line = hide(" ".join(message.split()))
    return line if len(line) <= characters else f"{line[:characters]} ..."
