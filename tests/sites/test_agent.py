"""The agent in the background, with a real repository, real images and real model servers."""

import os
import signal
import socket
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import sites_world as world
from sites_load import SteadyLoad

from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import build_request
from loopline.components.delivery.reference import ImageReference
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import Agent, enter_agent, find_agent, read_followed, start_time, stop_agent
from loopline.pipelines.sites.state import IDLE, READY, read_states, sites_home, write_json

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the agent's processes are watched in /proc"
)


def test_a_promotion_is_served_by_every_site_until_it_goes_down(sites, images):
    assert [(state.site, state.state) for state in control.up()] == [
        ("cloud", IDLE), ("datacenter", IDLE), ("edge", IDLE),
    ]  # fmt: skip
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(world.site_state("edge").url.rpartition(":")[2])))
    world.commit_release(images.first, "edge", "cloud", "datacenter")
    states = [world.wait_running(site, images.first) for site in ("cloud", "datacenter", "edge")]
    golden, digest = read_golden(images.model), ImageReference.parse(images.first.image).digest
    for state in states:
        result = replay(golden, state.url)
        assert result.passed
        assert result.answer.version == "1"
        assert result.answer.parameters["image_digest"] == digest
        assert result.answer.parameters["site"] == state.site
    agent = find_agent()
    assert sorted(world.children(agent.pid)) == sorted(state.pid for state in states)
    world.commit_file("sites/cloud", None)
    world.wait_for(lambda: [state.site for state in read_states()] == ["datacenter", "edge"], "the site is gone")
    assert not world.is_alive(states[0].pid)
    assert stop_agent()
    assert find_agent() is None
    assert not any(world.is_alive(pid) for pid in (agent.pid, *(state.pid for state in states)))
    assert read_states() == []
    assert (home() / "config-repo.git" / "HEAD").is_file()
    # What a site leaves behind: every answer in the traffic log, complete once its server has ended.
    logged = pq.read_table(home() / "traffic" / f"model={images.first.name}" / "site=datacenter")
    assert logged.num_rows == golden.rows.num_rows


def test_a_replacement_under_load_loses_no_request(sites, images):
    world.make_repository("edge")
    world.commit_release(images.first, "edge")
    [state] = control.up()
    golden = read_golden(images.model)
    request = build_request(golden.rows.slice(0, 1), golden.features)
    first, second = (ImageReference.parse(release.image).digest for release in (images.first, images.second))
    with SteadyLoad(state.url, images.first.name, request, per_second=50) as seen:
        world.wait_for(lambda: seen.digests.count(first) > 20, "version 1 answers")
        world.commit_release(images.second, "edge")
        assert world.wait_running("edge", images.second).pid != state.pid
        world.wait_for(lambda: not world.is_alive(state.pid), "the server before has ended")
        world.wait_for(lambda: seen.digests.count(second) > 20, "version 2 answers")
    assert seen.failures == []
    assert set(seen.digests) == {first, second}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unsigned", "is not signed"),
        ("foreign", "is not signed with the key"),
        ("untested", "test"),
        ("tampered", "digest"),
        ("unloadable", "model server ended"),
    ],
)
def test_an_image_that_cannot_be_served_leaves_the_site_as_it_is(shared_agent, images, name, reason):
    before, golden = world.site_state("edge"), read_golden(images.model)
    release = getattr(images, name)
    world.commit_release(release, "edge")
    world.wait_for(lambda: world.site_state("edge").state == "degraded", "the site says what hinders it")
    state = world.site_state("edge")
    assert (state.wanted, state.running, state.pid) == (release.image, images.first.image, before.pid)
    assert reason in state.reason
    assert "Traceback" not in state.reason
    assert replay(golden, state.url).passed
    world.commit_release(images.first, "edge")
    assert world.wait_running("edge", images.first).pid == before.pid
    assert world.site_state("edge").reason == ""


def test_a_killed_server_comes_back(shared_agent, images):
    before = world.site_state("edge")
    os.kill(before.pid, signal.SIGKILL)
    world.wait_for(lambda: world.site_state("edge").pid not in (0, before.pid), "another server runs")
    after = world.wait_running("edge", images.first)
    assert after.url == before.url
    assert replay(read_golden(images.model), after.url).passed


def test_the_site_survives_a_repository_that_is_gone_for_a_while(shared_agent, images):
    repository = home() / "config-repo.git"
    repository.rename(home() / "elsewhere")
    world.wait_for(lambda: bool(read_followed().problem), "the agent says that it cannot read the repository")
    assert str(repository) in read_followed().problem
    assert world.site_state("edge").state == READY
    assert replay(read_golden(images.model), world.site_state("edge").url).passed
    (home() / "elsewhere").rename(repository)
    world.wait_for(lambda: not read_followed().problem, "the agent reads it again")


def test_a_killed_agent_takes_its_servers_along_and_comes_up_again(shared_agent, images):
    agent, before = find_agent(), world.site_state("edge")
    os.kill(agent.pid, signal.SIGKILL)
    world.wait_for(lambda: not world.is_alive(before.pid), "the server has ended with its agent")
    assert find_agent() is None
    for name in ("agent.json", "followed.json"):
        (sites_home() / name).write_text("")  # lost with the power
    (sites_home() / "gone").mkdir()
    (sites_home() / "gone" / "state.json").write_text('{"site": "gone", "of": "another version"}')
    assert (find_agent(), read_followed()) == (None, None)
    assert [state.site for state in read_states()] == ["edge"]
    with world.hidden(images.first.image):  # what was verified is served again without asking for it
        [state] = control.up(interval_s=0.2)
    assert (state.state, state.running, state.url) == (READY, images.first.image, before.url)
    assert find_agent().pid != agent.pid


def test_up_again_finds_the_agent_and_a_second_one_is_refused(shared_agent):
    agent = find_agent()
    assert [state.state for state in control.up()] == [READY]
    assert find_agent() == agent
    with pytest.raises(InputError, match="already"):
        control.up(branch="other")
    with pytest.raises(InputError, match="An agent already runs"):
        enter_agent("somewhere", "main")
    assert find_agent() == agent


def test_a_process_that_got_the_agents_id_is_left_alone():
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        for started in ("1", ""):
            write_json(sites_home() / "agent.json", vars(Agent(stranger.pid, started, "r", "main")))
            assert find_agent() is None
            assert not stop_agent()
        assert stranger.poll() is None
        write_json(sites_home() / "agent.json", vars(Agent(stranger.pid, start_time(stranger.pid), "r", "main")))
        assert find_agent().pid == stranger.pid
    finally:
        stranger.kill()
        stranger.wait()
    assert find_agent() is None
