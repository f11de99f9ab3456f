"""What importing the package settles for the libraries that it uses."""

import os
import subprocess
import sys

import pytest

from loopline.components.environment import settle


@pytest.mark.parametrize(("before", "kept"), [("import loopline.components; ", True), ("", False)])
def test_onnxruntime_tells_nobody(tmp_path, before, kept):
    """Left alone it notes an identifier of the machine, and a database of what it is about to send."""
    program = f"{before}import onnxruntime"
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], env=variables, check=True, capture_output=True)
    assert (list(tmp_path.iterdir()) == []) is kept


def test_who_wants_it_can_have_it(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("HOME", "/somewhere")
    settle()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["HOME"]) == ("0", "/somewhere")


def test_a_user_without_a_home_gets_one(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    settle()
    assert os.environ["HOME"] == "/"
