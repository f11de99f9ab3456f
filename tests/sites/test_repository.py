"""The configuration repository of this machine, and what the agent reads in it."""

import subprocess

import pytest
import sites_world as world

from loopline.components.delivery.git import default_repository
from loopline.components.delivery.release import Release
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites import repository as repository_module
from loopline.pipelines.sites.repository import init_config_repository
from loopline.pipelines.sites.watcher import Watcher

RELEASE = Release("flights", 3, f"oci://registry.example.com/flights@sha256:{'a' * 64}")


def _look(branch: str = "main"):
    watcher = Watcher(str(default_repository()), branch, home() / "mirror")
    watcher.look()
    return watcher


def test_it_is_the_template_with_ports_of_this_machine_and_made_once():
    path = init_config_repository()
    plans = _look().latest.plans
    assert sorted(plans) == ["cloud", "datacenter", "edge"]
    assert len({plan.url for plan in plans.values()}) == 3
    for site, plan in plans.items():
        assert plan.site == site
        assert plan.url.startswith("http://127.0.0.1:2") or plan.url.startswith("http://127.0.0.1:3")
        assert (plan.image, plan.problem) == ("", "")
        assert plan.traffic_uri == str(home() / "traffic")
        assert 0 < float(plan.traffic_sample) <= 1
    with world.work_tree() as tree:
        assert (tree / "base" / "kustomization.yaml").is_file()
        (tree / "sites" / "edge" / "release.env").write_text("MODEL_NAME=\n")
    assert init_config_repository() == path
    assert _look().latest.plans["cloud"].url == plans["cloud"].url


def test_only_what_the_template_has_and_never_over_something_else(tmp_path):
    with pytest.raises(InputError, match="no template for site 'moon': choose from cloud, datacenter, edge"):
        init_config_repository(sites=("edge", "moon"))
    assert not default_repository().exists()
    assert list(home().iterdir()) == []
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(InputError, match="is not a bare Git repository"):
        init_config_repository(tmp_path / "taken")


def test_a_commit_is_seen():
    world.make_repository("edge", "cloud")
    watcher = _look()
    commit = world.commit_release(RELEASE, "edge")
    watcher.look()
    assert watcher.latest.commit == commit
    plan = watcher.latest.plans["edge"]
    assert (plan.model, plan.version, plan.image) == ("flights", "3", RELEASE.image)
    assert watcher.latest.plans["cloud"].image == ""
    world.commit_file("sites/cloud", None)
    watcher.look()
    assert list(watcher.latest.plans) == ["edge"]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("release.env", "MODEL_VERSION=three\n", "MODEL_VERSION is 'three'"),
        ("release.env", "MODEL_IMAGE=oci://registry.example.com/flights:latest\n", "digest"),
        ("site.env", "SERVICE_URL\n", "Line 1 is 'SERVICE_URL'"),
        ("site.env", None, "There is no sites/edge/site.env"),
    ],
)
def test_a_site_with_an_unreadable_file_stays_as_it_was(file, text, reason):
    world.make_repository("edge", "cloud")
    world.commit_release(RELEASE, "edge")
    watcher = _look()
    before = watcher.latest.plans
    world.commit_file(f"sites/edge/{file}", text)
    watcher.look()
    after = watcher.latest.plans
    assert (after["edge"], after["cloud"]) == (before["edge"], before["cloud"])
    assert reason in after["edge"].problem
    assert f"sites/edge/{file}" in after["edge"].problem
    assert after["cloud"].problem == ""


def test_a_branch_that_is_not_there_is_named():
    world.make_repository("edge")
    snapshot = _look("release").latest
    assert snapshot.plans == {}
    assert "no branch 'release'" in snapshot.problem
    assert "main" in snapshot.problem


def test_a_site_cannot_have_a_name_of_the_agents_own():
    world.make_repository("edge")
    with world.work_tree() as tree:
        (tree / "sites" / "edge").rename(tree / "sites" / "images")
        subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
    assert "rename sites/images" in _look().latest.problem


@pytest.mark.parametrize("name", ["..", "Edge", "a\nb"])
def test_a_folder_that_cannot_be_a_site_is_named(name):
    """Git takes any name into a tree; it must not become a folder of this machine."""
    bare = world.make_repository("edge")
    _name_folder(bare, "edge", name)
    snapshot = _look().latest
    assert snapshot.plans == {}
    assert f"{name!r} in sites/ is no name of a site" in snapshot.problem


def _name_folder(bare: str, old: str, new: str) -> None:
    """Rename a site's folder by writing Git's trees, which no working copy with such a name could do."""

    def git(*arguments: str, data: bytes = b"") -> str:
        command = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "--git-dir", bare, *arguments]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()

    sites = git("ls-tree", "-z", "main:sites").replace(f"\t{old}\0", f"\t{new}\0")
    tree = git("mktree", "-z", data=sites.encode()).strip()
    top = [line for line in git("ls-tree", "-z", "main").split("\0") if line and not line.endswith("\tsites")]
    root = git("mktree", "-z", data="\0".join([*top, f"040000 tree {tree}\tsites", ""]).encode()).strip()
    commit = git("commit-tree", root, "-p", "main", "-m", "Rename by hand").strip()
    git("update-ref", "refs/heads/main", commit)


@pytest.mark.parametrize("interval", [-1.0, float("nan"), float("inf")])
def test_an_interval_that_is_none_is_refused(interval):
    world.make_repository("edge")
    with pytest.raises(InputError, match="The interval is"):
        Watcher(str(default_repository()), "main", home() / "mirror", interval)


def test_it_is_made_once_by_processes_at_once(monkeypatch):
    commit_all = repository_module._commit_all

    def commit_and_be_overtaken(*arguments):
        commit_all(*arguments)
        monkeypatch.setattr(repository_module, "_commit_all", commit_all)
        first.append((init_config_repository(path, ["edge"]), _look().latest.commit))

    path, first = home() / "config-repo.git", []
    monkeypatch.setattr(repository_module, "_commit_all", commit_and_be_overtaken)
    assert init_config_repository(path, ["cloud"]) == first[0][0]
    assert _look().latest.commit == first[0][1]
    assert [file.name for file in home().iterdir() if file.name.startswith(".")] == []
