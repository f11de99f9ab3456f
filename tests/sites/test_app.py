"""The application beside the sites, with a small real one."""

import json
import os
import signal
import time

import pytest
import requests
import sites_world as world

from loopline.components.errors import InputError
from loopline.pipelines.sites import app as app_module
from loopline.pipelines.sites import control
from loopline.pipelines.sites.app import App
from loopline.pipelines.sites.process import stop_agent
from loopline.pipelines.sites.state import FAILED, READY

PROGRAM = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({name: os.environ.get(name) for name in WANTED}).encode())
WANTED = ("LOOPLINE_SERVICES", "LOOPLINE_MODEL", "COSIGN_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PORT")
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def small_app(tmp_path, monkeypatch):
    """An installed application, as far as processes to come are concerned; returns its module."""
    (tmp_path / "small_app.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("COSIGN_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not for the application")
    return "small_app"


@pytest.fixture
def app(monkeypatch):
    """Take up an application; it is always stopped."""
    monkeypatch.setattr(app_module, "_RESTART_S", (0.1, 0.1))
    apps = []

    def start(module: str) -> App:
        apps.append(App(module))
        return apps[-1]

    yield start
    for one in apps:
        one.stop()
        while not one.stopped():
            time.sleep(0.02)


def _tick_until(app, services, model, condition):
    deadline = time.monotonic() + 30
    while not condition(app.state):
        app.tick(services, model)
        assert time.monotonic() < deadline, app.state
        time.sleep(0.02)
    return app.state


def test_it_is_told_where_the_sites_answer_and_kept_alive(app, small_app):
    small, services = app(small_app), {"edge": "http://127.0.0.1:20080"}
    state = _tick_until(small, services, "flights", lambda state: state.state == READY)
    told = requests.get(state.url, timeout=5).json()
    assert json.loads(told["LOOPLINE_SERVICES"]) == services
    assert (told["LOOPLINE_MODEL"], told["PORT"]) == ("flights", state.url.rpartition(":")[2])
    assert told["COSIGN_PASSWORD"] is told["AWS_SECRET_ACCESS_KEY"] is None
    os.kill(state.pid, signal.SIGKILL)
    again = _tick_until(small, services, "flights", lambda now: now.state == READY and now.pid != state.pid)
    assert again.url == state.url
    moved = {"edge": "http://127.0.0.1:20081"}
    _tick_until(small, moved, "flights", lambda now: now.state == READY and now.pid != again.pid)
    assert json.loads(requests.get(state.url, timeout=5).json()["LOOPLINE_SERVICES"]) == moved


def test_one_that_cannot_start_says_why(app):
    state = _tick_until(app("no_such_module"), {}, "", lambda state: state.state == FAILED)
    assert "no_such_module" in state.reason
    assert "No module named" in state.reason


def test_up_runs_it_beside_the_sites(sites, small_app):
    names = [state.site for state in control.up(app=small_app)]
    assert names == ["app", "cloud", "datacenter", "edge"]
    url = control.wait_for_app()
    told = requests.get(url, timeout=5).json()
    assert sorted(json.loads(told["LOOPLINE_SERVICES"])) == names[1:]
    pid = world.site_state("app").pid
    assert stop_agent()
    assert not world.is_alive(pid)
    with pytest.raises(InputError, match="it was not started"):
        control.wait_for_app(timeout_s=0.0)
