"""What all tests share: an environment of their own, and small real tables."""

import builtins
import os
from pathlib import Path

import pyarrow as pa
import pytest

from loopline.components import secrecy
from loopline.components.data.tables import write_table
from loopline.components.environment import QUIET_THREADS

ROOT = Path(__file__).parents[1]

# The files of tests run side by side; what loads OpenMP reads this once.
os.environ |= QUIET_THREADS

_PREFIXES = (
    "MLFLOW_", "AWS_", "KF_PIPELINES_", "KUBERNETES_", "LOOPLINE_", "COSIGN_", "REGISTRY_", "DOCKER_", "GIT_",
    "SSL_CERT_", "REQUESTS_", "PROMETHEUS_", "NB_",
)  # fmt: skip


#: Test files of one long test each: begun first, so that no process is left with one of them at the end.
_LONG = ("test_demo.py", "test_monitoring.py")


def pytest_collection_modifyitems(items):
    """Put the longest files first; the order is otherwise as it was."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Keep the machine's own settings and credentials out, and what a test writes in its own folder."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "home"))
    # What one test's login hides may be a word of another's sentence.
    monkeypatch.setattr(secrecy, "_read", set())


@pytest.fixture(autouse=True)
def plain_print(monkeypatch):
    """Undo what kfp's runner does to print where two of its threads end in the wrong order: it indents from then on."""
    monkeypatch.setattr(builtins, "print", builtins.print)


@pytest.fixture(scope="session")
def bundled(tmp_path_factory):
    """Scikit-learn's bundled tables as Parquet: breast_cancer (binary), wine (three classes), diabetes (numbers).

    Column names are made plain: spaces and slashes become underscores. Class labels are text.
    """
    from sklearn import datasets

    folder = tmp_path_factory.mktemp("bundled")
    files = {}
    for name in ("breast_cancer", "wine", "diabetes"):
        data = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = data.data.rename(columns=lambda column: column.replace(" ", "_").replace("/", "_"))
        labels = getattr(data, "target_names", None)
        frame["target"] = data.target if name == "diabetes" else [str(labels[i]) for i in data.target]
        files[name] = folder / f"{name}.parquet"
        write_table(files[name], pa.Table.from_pandas(frame, preserve_index=False))
    return files
