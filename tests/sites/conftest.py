"""Images that the tests of the sites share, and an agent that is always stopped."""

import pytest
import sites_world

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
    with sites_world.lasting_home(tmp_path_factory.mktemp("shared") / "home") as folder:
        yield folder


@pytest.fixture
def shared_agent(monkeypatch, shared_home, images):
    """An agent that several tests share; its one site, edge, serves version 1 before and after each."""
    monkeypatch.setenv("LOOPLINE_HOME", str(shared_home))
    sites_world.serve_at_edge(images)
    assert sites_world.site_state("edge").running == images.first.image
