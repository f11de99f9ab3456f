"""Checks of sites with a real model server; most sites lend its answers another image digest."""

import threading
import time

import pytest
from config_repositories import (
    edit,
    git,
    history,
    make_certificate,
    make_repository,
    message,
    named_image,
    serve_git,
    show,
    tip,
)
from delivery_models import train_small
from delivery_registry import Handler, proxy, run_registry, run_server
from promoted_images import PREDICATE
from site_relay import SiteRelay

from loopline.components.delivery import git_repository, site_check
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.model_server import serve
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.site_check import check
from loopline.components.environment import environment
from loopline.components.errors import InputError

SERVED = "sha256:" + "1" * 64


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(site_check, "SITE_S", 0.05)
    monkeypatch.setattr(site_check, "REPOSITORY_S", 0.1)
    monkeypatch.setattr(git_repository, "PAUSE_S", 0.02)


@pytest.fixture
def site(served):
    with SiteRelay(served.url) as relay:
        yield relay


@pytest.fixture
def bare(tmp_path, site):
    return make_repository(tmp_path, url=site.url)


@pytest.fixture(scope="module")
def other_image(tmp_path_factory, built_images):
    """An image of a model of the same name that predicts something else."""
    folder = tmp_path_factory.mktemp("other")
    with environment({"COSIGN_PRIVATE_KEY": built_images.key}):
        reference = build_image(train_small(folder, rounds=9), f"oci:{folder / 'images'}", version=4)
        attest_tested(reference, PREDICATE)
    return reference


def digest(image: str) -> str:
    return image.partition("@")[2]


def test_site_that_really_serves_the_image(tmp_path, images):
    fetched = fetch_image(images.tested[2], tmp_path / "fetched", tested=True)
    with serve(fetched.folder, LOOPLINE_IMAGE_DIGEST=fetched.digest) as server:
        bare = make_repository(tmp_path, url=server.url)
        commit = promote(str(bare), "edge,cloud", images.tested[2])
        assert check(str(bare), " edge, cloud", images.tested[2], commit) == "edge,cloud"
        assert tip(bare) == commit
        # The same model under another version is another image.
        other = promote(str(bare), "edge", images.tested[3])
        with pytest.raises(InputError, match=f"still answers with image {fetched.digest}"):
            check(str(bare), "edge", images.tested[3], other, deadline_s=0.5)
    assert named_image(bare, "edge") == images.tested[2]


def test_site_that_follows_late_is_waited_for(bare, site, images):
    commit = promote(str(bare), "edge", images.tested[1])
    site.away = True

    def follow() -> None:
        time.sleep(0.3)
        site.away = False
        time.sleep(0.3)
        site.replace = {SERVED: digest(images.tested[1])}

    thread = threading.Thread(target=follow)
    thread.start()
    assert check(str(bare), "edge", images.tested[1], commit, deadline_s=30) == "edge"
    thread.join()
    assert tip(bare) == commit


def test_server_that_only_knows_the_model_is_known_by_it(bare, site, images):
    site.replace = {'"image_digest"': '"unknown"'}
    commit = promote(str(bare), "edge", images.tested[1])
    assert check(str(bare), "edge", images.tested[1], commit, deadline_s=5) == "edge"


def test_other_model_without_image_digest_is_refused(bare, site, images, other_image):
    site.replace = {'"image_digest"': '"unknown"'}
    promote(str(bare), "edge", other_image)
    with pytest.raises(InputError, match=r"answers with model sha256:.* instead of sha256:"):
        check(str(bare), "edge", other_image, deadline_s=0.3)


def test_site_that_stays_behind_is_put_back(bare, site, images):
    promote(str(bare), "edge,cloud", images.tested[1])
    commit = promote(str(bare), "edge,cloud", images.tested[2])
    with pytest.raises(InputError, match="2 of 2 sites do not serve") as error:
        check(str(bare), "edge,cloud", images.tested[2], commit, deadline_s=0.3)
    assert f"edge: {site.url} still answers with image {SERVED}" in str(error.value)
    assert f"Put back in {tip(bare)[:12]}: edge to small-late version 1 ({digest(images.tested[1])[:19]})" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    assert [named_image(bare, name) for name in ("edge", "cloud")] == [images.tested[1]] * 2
    assert show(bare, "sites/edge/release.env") == show(bare, "sites/edge/release.env", f"{commit}^")
    assert message(bare).startswith("Roll edge, cloud back to small-late version 1\n\n2 of 2 sites do not serve")
    assert f"Rolled-back: {images.tested[2]}" in message(bare).splitlines()
    assert history(bare)[-2] == commit


def test_site_without_a_release_before_names_nothing_again(bare, site, images):
    commit = promote(str(bare), "edge", images.tested[1])
    with pytest.raises(InputError, match=r"edge to nothing\.$"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)
    assert show(bare, "sites/edge/release.env") == show(bare, "sites/edge/release.env", f"{commit}^")


