"""One Elyra that has the palette, put there as a user does it."""

import pytest
from elyra_session import ElyraSession


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    one = ElyraSession(tmp_path_factory.mktemp("elyra"))
    one.add_runtime()
    done = one.run("loopline", "elyra", "install")
    assert done.returncode == 0, done.stderr
    return one
