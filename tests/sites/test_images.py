"""The images on the agent's disk."""

import threading

import pytest
import sites_world as world

from loopline.components.delivery import fetch as fetch_module
from loopline.pipelines.sites.agent import Supervisor
from loopline.pipelines.sites.plan import Plan
from loopline.pipelines.sites.state import FAILED, sites_home


@pytest.fixture
def supervisor(sites):
    """A supervisor in this process; what it starts is always stopped."""
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()
    world.wait_for(supervisor.stopped, "all has ended")


def test_an_image_that_no_site_needs_is_deleted_once_no_other_is_on_its_way(supervisor, images, monkeypatch):
    going_on, fetch_image = threading.Event(), fetch_module.fetch_image

    def fetch_slowly(image, *arguments, **keywords):
        going_on.wait(30)
        return fetch_image(image, *arguments, **keywords)

    monkeypatch.setattr(fetch_module, "fetch_image", fetch_slowly)
    left = sites_home() / "images" / f"sha256-{'a' * 64}"
    left.mkdir(parents=True)
    plans = {"edge": Plan("edge", image=images.untested.image, url="http://127.0.0.1:9")}
    for _ in range(3):
        supervisor.tick(plans)
    assert left.exists()  # it might be what is on its way
    going_on.set()

    def failed() -> bool:
        supervisor.tick(plans)
        return world.site_state("edge").state == FAILED

    world.wait_for(failed, "the image cannot be had")
    assert not left.exists()
