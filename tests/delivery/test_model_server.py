import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loopline.components.delivery.inference import is_ready
from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc and PR_SET_PDEATHSIG")


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that waits to be collected."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def ended_soon(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@linux
def test_a_server_is_ready_without_secrets_and_gone_after_an_error(small_model, monkeypatch):
    monkeypatch.setenv("COSIGN_PASSWORD", "hunter2")
    monkeypatch.setenv("GIT_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("LOOPLINE_TRAFFIC_URI", "somewhere")
    monkeypatch.setenv("UNRELATED", "kept")
    with contextlib.suppress(RuntimeError), serve(small_model, LOOPLINE_SITE="edge") as server:
        assert is_ready(server.url) and is_running(server.pid) and server.end() == ""
        variables = Path(f"/proc/{server.pid}/environ").read_bytes()
        raise RuntimeError("of the caller")
    assert b"hunter2" not in variables and b"TRAFFIC" not in variables
    assert b"LOOPLINE_SITE=edge" in variables and b"UNRELATED=kept" in variables
    assert not is_running(server.pid) and not is_ready(server.url)
    assert not server.log.exists()


@linux
def test_a_server_dies_with_the_process_that_started_it(small_model):
    program = (
        "import sys, time\nfrom loopline.components.delivery.model_server import serve\n"
        "with serve(sys.argv[1]) as server:\n    print(server.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(small_model)], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    assert ended_soon(pid)


@linux
def test_a_server_that_was_killed_says_so(small_model):
    with serve(small_model) as server:
        os.kill(server.pid, signal.SIGKILL)
        assert server.end(wait_s=10) == "was killed by SIGKILL"
        assert server.stop() == "was killed by SIGKILL"


def test_a_model_that_does_not_load_is_named_in_a_sentence(small_model, tmp_path):
    broken = shutil.copytree(small_model, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"The model server ended with exit code \d+: .") as caught, serve(broken):
        pass
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_ready_in_time_is_stopped(small_model):
    with pytest.raises(InputError, match=r"was not ready in 0.1 s"), serve(small_model, start_s=0.1):
        pass
