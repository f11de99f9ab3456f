"""The README's first command with fewer flights: from nothing to three sites and a closed loop, and back to nothing."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import nbformat
import pytest
import requests
from notebook_runs import execute

from loopline.components.errors import InputError
from loopline.pipelines.demo import _ask
from loopline.pipelines.replay.timeline import Timeline
from loopline.pipelines.sites.ports import free_port
from loopline.pipelines.sites.process import find_agent, stop_agent
from loopline.pipelines.sites.state import read_states

ROOT = Path(__file__).parents[2]
LOOPLINE = str(Path(sysconfig.get_path("scripts"), "loopline"))


@pytest.fixture
def stopped():
    """What the demo leaves serving is stopped, whatever comes of the test."""
    yield
    stop_agent()


def _check_timeline(page: Path, first: str) -> None:
    """June does not look like the spring: a second model is trained, is better and serves July at every site."""
    timeline = Timeline.load(page.with_suffix(".json"))
    june, july = timeline.months
    assert (june.verdict, june.retrained, june.promoted) == ("retrain", True, True)
    assert june.drift.verdict == "drift" and june.scores.same
    assert {site.version for site in june.sites.values()} == {"1"}
    assert {site.image for site in june.sites.values()} == {first}
    assert {site.version for site in july.sites.values()} == {"2"}
    assert [commit.site for commit in june.commits] == ["edge", "cloud", "datacenter"]
    assert june.lost == july.lost == 0
    assert july.gain.low > 0, "the retrained model is surely better than the control in July"
    assert "never retrained" in page.read_text(encoding="utf-8")


def _check_incident(folder: Path) -> None:
    """The notebook that walks through it runs on what the demo left."""
    notebook = nbformat.read(ROOT / "notebooks" / "06-incident.ipynb", as_version=4)
    shown = execute(notebook, folder)
    assert "Promote flights version 2 to datacenter" in shown
    assert "Worse by log loss" in shown
    assert "<title>flights: the loop against a model that is never retrained" in shown


def test_an_app_that_is_gone_is_said_in_a_sentence():
    with pytest.raises(InputError, match=r"does not answer .*: see `loopline sites logs app`"):
        _ask(f"http://127.0.0.1:{free_port()}", "edge")


@pytest.mark.usefixtures("stopped")
def test_demo_delivers_watches_and_heals_itself(tmp_path):
    assert shutil.which("git"), "the demo needs git"
    done = subprocess.run([LOOPLINE, "demo", "--fast"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Registered: flights version 1" in done.stdout
    digest = re.search(r"^Image: +version 1, (sha256:[0-9a-f]{64})$", done.stdout, re.MULTILINE)[1]
    answers = re.findall(r"^ +(0\.\d{3})  (\w+), version 2 \((\w{12})\)$", done.stdout, re.MULTILINE)
    assert [site for _, site, _ in answers] == ["edge", "cloud", "datacenter"]
    assert len({probability for probability, _, _ in answers}) == 1
    for report in re.findall(r"^Report: +(\S+)$", done.stdout, re.MULTILINE):
        assert Path(tmp_path, report).is_file()

    sites = {state.site: state for state in read_states()}
    assert {name for name, state in sites.items() if state.in_sync} >= {"edge", "cloud", "datacenter"}
    _check_timeline(Path(tmp_path, re.search(r"^Timeline: +(\S+)$", done.stdout, re.MULTILINE)[1]), digest)
    assert {sites[site].running_version for site in ("edge", "cloud", "datacenter")} == {"2"}
    for _, site, short in answers:
        assert sites[site].running.partition("@sha256:")[2][:12] == short != digest.removeprefix("sha256:")[:12]
    _check_incident(tmp_path)
    page = re.search(r"^App: +(\S+)$", done.stdout, re.MULTILINE)[1]
    assert "late" in requests.get(page, timeout=10).text

    down = subprocess.run([LOOPLINE, "sites", "down"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (down.returncode, down.stdout) == (0, "Stopped.\n")
    assert find_agent() is None
    with pytest.raises(requests.ConnectionError):
        requests.get(page, timeout=10)