def test_site_where_nothing_answers(bare, site, images):
    commit = promote(str(bare), "edge", images.tested[1])
    site.away = True
    with pytest.raises(InputError, match=f"edge: {site.url}.* answered HTTP 503"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)


def test_site_that_is_not_ready_is_waited_for(bare, site, images):
    commit = promote(str(bare), "edge", images.tested[1])
    site.replace = {SERVED: digest(images.tested[1])}
    site.unready = True
    with pytest.raises(InputError, match=f"edge: no model small-late is ready at {site.url}"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)


def test_site_whose_certificate_is_not_trusted_says_so(tmp_path, images):
    with serve_git(tmp_path, certificate=make_certificate(tmp_path / "ca.pem")) as other:  # any server with TLS
        bare = make_repository(tmp_path, url=other.url)
        commit = promote(str(bare), "edge", images.tested[1])
        with pytest.raises(InputError, match=r"certificate of https://localhost:\d+ is not trusted: set SSL_CERT_FILE"):
            check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)


def test_wrong_predictions_are_final(bare, site, other_image, images):
    commit = promote(str(bare), "edge", other_image)
    site.replace = {SERVED: digest(other_image)}
    with pytest.raises(InputError, match=r"of .* golden rows are predicted differently") as error:
        check(str(bare), "edge", other_image, commit, deadline_s=3600)  # does not wait an hour
    assert "Put back" in str(error.value)


def test_without_a_commit_nothing_is_put_back(bare, images):
    commit = promote(str(bare), "edge", images.tested[1])
    with pytest.raises(InputError, match="Nothing was put back, since no commit was named"):
        check(str(bare), "edge", images.tested[1], deadline_s=0.3)
    assert tip(bare) == commit


def test_site_that_the_commit_did_not_change_stays(bare, images):
    promote(str(bare), "edge", images.tested[1])
    commit = promote(str(bare), "edge,cloud", images.tested[1])
    with pytest.raises(InputError, match=r"Put back in \w+: cloud to nothing\.$"):
        check(str(bare), "edge,cloud", images.tested[1], commit, deadline_s=0.3)
    assert [named_image(bare, name) for name in ("edge", "cloud")] == [images.tested[1], ""]


def test_site_that_somebody_else_promoted_to_meanwhile_stays(bare, images, monkeypatch):
    commit = promote(str(bare), "edge,cloud", images.tested[1])
    ask, done = site_check._ask_until, []

    def ask_and_meanwhile(*arguments):
        problems = ask(*arguments)
        done.append(promote(str(bare), "edge", images.tested[2]))
        return problems

    monkeypatch.setattr(site_check, "_ask_until", ask_and_meanwhile)
    with pytest.raises(InputError, match=r"Put back in \w+: cloud to nothing\.$"):
        check(str(bare), "edge,cloud", images.tested[1], commit, deadline_s=0.3)
    assert [named_image(bare, name) for name in ("edge", "cloud")] == [images.tested[2], ""]
    assert history(bare)[-2] == done[0]


def test_lines_edited_since_the_promotion_stay(bare, images):
    commit = promote(str(bare), "edge", images.tested[1])
    edit(bare, {"sites/edge/release.env": show(bare, "sites/edge/release.env") + "NEW=1\n"})
    with pytest.raises(InputError, match="Put back"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)
    assert show(bare, "sites/edge/release.env").endswith("MODEL_IMAGE=\nCANARY=no\nNEW=1\n")


def test_site_that_names_another_image_fails_at_once(bare, site, images):
    commit = promote(str(bare), "edge", images.tested[1])
    promote(str(bare), "edge", images.tested[2])
    with pytest.raises(InputError, match=r"Site edge names small-late version 2 .* and not .*: promote the image"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=3600)
    assert not site.requests
    assert named_image(bare, "edge") == images.tested[2]


def test_second_trial_says_why_the_first_one_put_the_site_back(bare, images):
    commit = promote(str(bare), "edge", images.tested[1])
    for _ in range(2):  # KFP tries a failed step again
        with pytest.raises(InputError, match=f"still answers with image {SERVED}"):
            check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)
    assert len(history(bare)) == 3


def test_image_that_cannot_be_verified_any_more_is_put_back(bare, images, monkeypatch):
    commit = promote(str(bare), "edge", images.tested[1])
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", "/no/such/key")
    with pytest.raises(InputError, match=r"The sites cannot be checked: .*COSIGN_PRIVATE_KEY.* Put back"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=30)
    assert named_image(bare, "edge") == ""


