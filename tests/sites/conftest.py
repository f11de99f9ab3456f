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
