"""Steps that are killed at every call they make to git and to the sites, and run again as KFP does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from config_repositories import make_repository, named_image, show, tip
from delivery_models import train_small
from promoted_images import PREDICATE
from site_relay import SiteRelay

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.rollback import rollback
from loopline.components.delivery.site_check import check
from loopline.components.errors import InputError

PROGRAM = Path(__file__).parents[1] / "killed_steps.py"
SERVED = "sha256:" + "1" * 64


def kill_everywhere(tmp_path, start: Path, step, **arguments) -> list[dict]:
    """Kill a step at each of its calls; returns what came of each death."""
    folder = tmp_path / "deaths"
    folder.mkdir()
    order = {
        "module": step.__module__,
        "function": step.__name__,
        "arguments": arguments,
        "start": str(start),
        "bare": str(folder / "config.git"),
    }
    env = os.environ | {"TMPDIR": str(folder)}  # who is killed leaves its temporary files
    done = subprocess.run(
        [sys.executable, PROGRAM], input=json.dumps(order), capture_output=True, text=True, check=True, env=env
    )
    results = json.loads(done.stdout)
    calls = {result["death"].rpartition(" ")[2] for result in results}
    assert {"fetch", "fast-import", "push"} <= calls  # it was killed where it matters
    assert [result["death"] for result in results if not result["killed"]] == []
    return results


def test_promotion_killed_anywhere_lands_once_and_whole(tmp_path, images):
    start = make_repository(tmp_path)
    before = [show(start, f"sites/{site}/release.env") for site in ("edge", "cloud")]
    arguments = {"sites": "edge,cloud", "image": images.tested[1], "pipeline_run": "run-1"}
    results = kill_everywhere(tmp_path, start, promote, **arguments)
    after = results[0]["end"]["releases"]
    assert after != before
    for result in results:
        assert result["seen"]["releases"] in (before, after), result["death"]  # both sites or none
        assert result["end"]["releases"] == after, result["death"]
        assert len(result["end"]["commits"]) == 2, result["death"]
        # The check that comes next needs the commit, even when it landed before the death.
        assert len(result["said"]) == len("returned ") + 40, result["death"]


def test_check_killed_anywhere_puts_back_once_and_says_why(tmp_path, images, served):
    folder = tmp_path / "other"
    folder.mkdir()
    other = build_image(train_small(folder, rounds=9), f"oci:{folder / 'images'}", version=4)
    attest_tested(other, PREDICATE)
    with SiteRelay(served.url, {SERVED: other.partition("@")[2]}) as site:
        start = make_repository(tmp_path, url=site.url)
        promote(str(start), "edge", images.tested[1])
        commit = promote(str(start), "edge", other)
        arguments = {"sites": "edge", "image": other, "commit": commit, "deadline_s": 3600.0}
        results = kill_everywhere(tmp_path, start, check, **arguments)
    for result in results:
        assert result["end"]["releases"] == results[0]["end"]["releases"], result["death"]
        assert len(result["end"]["commits"]) == 4, result["death"]
        assert "golden rows are predicted differently" in result["said"], result["death"]
    assert images.tested[1] in results[0]["end"]["releases"][0]
    assert "GET" in {result["death"].rpartition(" ")[2] for result in results}


def test_delivery_goes_on_after_a_death_between_promotion_and_check(tmp_path, images, served):
    with SiteRelay(served.url, {SERVED: images.tested[1].partition("@")[2]}) as site:
        bare = make_repository(tmp_path, url=site.url)
        first = promote(str(bare), "edge", images.tested[1], pipeline_run="run-1")
        # All of it again, in the same run.
        commit = promote(str(bare), "edge", images.tested[1], pipeline_run="run-1")
        assert commit == first == tip(bare)
        assert check(str(bare), "edge", images.tested[1], commit, deadline_s=30) == "edge"
        site.away = True  # and when the site fails, the commit of before is taken back
        with pytest.raises(InputError, match="Put back"):
            check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)
    assert named_image(bare, "edge") == ""


def test_rollback_killed_anywhere_goes_back_once(tmp_path, images):
    start = make_repository(tmp_path)
    for version in (1, 2, 3):
        promote(str(start), "edge,cloud", images.tested[version])
    arguments = {"sites": "edge,cloud", "reason": "bad", "pipeline_run": "run-1"}
    for result in kill_everywhere(tmp_path, start, rollback, **arguments):
        assert result["said"] == f"returned {images.tested[2]}", result["death"]
        assert len(result["end"]["commits"]) == 5, result["death"]
