"""A pipeline server that this process and the command line find, and the command line itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_server import pipeline_server

PROGRAM = Path(sys.executable).with_name("loopline")


@pytest.fixture
def server(tmp_path, monkeypatch):
    with pipeline_server(tmp_path) as (running, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("KUBECONFIG", raising=False)
        yield running


@pytest.fixture
def loopline(tmp_path):
    """Return a function that runs the command line, and returns the finished process."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, **variables}
        return subprocess.run(
            [str(PROGRAM), *words], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
        )

    return run
