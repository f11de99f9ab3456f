"""What the containers of a site run, run here: their own words and environment, on a real model."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from container_commands import running
from delivery_models import train_small
from deploy_sites import FIRST, built, containers, one
from manifest_schemas import need_kustomize
from serving_models import release

from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.model_server import reserve_ports


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory as it lies in an image."""
    return release(train_small(tmp_path_factory.mktemp("trained")), tmp_path_factory.mktemp("image") / "models", 3)


@contextlib.contextmanager
def _container(container: dict, more: dict[str, str], replaced: dict[str, str], log: Path):
    """Run a container's command with its environment; ``replaced`` says what is elsewhere on this machine."""
    values = {}
    for entry in container.get("env", []):
        # As Kubernetes expands what stands before.
        values[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], entry["value"])
    values = {name: _replace(value, replaced) for name, value in (values | more).items() if name != "HOME"}
    words = [_replace(word, replaced) for word in [*container["command"], *container.get("args", [])]]
    # The name alone, as in the image; the interpreter of this environment.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with running(words, os.environ | values | {"PATH": path}, log) as process:
        yield process


def _replace(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def _wait_until_ready(process: subprocess.Popen, container: dict, port: int, log: Path):
    """Ask what Kubernetes asks until it answers."""
    url = f"http://127.0.0.1:{port}{container['readinessProbe']['httpGet']['path']}"
    end = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            assert answer.status == 200
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def _get(url: str):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_a_site_serves_what_was_promoted(model, tmp_path):
    """The runtime waits for its model, answers with the promoted digest, and the app finds it."""
    need_kustomize()
    runtime = containers(one(built("edge"), "ServingRuntime"))[0]
    env = {e["name"]: e["value"] for e in one(built("edge"), "InferenceService")["spec"]["predictor"]["model"]["env"]}
    golden, mounted, log = read_golden(model), tmp_path / "mnt" / "models", tmp_path / "server.log"
    with reserve_ports(4) as ports:
        rest, grpc, metrics, web = ports
    elsewhere = {
        "/mnt/models": str(mounted),
        "8080": str(rest),
        "8081": str(grpc),
        "8082": str(metrics),
        "0.0.0.0": "127.0.0.1",
    }
    with _container(runtime, env, elsewhere, log) as server:
        time.sleep(0.5)
        assert server.poll() is None, "it does not wait for the model"
        mounted.parent.mkdir()
        shutil.copytree(model, tmp_path / "models")
        (tmp_path / "models").rename(mounted)
        _wait_until_ready(server, runtime, rest, log)
        found = replay(golden, f"http://127.0.0.1:{rest}")
        assert found.passed
        assert found.answer.version == "3"
        assert found.answer.parameters["image_digest"] == FIRST.image.rpartition("@")[2]
        assert found.answer.parameters["site"] == "edge"
        monitored = one(built("edge"), "ServiceMonitor")["spec"]["endpoints"][0]
        assert "loopline_" in _get(f"http://127.0.0.1:{metrics}{monitored['path']}")

        app = containers(one(built("edge"), "Deployment", "app"))[0]
        elsewhere = {"model-internal:8080": f"127.0.0.1:{rest}", "8080": str(web), "0.0.0.0": "127.0.0.1"}
        with _container(app, {"LOOPLINE_MODEL": golden.model}, elsewhere, tmp_path / "app.log") as page:
            _wait_until_ready(page, app, web, tmp_path / "app.log")
            assert FIRST.image.rpartition("@")[2] in json.dumps(json.loads(_get(f"http://127.0.0.1:{web}/api/sites")))

        server.terminate()
        assert server.wait(20) == 0, "the shell keeps the signal from the server"


def test_the_app_runs_before_the_first_promotion(tmp_path):
    need_kustomize()
    app = containers(one(built("edge", release=None), "Deployment", "app"))[0]
    with reserve_ports(2) as ports:
        web, nobody = ports
    elsewhere = {"model-internal:8080": f"127.0.0.1:{nobody}", "8080": str(web), "0.0.0.0": "127.0.0.1"}
    with _container(app, {}, elsewhere, tmp_path / "app.log") as page:
        _wait_until_ready(page, app, web, tmp_path / "app.log")
