"""One model and one model server that the tests share."""

import pytest
from delivery_models import train_small
from serving_models import IMAGE, release

from loopline.components.delivery.model_server import serve


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model of two classes, ONNX, of numbers and text. Read only."""
    return train_small(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def model(trained, tmp_path_factory):
    """The same model as version 3 of its registry. Read only."""
    return release(trained, tmp_path_factory.mktemp("released") / "models", 3)


@pytest.fixture(scope="session")
def server(model):
    """A real model server of ``model``."""
    with serve(model, LOOPLINE_IMAGE_DIGEST=IMAGE, LOOPLINE_SITE="edge") as running:
        yield running
