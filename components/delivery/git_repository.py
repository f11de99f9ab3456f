"""A branch of a Git repository: read its files, and add commits to it together with others who do the same.

There is no working tree: files are read from commits and written into commits, so no filter, hook or link of a
repository does anything on this machine. A copy holds the last commit alone until its history is asked for.
"""

import contextlib
import logging
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loopline.components.delivery.git import call_git, identity, locate_repository, run_git, run_git_bytes
from loopline.components.delivery.git_failures import GitError, RejectedError, explain_push
from loopline.components.errors import InputError

#: Seconds for which a commit is tried again while others are faster, and most seconds between two trials.
PATIENCE_S, PAUSE_S = 120.0, 2.0
#: How often a command is tried again when the network or the server fails.
RETRIES = 3
#: git's number for all of the history.
_ALL = 2**31 - 1

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Change:
    """What a commit changes.

    Attributes:
        files: The new content of files by path.
        message: The commit's message, with its trailers.
    """

    files: Mapping[str, bytes]
    message: str


@dataclass(frozen=True)
class Version:
    """A commit that changed a file.

    Attributes:
        commit: The commit.
        message: Its message.
        trailers: Its trailers by key; of a key that is there more than once, the last.
        content: The file after it; None when it was not there.
    """

    commit: str
    message: str
    trailers: Mapping[str, str]
    content: bytes | None


class Repository:
    """A branch of a repository, and a copy of it on this machine.

    Attributes:
        url: Where the repository is.
        branch: The branch.
        tip: The branch's last commit, when it was fetched last.
    """

    def __init__(self, url: str, branch: str, folder: Path):
        self.url, self.branch, self.tip = url, branch, ""
        self._folder, self._complete = folder, False

    def fetch(self, history: bool = False) -> str:
        """Fetch the branch anew.

        Args:
            history: Whether all of its history is needed; it is then fetched each time.

        Returns:
            Its last commit.

        Raises:
            InputError: There is no such branch, or git cannot fetch it.
        """
        self._complete = self._complete or history
        self.tip = self.fetch_branch(self.branch)
        if not self.tip:
            branches = self._git("ls-remote", "--heads", self.url).split()[1::2]
            names = ", ".join(name.removeprefix("refs/heads/") for name in branches[:20]) or "none, it is empty"
            raise InputError(f"Repository {self.url} has no branch {self.branch!r}: choose one of its own ({names}).")
        return self.tip

    def fetch_branch(self, branch: str) -> str:
        """Fetch some branch.

        Args:
            branch: The branch.

        Returns:
            Its last commit; empty when there is no such branch.

        Raises:
            InputError: Git cannot fetch it.
        """
        depth = f"--depth={_ALL if self._complete else 1}"
        reference = f"refs/loopline/{branch}"
        try:
            self._git("fetch", "--quiet", "--no-tags", depth, self.url, f"+refs/heads/{branch}:{reference}")
        except GitError as error:
            if "find remote ref" in str(error):
                return ""
            raise
        return self._git("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}").strip()

    def read(self, paths: Sequence[str], commit: str = "") -> list[bytes | None]:
        """Read files.

        Args:
            paths: Their paths.
            commit: The commit; the last one when empty.

        Returns:
            Their contents; None for a path where there is no file.
        """
        return self._read_objects([f"{commit or self.tip}:{path}" for path in paths])

    def list_folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder of the last commit; empty when there is no such folder."""
        place = [f"{folder.strip('/')}/"] if folder else []
        names = self._git("ls-tree", "-d", "-z", "--name-only", self.tip, *place)
        return [name.rpartition("/")[2] for name in names.split("\0") if name]

    def commit(self, change: Change) -> str:
        """Make a commit on top of the last one. Nobody else sees it until it is pushed.

        Args:
            change: What it changes.

        Returns:
            The commit.
        """
        message, parts = change.message.encode(), [b"commit refs/loopline/new\n"]
        for role in ("AUTHOR", "COMMITTER"):
            parts.append(("{} {} <{}> now\n".format(role.lower(), *identity(role))).encode())
        parts.append(b"data %d\n%s\nfrom %s\n" % (len(message), message, self.tip.encode()))
        for path, content in change.files.items():
            parts.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content))
        self._git_bytes(["fast-import", "--quiet", "--force", "--date-format=now"], b"".join(parts))
        return self._git("rev-parse", "refs/loopline/new").strip()

    def push(self, commit: str, branch: str = "", replaces: str | None = None) -> None:
        """Make a commit the last one of a branch.

        Args:
            commit: The commit.
            branch: The branch; the repository's own when empty.
            replaces: The commit that the branch has to be at, to be replaced; empty for a new branch. None for a branch
                that only grows.

        Raises:
            RejectedError: The repository did not take it.
            GitError: Git failed, and the repository may have taken it or not.
        """
        reference = f"refs/heads/{branch or self.branch}"
        lease = [] if replaces is None else [f"--force-with-lease={reference}:{replaces}"]
        status, report, errors = call_git(
            ["--git-dir", str(self._folder), "push", "--porcelain", *lease, self.url, f"{commit}:{reference}"]
        )
        if status:
            said = (text.decode("utf-8", "replace") for text in (report, errors))
            raise explain_push(*said, self.url, branch or self.branch)

    def contains(self, commit: str) -> bool:
        """Return whether a commit is in the branch's history, which has to be fetched.

        Args:
            commit: The commit.
        """
        if not re.fullmatch("[0-9a-f]{7,64}", commit):
            return False
        status, _, _ = call_git(["--git-dir", str(self._folder), "merge-base", "--is-ancestor", commit, self.tip])
        return status == 0

    def is_child(self, commit: str) -> bool:
        """Return whether a fetched commit lies directly on top of the branch's last one."""
        return f"\nparent {self.tip}\n" in self._git("cat-file", "commit", commit)

    def versions(self, paths: Sequence[str]) -> dict[str, list[Version]]:
        """Return the states of files on the branch, of which the history has to be fetched.

        Args:
            paths: The files.

        Returns:
            By path the states, newest first. What a merge brought in counts as the merge's.
        """
        if not paths:
            return {}
        form = "--format=%x01%H%n%B"
        listed = self._git("log", "--first-parent", "-m", "-z", "--name-only", form, self.tip, "--", *paths)
        found, commit, message = [], "", ""
        for part in listed.split("\0"):
            if header := re.match("\x01([0-9a-f]{40,64})\n", part):
                commit, message = header[1], part[header.end() :].strip()
            elif path := part.lstrip("\n"):
                found.append((path, commit, message))
        contents = self._read_objects([f"{commit}:{path}" for path, commit, _ in found])
        versions: dict[str, list[Version]] = {path: [] for path in paths}
        for (path, commit, message), content in zip(found, contents, strict=True):
            versions[path].append(Version(commit, message, _read_trailers(message), content))
        return versions

    def _read_objects(self, names: Sequence[str]) -> list[bytes | None]:
        output, contents, position = self._git_bytes(["cat-file", "--batch"], "\n".join(names).encode()), [], 0
        for _ in names:
            end = output.index(b"\n", position)
            header, position = output[position:end].split(b" "), end + 1
            if header[-1] == b"missing":
                contents.append(None)
                continue
            size = int(header[-1])
            contents.append(output[position : position + size] if header[-2] == b"blob" else None)
            position += size + 1
        return contents

    def _git(self, *arguments: str) -> str:
        return self._git_bytes(arguments).decode("utf-8", "replace")

    def _git_bytes(self, arguments: Sequence[str], data: bytes = b"") -> bytes:
        return retry_temporary(lambda: run_git_bytes(["--git-dir", str(self._folder), *arguments], data, self.url))


