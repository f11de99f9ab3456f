"""A real S3 endpoint, each time with something wrong; what the doctor says to do is done, and then it is right."""

import email.utils
import http.server
import json
import math
import time

import boto3
import pytest
from delivery_registry import Handler, run_server
from doctor_runs import doctor
from moto import settings
from object_stores import running_store

PLACE = "s3://traffic/flights"


@pytest.fixture
def store(monkeypatch):
    """A store with the bucket ``traffic``."""
    with running_store(monkeypatch, "traffic") as client:
        yield client


@pytest.fixture
def strict(store, monkeypatch):
    """The same, but that it asks for logins; yields a function that says what the account may do."""
    endpoint = f"http://{store._base_url.host}"
    login = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=endpoint, **login)
    iam.create_user(UserName="robot")
    key = iam.create_access_key(UserName="robot")["AccessKey"]

    def allow(*actions: str) -> None:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = math.inf
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName="robot", PolicyName="some", PolicyDocument=json.dumps(document))
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0

    allow("s3:*")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    yield allow
    settings.INITIAL_NO_AUTH_ACTION_COUNT = math.inf
    iam.delete_user_policy(UserName="robot", PolicyName="some")
    iam.delete_access_key(UserName="robot", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="robot")


def _keys(store) -> list[str]:
    return [item.object_name for item in store.list_objects("traffic", recursive=True, include_version=True)]


def test_a_place_that_may_be_read_and_written(store):
    examined = doctor("s3", "--s3", PLACE)
    assert examined.status == 0
    assert [finding["title"] for finding in examined.findings] == ["endpoint", "credentials", "read", "write"]
    assert "hidden-secret" not in examined.output
    assert _keys(store) == []


def test_a_bucket_that_keeps_versions_keeps_none_of_the_probe(store):
    from minio.versioningconfig import ENABLED, VersioningConfig

    store.set_bucket_versioning("traffic", VersioningConfig(ENABLED))
    assert doctor("s3", "--s3", PLACE).of("write")["state"] == "ok"
    assert _keys(store) == []


def test_nothing_is_written_when_told_so(store):
    examined = doctor("s3", "--s3", PLACE, "--read-only")
    assert examined.of("write")["seen"] == "--read-only"
    assert examined.of("read")["state"] == "ok"


def test_the_bucket_of_a_connection_is_looked_at(store, monkeypatch):
    assert doctor("s3", AWS_S3_BUCKET="traffic").of("write")["state"] == "ok"
    assert "s3://traffic/log" in doctor("s3", LOOPLINE_TRAFFIC_URI="s3://traffic/log").of("write")["seen"]


def test_a_bucket_that_is_missing_is_named(store):
    missing = doctor("s3", "--s3", "s3://trafic/flights")
    assert "s3://trafic/flights" in missing.of("read")["seen"]
    assert "there is no such bucket" in missing.of("read")["seen"] + missing.of("read")["mend"].lower()
    store.make_bucket("trafic")
    assert doctor("s3", "--s3", "s3://trafic/flights").status == 0
    store.remove_bucket("trafic")


def test_a_wrong_key_is_named(strict):
    wrong = doctor("s3", "--s3", PLACE, AWS_SECRET_ACCESS_KEY="wrong-canary-secret")
    assert wrong.of("credentials")["state"] == "problem"
    assert "AWS_SECRET_ACCESS_KEY" in wrong.of("credentials")["mend"]
    assert "wrong-canary-secret" not in wrong.output
    unknown = doctor("s3", AWS_ACCESS_KEY_ID="AKIAUNKNOWN")
    assert "AWS_ACCESS_KEY_ID" in unknown.of("credentials")["mend"]


def test_rights_are_told_apart_and_mended(strict, store):
    strict("s3:ListBucket")
    looking = doctor("s3", "--s3", PLACE)
    assert "may not list the buckets" in looking.of("credentials")["seen"]
    assert looking.of("read")["state"] == "ok"
    assert looking.of("write")["state"] == "problem"
    assert "the bucket's policy" in looking.of("write")["mend"]
    strict("s3:ListBucket", "s3:PutObject")
    writing = doctor("s3", "--s3", PLACE)
    assert writing.of("write")["state"] == "warning"
    assert "delete s3://traffic/flights/_loopline-doctor" in writing.of("write")["mend"]
    strict("s3:ListBucket", "s3:PutObject", "s3:DeleteObject")
    assert doctor("s3", "--s3", PLACE).status == 0


def test_half_of_a_login_is_named():
    examined = doctor("s3", AWS_ACCESS_KEY_ID="key")
    assert examined.of("credentials")["mend"] == "Set AWS_SECRET_ACCESS_KEY."


def test_a_store_that_is_away_is_no_riddle():
    examined = doctor("s3", AWS_S3_ENDPOINT="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s")
    assert examined.of("endpoint")["seen"] == "http://127.0.0.1:9 does not answer (nothing listens there)"
    assert "AWS_S3_ENDPOINT" in examined.of("endpoint")["mend"]


@pytest.mark.parametrize(("minutes", "state"), [(20, "problem"), (3, "warning")])
def test_a_clock_that_is_off_is_told(minutes, state):
    class Ahead(Handler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", email.utils.formatdate(time.time() + 60 * minutes, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

    assert issubclass(Ahead, http.server.BaseHTTPRequestHandler)
    with run_server(Ahead) as host:
        clock = doctor("s3", AWS_S3_ENDPOINT=f"http://{host}").of("clock")
    assert clock["state"] == state
    assert f"{minutes} min behind" in clock["seen"]
    assert "timedatectl set-ntp true" in clock["mend"]
