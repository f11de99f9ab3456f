"""The README's first command, whole: from nothing to three sites that serve the model, and back to nothing."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import requests

from loopline.pipelines.sites.process import find_agent, stop_agent
from loopline.pipelines.sites.state import read_states

LOOPLINE = str(Path(sysconfig.get_path("scripts"), "loopline"))


@pytest.fixture
def stopped():
    """What the demo leaves serving is stopped, whatever comes of the test."""
    yield
    stop_agent()


@pytest.mark.usefixtures("stopped")
def test_demo_ends_with_three_sites_that_serve_the_model(tmp_path):
    assert shutil.which("git"), "the demo needs git"
    done = subprocess.run([LOOPLINE, "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Registered: flights version 1 (it is the champion now)" in done.stdout
    digest = re.search(r"^Image: +version 1, (sha256:[0-9a-f]{64})$", done.stdout, re.MULTILINE)[1]
    answers = re.findall(r"^ +(0\.\d{3})  (\w+), version 1 \((\w{12})\)$", done.stdout, re.MULTILINE)
    assert [site for _, site, _ in answers] == ["edge", "cloud", "datacenter"]
    assert len({probability for probability, _, _ in answers}) == 1
    assert {short for _, _, short in answers} == {digest.removeprefix("sha256:")[:12]}
    for report in re.findall(r"^Report: +(\S+)$", done.stdout, re.MULTILINE):
        assert Path(tmp_path, report).is_file()

    sites = {state.site: state for state in read_states()}
    assert {name for name, state in sites.items() if state.in_sync} >= {"edge", "cloud", "datacenter"}
    assert all(sites[site].running.endswith(digest) for site in ("edge", "cloud", "datacenter"))
    page = re.search(r"^App: +(\S+)$", done.stdout, re.MULTILINE)[1]
    assert "late" in requests.get(page, timeout=10).text

    down = subprocess.run([LOOPLINE, "sites", "down"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (down.returncode, down.stdout) == (0, "Stopped.\n")
    assert find_agent() is None
    with pytest.raises(requests.ConnectionError):
        requests.get(page, timeout=10)
