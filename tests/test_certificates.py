"""Servers that cut the connection while it is being encrypted, or that speak no TLS: real sockets, every client."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loopline.components.data.ingest import ingest
from loopline.components.delivery import git_hosting, inference
from loopline.components.delivery.registry import Registry
from loopline.components.errors import InputError, TemporaryError
from loopline.components.monitoring import web
from loopline.components.pipeline_connection import open_connection


@contextmanager
def serve(answer: bytes) -> Iterator[str]:
    """Serve what reads the beginning of a conversation, says something, or nothing, and hangs up."""

    def run() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.2", 0)) as listening:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"127.0.0.2:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def fetch(host: str, folder) -> None:
    ingest(f"https://{host}/table.csv", folder / "out.parquet")


def fetch_object(host: str, folder) -> None:
    ingest("s3://bucket/table.csv", folder / "out.parquet")


def read_manifest(host: str, folder) -> None:
    Registry(host, "models/flights").get_manifest("1")


def ask_pipelines(host: str, folder) -> None:
    open_connection(f"https://{host}", lambda: "token")


CLIENTS = pytest.mark.parametrize("call", [fetch, fetch_object, read_manifest, ask_pipelines])


@CLIENTS
def test_cut_connection_may_work_in_a_moment(call, tmp_path, monkeypatch):
    with serve(b"") as host:
        monkeypatch.setenv("AWS_S3_ENDPOINT", f"https://{host}")
        with pytest.raises(TemporaryError):
            call(host, tmp_path)


@CLIENTS
def test_server_without_tls_is_not_tried_again(call, tmp_path, monkeypatch):
    with serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as host:
        monkeypatch.setenv("AWS_S3_ENDPOINT", f"https://{host}")
        with pytest.raises(InputError, match=f"{host}.* does not speak TLS as it should: check") as caught:
            call(host, tmp_path)
    assert not caught.value.temporary


def test_hosting_that_cuts_is_asked_again(monkeypatch):
    monkeypatch.setattr(git_hosting, "RETRIES", 1)
    monkeypatch.setenv("GIT_PASSWORD", "canary-token")
    with serve(b"") as host, pytest.raises(InputError, match="cut the connection: check the network"):
        git_hosting.Hosting("gitea", f"https://{host}/api/v1", "group/project").find("head", "main")


@pytest.mark.parametrize("call", [lambda url: inference.call_rest(url, "/v2"), lambda url: web.call("GET", url)])
def test_site_that_cuts_is_said_to_have_cut(call):
    with serve(b"") as host, pytest.raises(InputError, match="ended the encrypted connection before it") as caught:
        call(f"https://{host}")
    assert isinstance(caught.value, (inference.UnreachableError, web.UnreachableError))
