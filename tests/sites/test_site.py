"""One site step by step: what it does when servers die and when the repository changes its mind."""

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sites_world as world

from loopline.pipelines.sites import site as site_module
from loopline.pipelines.sites.images import Images
from loopline.pipelines.sites.plan import Plan
from loopline.pipelines.sites.ports import free_port
from loopline.pipelines.sites.server import Server, bind
from loopline.pipelines.sites.site import Site
from loopline.pipelines.sites.state import DEGRADED, FAILED, IDLE, READY, RESTARTING, SiteState, read_states, sites_home


@pytest.fixture
def site(sites, monkeypatch):
    """A site with short pauses and little patience; its servers are always stopped."""
    monkeypatch.setattr(site_module, "RESTART_S", (0.1, 0.1))
    monkeypatch.setattr(site_module, "DEATHS", 2)
    site = Site("edge", Images(sites_home() / "images"))
    yield site
    site.stop()
    while not site.stopped():
        time.sleep(0.05)


@pytest.fixture
def url():
    return f"http://127.0.0.1:{free_port()}"


def _plan(release, url) -> Plan:
    return Plan("edge", release.name, str(release.version), release.image, url, traffic_sample="0")


def _tick_until(site, plan, condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while True:
        site.tick(plan)
        if condition(site.state):
            return site.state
        assert time.monotonic() < deadline, site.state
        time.sleep(0.05)


def _environment(release, url, traffic_uri) -> str:
    """Return the environment that a model server would be started with."""
    plan = replace(_plan(release, url), traffic_uri=traffic_uri)
    with bind(url, "edge") as listener:
        server = Server(plan, sites_home(), listener, 0, sites_home() / "edge")
        try:
            return Path(f"/proc/{server.pid}/environ").read_text()
        finally:
            server.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the environment of a process is read in /proc")
def test_a_server_gets_the_login_of_its_traffic_log_alone(sites, images, url, monkeypatch, tmp_path):
    for name in ("AWS_SECRET_ACCESS_KEY", "GIT_PASSWORD", "COSIGN_PASSWORD"):
        monkeypatch.setenv(name, "hidden-secret")
    assert "hidden-secret" not in _environment(images.first, url, str(tmp_path))
    found = _environment(images.first, url, "s3://traffic/log").split("\0")
    assert [entry for entry in found if "hidden-secret" in entry] == ["AWS_SECRET_ACCESS_KEY=hidden-secret"]


def _kill(site) -> None:
    os.kill(site.state.pid, signal.SIGKILL)


def test_a_new_version_that_keeps_dying_gives_way_to_the_last_good_one(site, images, url):
    first, second = _plan(images.first, url), _plan(images.second, url)
    _tick_until(site, first, lambda state: state.state == READY)
    _tick_until(site, second, lambda state: state.running == images.second.image)
    for _ in range(site_module.DEATHS):
        dead = site.state.pid
        _kill(site)
        _tick_until(site, second, lambda state, dead=dead: state.pid not in (0, dead))
    assert (site.state.state, site.state.running) == (DEGRADED, images.first.image)
    assert "died 2 times" in site.state.reason
    assert "SIGKILL" in site.state.reason
    # A commit that says nothing new of this site does not bring it back; one that does clears it.
    after = Plan(**{**vars(second), "commit": "another"})
    for _ in range(5):
        site.tick(after)
    assert site.state.running == images.first.image
    assert _tick_until(site, first, lambda state: state.in_sync).reason == ""


def test_a_first_version_that_keeps_dying_is_started_again_as_there_is_no_other(site, images, url, monkeypatch):
    plan = _plan(images.first, url)
    _tick_until(site, plan, lambda state: state.state == READY)
    for _ in range(site_module.DEATHS):
        _kill(site)
        state = _tick_until(site, plan, lambda state: state.state == RESTARTING)
        assert "SIGKILL" in state.reason
        _tick_until(site, plan, lambda state: state.state == READY)
    assert (site.state.reason, site.state.good) == ("", "")
    monkeypatch.setattr(site_module, "SETTLE_S", 0.0)
    site.tick(plan)
    assert site.state.good == images.first.image


def test_the_next_life_of_the_agent_returns_to_the_last_good_image(site, images, url):
    before = SiteState("edge", good=images.first.image, good_version="1")
    again = Site("edge", Images(sites_home() / "images"), before)
    try:
        state = _tick_until(again, _plan(images.untested, url), lambda state: state.pid != 0)
        assert (state.state, state.running, state.running_version) == (DEGRADED, images.first.image, "1")
    finally:
        again.stop()
        while not again.stopped():
            time.sleep(0.05)


def test_a_site_without_a_good_image_fails_and_says_why(site, images, url):
    state = _tick_until(site, _plan(images.untested, url), lambda state: state.state == FAILED)
    assert "test" in state.reason
    assert read_states() == [state]


def test_a_taken_port_is_named(site, images):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        plan = _plan(images.first, f"http://127.0.0.1:{port}")
        state = _tick_until(site, plan, lambda state: state.state == FAILED)
    assert f"http://127.0.0.1:{port}" in state.reason
    assert "sites/edge/site.env" in state.reason


@pytest.mark.parametrize(
    "url", ["https://model.example.com", "", "http://127.0.0.1", "http://127.0.0.1:x", "http://[::1"]
)
def test_an_address_that_is_not_of_this_machine_is_refused(site, images, url):
    state = _tick_until(site, _plan(images.first, url), lambda state: state.state == FAILED)
    assert f"{url!r}" in state.reason


def test_a_withdrawn_release_ends_the_server_and_an_address_can_move(site, images, url):
    plan = _plan(images.first, url)
    pid = _tick_until(site, plan, lambda state: state.state == READY).pid
    moved = Plan(**{**vars(plan), "url": f"http://127.0.0.1:{free_port()}"})
    state = _tick_until(site, moved, lambda state: state.in_sync and state.pid != pid)
    assert state.url == moved.url
    world.wait_for(lambda: site.tick(moved) or not world.is_alive(pid), "the server of the old address has ended")
    _tick_until(site, Plan("edge", url=moved.url), lambda state: state.state == IDLE)
    world.wait_for(lambda: site.stopped() and not world.is_alive(state.pid), "the server has ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(moved.url.rpartition(":")[2])))
