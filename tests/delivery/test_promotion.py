"""Promotions of real images to real repositories."""

import multiprocessing

import pytest
from config_repositories import edit, git, history, make_repository, message, named_image, serve_git, show, tip
from promoted_images import make_key

from loopline.components.delivery.promotion import promote
from loopline.components.errors import InputError


@pytest.fixture
def bare(tmp_path):
    return make_repository(tmp_path)


def test_promotion_is_one_commit_that_says_what_and_where(bare, images):
    before = tip(bare)
    commit = promote(str(bare), "edge, cloud", images.tested[2], pipeline_run="delivery-7")
    assert history(bare) == [before, commit]
    assert {site: named_image(bare, site) for site in ("edge", "cloud", "datacenter")} == {
        "edge": images.tested[2],
        "cloud": images.tested[2],
        "datacenter": "",
    }
    assert message(bare) == (
        "Promote small-late version 2 to edge, cloud\n\nSites: edge, cloud.\n\n"
        f"Model: small-late\nModel-Version: 2\nImage: {images.tested[2]}\nMLflow-Run: run2\nPipeline-Run: delivery-7"
    )
    trailers = git(bare, "log", "-1", "--format=%(trailers:key=Image,valueonly)")
    assert trailers == images.tested[2]  # as git itself reads them


def test_other_lines_of_the_site_stay(bare, images):
    promote(str(bare), "edge", images.tested[1])
    assert show(bare, "sites/edge/release.env") == (
        f"# what the site serves\nMODEL_NAME=small-late\nMODEL_VERSION=1\nMODEL_IMAGE={images.tested[1]}\nCANARY=no\n"
    )


def test_promotion_made_twice_commits_once(bare, images):
    first = promote(str(bare), "edge,cloud", images.tested[1])
    assert promote(str(bare), "cloud,edge", images.tested[1]) == ""
    assert tip(bare) == first


def test_promotion_repeated_by_its_run_is_the_same_commit(bare, images):
    first = promote(str(bare), "edge", images.tested[1], pipeline_run="run 1")
    edit(bare, {"README.md": "x"})
    assert promote(str(bare), "edge", images.tested[1], pipeline_run="run 1") == first
    assert promote(str(bare), "edge", images.tested[1], pipeline_run="run 2") == ""


def test_only_sites_that_change_are_in_the_commit(bare, images):
    promote(str(bare), "edge", images.tested[1])
    promote(str(bare), "edge,cloud", images.tested[1])
    assert message(bare).startswith("Promote small-late version 1 to cloud\n")
    assert git(bare, "diff", "--name-only", "HEAD^", "HEAD") == "sites/cloud/release.env"


def test_no_site_is_nothing_to_do(bare):
    before = tip(bare)
    assert promote(str(bare), " , ", "whatever") == ""
    assert tip(bare) == before


def test_reference_of_docker_is_written_as_the_sites_read_it(bare, images):
    digest = images.tested[1].partition("@")[2]
    promote(str(bare), "edge", images.tested[1].replace("@", ":v1@"))
    assert named_image(bare, "edge") == images.tested[1]
    assert named_image(bare, "edge").endswith(digest)


def test_one_overlay_for_several_models(bare, images):
    edit(bare, {"apps/flights/at-edge/release.env": "X=1\n"})
    promote(str(bare), "edge", images.tested[1], overlay="apps/flights/at-{site}")
    assert f"MODEL_IMAGE={images.tested[1]}\n" in show(bare, "apps/flights/at-edge/release.env")


def test_other_branch(bare, images):
    git(bare, "branch", "production")
    promote(str(bare), "edge", images.tested[1], "production")
    assert named_image(bare, "edge", "production") == images.tested[1]
    assert named_image(bare, "edge", "main") == ""


def test_promotion_over_http(tmp_path, images, monkeypatch):
    bare = make_repository(tmp_path)
    monkeypatch.setenv("GIT_USERNAME", "bot")
    monkeypatch.setenv("GIT_PASSWORD", "s3cr3t-t0ken")
    with serve_git(tmp_path) as server:
        promote(f"{server.url}/config.git", "edge", images.tested[1])
    assert named_image(bare, "edge") == images.tested[1]


def refused(bare, said: str, **arguments) -> None:
    """Check that a promotion is refused in one sentence and that nothing is written."""
    before = git(bare, "for-each-ref")
    with pytest.raises(InputError, match=said) as error:
        promote(**({"repository": str(bare), "sites": "edge"} | arguments))
    assert "\n" not in str(error.value)
    assert git(bare, "for-each-ref") == before


def test_unsigned_image_is_refused(bare, images):
    refused(bare, "is not signed", image=images.unsigned)


def test_untested_image_is_refused(bare, images):
    refused(bare, "is untested", image=images.untested)


