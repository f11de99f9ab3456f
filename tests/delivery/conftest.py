"""One model and one model server that the tests share."""

import pytest
from delivery_models import train_small

from loopline.components.delivery.model_server import serve


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model of two classes, ONNX, of numbers and text. Read only."""
    return train_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def served(small_model):
    """A real model server of ``small_model``."""
    with serve(small_model, LOOPLINE_IMAGE_DIGEST="sha256:" + "1" * 64) as server:
        yield server
