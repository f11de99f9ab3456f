"""The object store: whether it answers, accepts the credentials, and may be read and written."""

import io
import os
from collections.abc import Iterator

from loopline.components.data.places import Bucket, read_place
from loopline.components.errors import InputError
from loopline.pipelines.doctor.findings import PROBLEM, WARNING, Finding, failure, ok, problem, skipped, warning
from loopline.pipelines.doctor.network import Contact, contact
from loopline.pipelines.doctor.settings import Settings

#: The object that is written and deleted. What begins with an underscore is not read as data.
PROBE = "_loopline-doctor"
#: S3 refuses a request whose time is off by 15 minutes.
_SKEW_S, _REFUSED_S = 60.0, 900.0
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ENDPOINTS = ("AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL")


def check(settings: Settings) -> Iterator[Finding]:
    """Check the endpoint, the credentials, and the place that is named."""
    place = settings.s3 or os.environ.get("LOOPLINE_TRAFFIC_URI", "")
    if not place.startswith("s3://"):
        place = settings.s3 or (f"s3://{bucket}" if (bucket := os.environ.get("AWS_S3_BUCKET")) else "")
    if not place and not any(os.environ.get(name) for name in (*_KEYS, *_ENDPOINTS)):
        yield skipped("object store", "AWS_S3_ENDPOINT and AWS_ACCESS_KEY_ID are not set: needed only for s3://")
        return
    half = [name for name in _KEYS if not os.environ.get(name)]
    if len(half) == 1:
        yield problem("credentials", f"{half[0]} is not set but the other half is", f"Set {half[0]}.")
        return
    yield from _store(place, settings.read_only)


def _store(place: str, read_only: bool) -> Iterator[Finding]:
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "https://s3.amazonaws.com")
    endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
    try:
        first = contact(endpoint, "AWS_S3_ENDPOINT", os.environ.get("AWS_CA_BUNDLE", ""), "AWS_CA_BUNDLE")
    except InputError as error:
        yield failure("endpoint", error)
        return
    yield ok("endpoint", f"{endpoint} answers")
    yield from _clock(first)
    accepted = _credentials()
    yield accepted
    if accepted.state == PROBLEM:
        return
    if place:
        yield from _bucket(place, read_only)
    else:
        yield skipped("bucket", "none named: --s3 s3://bucket/prefix shows whether it may be read and written")


def _clock(first: Contact) -> Iterator[Finding]:
    if first.skew_s is None or abs(first.skew_s) < _SKEW_S:
        return
    found = problem if abs(first.skew_s) >= _REFUSED_S else warning
    ahead = "ahead of" if first.skew_s > 0 else "behind"
    yield found(
        "clock", f"this machine is {abs(first.skew_s) / 60:.0f} min {ahead} the store, which refuses from 15 min on",
        "Set this machine's clock by NTP: `timedatectl set-ntp true`.",
    )  # fmt: skip


def _credentials() -> Finding:
    from minio.error import InvalidResponseError, S3Error

    from loopline.components.data.s3 import clear_errors, s3_client

    if not os.environ.get(_KEYS[0]) and not os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return skipped("credentials", "AWS_ACCESS_KEY_ID is not set: the store is asked without")
    try:
        with clear_errors("the list of buckets"):
            try:
                count = len(s3_client().list_buckets())
            except S3Error as error:
                if error.code != "AccessDenied":  # the key and its signature are right then
                    raise
                return ok("credentials", "accepted; this account may not list the buckets")
            except InvalidResponseError:
                return problem(
                    "credentials",
                    "what answers there is no object store",
                    "Check AWS_S3_ENDPOINT: host, port and scheme.",
                )
    except InputError as error:
        return failure("credentials", error)
    return ok("credentials", f"accepted; this account sees {count} bucket{'s' * (count != 1)}")


def _bucket(place: str, read_only: bool) -> Iterator[Finding]:
    from loopline.components.data.s3 import clear_errors, s3_client

    try:
        bucket = read_bucket(place)
        prefix = f"{bucket.prefix}/" if bucket.prefix else ""
        with clear_errors(place):
            first = next(iter(s3_client().list_objects(bucket.name, prefix=prefix)), None)
        yield ok("read", f"may list {place}" + ("" if first else ", where there is nothing yet"))
    except InputError as error:
        yield failure("read", error)
        return
    if read_only:
        yield skipped("write", "--read-only")
    else:
        yield _write(bucket.name, prefix + PROBE, place)


def read_bucket(place: str) -> Bucket:
    """Read where to try reading and writing.

    Args:
        place: ``s3://bucket/prefix``.

    Raises:
        InputError: It is none.
    """
    bucket = read_place(place, "The place for --s3")
    if not isinstance(bucket, Bucket):
        raise InputError(f"{place!r} is no place in S3: write s3://bucket/prefix.")
    return bucket


def _write(bucket: str, key: str, place: str) -> Finding:
    from loopline.components.data.s3 import clear_errors, s3_client

    client, data = s3_client(), b"loopline doctor\n"
    try:
        with clear_errors(place, "write to"):
            written = client.put_object(bucket, key, io.BytesIO(data), len(data))
    except InputError as error:
        return failure("write", error)
    try:
        with clear_errors(f"s3://{bucket}/{key}", "delete"):
            # With the version, or a bucket that keeps versions would keep this one.
            client.remove_object(bucket, key, version_id=written.version_id)
    except InputError as error:
        return failure("write", error, WARNING, f"Allow this account to delete there, and delete s3://{bucket}/{key}.")
    return ok("write", f"may write to {place} and delete there ({PROBE} was written and deleted)")
