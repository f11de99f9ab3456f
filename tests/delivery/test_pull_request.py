"""Promotions by pull request: real branches behind git's own HTTP server side.

The services' APIs are stood in for by a server that holds requests to their documentation (tests/hosting_contract.py):
GitHub, GitLab and Gitea themselves cannot run here.
"""

import multiprocessing

import pytest
from config_repositories import edit, git, make_repository, message, named_image, serve_git, tip
from hosting_contract import PROJECT, TOKEN, HostingContract

from loopline.components.delivery import git_hosting
from loopline.components.delivery.git_hosting import Proposal, open_hosting
from loopline.components.delivery.promotion import promote
from loopline.components.errors import InputError


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Wait for nothing, and note for how long it would have been."""
    seconds = []
    monkeypatch.setattr(git_hosting.time, "sleep", seconds.append)
    return seconds


@pytest.fixture(params=["github", "gitlab", "gitea"])
def service(request, monkeypatch):
    with HostingContract(request.param) as service:
        monkeypatch.setenv("GIT_PROVIDER", request.param)
        monkeypatch.setenv("GIT_API_URL", service.api)
        monkeypatch.setenv("GIT_USERNAME", "bot")
        monkeypatch.setenv("GIT_PASSWORD", TOKEN)
        yield service


#: For what does not differ from service to service.
one_service = pytest.mark.parametrize("service", ["github"], indirect=True)


@pytest.fixture
def bare(tmp_path):
    (tmp_path / "acme").mkdir()
    bare = make_repository(tmp_path)
    return bare.rename(tmp_path / f"{PROJECT}.git")


@pytest.fixture
def url(bare, tmp_path):
    with serve_git(tmp_path, "bot", TOKEN) as server:
        yield f"{server.url}/{PROJECT}.git"


def branches(bare) -> list[str]:
    names = git(bare, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    return [name for name in names if name != "main"]


def test_promotion_is_proposed(bare, url, images, service):
    before = tip(bare)
    commit = promote(url, "edge,cloud", images.tested[1], mode="pull-request", pipeline_run="run-1")
    assert tip(bare) == before
    (branch,) = branches(bare)
    assert branch.startswith("loopline/small-late-v1-") and tip(bare, branch) == commit
    assert git(bare, "rev-parse", f"{commit}^") == before
    assert named_image(bare, "edge", branch) == named_image(bare, "cloud", branch) == images.tested[1]
    (opened,) = service.opened
    assert opened["title"] == "Promote small-late version 1 to edge, cloud"
    text = opened["description" if service.provider == "gitlab" else "body"]
    assert f"Image: {images.tested[1]}\n" in text and "Pipeline-Run: run-1" in text
    assert message(bare, branch).endswith("Pipeline-Run: run-1")


def test_same_promotion_is_proposed_once(bare, url, images, service):
    first = promote(url, "edge,cloud", images.tested[1], mode="pull-request")
    assert promote(url, "cloud,edge", images.tested[1], mode="pull-request") == first
    assert len(branches(bare)) == len(service.opened) == 1


@one_service
def test_open_request_keeps_the_commit_that_people_look_at(bare, url, images, service):
    first = promote(url, "edge", images.tested[1], mode="pull-request")
    edit(bare, {"README.md": "the branch goes on"})
    assert promote(url, "edge", images.tested[1], mode="pull-request") == first == tip(bare, branches(bare)[0])


@one_service
def test_other_promotion_is_another_branch(bare, url, images, service):
    promote(url, "edge", images.tested[1], mode="pull-request")
    promote(url, "edge", images.tested[2], mode="pull-request")
    promote(url, "cloud", images.tested[1], mode="pull-request")
    assert len(branches(bare)) == len(service.opened) == 3


@one_service
def test_branch_without_a_request_gets_one(bare, url, images, service):
    """As a step leaves it that was ended in between."""
    first = promote(url, "edge", images.tested[1], mode="pull-request")
    service.opened.clear()
    assert promote(url, "edge", images.tested[1], mode="pull-request") == first
    assert len(service.opened) == 1


@one_service
def test_branch_of_a_closed_request_is_made_anew_on_what_is_there_now(bare, url, images, service):
    promote(url, "edge", images.tested[1], mode="pull-request")
    service.opened.clear()
    promote(url, "edge,cloud", images.tested[2])
    commit = promote(url, "edge", images.tested[1], mode="pull-request")
    assert git(bare, "rev-parse", f"{commit}^") == tip(bare)
    assert named_image(bare, "cloud", commit) == images.tested[2]
    assert len(branches(bare)) == len(service.opened) == 1


@one_service
def test_nothing_to_change_proposes_nothing(bare, url, images, service):
    promote(url, "edge", images.tested[1])
    assert promote(url, "edge", images.tested[1], mode="pull-request") == ""
    assert not branches(bare) and not service.opened


def _propose(start, results, url, image):
    start.wait()
    results.put(promote(url, "edge", image, mode="pull-request"))


@one_service
def test_same_promotion_from_processes_at_once(bare, url, images, service):
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    arguments = (start, results, url, images.tested[1])
    processes = [context.Process(target=_propose, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    commits = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(10)
    assert len(branches(bare)) == len(service.opened) == 1
    assert commits == {tip(bare, branches(bare)[0])}


PROPOSAL = Proposal("loopline/x", "main", "Promote", "Why")


def hosting():
    return open_hosting(f"https://git.example.com/{PROJECT}.git")


@pytest.mark.parametrize("service", ["gitea"], indirect=True)  # the others filter by branch themselves
def test_request_is_found_among_many(service):
    for number in range(120):
        service.opened.append({"head": {"ref": f"b{number}"}, "base": {"ref": "main"}, "html_url": f"u{number}"})
    assert hosting().find("b117", "main") == "u117"
    assert hosting().find("b120", "main") == ""
    assert hosting().find("b117", "other") == ""


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_service_is_asked_again(service, waits, status):
    service.faults["POST"] = [(status, {}, {"message": "busy"})] * 2
    assert hosting().open(PROPOSAL).endswith("/1")
    assert len(waits) == 2


@one_service
def test_service_says_how_long_to_wait(service, waits):
    service.faults["GET"] = [(429, {"Retry-After": "7"}, {}), (403, {"Retry-After": "9999"}, {})]
    assert hosting().find("x", "main") == ""
    assert waits == [7, git_hosting.PAUSE_S]


@one_service
def test_service_that_stays_busy_is_given_up(service, waits):
    service.faults["POST"] = [(503, {}, {"message": "maintenance"})] * 9
    with pytest.raises(InputError, match=r"has a problem \(HTTP 503: maintenance\): try again later"):
        hosting().open(PROPOSAL)
    assert len(waits) == git_hosting.RETRIES


def test_request_that_was_opened_though_the_answer_was_lost_is_found(service):
    first = hosting().open(PROPOSAL)
    service.faults["POST"] = [(502, {}, b"<html>")]
    assert hosting().open(PROPOSAL) == first


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the token: set GIT_PASSWORD"),
        (403, "does not let this token open pull requests"),
        (404, f"knows no project {PROJECT}"),
        (422, r"does not open a pull request for .* \(no commits between\): open it by hand"),
        (400, "does not answer as one"),
        (301, "does not answer as one"),
    ],
)
def test_refusal_is_one_sentence_without_the_token(service, waits, status, said):
    service.faults["POST"] = [
        (status, {"Location": "https://elsewhere.example.com/"}, {"message": "no commits between"})
    ]
    with pytest.raises(InputError, match=said) as error:
        hosting().open(PROPOSAL)
    assert "\n" not in str(error.value) and TOKEN not in str(error.value)
    assert waits == []


@one_service
def test_page_that_is_no_api_is_named(service):
    service.faults["GET"] = [(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>")]
    with pytest.raises(InputError, match="check GIT_API_URL and GIT_PROVIDER"):
        hosting().find("x", "main")


def test_expired_token_is_named(service, monkeypatch):
    monkeypatch.setenv("GIT_PASSWORD", "expired-one")
    with pytest.raises(InputError, match="refuses the token") as error:
        hosting().find("x", "main")
    assert "expired-one" not in str(error.value)


@one_service
def test_missing_token_is_named_before_anything_is_pushed(bare, images, service, monkeypatch, url):
    monkeypatch.delenv("GIT_PASSWORD")
    with pytest.raises(InputError, match="GIT_PASSWORD"):
        promote(url, "edge", images.tested[1], mode="pull-request")
    assert not branches(bare)


def test_repository_on_this_machine_has_no_pull_requests(bare, images):
    with pytest.raises(InputError, match="is at no service that has pull requests: use mode direct"):
        promote(str(bare), "edge", images.tested[1], mode="pull-request")
    assert not branches(bare)


@pytest.mark.parametrize(
    ("url", "provider", "api", "project"),
    [
        ("https://github.com/acme/x.git", "github", "https://api.github.com", "acme/x"),
        ("git@github.com:acme/x.git", "github", "https://api.github.com", "acme/x"),
        ("ssh://git@github.acme.com:2222/acme/x", "github", "https://github.acme.com/api/v3", "acme/x"),
        ("https://gitlab.com/a/b/c.git", "gitlab", "https://gitlab.com/api/v4", "a/b/c"),
        ("https://gitea.acme.com:3000/acme/x/", "gitea", "https://gitea.acme.com:3000/api/v1", "acme/x"),
        ("https://codeberg.org/acme/x", "gitea", "https://codeberg.org/api/v1", "acme/x"),
    ],
)
def test_service_is_known_by_its_host(url, provider, api, project):
    found = open_hosting(url)
    assert (found.provider, found.api, found.project) == (provider, api, project)


def test_unknown_host_needs_a_word(monkeypatch):
    with pytest.raises(InputError, match="set GIT_PROVIDER to one of github, gitlab, gitea"):
        open_hosting("https://git.acme.com/acme/x")
    monkeypatch.setenv("GIT_PROVIDER", "svn")
    with pytest.raises(InputError, match="GIT_PROVIDER is 'svn'"):
        open_hosting("https://git.acme.com/acme/x")
    monkeypatch.setenv("GIT_PROVIDER", "gitlab")
    assert open_hosting("https://git.acme.com/acme/x").api == "https://git.acme.com/api/v4"


def test_token_is_not_sent_unencrypted(monkeypatch):
    monkeypatch.setenv("GIT_API_URL", "http://git.acme.com/api/v3")
    with pytest.raises(InputError, match="unencrypted"):
        open_hosting("https://github.com/acme/x")
