"""Read objects from S3 with the environment the platform sets."""

import fnmatch
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from minio import Minio
from minio.credentials import IamAwsProvider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from loopline.components import certificates
from loopline.components.data.sources import AWAY, TIMEOUT, Source, WebStream, is_data_name
from loopline.components.errors import AbsentError, InputError, TemporaryError

_ADVICE = {
    "NoSuchBucket": "there is no such bucket: check its name and the endpoint",
    "NoSuchKey": "there is no such object: check the key",
    "InvalidAccessKeyId": "the access key is unknown: check AWS_ACCESS_KEY_ID and the endpoint",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "access is denied: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
    "ExpiredToken": "the session token has expired: get a new AWS_SESSION_TOKEN",
}


def s3_client() -> Minio:
    """Make a client from the environment.

    ``AWS_S3_ENDPOINT`` or ``AWS_ENDPOINT_URL`` (Amazon's own when neither is set), ``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN`` or ``AWS_WEB_IDENTITY_TOKEN_FILE`` (anonymous when none is set),
    ``AWS_DEFAULT_REGION``, ``AWS_CA_BUNDLE`` or ``SSL_CERT_FILE``, and the usual proxy variables.

    Returns:
        A client that gives up within seconds when nothing answers.

    Raises:
        InputError: The endpoint is not an address.
    """
    endpoint = os.environ.get("AWS_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "us-east-1"
    try:
        return Minio(
            endpoint=parts.netloc,
            access_key=key or None,
            secret_key=secret or None,
            session_token=os.environ.get("AWS_SESSION_TOKEN") or None,
            credentials=IamAwsProvider() if not key and os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") else None,
            secure=parts.scheme == "https",
            region=region,
            http_client=_http_client(parts),
        )
    except ValueError as error:
        raise InputError(
            f"The S3 endpoint {parts.hostname!r} cannot be used ({error}): check AWS_S3_ENDPOINT."
        ) from None


def _http_client(parts) -> urllib3.PoolManager:
    options = {
        "timeout": urllib3.Timeout(connect=TIMEOUT[0], read=TIMEOUT[1]),
        # However long the store asks to wait, a step that waits for hours is one that hangs.
        "retries": urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=AWAY, respect_retry_after_header=False),
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where(),
    }
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def find_objects(uri: str) -> list[Source]:
    """Find the objects behind ``s3://bucket/key``.

    Args:
        uri: The key may be that of an object, a prefix (a folder), or a glob in which ``*`` stays within one level and
            ``**`` does not.

    Returns:
        The objects, sorted by key.

    Raises:
        InputError: Nothing is there, or the store refuses or does not answer.
    """
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    if not bucket:
        raise InputError(f"{uri} names no bucket: write s3://bucket/key.")
    client = s3_client()
    with clear_errors(uri):
        keys = _find_keys(client, bucket, key)
    if not keys:
        raise AbsentError(f"There is no object at {uri}: check the bucket and the key.")
    return [Source(f"s3://{bucket}/{k}", lambda k=k: open_object(client, bucket, k)) for k in keys]


def _find_keys(client: Minio, bucket: str, key: str) -> list[str]:
    if key and not key.endswith("/"):
        try:
            client.stat_object(bucket, key)
            return [key]
        except S3Error as error:
            # Who may read but not list is told AccessDenied for a missing key, and is told so here too.
            if error.code not in ("NoSuchKey", "NoSuchObject"):
                raise
    wild = [key.find(mark) for mark in "*?[" if mark in key]
    prefix = key[: min(wild)] if wild else key.rstrip("/") + "/" if key else ""
    found = (item.object_name for item in client.list_objects(bucket, prefix=prefix, recursive=True))
    found = (name for name in found if not name.endswith("/"))
    if wild:
        return sorted(name for name in found if _matches(name.split("/"), key.split("/")))
    return sorted(name for name in found if is_data_name(name.removeprefix(prefix)))


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Match a key level by level, the way a shell matches a path."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def open_object(client: Minio, bucket: str, key: str) -> BinaryIO:
    """Open an object for reading.

    Args:
        client: What ``s3_client`` made.
        bucket: The bucket.
        key: The object's key.

    Returns:
        Its bytes as they arrive.

    Raises:
        InputError: It is not there, or the store refuses or does not answer; also while reading.
    """
    name = f"s3://{bucket}/{key}"
    with clear_errors(name):
        return io.BufferedReader(WebStream(client.get_object(bucket, key), name), 2**20)


def object_identity(uri: str) -> str:
    """Return what changes when an object's content does.

    Args:
        uri: ``s3://bucket/key`` of one object.

    Returns:
        Its size and ETag.

    Raises:
        InputError: It is not there, or the store refuses or does not answer.
    """
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    client = s3_client()
    with clear_errors(uri):
        found = client.stat_object(bucket, key)
    return f"{found.size} {found.etag}"


@contextmanager
def clear_errors(name: str, action: str = "read") -> Iterator[None]:
    """Turn what can go wrong with a store into one sentence.

    Args:
        name: The object or objects, for the sentence.
        action: What is done to them.

    Raises:
        InputError: The block raised an error of the client.
        TemporaryError: The store is away or busy.
    """
    endpoint = os.environ.get("AWS_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or "Amazon S3"
    try:
        yield
    except S3Error as error:
        if error.response.status in AWAY:
            raise TemporaryError(_busy(action, name, endpoint, error.response.status)) from None
        advice = _ADVICE.get(error.code, f"the store says {error.code}")
        raise InputError(f"Cannot {action} {name}: {advice}.") from None
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, urllib3.exceptions.SSLError):
            raise certificates.refusal(endpoint, reason, "AWS_CA_BUNDLE") from None
        if isinstance(reason, urllib3.exceptions.ResponseError):
            advice = f"it is busy or away ({reason}): try again"
        else:
            advice = f"it does not answer ({type(reason).__name__}): check AWS_S3_ENDPOINT and the network"
        raise TemporaryError(f"Cannot {action} {name} at {endpoint}: {advice}.") from None
    except (ServerError, InvalidResponseError) as error:
        # Only the text of the one holds the status.
        status = next(iter(re.findall(r"Response code: (\d+)", str(error))), "") or getattr(error, "status_code", 0)
        if int(status) not in AWAY:
            raise InputError(f"Cannot {action} {name}: {endpoint} does not answer as S3 does: check it.") from None
        raise TemporaryError(_busy(action, name, endpoint, int(status))) from None
    except (MinioException, ValueError, SyntaxError) as error:  # the last is what Python's XML raises
        advice = f"{error}; check the bucket's name and the key"
        raise InputError(f"Cannot {action} {name} at {endpoint}: {advice}.") from None


def _busy(action: str, name: str, endpoint: str, status: int) -> str:
    return f"Cannot {action} {name} at {endpoint}: it is busy or away (status {status}): try again."
