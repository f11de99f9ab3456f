"""The committed delivery and rollback YAML through the local runner: real registry, Git, MLServer, agent and sites."""

import json
import subprocess

import pytest
import requests
from delivery_models import train_small
from delivery_registry import run_registry
from registry_models import make_model

from loopline.components.delivery.attestation import verify_tested
from loopline.components.delivery.git import default_repository
from loopline.components.errors import InputError
from loopline.components.registry.register import register
from loopline.components.registry.versions import promote
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import StepFailed
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import stop_agent
from loopline.pipelines.sites.repository import init_config_repository
from loopline.pipelines.sites.state import read_states

SITES = ("edge", "cloud", "datacenter")


@pytest.fixture
def registered(tmp_path):
    """Two versions of a small model in MLflow; the first is the champion."""
    _, metrics, report = make_model(tmp_path / "reports").paths()
    for rounds in (4, 5):
        folder = tmp_path / f"rounds-{rounds}"
        folder.mkdir()
        register(train_small(folder, rounds=rounds), metrics, report, "small")
    promote("small", 1)


@pytest.fixture
def stopped():
    """The agent that the test starts is stopped."""
    yield
    stop_agent()


def _git(*words: str) -> str:
    command = ["git", "--git-dir", str(default_repository()), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _answering_versions() -> dict[str, str]:
    versions = {}
    for site in read_states():
        metadata = requests.get(f"{site.url}/v2/models/small-late", timeout=10).json()
        assert metadata["parameters"]["site"] == site.site
        versions[site.site] = metadata["versions"][0]
    return versions


@pytest.mark.usefixtures("registered", "stopped")
def test_champion_reaches_every_site_wave_by_wave_and_comes_back(tmp_path):
    with run_registry(tmp_path / "registry") as registry:
        control.up()
        first = run_pipeline("delivery", {"name": "small", "image": registry.image("models/small")})
        assert first.outputs["image"].startswith(f"oci://{registry.host}/models/small@sha256:")
        assert first.outputs["version"] == 1
        assert _answering_versions() == dict.fromkeys(SITES, "1")
        # The canary is first, each wave is one commit, and the commit says what it brings.
        subjects = _git("log", "--reverse", "--format=%s", "main").splitlines()[1:]
        assert [next(site for site in SITES if site in subject) for subject in subjects] == list(SITES)
        trailers = _git("log", "-1", "--format=%(trailers:only,unfold)", "main")
        assert f"Image: {first.outputs['image']}" in trailers
        assert "Model-Version: 1" in trailers and "MLflow-Run: " in trailers and "Pipeline-Run: " in trailers
        report, card = sorted(first.reports)
        assert card.name == "update-model-card-card.html" and "Approved by" in card.read_text()
        assert report.name == "test-model-image.html" and "passed" in report.read_text()

        promote("small", 2)
        waves = {"wave_1": "edge, cloud", "wave_2": "", "wave_3": ""}
        second = run_pipeline("delivery", {"name": "small", "image": registry.image("models/small"), **waves})
        assert second.outputs["version"] == 2
        assert _answering_versions() == {"edge": "2", "cloud": "2", "datacenter": "1"}

        back = run_pipeline("rollback", {"sites": "edge", "reason": "late again"})
        assert back.outputs["Output"] == first.outputs["image"]
        assert _answering_versions() == {"edge": "1", "cloud": "2", "datacenter": "1"}
        assert "late again" in _git("log", "-1", "--format=%B", "main")


@pytest.mark.usefixtures("registered")
def test_sites_after_a_canary_that_does_not_follow_are_left_alone(tmp_path):
    """Nobody serves here, so the canary never answers."""
    init_config_repository(sites=("edge", "cloud"))
    before = _git("show", "main:sites/edge/release.env")
    parameters = {"name": "small", "image": f"oci:{tmp_path}/layout", "wave_3": "", "deadline_s": 2.0}
    with pytest.raises(StepFailed) as failure:
        run_pipeline("delivery", parameters)
    assert failure.value.step == "check-site" and failure.value.refused
    assert "edge" in failure.value.message
    assert _git("show", "main:sites/edge/release.env") == before
    log = _git("log", "--format=%s", "main")
    assert len(log.splitlines()) == 3 and "cloud" not in log  # the template, the promotion, its end


@pytest.mark.usefixtures("registered")
def test_an_image_that_fails_its_test_is_not_promoted(tmp_path):
    """The budget is one that no server can keep."""
    init_config_repository(sites=("edge",))
    parameters = {"name": "small", "image": f"oci:{tmp_path}/layout", "p99_ms": 0.0001}
    with pytest.raises(StepFailed) as failure:
        run_pipeline("delivery", parameters)
    assert failure.value.step == "test-model-image" and "latency" in failure.value.message
    assert len(_git("log", "--format=%s", "main").splitlines()) == 1
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    tags = [entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for entry in index["manifests"]]
    [attested] = [tag for tag in tags if tag.endswith(".att")]  # where it comes from, and nothing of a test
    digest = attested.removesuffix(".att").replace("sha256-", "sha256:")
    with pytest.raises(InputError, match="is untested"):
        verify_tested(f"oci:{tmp_path}/layout@{digest}")
