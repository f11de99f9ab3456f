"""The configuration repository: whether it can be reached, and may be pushed to."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components.delivery.git import call_git, default_repository, locate_repository
from loopline.components.delivery.git_failures import explain_git, explain_push
from loopline.components.errors import InputError
from loopline.pipelines.doctor.findings import Finding, failure, ok, problem, skipped
from loopline.pipelines.doctor.network import contact
from loopline.pipelines.doctor.settings import Settings

#: Seconds that one git command may take.
_TIMEOUT_S = 9.0
_TITLE = "repository"


def check(settings: Settings) -> Iterator[Finding]:
    """Check that the configuration repository is there, has sites, and takes a push."""
    if not settings.repository and not default_repository().is_dir():
        yield skipped(
            _TITLE,
            "none named: needed only to deliver; `loopline sites up` makes one here, --repository URL names another",
        )
        return
    try:
        url = locate_repository(settings.repository)
        if url.startswith(("http://", "https://")):
            contact(url, "--repository", authority_setting="SSL_CERT_FILE")
        branches = _branches(url)
        yield ok(_TITLE, f"{url} answers{_login(url)}")
        if settings.branch not in branches:
            yield _no_branch(url, settings.branch, branches)
            return
        yield from _look(url, settings.branch)
    except InputError as error:
        yield failure(_TITLE, error, mend="check --repository, the network and the proxy." if error.temporary else "")


def _login(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        return ""
    return " with GIT_USERNAME and GIT_PASSWORD" if os.environ.get("GIT_PASSWORD") else " (GIT_PASSWORD is not set)"


def _branches(url: str) -> list[str]:
    listed = _git(["ls-remote", "--heads", url], url)
    return re.findall(r"refs/heads/(\S+)", listed)


def _no_branch(url: str, branch: str, branches: list[str]) -> Finding:
    if branches:
        return problem("branch", f"{url} has no branch {branch}", f"Name one with --branch: {', '.join(branches)}.")
    return problem("branch", f"{url} is empty", f"Push the files of deploy/config-repo to its branch {branch}.")


def _look(url: str, branch: str) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="loopline-doctor-") as folder:
        where = ["--git-dir", folder]
        _git([*where, "init", "--quiet", "--bare"], url)
        _git([*where, "fetch", "--quiet", "--depth", "1", url, f"{branch}:copy"], url)
        sites = [Path(name).name for name in _git([*where, "ls-tree", "--name-only", "copy", "sites/"], url).split()]
        if sites:
            yield ok("sites", ", ".join(sites))
        else:
            yield problem(
                "sites", f"branch {branch} has no folder sites/", f"Push the files of deploy/config-repo to {branch}."
            )
        yield _push(where, url)


def _push(where: list[str], url: str) -> Finding:
    title = "push"
    if not urlsplit(url).scheme and not re.match(r"[^/]+:", url) and not os.access(Path(url) / "objects", os.W_OK):
        return problem(title, f"this user may not write {url}", f"Let this user write {url} and what is in it.")
    # To a branch of its own: the real one may be protected, and be changed by pull requests.
    words = [*where, "push", "--dry-run", "--porcelain", url, "copy:refs/heads/loopline-doctor"]
    status, output, errors = call_git(words, timeout_s=_TIMEOUT_S)
    if status:
        said = [text.decode("utf-8", "replace") for text in (output, errors)]
        return failure(title, explain_push(*said, url, "loopline-doctor"))
    return ok(title, "this account may push (tried with --dry-run)")


def _git(arguments: list[str], url: str) -> str:
    status, output, errors = call_git(arguments, timeout_s=_TIMEOUT_S)
    if status:
        raise explain_git((errors or output).decode("utf-8", "replace"), url)
    return output.decode("utf-8", "replace")
