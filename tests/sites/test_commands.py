"""The commands of ``loopline sites`` as a person types them."""

import argparse
import json
import os
import subprocess
import sys

import pytest
import sites_world as world

from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.commands.sites import add_options
from loopline.pipelines.sites.process import find_agent


def _run(line: str) -> int:
    parser = argparse.ArgumentParser("loopline")
    add_options(parser, line.split())
    options = parser.parse_args(line.split())
    return options.command(options)


def test_up_says_that_nothing_is_promoted_and_down_ends_it(sites, capsys):
    assert _run("up") == 0
    output = capsys.readouterr().out
    assert "Nothing is promoted yet" in output
    assert output.count("idle") == 3
    assert _run("down") == 0
    assert capsys.readouterr().out == "Stopped.\n"
    assert _run("down") == 0
    assert "nothing to stop" in capsys.readouterr().out
    assert _run("status") == 1
    assert "`loopline sites up` starts them" in capsys.readouterr().out
    assert _run("status --json") == 1
    assert json.loads(capsys.readouterr().out) == {"agent": None, "followed": None, "sites": []}


def test_status_is_an_aligned_table_and_json(shared_agent, images, capsys):
    assert _run("status") == 0
    following, _, *table = capsys.readouterr().out.splitlines()
    assert str(home() / "config-repo.git") in following
    digest = images.first.image.rpartition("sha256:")[2][:12]
    state = world.site_state("edge")
    starts = [table[0].index(word) for word in ("SITE", "STATE", "WANTED", "RUNNING", "SINCE", "URL")]
    cells = [table[1][start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    assert [*cells[:4], cells[5]] == ["edge", "ready", f"1 ({digest})", f"1 ({digest})", state.url]
    assert _run("status --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agent"]["pid"] == find_agent().pid
    assert told["sites"][0]["in_sync"] is True
    assert told["sites"][0]["pid"] == state.pid


def test_a_rollback_is_a_commit_that_the_site_follows_and_its_log_goes_on(shared_agent, images, capsys):
    program = "from loopline.pipelines.sites.logs import show_logs; show_logs('edge', 1, follow=True)"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    follower = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert follower.stdout.readline()  # it has begun
        world.commit_release(images.second, "edge")
        world.wait_running("edge", images.second)
        assert _run("rollback edge --reason wrong") == 0
        output = capsys.readouterr().out
        assert f"names {images.first.image} for edge again" in output
        assert "ready" in output
        assert world.site_state("edge").running == images.first.image
        while "version 2" not in follower.stdout.readline():
            pass
        while "version 1" not in follower.stdout.readline():
            pass
    finally:
        follower.kill()
        follower.wait()
    log = ["git", "--git-dir", str(home() / "config-repo.git"), "log", "-1", "--format=%B", "main"]
    message = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    assert "wrong" in message
    assert f"Rolled-back: {images.second.image}" in message


def test_logs(shared_agent, capsys):
    assert _run("logs edge -n 1") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert _run("logs agent") == 0
    assert "version 1 serves" in capsys.readouterr().out
    with pytest.raises(InputError, match="no log of 'moon': choose from edge, agent"):
        _run("logs moon")


def test_status_says_what_hinders_a_site(shared_agent, images, capsys):
    world.commit_release(images.untested, "edge")
    world.wait_for(lambda: world.site_state("edge").state == "degraded", "the site is degraded")
    assert _run("status") == 1
    assert f"  {world.site_state('edge').reason}\n" in capsys.readouterr().out
    assert _run("up") == 1  # it serves, but not what it should
    world.commit_release(images.first, "edge")
    world.wait_running("edge", images.first)


def test_an_address_that_is_no_repository_is_refused(capsys):
    with pytest.raises(InputError, match="There is no repository at"):
        _run("up --repository nowhere")
    assert find_agent() is None


def test_a_home_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be made .*set LOOPLINE_HOME"):
        _run("up")