def test_image_of_another_key_is_refused(bare, images, monkeypatch):
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", make_key())
    refused(bare, "is not signed with the key", image=images.tested[1])


def test_image_named_by_tag_is_refused(bare, images):
    refused(bare, "not named by digest", image=images.tested[1].partition("@")[0] + ":v1")


def test_image_that_is_not_there_is_refused(bare, images):
    other = images.tested[1].replace("sha256:", "sha256:" + "0" * 64)[: len(images.tested[1])]
    refused(bare, "sha256:0000000", image=other)


@pytest.mark.parametrize("site", ["../edge", "edge;rm", "$(id)", "ed ge", "Edge", "-f", "edge/..", ".git", "e\nd"])
def test_names_that_are_no_sites_are_refused(bare, images, site):
    refused(bare, "is not a name of a site", sites=f"cloud,{site}", image=images.tested[1])


@pytest.mark.parametrize(
    "overlay", ["sites", "../{site}", "/sites/{site}", "a//{site}", "{site}/{site}", "x;{site}", ""]
)
def test_overlays_that_are_none_are_refused(bare, images, overlay):
    refused(bare, "overlay is", image=images.tested[1], overlay=overlay)


def test_overlay_inside_of_git_is_refused(bare, images):
    refused(bare, "overlay is", image=images.tested[1], overlay=".git/{site}")


def test_unknown_site_names_those_there_are(bare, images):
    refused(
        bare, "no site 'egde' in .*: choose from cloud, datacenter, edge", sites="edge,egde", image=images.tested[1]
    )


def test_site_without_its_file_is_named(bare, images):
    edit(bare, {"sites/new/kustomization.yaml": "x"})
    refused(bare, "Site new has no sites/new/release.env", sites="edge,new", image=images.tested[1])


def test_overlay_without_sites_is_named(bare, images):
    refused(bare, "it has none at clusters/{site}", image=images.tested[1], overlay="clusters/{site}")


def test_unknown_mode_is_refused(bare, images):
    refused(bare, "choose from direct, pull-request", image=images.tested[1], mode="pr")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"MODEL_NAME=\xff\n", "is not UTF-8"),
        (b"<<<<<<< HEAD\n", "Line 1 is '<<<<<<< HEAD'"),
        (b"MODEL_IMAGE=a\nMODEL_IMAGE=b\n", "a second time"),
    ],
)
def test_release_that_cannot_be_read_is_refused_and_named(bare, images, content, said):
    edit(bare, {"sites/edge/release.env": content})
    refused(bare, f"sites/edge/release.env of .*{said}", image=images.tested[1])


def test_link_in_the_place_of_a_release_is_not_followed(bare, images, tmp_path):
    secret = tmp_path / "secret.env"
    secret.write_text("MODEL_NAME=\n")
    work = tmp_path / "work"
    (work / "sites" / "edge").mkdir(parents=True)
    (work / "sites" / "edge" / "release.env").symlink_to(secret)
    git(bare, "--work-tree", str(work), "add", "--all")
    git(bare, "--work-tree", str(work), "commit", "--quiet", "-m", "Link")
    refused(bare, "sites/edge/release.env", image=images.tested[1])
    assert secret.read_text() == "MODEL_NAME=\n"


def _promote_at_once(start, bare, site, image, number, results):
    start.wait()
    results.put((number, promote(str(bare), site, image, pipeline_run=f"run-{number}")))


def promote_at_once(bare, promotions: list[tuple[str, str]]) -> dict[int, str]:
    """Promote from one process for each promotion, all at the same moment; returns their commits."""
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(len(promotions)), context.Queue()
    processes = [
        context.Process(target=_promote_at_once, args=(start, bare, site, image, number, results))
        for number, (site, image) in enumerate(promotions)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(10)
    return found


def test_twenty_processes_at_once_to_twenty_sites(tmp_path, images):
    sites = [f"site-{number}" for number in range(20)]
    bare = make_repository(tmp_path, sites)
    commits = promote_at_once(bare, [(site, images.tested[1]) for site in sites])
    assert sorted(history(bare)[1:]) == sorted(commits.values()) and len(set(commits.values())) == 20
    assert {named_image(bare, site) for site in sites} == {images.tested[1]}


def test_promotions_at_once_to_one_site_are_all_recorded_and_the_last_one_stays(bare, images):
    wanted = [images.tested[number % 3 + 1] for number in range(9)]
    commits = promote_at_once(bare, [("edge", image) for image in wanted])
    landed = history(bare)[1:]
    # Who found the site at its image already had nothing to commit; every other one is in the history, in one line.
    assert sorted(landed) == sorted(commit for commit in commits.values() if commit)
    assert [named_image(bare, "edge", commit) for commit in landed] == [
        next(wanted[number] for number, made in commits.items() if made == commit) for commit in landed
    ]
    assert named_image(bare, "edge") == named_image(bare, "edge", landed[-1])
