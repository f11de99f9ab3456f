"""A real S3 endpoint in memory."""

import contextlib
from collections.abc import Iterator

import pytest
from minio import Minio
from moto.server import ThreadedMotoServer

from loopline.components.data.s3 import s3_client


@contextlib.contextmanager
def running_store(monkeypatch: pytest.MonkeyPatch, bucket: str) -> Iterator[Minio]:
    """Run a store with one bucket, with the environment set to reach it; yields a client."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_S3_ENDPOINT", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    try:
        client = s3_client()
        # The store's memory is the process's: another test may have left its bucket, with versions.
        if client.bucket_exists(bucket):
            for item in client.list_objects(bucket, recursive=True, include_version=True):
                client.remove_object(bucket, item.object_name, version_id=item.version_id)
            client.remove_bucket(bucket)
        client.make_bucket(bucket)
        yield client
    finally:
        server.stop()
