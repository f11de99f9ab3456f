"""Images that the tests of the sites share, and an agent that is always stopped."""

import pytest
import sites_world

from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import stop_agent


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Images of a small model: two to serve and some that no site may serve. Read only."""
    return sites_world.build_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def sites(images):
    """A home that trusts the images; its agent, if the test starts one, is stopped."""
    sites_world.use_keys(images)
    yield
    stop_agent()


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    """The home of the agent that several tests share; the agent is stopped after the last of them."""
    home = tmp_path_factory.mktemp("shared") / "home"
    yield home
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOPLINE_HOME", str(home))
        stop_agent()


@pytest.fixture
def shared_agent(monkeypatch, shared_home, images):
    """An agent that several tests share; its one site, edge, serves version 1 before and after each."""
    monkeypatch.setenv("LOOPLINE_HOME", str(shared_home))
    if not shared_home.exists():
        sites_world.use_keys(images)
        sites_world.make_repository("edge")
        sites_world.commit_release(images.first, "edge")
        control.up(interval_s=0.2)
    assert sites_world.site_state("edge").running == images.first.image
