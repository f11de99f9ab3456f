"""Git's own program against repositories on disk and behind git's own HTTP server side."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from config_repositories import edit, git, history, make_certificate, make_repository, message, serve_git, show, tip

from loopline.components.delivery import git_repository
from loopline.components.delivery.git import credentials, default_repository, locate_repository, run_git
from loopline.components.delivery.git_failures import AwayError, GitError, RejectedError, explain_git, explain_push
from loopline.components.delivery.git_repository import Change, commit_change, open_repository
from loopline.components.errors import InputError

PASSWORD = "s3cr3t-t0ken"


@pytest.fixture
def bare(tmp_path):
    return make_repository(tmp_path)


@pytest.fixture
def served(tmp_path, monkeypatch):
    make_repository(tmp_path)
    with serve_git(tmp_path) as server:
        monkeypatch.setenv("GIT_USERNAME", "bot")
        monkeypatch.setenv("GIT_PASSWORD", f"{PASSWORD}\n")  # as a secret made from a file has it
        yield server


@pytest.fixture
def hurried(monkeypatch):
    """Do not wait between trials."""
    monkeypatch.setattr(git_repository, "pause", lambda trial: None)


def change(content: bytes = b"X=1\n", path: str = "sites/edge/release.env") -> Change:
    return Change({path: content}, "Change it\n\nWhy.\n\nModel: flights\n")


def test_commit_lands_on_top_and_changes_one_file(bare):
    before = tip(bare)
    with open_repository(str(bare), "main") as repository:
        commit = commit_change(repository, change)
    assert history(bare) == [before, commit]
    assert git(bare, "diff", "--name-only", before, commit) == "sites/edge/release.env"
    assert show(bare, "sites/edge/release.env") == "X=1\n"
    assert message(bare) == "Change it\n\nWhy.\n\nModel: flights"
    assert git(bare, "fsck", "--strict") == ""


def test_nothing_to_change_commits_nothing(bare):
    before = tip(bare)
    with open_repository(str(bare), "main") as repository:
        assert commit_change(repository, lambda: None) == ""
    assert tip(bare) == before


def test_copy_holds_the_last_commit_alone_until_the_history_is_asked_for(bare):
    commits = [tip(bare), edit(bare, {"a": "1"}), edit(bare, {"a": "2"})]
    with open_repository(str(bare), "main") as repository:
        assert not repository.contains(commits[0])
        repository.fetch(history=True)
        assert repository.contains(commits[0])
        versions = repository.versions(["a", "sites/edge/site.env", "none"])
    assert [version.commit for version in versions["sites/edge/site.env"]] == commits[:1] and versions["none"] == []
    assert [(version.commit, version.content) for version in versions["a"]] == [(commits[2], b"2"), (commits[1], b"1")]


def test_history_is_that_of_the_branch(bare):
    """What a merge brought in is one step of it, with the merge's message; any text is a message."""
    edit(bare, {"a": "1"}, "One\x01\n\nText: no trailer,\nbut text.")
    git(bare, "branch", "other")
    second, third = edit(bare, {"a": "2"}, "Two", "other"), edit(bare, {"a": "3"}, "Three", "other")
    merge = git(
        bare, "commit-tree", f"{third}^{{tree}}", "-p", "main", "-p", third, "-m", "Merge\n\nModel: x\nImage: y"
    )
    git(bare, "update-ref", "refs/heads/main", merge)
    with open_repository(str(bare), "main") as repository:
        repository.fetch(history=True)
        (last, first) = repository.versions(["a"])["a"]
        assert repository.contains(second)
    assert (last.commit, last.content, last.trailers) == (merge, b"3", {"Model": "x", "Image": "y"})
    assert (first.content, first.message.splitlines()[0], first.trailers) == (b"1", "One\x01", {})


def test_other_commits_in_between_are_kept(bare, hurried):
    seen = []

    def decide() -> Change:
        seen.append(1)
        if len(seen) < 3:  # somebody else commits between fetch and push, twice
            edit(bare, {"other": f"{len(seen)}"})
        return change()

    with open_repository(str(bare), "main") as repository:
        commit_change(repository, decide)
    assert len(seen) == 3
    assert len(history(bare)) == 4
    assert (show(bare, "other"), show(bare, "sites/edge/release.env")) == ("2", "X=1\n")


