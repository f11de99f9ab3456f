"""Models to register, and stores to register them in."""

import shutil
from pathlib import Path

import pytest
from registry_models import Trained, make_model

from loopline.components.registry.store import open_store


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    return make_model(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def retrained(tmp_path_factory) -> Trained:
    return make_model(tmp_path_factory.mktemp("retrained"), seed=1)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A database with tables and no model in it: making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOPLINE_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with open_store():
            pass
    return folder


@pytest.fixture
def home(empty_store, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "home of models"
    shutil.copytree(empty_store, folder)
    monkeypatch.setenv("LOOPLINE_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder
