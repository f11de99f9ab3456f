"""One site and one app that the tests share."""

import pytest
from flights_app import ChangingSite, closed_address, running_app, train_flights


@pytest.fixture(scope="session")
def flights_models(tmp_path_factory):
    """Two versions of a small model of real flights, with different columns, by version. Read only."""
    return train_flights(tmp_path_factory.mktemp("flights-models"))


@pytest.fixture(scope="session")
def site(flights_models, tmp_path_factory):
    """A site with a real model server; some tests replace its version."""
    changing = ChangingSite(flights_models, tmp_path_factory.mktemp("site"))
    try:
        changing.replace(3)
        yield changing
    finally:
        changing.close()


@pytest.fixture(scope="session")
def app(site, tmp_path_factory):
    """Where the app answers; nothing listens at its site ``cloud``."""
    services = {"edge": site.url, "cloud": closed_address()}
    with running_app(services, tmp_path_factory.mktemp("app") / "app.log") as (url, _):
        yield url
