"""Faults between the steps of delivery and a real configuration repository, behind git's own HTTP server side.

Whatever happens, a step tried again as KFP does leaves one commit, and a repository that is whole.
"""

import subprocess
import threading

import pytest
from config_repositories import git, history, make_repository, named_image, serve_git, tip
from delivery_faults import call_apart
from faults_proxy import HttpProxy, TcpProxy

from loopline.components.delivery import git as git_module
from loopline.components.delivery import git_repository
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.rollback import rollback
from loopline.components.errors import InputError, TemporaryError


@pytest.fixture(autouse=True)
def impatient(request, monkeypatch):
    """See in a second what otherwise takes half a minute; those who collide have to wait."""
    if "at_once" not in request.node.name:
        monkeypatch.setattr(git_repository, "pause", lambda trial: None)
    monkeypatch.setitem(git_module._SETTINGS, "http.lowSpeedTime", "1")


@pytest.fixture
def bare(tmp_path, images):
    """A repository in which edge was promoted to twice."""
    repository = make_repository(tmp_path)
    for version in (1, 2):
        promote(str(repository), "edge", images.tested[version])
    return repository


@pytest.fixture
def server(bare, monkeypatch):
    with serve_git(bare.parent) as served:
        monkeypatch.setenv("GIT_USERNAME", served.user)
        monkeypatch.setenv("GIT_PASSWORD", served.password)
        yield served


def promote_third(url: str, images) -> str:
    promote(url, "edge", images.tested[3], pipeline_run="run-3")
    return images.tested[3]


def roll_back(url: str, images) -> str:
    assert rollback(url, "edge", pipeline_run="run-3") == images.tested[1]
    return images.tested[1]


def roll_back_by_hand(url: str, images) -> str:
    """As `loopline sites rollback` does: nothing tells a second time from another rollback."""
    assert rollback(url, "edge") == images.tested[1]
    return images.tested[1]


def until_done(step, url: str, images) -> tuple[list[str], str]:
    """Take a step as KFP does, which tries a failed one again twice; returns what failed and the image named."""
    failed = []
    for _ in range(2):
        try:
            return failed, step(url, images)
        except TemporaryError as error:
            failed.append(str(error))
    return failed, step(url, images)


def check_once(bare, before: list[str], image: str) -> None:
    """One commit was added, which names the image, and the repository is whole."""
    assert history(bare)[:-1] == before
    assert named_image(bare, "edge") == image
    git(bare, "fsck", "--strict", "--no-dangling")


STEPS = pytest.mark.parametrize("step", [promote_third, roll_back])


@STEPS
@pytest.mark.parametrize(
    "order",
    [
        {"cut": {"up": 1, "times": 1}},
        {"cut": {"down": 400, "times": 3}},
        {"cut": {"up": 1_200, "times": 2}},
        {"stall": {"down": 400, "times": 1}},
        {"slow": {"rate": 20_000}},
    ],
    ids=["cut at once", "answers cut", "cut in a request", "stuck", "slow"],
)
def test_a_step_over_a_broken_line_commits_once(step, order, bare, server, images):
    before, [(name, options)] = history(bare), order.items()
    with TcpProxy(server.url) as proxy:
        getattr(proxy, name)(**options)
        failed, image = until_done(step, f"{proxy.url}/config.git", images)
        assert proxy.connections > options.get("times", 0)
    assert all("\n" not in sentence for sentence in failed)
    check_once(bare, before, image)


@STEPS
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_not_well_is_asked_again(step, status, bare, server, images):
    before = history(bare)
    with HttpProxy(server.url) as proxy:
        proxy.answer(status, times=2, retry_after="1")
        _, image = until_done(step, f"{proxy.url}/config.git", images)
        assert proxy.met == 2
    check_once(bare, before, image)


@pytest.mark.parametrize("step", [promote_third, roll_back, roll_back_by_hand])
@pytest.mark.parametrize("how", ["lose", "halve"])
def test_a_push_whose_answer_is_lost_is_made_once(step, how, bare, server, images):
    """Git asks again by itself where a connection that it kept closes without an answer, and is refused then."""
    before = history(bare)
    with HttpProxy(server.url) as proxy:
        getattr(proxy, how)(times=1, method="POST", path="git-receive-pack$")
        image = step(f"{proxy.url}/config.git", images)
        assert proxy.met == 1
    check_once(bare, before, image)


@STEPS
def test_a_server_that_is_away_and_comes_back(step, bare, server, images):
    before = history(bare)
    with TcpProxy(server.url) as proxy:
        url = f"{proxy.url}/config.git"
        proxy.refuse()
        with pytest.raises(TemporaryError, match=r"(nothing listens there|there is no way to its host) .*: try again"):
            step(url, images)
        assert history(bare) == before
        proxy.heal()
        check_once(bare, before, step(url, images))


def test_a_server_that_stays_busy_is_one_sentence(bare, server, images):
    with HttpProxy(server.url) as proxy:
        proxy.answer(503)
        with pytest.raises(TemporaryError, match=r"its server has a problem .*503.*: try again\.$"):
            promote_third(f"{proxy.url}/config.git", images)


def test_promotions_and_a_rollback_at_once_over_http_all_land(bare, server, images):
    url, before, found = f"{server.url}/config.git", history(bare), []
    steps = [
        lambda: promote(url, "cloud", images.tested[1]),
        lambda: promote(url, "datacenter", images.tested[2]),
        lambda: rollback(url, "edge"),
    ]
    threads = [threading.Thread(target=lambda step=step: found.append(call_apart(step))) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kind for kind, _ in found] == ["returned"] * 3, found
    assert len(history(bare)) == len(before) + 3
    names = [named_image(bare, site) for site in ("edge", "cloud", "datacenter")]
    assert names == [images.tested[1], images.tested[1], images.tested[2]]


@pytest.mark.parametrize("year", ["2006", "2036"])
def test_a_rollback_goes_by_the_line_of_commits_and_not_by_their_clocks(year, bare, images):
    """The machine that promoted last had a wrong clock: its commit is dated to another decade."""
    commit = subprocess.run(
        ["git", "--git-dir", bare, "cat-file", "commit", "main"], capture_output=True, text=True, check=True
    ).stdout
    seconds = {"2006": 1_150_000_000, "2036": 2_100_000_000}[year]
    lines = [
        f"{line.rsplit(' ', 2)[0]} {seconds} +0000" if line.startswith(("author ", "committer ")) else line
        for line in commit.splitlines()
    ]
    made = subprocess.run(
        ["git", "--git-dir", bare, "hash-object", "-t", "commit", "-w", "--stdin"],
        input="\n".join(lines) + "\n", capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    git(bare, "update-ref", "refs/heads/main", made)
    assert git(bare, "log", "-1", "--format=%cs", "main").startswith(year)
    promote(str(bare), "edge", images.tested[3])
    assert rollback(str(bare), "edge") == images.tested[2]
    assert rollback(str(bare), "edge") == images.tested[1]
    with pytest.raises(InputError, match="named no other image before"):
        rollback(str(bare), "edge")
    assert len(history(bare)) == 6 and tip(bare)
