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
    monkeypatch.setenv("MPLCONFIGDIR", "/somewhere/else")
    settle()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["HOME"]) == ("0", "/somewhere")
    assert os.environ["MPLCONFIGDIR"] == "/somewhere/else"


def test_matplotlib_has_one_folder_where_home_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    settle()
    assert "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path / "not-there"))
    settle()
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / f"matplotlib-{os.getuid()}")
    assert (tmp_path / f"matplotlib-{os.getuid()}").stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("MPLCONFIGDIR")
    monkeypatch.setattr("os.getuid", lambda: 12345)
    (tmp_path / "matplotlib-12345").mkdir()
    settle()
    assert "MPLCONFIGDIR" not in os.environ, "it is somebody else's"


def test_a_user_without_a_home_gets_one(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("MPLCONFIGDIR", "/somewhere")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    settle()
    assert os.environ["HOME"] == "/"