def _read_trailers(message: str) -> dict[str, str]:
    """Return the trailers of a commit message: its last paragraph, when it has nothing else in it."""
    last = message.strip().rpartition("\n\n")[2].splitlines()
    trailers = [re.fullmatch(r"([A-Za-z][A-Za-z-]*): *(.*)", line) for line in last]
    return dict(trailer.groups() for trailer in trailers) if all(trailers) else {}


@contextlib.contextmanager
def open_repository(repository: str, branch: str) -> Iterator[Repository]:
    """Copy the last commit of a branch for the length of a ``with`` block.

    Args:
        repository: URL or path; the repository of this machine's own sites when empty.
        branch: The branch.

    Yields:
        The branch, fetched.

    Raises:
        InputError: The address or the branch cannot be used, or git cannot fetch it.
    """
    url = locate_repository(repository)
    if not is_branch_name(branch):
        raise InputError(f"Branch {branch!r} is not a name of a branch: write one such as main.")
    with tempfile.TemporaryDirectory(prefix="loopline-git-", ignore_cleanup_errors=True) as folder:
        run_git(["init", "--quiet", "--bare", "--template=", folder])
        copy = Repository(url, branch, Path(folder))
        copy.fetch()
        yield copy


def is_branch_name(name: str) -> bool:
    """Return whether git takes a name for a branch."""
    return (
        name.isprintable() and not name.startswith("-") and not call_git(["check-ref-format", f"refs/heads/{name}"])[0]
    )


def commit_change(repository: Repository, decide: Callable[[], Change | None]) -> str:
    """Commit a change to the branch, again on what others committed until the repository takes it.

    Args:
        repository: The branch, fetched.
        decide: Says what to change in the last commit, None for nothing. Called anew when the branch has moved.

    Returns:
        The commit; empty when there was nothing to change.

    Raises:
        InputError: The repository does not take it, or others were faster for two minutes.
    """
    start, trials, failures = time.monotonic(), 0, 0
    while (change := decide()) is not None:
        commit = repository.commit(change)
        try:
            repository.push(commit)
            return commit
        except GitError as error:
            rejected = isinstance(error, RejectedError)
            unclear = not (rejected and error.sure)
            failures += not rejected
            if not error.temporary or failures > RETRIES or time.monotonic() - start > PATIENCE_S:
                raise
            logger.info("%s", error)
        trials += 1
        pause(trials)
        repository.fetch(history=unclear)
        if unclear and repository.contains(commit):
            return commit  # it was taken, and the connection broke before the repository could say so
    return ""


def retry_temporary(call: Callable):
    """Call a function until it does not fail for a temporary reason, a few times at most.

    Args:
        call: The function.

    Returns:
        What it returns.

    Raises:
        GitError: What it raised last.
    """
    for trial in range(1, RETRIES + 1):
        try:
            return call()
        except GitError as error:
            if not error.temporary:
                raise
            logger.info("%s", error)
            pause(trial + 4)  # what is away needs longer than a lock
    return call()


def pause(trial: int) -> None:
    """Sleep a random time that grows with the number of trials, so that those who collided do not do so again."""
    time.sleep(random.uniform(0.01, min(PAUSE_S, 0.05 * 2**trial)))
