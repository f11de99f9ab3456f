"""Addresses that a step on a cluster does not connect to: metadata services, link-local, its own pod.

169.254.0.0/16 leads nowhere here, so what is looked at is that nobody tries to go there. Names are resolved by a
stand-in, since no server of names can be set here; the connections, servers, redirects, TLS and git are real.
"""

import asyncio
import http.server
import socket
import threading
from urllib.parse import urlsplit

import pytest
import requests
from config_repositories import make_certificate, make_repository, serve_git

from loopline.components.addresses import guard
from loopline.components.data.sources import find_sources
from loopline.components.delivery.git import locate_repository, run_git
from loopline.components.delivery.git_hosting import open_hosting
from loopline.components.delivery.inference import call_rest
from loopline.components.delivery.registry import Registry
from loopline.components.errors import InputError
from loopline.components.monitoring.load import Load, Target
from loopline.components.monitoring.web import call

METADATA = "link-local or of a metadata service"
OWN = "the pod's own"


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")


@pytest.fixture
def server():
    """A server of this machine that answers a table, or redirects to what a path names."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            target = self.path.partition("?to=")[2]
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Length", "0" if target else "8")
            self.end_headers()
            self.wfile.write(b"" if target else b"a,b\n1,2\n")

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def names(monkeypatch):
    """What names stand for, answer after answer; returns the dictionary to fill, and the addresses connected to."""
    known, connected, real, connect = {}, [], socket.getaddrinfo, socket.socket.connect

    def look_up(host, port, *arguments, **options):
        answers = known.get(host)
        address = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else host
        return real(address, port, *arguments, **options)

    def note(self, address):
        connected.append(address[0])
        return connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", note)
    known["connected"] = connected
    return known


def read(url: str) -> bytes:
    with find_sources(url)[0].open() as stream:
        return stream.read()


def get(url: str, loopback: bool = False) -> requests.Response:
    return guard(requests.Session(), loopback).get(url, timeout=5)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.0.1", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]", "[fe80::1]",
        "[fd00:ec2::254]", "100.100.100.200", "169.254.169.254.",
    ],
)  # fmt: skip
def test_no_spelling_of_a_metadata_service_is_asked(cluster, names, host):
    with pytest.raises(InputError, match=METADATA):
        read(f"https://{host}/latest/meta-data/")
    with pytest.raises(InputError, match=METADATA):
        get(f"http://{host}/", loopback=True)
    assert names["connected"] == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "localhost",
        "2130706433",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "127.9.9.9",
    ],
)
def test_data_are_not_read_from_the_pod_itself(cluster, names, host):
    with pytest.raises(InputError, match=OWN):
        read(f"https://{host}:1/x")
    assert names["connected"] == []


def test_this_machine_may_be_read_from_where_it_is_no_pod(server):
    assert read(server) == b"a,b\n1,2\n"


@pytest.mark.parametrize("allowed", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_what_the_platform_names_may_be_read(cluster, server, monkeypatch, allowed):
    with pytest.raises(InputError, match="LOOPLINE_ALLOW_HOSTS"):
        read(server)
    monkeypatch.setenv("LOOPLINE_ALLOW_HOSTS", allowed)
    assert read(server) == b"a,b\n1,2\n"


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "https://2852039166/", "http://0xA9FEA9FE/"])
def test_no_redirect_leads_there(cluster, server, monkeypatch, names, target):
    monkeypatch.setenv("LOOPLINE_ALLOW_HOSTS", "127.0.0.1")
    with pytest.raises(InputError, match=METADATA):
        read(f"{server}/?to={target}")
    assert set(names["connected"]) == {"127.0.0.1"}


def test_a_name_that_stands_for_it_is_refused(cluster, names):
    names["innocent.example"] = ["169.254.169.254"]
    with pytest.raises(InputError, match=rf"innocent\.example is 169\.254\.169\.254, .*{METADATA}"):
        get("http://innocent.example/")
    assert names["connected"] == []


def test_a_name_that_stands_for_something_else_a_moment_later_is_asked_once(cluster, names, server):
    names["rebinding.example"] = ["127.0.0.1", "169.254.169.254"]
    answer = get(f"http://rebinding.example:{urlsplit(server).port}/", loopback=True)
    assert answer.content == b"a,b\n1,2\n"
    assert names["connected"] == ["127.0.0.1"]


def test_a_certificate_still_has_to_name_the_host(cluster, tmp_path):
    certificate = make_certificate(tmp_path / "certificate.pem")
    with serve_git(tmp_path, certificate=certificate) as running:
        session = guard(requests.Session())
        assert session.get(running.url, verify=str(certificate), timeout=5).status_code == 401
        with pytest.raises(requests.exceptions.SSLError):
            session.get(running.url.replace("localhost", "127.0.0.1"), verify=str(certificate), timeout=5)


async def _probe() -> str:
    load = Load(Target("http://127.0.0.1:1/v2", [b"{}"], {}, 1))
    load.may_ask("169.254.169.254")
    return load._tally.failure


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: call("GET", f"{url}/metrics"),
        lambda url: call_rest(url, "/v2"),
        lambda url: Registry(urlsplit(url).netloc, "a").get_manifest("latest"),
        lambda url: locate_repository(f"https://{urlsplit(url).netloc}/a.git"),
        lambda url: locate_repository(f"ssh://git@{urlsplit(url).netloc}/a.git"),
        lambda url: locate_repository(f"git@{urlsplit(url).netloc}:a.git"),
        lambda url: run_git(["ls-remote", f"{url}/a.git"]),
    ],
    ids=["metrics", "model server", "registry", "repository", "ssh", "ssh short", "git"],
)
def test_no_parameter_that_names_a_host_leads_there(cluster, names, ask):
    with pytest.raises(InputError, match=METADATA):
        ask("http://169.254.169.254")
    assert "169.254.169.254" not in names["connected"]


def test_a_probe_asks_nobody_else_than_it_connected_to(cluster):
    assert METADATA in asyncio.run(_probe())


def test_pull_requests_are_opened_nowhere_there(cluster, monkeypatch):
    monkeypatch.setenv("GIT_PROVIDER", "gitea")
    monkeypatch.setenv("GIT_PASSWORD", "a-token")
    with pytest.raises(InputError, match=METADATA):
        open_hosting("https://169.254.169.254/a/b.git").find("head", "main")


def test_git_connects_to_the_address_that_was_checked(cluster, names, tmp_path):
    make_repository(tmp_path)
    names["git.example"] = ["127.0.0.1"]
    with serve_git(tmp_path) as running, pytest.raises(InputError, match="refuses the credentials"):
        # Nobody else knows this name: git got there by the address that it was told.
        run_git(["ls-remote", f"http://git.example:{running.server_port}/config.git"])
    assert any("config.git" in line for line in running.requests)
