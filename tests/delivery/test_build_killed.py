"""A build that is killed: nothing half-done is to be seen, and the next one completes it."""

import json
import subprocess
import sys

import delivery_kill
import pytest
from delivery_registry import run_registry


@pytest.mark.parametrize("kind", ["layout", "registry"])
def test_a_build_killed_at_any_call_is_completed_by_the_next(kind, small_model, tmp_path):
    with run_registry(tmp_path / "registry", memory=True) as running:
        place = f"oci:{tmp_path}/layout-" if kind == "layout" else running.image("models/late-")
        done = subprocess.run(
            [sys.executable, delivery_kill.__file__, str(small_model), place, str(tmp_path / "fetched")],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert kills[0]["call"] == "nothing"
    assert [kill["died"] for kill in kills] == [True] * (len(kills) - 1) + [False]
    calls = " ".join(kill["call"] for kill in kills)
    for call in (
        ("blobs/uploads", "manifests/sha256:", ".sig", "manifests/v3") if kind == "registry" else ("index.json",)
    ):
        assert call in calls
    assert len({kill["digest"] for kill in kills}) == 1
    whole = f"whole {kills[0]['digest']}"
    assert [kill["after"] for kill in kills] == [whole] * len(kills)
    # It appears at once, by the last call.
    assert [kill["seen"] for kill in kills] == ["nothing"] * (len(kills) - 2) + [whole] * 2
