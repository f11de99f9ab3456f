"""Models to watch, trained once."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from monitoring_models import make_model


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Callable[..., Path]:
    """Return the directory of a model by task: binary, multiclass or regression."""

    @functools.cache
    def train(task: str = "binary") -> Path:
        return make_model(tmp_path_factory.mktemp(f"watched-{task}"), task)

    return train
