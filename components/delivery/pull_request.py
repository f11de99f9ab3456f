"""Propose a promotion: a branch named from what it holds, and a request to merge it."""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence

from loopline.components.delivery.git_failures import GitError
from loopline.components.delivery.git_hosting import Proposal, open_hosting
from loopline.components.delivery.git_repository import RETRIES, Change, Repository, pause
from loopline.components.delivery.release import Release

logger = logging.getLogger("loopline")


def propose(git: Repository, decide: Callable[[], Change | None], release: Release, sites: Sequence[str]) -> str:
    """Push a change to a branch of its own and ask for it to be merged, once.

    Args:
        git: The branch to merge into, fetched.
        decide: Says what to change in its last commit, None for nothing.
        release: What is promoted.
        sites: Where to.

    Returns:
        The last commit of the branch; empty when there is nothing to change.

    Raises:
        InputError: The repository is at no service that has pull requests, or Git or the service refuses.
    """
    hosting = open_hosting(git.url)  # before anything is pushed
    change = decide()
    if change is None:
        return ""
    branch = _branch_name(git.branch, release, sites)
    address = hosting.find(branch, git.branch)
    head = git.fetch_branch(branch) if address else ""
    if not head:
        head = _push_branch(git, change, branch)
        title, _, body = change.message.partition("\n\n")
        address = hosting.open(Proposal(branch, git.branch, title, body))
    logger.info("asked for a merge: %s", address)
    return head


def _branch_name(base: str, release: Release, sites: Sequence[str]) -> str:
    name = re.sub("[^A-Za-z0-9-]+", "-", release.name).strip("-")[:40] or "model"
    content = "\n".join([base, release.name, str(release.version), release.image, *sorted(sites)])
    return f"loopline/{name}-v{release.version}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _push_branch(git: Repository, change: Change, branch: str) -> str:
    """Make the branch hold the change on top of the base, unless it does already; what it held before was merged."""
    for trial in range(1, RETRIES + 2):
        head = git.fetch_branch(branch)
        if head and git.is_child(head) and git.read(list(change.files), head) == list(change.files.values()):
            return head
        commit = git.commit(change)
        try:
            git.push(commit, branch, replaces=head)
            return commit
        except GitError as error:
            if not error.temporary or trial > RETRIES:
                raise
            logger.info("%s", error)
            pause(trial)
    raise AssertionError("the last trial returns or raises")
