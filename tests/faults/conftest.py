"""Services, and a world of a model's life, shared by all tests of faults in a process."""

import shutil
import tempfile
from pathlib import Path

import pytest
from faults_steps import Steps
from faults_world import World, guarded_mlflow, s3_server


@pytest.fixture(scope="session")
def place():
    """A folder that other users may enter; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="loopline-faults-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mlflow(place):
    """An MLflow server with basic authentication: the environment that leads to it."""
    with guarded_mlflow(place / "mlflow") as variables:
        yield variables


@pytest.fixture(scope="session")
def s3(place):
    """An S3 server: the environment that leads to it."""
    with s3_server(place / "s3") as variables:
        yield variables


@pytest.fixture(scope="session")
def steps(place, mlflow):
    """Runs components, with the MLflow server."""
    with Steps(place / "runs", {"LOOPLINE_HOME": str(place / "home"), **mlflow}) as running:
        yield running


@pytest.fixture(scope="session")
def world(place, steps):
    """Inputs for every component."""
    one = World(place / "world", steps)
    yield one
    if "site" in vars(one):
        one.site.close()


def pytest_terminal_summary(terminalreporter):
    """Count the faults that were survived."""
    counts = {
        kind: sum(
            "tests/faults/" in one.nodeid and "test_reliability" not in one.nodeid
            for one in terminalreporter.stats.get(kind, ())
        )
        for kind in ("passed", "failed", "error", "skipped")
    }
    tried = counts["passed"] + counts["failed"] + counts["error"]
    left = f"; {counts['skipped']} could not be tried here" if counts["skipped"] else ""
    terminalreporter.write_line(f"faults survived: {counts['passed']} of {tried}{left}")