def test_registry_that_is_away_for_a_moment_is_asked_again(tmp_path, site, small_model, images):
    away: list[int] = []

    def answer(request: Handler) -> bool:
        if away:
            request.send(away.pop())
            return True
        return False

    with (
        run_registry(tmp_path / "registry", memory=True) as real,
        run_server(proxy(real.host, answer)) as host,
    ):
        image = build_image(small_model, f"docker://{host}/models/late:v1", version=1)
        attest_tested(image, PREDICATE)
        site.replace = {SERVED: digest(image)}
        bare = make_repository(tmp_path, url=site.url)
        commit = promote(str(bare), "edge", image)
        away += [503] * 5  # more than the requests of one trial
        assert check(str(bare), "edge", image, commit, deadline_s=30) == "edge"
        assert not away and tip(bare) == commit
    with pytest.raises(InputError, match=r"The sites cannot be checked: Registry .* cannot be reached .* Put back"):
        check(str(bare), "edge", image, commit, deadline_s=0.1)  # away for good
    assert named_image(bare, "edge") == ""


def test_repository_that_is_away_for_a_moment_is_put_back_all_the_same(tmp_path, bare, images, monkeypatch):
    commit = promote(str(bare), "edge", images.tested[1])
    monkeypatch.setenv("GIT_USERNAME", "bot")
    monkeypatch.setenv("GIT_PASSWORD", "s3cr3t-t0ken")
    with serve_git(tmp_path) as server:
        server.faults = {"service=git-receive-pack": [503] * 5}  # more than a push is tried again for
        with pytest.raises(InputError, match=r"still answers with image .* Put back"):
            check(f"{server.url}/config.git", "edge", images.tested[1], commit, deadline_s=0.3)
        assert server.faults == {"service=git-receive-pack": []}
    assert named_image(bare, "edge") == ""


def test_site_without_an_address_is_named_and_put_back(bare, images):
    edit(bare, {"sites/edge/site.env": "LOOPLINE_SITE=edge\n"})
    commit = promote(str(bare), "edge", images.tested[1])
    with pytest.raises(InputError, match=r"SERVICE_URL in sites/edge/site.env is ''.* Put back"):
        check(str(bare), "edge", images.tested[1], commit, deadline_s=30)


def test_repository_that_refuses_to_put_back_does_not_hide_the_reason(bare, images):
    commit = promote(str(bare), "edge", images.tested[1])
    (bare / "hooks").mkdir(exist_ok=True)
    (bare / "hooks" / "update").write_text("#!/bin/sh\necho frozen\nexit 1\n")
    (bare / "hooks" / "update").chmod(0o755)
    with pytest.raises(InputError, match=r"still answers with image .*could not be put back: .*frozen") as error:
        check(str(bare), "edge", images.tested[1], commit, deadline_s=0.3)
    assert "\n" not in str(error.value)


@pytest.fixture
def proposed(bare, images):
    """A promotion to edge on a branch of its own, as a pull request has it; returns its commit."""
    git(bare, "branch", "proposal")
    return promote(str(bare), "edge", images.tested[1], "proposal")


def test_pull_request_is_waited_for(bare, site, images, proposed):
    site.replace = {SERVED: digest(images.tested[1])}
    timer = threading.Timer(0.5, lambda: git(bare, "update-ref", "refs/heads/main", proposed))
    timer.start()
    assert check(str(bare), "edge", images.tested[1], proposed, deadline_s=30) == "edge"
    timer.join()


def test_pull_request_is_waited_for_while_the_repository_is_away(tmp_path, bare, site, images, proposed, monkeypatch):
    monkeypatch.setenv("GIT_USERNAME", "bot")
    monkeypatch.setenv("GIT_PASSWORD", "s3cr3t-t0ken")
    site.replace = {SERVED: digest(images.tested[1])}
    with serve_git(tmp_path) as server:
        url, wait = f"{server.url}/config.git", site_check._wait_for_merge

        def merge_and_wait(*arguments):
            git(bare, "update-ref", "refs/heads/main", proposed)
            server.faults = {"service=git-upload-pack": [503] * 5}  # more than one fetch is tried again for
            return wait(*arguments)

        monkeypatch.setattr(site_check, "_wait_for_merge", merge_and_wait)
        assert check(url, "edge", images.tested[1], proposed, deadline_s=30) == "edge"
        assert server.faults == {"service=git-upload-pack": []}


def test_pull_request_merged_as_another_commit_is_put_back(bare, images, proposed):
    edit(bare, {"sites/edge/release.env": show(bare, "sites/edge/release.env", proposed)}, "Squash")
    with pytest.raises(InputError, match=r"Put back in \w+: edge to nothing"):
        check(str(bare), "edge", images.tested[1], proposed, deadline_s=0.3)
    assert named_image(bare, "edge") == ""


def test_pull_request_that_nobody_merges(bare, site, images, proposed):
    before = tip(bare)
    with pytest.raises(InputError, match=f"since nobody merged {proposed[:12]} into main in time"):
        check(str(bare), "edge", images.tested[1], proposed, deadline_s=0.3)
    assert tip(bare) == before and not site.requests


def test_no_site_is_nothing_to_do():
    assert check("", "", "", deadline_s=1) == ""


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_deadline_that_is_none_is_refused(deadline):
    with pytest.raises(InputError, match="deadline_s is"):
        check("", "edge", "", deadline_s=deadline)
