"""Steps forked from a server that has loaded the libraries: the same as steps started by themselves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kfp import compiler, dsl

from loopline.components.step import step
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import StepFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="steps are forked on Linux alone")


@step
def look(action: str) -> str:
    """Tell about the process of this step.

    Args:
        action: What to do besides: die, fail, stay (for minutes), stay whatever happens, or nothing.

    Returns:
        What was seen, as JSON.
    """
    import json
    import os
    import pathlib
    import random
    import signal
    import sys
    import time

    import numpy

    parent = pathlib.Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "fail":
        raise RuntimeError("the roof fell in")
    if action.startswith("stay"):
        if action == "stay whatever happens":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        pathlib.Path("staying").write_text(f"{os.getpid()} ")
        try:
            time.sleep(600)
        finally:
            pathlib.Path("cleaned").touch()
    seen = {
        "parent": os.getppid(), "server": "loopline.pipelines.step_server" in parent,
        "words": sys.argv[1:2], "folder": str(pathlib.Path.cwd()),
        "home": os.environ["LOOPLINE_HOME"], "runtime": os.environ["_KFP_RUNTIME"],
        "mark": os.environ.get("LOOPLINE_MARK"),
        "random": [random.random(), float(numpy.random.random())], "mlflow": "mlflow" in sys.modules,
        "waiting": os.environ["OMP_WAIT_POLICY"],
    }  # fmt: skip
    return json.dumps(seen)


@dsl.pipeline(name="looking")
def looking(action: str = "") -> str:
    """Look.

    Args:
        action: What to do besides.
    """
    return look(action=action).output


@pytest.fixture
def yaml_file(tmp_path):
    file = tmp_path / "looking.yaml"
    compiler.Compiler().compile(looking, str(file))
    return file


def seen(yaml_file) -> dict:
    return json.loads(run_pipeline(yaml_file, {}).outputs["Output"])


def test_steps_of_one_environment_come_from_one_server(yaml_file, monkeypatch):
    first, second = seen(yaml_file), seen(yaml_file)
    assert first["parent"] == second["parent"]
    assert first["server"]
    assert first["words"] == ["--component_module_path"]
    assert (first["folder"], first["home"]) == (str(Path.cwd()), os.environ["LOOPLINE_HOME"])
    assert (first["runtime"], first["waiting"]) == ("true", "PASSIVE")
    assert not set(first["random"]) & set(second["random"]), "each step draws random numbers of its own"
    assert not first["mlflow"], "nothing is loaded that no step's program names"
    monkeypatch.setenv("LOOPLINE_MARK", "changed")
    third = seen(yaml_file)
    assert third["mark"] == "changed"
    assert third["parent"] != first["parent"]


def test_a_step_can_be_started_by_itself(yaml_file, monkeypatch, tmp_path):
    monkeypatch.setenv("LOOPLINE_FRESH_STEPS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    one = seen(yaml_file)
    assert not one["server"]
    assert one["waiting"] == "PASSIVE"
    assert list((tmp_path / "temporary").iterdir()) == [], "what kfp's shell line makes is left"


def test_what_is_not_kfps_own_line_is_run_as_it_is(yaml_file):
    text = yaml_file.read_text()
    changed = text.replace("_KFP_RUNTIME=true", "LOOPLINE_MARK=line _KFP_RUNTIME=true")
    assert changed != text
    yaml_file.write_text(changed)
    one = seen(yaml_file)
    assert (one["mark"], one["server"]) == ("line", False)


def test_a_server_that_was_killed_is_replaced(yaml_file):
    first = seen(yaml_file)
    os.kill(first["parent"], signal.SIGKILL)
    time.sleep(0.2)
    second = seen(yaml_file)
    assert second["parent"] != first["parent"]
    assert second["server"]


def test_failures_are_told_as_those_of_a_fresh_process(yaml_file, monkeypatch):
    failed, died = [], []
    for fresh in ("", "1"):
        monkeypatch.setenv("LOOPLINE_FRESH_STEPS", fresh)
        with pytest.raises(StepFailed) as caught:
            run_pipeline(yaml_file, {"action": "fail"})
        # Only the folder of the program differs.
        failed.append([line for line in caught.value.traceback.splitlines() if "File" not in line])
        with pytest.raises(StepFailed) as caught:
            run_pipeline(yaml_file, {"action": "die"})
        died.append(caught.value.message)
    assert failed[0] == failed[1]
    assert failed[0][-1] == "RuntimeError: the roof fell in"
    assert all("perhaps for want of memory" in message for message in died)


def test_a_program_that_ends_takes_its_server_along(yaml_file):
    program = f"""
from loopline.pipelines.engine import run_pipeline
print(run_pipeline({str(yaml_file)!r}, {{}}).outputs["Output"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    parent = json.loads(done.stdout)["parent"]
    deadline = time.monotonic() + 20
    while Path(f"/proc/{parent}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{parent}").exists()


@pytest.mark.parametrize(("action", "cleans"), [("stay", True), ("stay whatever happens", False)])
@pytest.mark.parametrize("killed", ["engine", "server"])
def test_a_step_does_not_outlive_its_run(yaml_file, tmp_path, action, cleans, killed):
    """A run that is killed ends its step, which may clean up; a server that is killed takes its steps along."""
    program = f"""
from loopline.pipelines.engine import run_pipeline
run_pipeline({str(yaml_file)!r}, {{"action": {action!r}}})
"""
    errors = tmp_path / "errors"
    with (
        errors.open("w") as stream,
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=stream) as run,
    ):
        try:
            wait_for((tmp_path / "staying").exists)
            wait_for(lambda: (tmp_path / "staying").read_text().endswith(" "))
            step = int((tmp_path / "staying").read_text())
            [server] = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            os.kill(run.pid if killed == "engine" else int(server), signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{step}").exists())
            if killed == "engine":
                wait_for(lambda: not Path(f"/proc/{server}").exists())
                assert (tmp_path / "cleaned").exists() == cleans
        finally:
            run.kill()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