def test_decision_falls_away_when_somebody_else_did_it(bare, hurried):
    def decide() -> Change | None:
        if repository.read(["sites/edge/release.env"]) == [b"X=1\n"]:
            return None
        edit(bare, {"sites/edge/release.env": "X=1\n"})
        return change()

    with open_repository(str(bare), "main") as repository:
        assert commit_change(repository, decide) == ""
    assert len(history(bare)) == 2


def test_lock_that_another_push_holds_is_waited_for(bare):
    lock = bare / "refs" / "heads" / "main.lock"
    lock.touch()
    timer = threading.Timer(0.5, lock.unlink)
    timer.start()
    with open_repository(str(bare), "main") as repository:
        commit = commit_change(repository, change)
    timer.join()
    assert tip(bare) == commit


def test_hook_of_the_repository_is_final_and_quoted(bare):
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'releases need a ticket' >&2\nexit 1\n")
    hook.chmod(0o755)
    with (
        open_repository(str(bare), "main") as repository,
        pytest.raises(RejectedError, match=r"mode pull-request.*releases need a ticket"),
    ):
        commit_change(repository, change)


def test_working_copy_is_no_target(tmp_path, bare):
    subprocess.run(["git", "clone", "--quiet", bare, tmp_path / "copy"], check=True)
    with (
        open_repository(str(tmp_path / "copy"), "main") as repository,
        pytest.raises(RejectedError, match="use a bare repository"),
    ):
        commit_change(repository, change)


def test_missing_branch_names_those_there_are(bare):
    edit(bare, {"a": "1"})
    git(bare, "branch", "production")
    with pytest.raises(InputError, match="no branch 'mian': choose one of its own \\(main, production\\)"):
        open_repository(str(bare), "mian").__enter__()


def test_empty_repository_says_so(tmp_path):
    run_git(["init", "--quiet", "--bare", str(tmp_path / "empty.git")])
    with pytest.raises(InputError, match="none, it is empty"):
        open_repository(str(tmp_path / "empty.git"), "main").__enter__()


@pytest.mark.parametrize("branch", ["", "-f", "a b", "../x", "a..b", "x.lock", "a\nb", "a\0b"])
def test_bad_branch_names_are_refused(bare, branch):
    with pytest.raises(InputError, match="is not a name of a branch"):
        open_repository(str(bare), branch).__enter__()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:pw@github.com/a/b", "put them into GIT_USERNAME and GIT_PASSWORD"),
        ("https://ghp_token@github.com/a/b", "put them into GIT_USERNAME and GIT_PASSWORD"),
        ("ssh://git:pw@github.com/a/b", "put them into GIT_USERNAME and GIT_PASSWORD"),
        ("http://git.example.com/a/b", "unencrypted"),
        ("git://git.example.com/a/b", "another scheme"),
        ("ext::sh -c id", "is not an address"),
        ("--upload-pack=touch x", "is not an address"),
        ("/no/such/folder", "There is no repository"),
        ("https://a/b\n", "is not an address"),
    ],
)
def test_bad_addresses_are_refused(address, said):
    with pytest.raises(InputError, match=said) as error:
        locate_repository(address)
    assert "ghp_token" not in str(error.value) and "pw" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["https://github.com/a/b.git", "git@github.com:a/b.git", "ssh://git@host:22/a/b", "http://localhost:1/a"]
)
def test_good_addresses_are_taken_as_they_are(address):
    assert locate_repository(address) == address


def test_repository_of_this_machine_is_the_default():
    with pytest.raises(InputError, match="run loopline sites up, or name a repository"):
        locate_repository("")
    default_repository().mkdir(parents=True)
    assert locate_repository("") == str(default_repository())


def test_folder_that_is_no_repository(tmp_path):
    with pytest.raises(GitError, match=f"Repository {tmp_path}: there is no repository"):
        open_repository(str(tmp_path), "main").__enter__()


def test_nothing_listening_is_tried_again_and_said(hurried, caplog):
    caplog.set_level(logging.INFO, "loopline")
    with pytest.raises(GitError, match=r"http://localhost:1/x: .*try again") as error:
        open_repository("http://localhost:1/x", "main").__enter__()
    assert error.value.temporary and len(caplog.records) == git_repository.RETRIES


def test_http_with_credentials_from_the_environment(served, tmp_path):
    with open_repository(f"{served.url}/config.git", "main") as repository:
        commit = commit_change(repository, change)
    assert tip(tmp_path / "config.git") == commit


