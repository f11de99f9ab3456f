"""Real configuration repositories, on disk and over HTTP with a login, each time with something wrong."""

from config_repositories import edit, git, make_certificate, make_repository, serve_git
from doctor_runs import doctor


def test_this_machines_own_repository_is_looked_at(tmp_path):
    assert "loopline sites up" in doctor("git").of("repository")["seen"]
    (tmp_path / "home").mkdir()
    make_repository(tmp_path).rename(tmp_path / "home" / "config-repo.git")
    examined = doctor("git")
    assert examined.status == 0
    assert examined.of("sites")["seen"] == "cloud, datacenter, edge"
    assert "--dry-run" in examined.of("push")["seen"]
    assert git(tmp_path / "home" / "config-repo.git", "branch", "--list") == "* main"


def test_a_login_is_mended_as_told(tmp_path):
    make_repository(tmp_path)
    with serve_git(tmp_path, password="right-canary") as server:
        words = ("git", "--repository", f"{server.url}/config.git")
        missing = doctor(*words)
        assert missing.of("repository")["state"] == "problem"
        assert "Set GIT_USERNAME and GIT_PASSWORD" in missing.of("repository")["mend"]
        wrong = doctor(*words, GIT_USERNAME="bot", GIT_PASSWORD="wrong-canary")
        assert wrong.of("repository")["state"] == "problem"
        right = doctor(*words, GIT_USERNAME="bot", GIT_PASSWORD="right-canary")
        assert right.status == 0
        assert "with GIT_USERNAME and GIT_PASSWORD" in right.of("repository")["seen"]
        assert "canary" not in missing.output + wrong.output + right.output


def test_an_account_that_may_only_read_is_told(tmp_path):
    make_repository(tmp_path)
    with serve_git(tmp_path) as server:
        login = {"GIT_USERNAME": server.user, "GIT_PASSWORD": server.password}
        server.faults["service=git-receive-pack"] = [403]
        reading = doctor("git", "--repository", f"{server.url}/config.git", **login)
        assert reading.of("repository")["state"] == "ok"
        assert reading.of("push")["state"] == "problem"
        assert "Give it the right to write, or use mode pull-request" in reading.of("push")["mend"]
        assert doctor("git", "--repository", f"{server.url}/config.git", **login).of("push")["state"] == "ok"


def test_an_unknown_authority_is_mended_by_naming_it(tmp_path):
    make_repository(tmp_path)
    certificate = make_certificate(tmp_path / "git.pem")
    with serve_git(tmp_path, certificate=certificate) as server:
        words = ("git", "--repository", f"{server.url}/config.git")
        login = {"GIT_USERNAME": server.user, "GIT_PASSWORD": server.password}
        unknown = doctor(*words, **login)
        assert "is not trusted" in unknown.of("repository")["seen"]
        assert "Set SSL_CERT_FILE" in unknown.of("repository")["mend"]
        assert doctor(*words, **login, SSL_CERT_FILE=str(certificate)).status == 0


def test_an_empty_repository_and_one_without_sites(tmp_path):
    repository = make_repository(tmp_path)
    other = doctor("git", "--repository", str(repository), "--branch", "production")
    assert other.of("branch")["mend"] == "Name one with --branch: main."
    git(repository, "update-ref", "-d", "refs/heads/main")
    empty = doctor("git", "--repository", str(repository))
    assert empty.of("branch")["seen"] == f"{repository} is empty"
    assert "deploy/config-repo" in empty.of("branch")["mend"]
    edit(repository, {"README.md": "hello"}, first=True)
    bare = doctor("git", "--repository", str(repository))
    assert bare.of("sites")["state"] == "problem"
    edit(repository, {"sites/edge/release.env": "MODEL_NAME=\n"})
    assert doctor("git", "--repository", str(repository)).status == 0


def test_what_is_no_repository_is_refused():
    examined = doctor("git", "--repository", "/nowhere")
    assert "There is no repository at '/nowhere'" in examined.of("repository")["seen"]
    with_password = doctor("git", "--repository", "https://bot:pass-canary@git.example.com/x.git")
    assert "GIT_USERNAME and GIT_PASSWORD" in with_password.of("repository")["mend"]
    assert "pass-canary" not in with_password.output
