"""Say in one sentence what is wrong between a step and MLflow, without credentials."""

import re

from loopline.components.errors import InputError

#: How long a server may take to answer the first request, in seconds, and how often it is asked again.
_SECONDS, _RETRIES = 4, 2


def without_credentials(text: str) -> str:
    """Return a text with ``user:password@`` taken out of every URI in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


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
        raise InputError(_refusal(where, f"status {response.status_code}"))
    if response.status_code != 200 or "json" not in response.headers.get("content-type", ""):
        raise InputError(
            f"{where} does not answer like an MLflow server (status {response.status_code}): check MLFLOW_TRACKING_URI "
            "and that the server is healthy."
        )


def explain_failure(error: Exception, uri: str) -> InputError:
    """Turn MLflow's exception into one sentence.

    Args:
        error: An ``MlflowException``.
        uri: The tracking URI in use.

    Returns:
        The error to raise instead.
    """
    where = without_credentials(uri)
    code = getattr(error, "error_code", "")
    message = without_credentials(" ".join(str(error).split()))[:300]
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
        return InputError(_refusal(where, message))
    if "API request to" in message and ("failed with exception" in message or "failed with timeout" in message):
        return InputError(
            f"MLflow at {where} cannot be reached ({_cause(message)}): check MLFLOW_TRACKING_URI and that the server "
            "runs."
        )
    return InputError(f"MLflow at {where} refused the request: {message}")


def _refusal(where: str, why: str) -> str:
    return (
        f"MLflow at {where} denies access ({why}): check MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, MLFLOW_WORKSPACE and the role of this account."
    )


def _cause(message: str) -> str:
    for cause in ("Connection refused", "timed out", "Name or service not known", "CERTIFICATE_VERIFY_FAILED"):
        if cause in message:
            return cause
    return message