def test_credentials_are_in_no_file_argument_or_log(served, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    seen = []

    class Watched(subprocess.Popen):
        def __init__(self, command, **keywords):
            seen.extend(command)
            super().__init__(command, **keywords)

        def communicate(self, *arguments, **keywords):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                seen.append(read_quietly(process).decode("utf-8", "replace"))
            return super().communicate(*arguments, **keywords)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    with open_repository(f"{served.url}/config.git", "main") as repository:
        commit_change(repository, change)
        files = b"".join(file.read_bytes() for file in repository._folder.rglob("*") if file.is_file())
    assert any("credential" in part or "push" in part for part in seen)
    assert not [part for part in seen if PASSWORD in part]
    assert PASSWORD.encode() not in files
    assert PASSWORD not in caplog.text


def test_helper_of_the_user_does_not_store_the_password(served, tmp_path, monkeypatch):
    (tmp_path / ".gitconfig").write_text("[credential]\nhelper=store\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_repository(f"{served.url}/config.git", "main"):
        assert not (tmp_path / ".git-credentials").exists()


def test_wrong_password_is_one_sentence_without_it(served, monkeypatch):
    monkeypatch.setenv("GIT_PASSWORD", "wrong-one")
    with pytest.raises(GitError, match="refuses the credentials: set GIT_USERNAME and GIT_PASSWORD") as error:
        open_repository(f"{served.url}/config.git", "main").__enter__()
    assert "wrong-one" not in str(error.value)
    assert not error.value.temporary


def test_missing_password_asks_nobody(served, monkeypatch):
    monkeypatch.delenv("GIT_PASSWORD")
    with pytest.raises(GitError, match="refuses the credentials"):
        open_repository(f"{served.url}/config.git", "main").__enter__()


def test_password_goes_to_the_host_that_was_named_only(served, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{served.url}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://git.example.com/")
    with pytest.raises(GitError, match="refuses the credentials"):
        open_repository("https://git.example.com/config.git", "main").__enter__()


def test_missing_repository_over_http(served):
    with pytest.raises(GitError, match="there is no repository, or this account may not see it"):
        open_repository(f"{served.url}/other.git", "main").__enter__()


def test_account_that_may_not_write(served, hurried):
    served.faults["service=git-receive-pack"] = [403]
    with (
        open_repository(f"{served.url}/config.git", "main") as repository,
        pytest.raises(GitError, match="give it the right to write, or use mode pull-request"),
    ):
        commit_change(repository, change)


def test_server_that_is_away_for_a_moment(served, tmp_path, hurried):
    served.faults["service=git-upload-pack"] = [503, 502]
    served.faults["git-receive-pack"] = [500]
    with open_repository(f"{served.url}/config.git", "main") as repository:
        commit = commit_change(repository, change)
    assert history(tmp_path / "config.git")[1:] == [commit]


def test_push_whose_answer_was_lost_is_made_once(served, tmp_path, hurried, monkeypatch):
    bare, lost = tmp_path / "config.git", []
    push = git_repository.Repository.push

    def push_and_lose_the_answer(self, commit, *arguments, **keywords):
        push(self, commit, *arguments, **keywords)
        if not lost:
            lost.append(commit)
            edit(bare, {"other": "1"})  # and somebody else goes on
            raise AwayError("the connection broke")

    monkeypatch.setattr(git_repository.Repository, "push", push_and_lose_the_answer)
    with open_repository(f"{served.url}/config.git", "main") as repository:
        assert commit_change(repository, change) == lost[0]
    assert len(history(bare)) == 3


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificate_authority_comes_from_the_environment(tmp_path, monkeypatch, variable):
    bare, certificate = make_repository(tmp_path), make_certificate(tmp_path / "localhost.pem")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_USERNAME", "bot")
    monkeypatch.setenv("GIT_PASSWORD", PASSWORD)
    with serve_git(tmp_path, certificate=certificate) as server:
        with pytest.raises(GitError, match="set SSL_CERT_FILE to a file with its certificate authority"):
            open_repository(f"{server.url}/config.git", "main").__enter__()
        monkeypatch.setenv(variable, str(certificate))
        with open_repository(f"{server.url}/config.git", "main") as repository:
            commit = commit_change(repository, change)
    assert tip(bare) == commit


def test_server_that_never_answers_is_given_up_with_all_of_git(hurried, monkeypatch):
    monkeypatch.setattr("loopline.components.delivery.git.TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(GitError, match=r"git fetch did not end within 0.3 s: try again"):
            open_repository(address, "main").__enter__()
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if address.encode() in read_quietly(path)]
    assert left == []


def read_quietly(path: Path) -> bytes:
    """Return the content of a file that may be gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found", "no repository"),
        ("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote", "offer a key"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "known_hosts"),
        ("No user exists for uid 1000650000\nfatal: Could not read from remote repository.", "https:// address"),
        ("fatal: detected dubious ownership in repository at '/data/x.git'", "safe.directory"),
        ("error: insufficient permission for adding an object to repository database ./objects", "may not write"),
        ("fatal: write error: No space left on device", "no space left"),
        ("remote: Write access to repository not granted.\nfatal: ... error: 403", "right to write"),
    ],
)
def test_what_git_says_becomes_one_sentence(text, said):
    error = explain_git(text, "https://host/x")
    assert said in str(error) and "\n" not in str(error) and not error.temporary


@pytest.mark.parametrize(
    ("report", "errors", "temporary"),
    [
        ("!\tabc:refs/heads/main\t[rejected] (fetch first)", "", True),
        ("!\tabc:refs/heads/main\t[remote rejected] (cannot lock ref 'refs/heads/main')", "", True),
        ("!\tabc:refs/heads/main\t[remote rejected] (failed to update ref)", "", True),
        ("!\tabc:refs/heads/main\t[remote rejected] (pre-receive hook declined)", "remote: GitLab: You are ...", False),
        ("!\tabc:refs/heads/main\t[remote rejected] (protected branch hook declined)", "remote: error: GH006", False),
    ],
)
def test_refused_push_is_tried_again_unless_it_stays_refused(report, errors, temporary):
    error = explain_push(f"To host\n{report}\nDone", errors, "host", "main")
    assert isinstance(error, RejectedError) and error.temporary is temporary


def test_error_texts_hold_no_credentials(monkeypatch):
    monkeypatch.setenv("GIT_PASSWORD", "hunter2")
    error = explain_git("fatal: could not talk to https://me:hunter2@host/x with hunter2", "https://host/x")
    assert "hunter2" not in str(error) and "me:" not in str(error)


def test_password_of_several_lines_is_refused(monkeypatch):
    monkeypatch.setenv("GIT_PASSWORD", "one\nhost=evil")
    with pytest.raises(InputError, match="GIT_PASSWORD has several lines"):
        credentials()


def test_variables_of_an_outer_git_do_not_mislead(bare, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    with open_repository(str(bare), "main") as repository:
        assert repository.list_folders("sites") == ["cloud", "datacenter", "edge"]


def test_settings_and_hooks_of_the_user_do_nothing(bare, tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-push").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-push").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\nhooksPath={hooks}\nautocrlf=true\n[commit]\ngpgsign=true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_repository(str(bare), "main") as repository:
        commit_change(repository, lambda: change(b"X=1\r\n"))
    assert show(bare, "sites/edge/release.env") == "X=1\r\n"


def test_author_comes_from_the_environment(bare, monkeypatch):
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Zoë <x> Ünal")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "zoe@example.com")
    with open_repository(str(bare), "main") as repository:
        commit_change(repository, change)
    assert git(bare, "log", "-1", "--format=%an|%ae|%cn") == "Zoë x Ünal|zoe@example.com|Loopline"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without an entry in /etc/passwd")
def test_any_user_id_without_a_home_may_commit():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        bare = make_repository(Path(folder))
        for path in [Path(folder), *Path(folder).rglob("*")]:
            os.chown(path, 1000650000, 0)
        script = (
            "import os\n"
            "from loopline.components.delivery.git_repository import Change, commit_change, open_repository\n"
            "os.setgid(0); os.setuid(1000650000)\n"
            f"with open_repository({str(bare)!r}, 'main') as repository:\n"
            "    commit_change(repository, lambda: Change({'a': b'1'}, 'As anybody'))\n"
        )
        env = {"PATH": os.environ["PATH"], "HOME": "/root"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert git_as_owner(bare) == "As anybody"


def git_as_owner(bare: Path) -> str:
    command = ["git", "-c", f"safe.directory={bare}", "--git-dir", bare, "log", "-1", "--format=%s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
