"""The agent and its sites on a machine that fails them: no room, logs cleared away, a clock set back, deaths."""

import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
import sites_world as world
from delivery_faults import call_apart, let_in

from loopline.components.delivery.golden import read_golden, replay
from loopline.components.environment import home
from loopline.pipelines import cli
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import find_agent
from loopline.pipelines.sites.state import DEGRADED, READY, read_states, sites_home

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are watched in /proc")


@pytest.fixture(scope="module")
def site_images(tmp_path_factory):
    return world.build_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    with world.lasting_home(tmp_path_factory.mktemp("sites") / "home") as folder:
        yield folder


@pytest.fixture
def edge(monkeypatch, shared_home, site_images):
    """An agent with one site, edge, that serves version 1 before and after each test."""
    monkeypatch.setenv("LOOPLINE_HOME", str(shared_home))
    world.serve_at_edge(site_images)
    return world.wait_running("edge", site_images.first)


def kill_server(before: int, release) -> None:
    """Kill the site's server and wait for the next one."""
    os.kill(before, signal.SIGKILL)
    world.wait_for(lambda: [state.pid for state in read_states()] not in ([], [0], [before]), "another server runs")
    assert world.wait_running("edge", release).pid != before


def test_logs_that_are_cleared_away_do_not_end_the_agent(edge, site_images):
    agent = find_agent()
    shutil.rmtree(sites_home() / "edge")
    kill_server(edge.pid, site_images.first)
    assert find_agent() == agent
    assert replay(read_golden(site_images.model), edge.url).passed


def test_a_clock_that_is_set_back_does_not_cost_the_log_of_the_server_that_runs(edge, site_images):
    """What was written before the clock was set back is dated to the future."""
    agent, folder = find_agent(), sites_home() / "edge"
    for second in range(6):
        (folder / f"server-29991231-23595{second}-000000-v1.log").write_text("from the future\n")
    for _ in range(2):
        kill_server(world.site_state("edge").pid, site_images.first)
        pid = world.site_state("edge").pid
        [log] = {Path(f"/proc/{pid}/fd/{number}").readlink() for number in (1, 2)}
        assert log.exists() and log == sorted(folder.glob("server-*.log"))[-1]
    assert find_agent() == agent
    for log in folder.glob("server-2999*"):
        log.unlink()


def test_a_disk_that_fills_up_leaves_the_site_serving_until_there_is_room(edge, site_images):
    agent = find_agent()
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    # Longer files than this end in EFBIG, as in ENOSPC on a full disk: a commit fits, a model does not.
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
    try:
        world.commit_release(site_images.second, "edge")
        world.wait_for(lambda: world.site_state("edge").state == DEGRADED, "the site says what hinders it")
        assert "make room" in world.site_state("edge").reason
        assert replay(read_golden(site_images.model), edge.url).answer.version == "1"
        assert (find_agent(), world.site_state("edge").pid) == (agent, edge.pid)
    finally:
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, unlimited)
    world.wait_running("edge", site_images.second)
    world.commit_release(site_images.first, "edge")
    world.wait_running("edge", site_images.first)
    assert find_agent() == agent


@pytest.mark.parametrize("lack", ["room", "rights"])
def test_an_agent_that_cannot_write_is_not_started_and_says_so(lack, site_images, tmp_path):
    world.use_keys(site_images)
    world.make_repository("edge")
    if lack == "rights" and os.getuid() != 0:
        pytest.skip("only root can be another user")
    let_in(home())
    kind, said = call_apart(
        lambda: control.up(timeout_s=20), file_bytes=2 if lack == "room" else 0, anyone=lack == "rights"
    )
    assert kind == "refused" and "set LOOPLINE_HOME to a folder that can be written" in said, said
    assert find_agent() is None


def test_the_command_says_in_a_sentence_that_it_cannot_write(capfd):
    """As a user of no rights: neither a traceback nor an agent."""
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    home().mkdir(parents=True)
    let_in(home())
    assert call_apart(lambda: cli.main(["sites", "up"]), anyone=True) == ("returned", "2")
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1 and said.startswith("loopline: ") and "Permission denied" in said, said


def test_an_agent_killed_while_it_starts_leaves_nothing_and_starts_again(edge, site_images):
    """At moments between its start and the first answer of its site."""
    for moment_s in (0.05, 0.4, 1.0):
        agent = find_agent()
        processes = [agent.pid, *world.children(agent.pid)]
        os.kill(agent.pid, signal.SIGKILL)
        world.wait_for(lambda gone=processes: not any(map(world.is_alive, gone)), "its servers have ended with it")
        control.up(interval_s=0.2, timeout_s=moment_s)
        world.wait_for(lambda agent=agent: find_agent() not in (None, agent), "another agent runs")
    state = world.wait_running("edge", site_images.first)
    assert replay(read_golden(site_images.model), state.url).passed
    assert world.children(find_agent().pid) == [state.pid]
    assert state.state == READY
