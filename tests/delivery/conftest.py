"""One model and one model server that the tests share, and none of this machine's keys and logins."""

import itertools

import pytest
from delivery_models import train_small
from delivery_registry import run_registry
from promoted_images import build_images

from loopline.components.delivery import registry as registry_module
from loopline.components.delivery.build import build_image
from loopline.components.delivery.model_server import serve

#: So that each test has an image of its own in one repository.
_VERSIONS = itertools.count(1)


@pytest.fixture(autouse=True)
def no_logins(monkeypatch, tmp_path):
    """Keep the logins of this machine's user out; those in the environment are out everywhere."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def quick_registry(request, monkeypatch):
    """Do not wait for a registry to get well, nor for others who write to it at the same time, where there are none."""
    monkeypatch.setattr(registry_module, "BACKOFF_S", 0.0)
    if "at_once" not in request.node.name:
        monkeypatch.setattr(registry_module, "SETTLE_S", (0.0, 0.0))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model of two classes, ONNX, of numbers and text. Read only."""
    return train_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A real registry that keeps its images in memory; the test is skipped where there is none."""
    with run_registry(tmp_path_factory.mktemp("registry"), memory=True) as running:
        yield running


@pytest.fixture(params=["layout", "registry"])
def image(request, small_model):
    """A signed, untested image, in a layout and in a registry."""
    if request.param == "layout":
        return build_image(small_model, version=3)
    running = request.getfixturevalue("registry")
    return build_image(small_model, image=running.image("models/late"), version=next(_VERSIONS))


@pytest.fixture(scope="session")
def served(small_model):
    """A real model server of ``small_model``."""
    with serve(small_model, LOOPLINE_IMAGE_DIGEST="sha256:" + "1" * 64) as server:
        yield server


@pytest.fixture(scope="session")
def built_images(small_model, tmp_path_factory):
    """Signed and tested images of ``small_model``, and some that are not. Read only."""
    return build_images(tmp_path_factory.mktemp("images"), small_model)


@pytest.fixture
def images(built_images, monkeypatch):
    """``built_images``, with their key in the environment."""
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", built_images.key)
    return built_images
