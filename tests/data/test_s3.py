import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from loopline.components.data.ingest import ingest
from loopline.components.errors import InputError

CSV = b"a,b\n1,x\n2,y\n"


@pytest.fixture(scope="module")
def store():
    """A real S3 endpoint with a few objects."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "hidden", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket="bucket")
    for key in ("day/1.csv", "day/2.csv", "day/deep/3.csv", "one.csv", "odd [1].csv"):
        client.put_object(Bucket="bucket", Key=key, Body=CSV)
    for key in ("day/", "day/_SUCCESS", "day/.crc"):
        client.put_object(Bucket="bucket", Key=key, Body=b"")
    yield endpoint
    server.stop()


@pytest.fixture
def environment(store, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_S3_ENDPOINT", store)
    return monkeypatch


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("s3://bucket/one.csv", 1),
        ("s3://bucket/odd [1].csv", 1),
        ("s3://bucket/day", 3),
        ("s3://bucket/day/", 3),
        ("s3://bucket/day/*.csv", 2),
        ("s3://bucket/day/**/*.csv", 3),
        ("s3://bucket/d?y/[2-9].csv", 1),
    ],
)
def test_keys_prefixes_and_globs(environment, tmp_path, uri, files):
    result = ingest(uri, tmp_path / "out")
    assert result["rows"] == 2 * files
    assert result["source"] == uri


def test_parquet_and_the_general_endpoint_variable(environment, store, tmp_path):
    environment.delenv("AWS_S3_ENDPOINT")
    environment.setenv("AWS_ENDPOINT_URL", store)
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "t.parquet")
    client = boto3.client("s3", endpoint_url=store, region_name="us-east-1")
    client.put_object(Bucket="bucket", Key="t/t.parquet", Body=(tmp_path / "t.parquet").read_bytes())
    assert ingest("s3://bucket/t/t.parquet", tmp_path / "out" / "data")["rows"] == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://nowhere/one.csv", "no such bucket"),
        ("s3://bucket/none.csv", "no object at s3://bucket/none.csv"),
        ("s3://bucket/none/*.csv", "no object"),
        ("s3://", "names no bucket"),
        ("s3://Bad_Bucket/x.csv", "bucket"),
    ],
)
def test_what_is_not_there(environment, tmp_path, uri, words):
    with pytest.raises(InputError, match=words):
        ingest(uri, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_endpoint_that_does_not_answer(environment, tmp_path):
    environment.setenv("AWS_S3_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9.*does not answer.*AWS_S3_ENDPOINT"):
        ingest("s3://bucket/one.csv", tmp_path / "out")


def test_wrong_credentials(environment, store, tmp_path):
    # moto checks signatures once this many requests are through.
    import requests

    requests.post(f"{store}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    try:
        with pytest.raises(InputError, match=r"AWS_ACCESS_KEY_ID") as caught:
            ingest("s3://bucket/day/", tmp_path / "out")
        with pytest.raises(InputError, match=r"AWS_ACCESS_KEY_ID"):
            ingest("s3://bucket/one.csv", tmp_path / "out")
    finally:
        requests.post(f"{store}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()
    assert "hidden" not in str(caught.value)
