"""Say in one sentence what is wrong between a step and a Git repository, without credentials."""

import re

from loopline.components.errors import InputError, TemporaryError
from loopline.components.secrecy import hide


class GitError(InputError):
    """Git could not do what was asked of it."""


class AwayError(GitError, TemporaryError):
    """A repository could not be reached, or the connection to it broke."""


class RejectedError(GitError):
    """A repository did not take a push.

    Attributes:
        sure: Whether nothing of it was taken. Where a connection breaks before the answer comes, git asks a second time
            by itself; what is refused then is what was taken before.
    """

    sure = True


class OvertakenError(RejectedError, TemporaryError):
    """A repository did not take a push since somebody else was faster, or nothing says that it will stay so."""


#: What git prints, and what to tell; of several that fit, the first. Sources: git 2.39 to 2.47, libcurl, OpenSSH.
_SENTENCES = (
    ("dubious ownership", "it belongs to another user: run git config --global --add safe.directory with its path"),
    ("No space left on device|Disk quota exceeded", "there is no space left"),
    (
        "No user exists for uid",
        "ssh does not work for a user without an entry in /etc/passwd: use its https:// address",
    ),
    ("Host key verification failed", "ssh does not know the host's key: add it to known_hosts"),
    (
        r"Permission denied \(|Load key ",
        "ssh was refused: offer a key that the host knows, through ssh-agent or ~/.ssh",
    ),
    (
        "(?i)certificate verif|certificate problem|issuer certificate|unknown CA|self.signed certificate",
        "its certificate is not trusted: set SSL_CERT_FILE to a file with its certificate authority",
    ),
    (
        "(?i)Authentication failed|could not read (Username|Password)|invalid credentials|error: 401",
        "it refuses the credentials: set GIT_USERNAME and GIT_PASSWORD (secret loopline-git) to an account that may "
        "write, with a token that has not expired",
    ),
    (
        "(?i)error: 403|denied to|not allowed to push|Write access.*not granted|protected branch|GH006|deploy key",
        "this account may not do that: give it the right to write, or use mode pull-request",
    ),
    (
        "(?i)permission denied|insufficient permission|unable to create temporary",
        "this user may not write there: change the owner or the permissions of its files",
    ),
    ("currently checked out", "it is a working copy with that branch checked out: use a bare repository"),
    (
        "(?i)hook declined",
        "a rule or hook of the repository forbids it: change the rule, or use mode pull-request",
    ),
    (
        "(?i)(repository|project).*not found|error: 404|does not (appear to be a git repo|exist)|not a git repo",
        "there is no repository, or this account may not see it: check the address",
    ),
)
#: What may be gone in a moment.
_TEMPORARY = (
    (r"Could not resolve host: (\S+?)[,;.]?(\s|$)|resolve hostname (\S+?):", "its host's name is not known"),
    ("Connection refused", "nothing listens there"),
    ("(?i)timed out|too slow|Timeout", "it does not answer in time"),
    ("(?i)Network is unreachable|No route to host|Failed to connect", "there is no way to its host"),
    (r"error: (429|5\d\d)", "its server has a problem"),
    (
        "(?i)early EOF|hung up|RPC failed|unexpected disconnect|connection (was )?(reset|closed)|empty reply",
        "the connection broke",
    ),
)


def explain_git(output: str, where: str) -> GitError:
    """Turn what git printed into one sentence.

    Args:
        output: What git printed when it failed.
        where: The repository.

    Returns:
        The error to raise.
    """
    text = hide(output)
    for pattern, sentence in _SENTENCES:
        if re.search(pattern, text):
            return GitError(f"Repository {where}: {sentence} ({_last_words(text)}).")
    for pattern, sentence in _TEMPORARY:
        if re.search(pattern, text):
            return AwayError(f"Repository {where}: {sentence} ({_last_words(text)}): try again.")
    return GitError(f"Repository {where}: git failed ({_last_words(text)}).")


def explain_push(report: str, errors: str, where: str, branch: str) -> GitError:
    """Turn a failed push into one sentence.

    Args:
        report: What ``git push --porcelain`` wrote to its output: refused references begin with an exclamation mark.
        errors: What it wrote to its errors.
        where: The repository.
        branch: The branch.

    Returns:
        The error to raise: ``RejectedError`` when the repository answered that it does not take the push.
    """
    refused = next((line.split("\t")[-1] for line in report.splitlines() if line.startswith("!")), "")
    if not refused or "remote failure" in refused:
        return explain_git(errors or report, where)
    # What a server's hook says stands on lines of its own, and tells more than the reference's line.
    said = " ".join(re.findall(r"(?m)^remote:[ \t]*(.*\S)", errors))
    for pattern, sentence in _SENTENCES:
        if re.search(pattern, f"{refused} {said}"):
            reason = _shorten(hide(said or refused))
            return RejectedError(f"Repository {where} does not take a push to {branch}: {sentence} ({reason}).")
    overtaken = OvertakenError(f"Repository {where} does not take a push to {branch}: {refused}.")
    overtaken.sure = "[remote rejected]" not in refused
    return overtaken


def _last_words(text: str) -> str:
    """Return the line of git's output that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.match("(remote: )?(fatal|error|ssh)\\b", line, re.IGNORECASE)]
    return _shorten((telling or lines or ["it said nothing"])[-1 if not telling else 0])


def _shorten(text: str) -> str:
    return " ".join(text.split()).rstrip(".")[:300]
