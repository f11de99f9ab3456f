"""A model and images of it that the tests share, and none of this machine's keys and logins."""

import pytest
from delivery_models import train_small
from promoted_images import build_images


@pytest.fixture(autouse=True)
def no_logins(monkeypatch, tmp_path):
    """Keep the logins of this machine's user out; those in the environment are out everywhere."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model of two classes. Read only."""
    return train_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def built_images(small_model, tmp_path_factory):
    """Signed and tested images of the model, in a layout. Read only."""
    return build_images(tmp_path_factory.mktemp("images"), small_model)


@pytest.fixture
def images(built_images, monkeypatch):
    """``built_images``, with their key in the environment."""
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", built_images.key)
    return built_images
