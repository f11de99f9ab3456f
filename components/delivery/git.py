"""Run Git's own program: without prompts, with credentials, identity and certificates from the environment."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from loopline.components.addresses import resolve
from loopline.components.data.places import local_path
from loopline.components.data.sources import LOCAL_HOSTS, is_private
from loopline.components.delivery.git_failures import AwayError, explain_git
from loopline.components.environment import ca_bundle, home, on_cluster
from loopline.components.errors import InputError

#: Seconds that one git command may take.
TIMEOUT_S = 300.0
#: Who commits, unless GIT_AUTHOR_* and GIT_COMMITTER_* say otherwise.
NAME, EMAIL = "Loopline", "loopline@localhost"

#: Git's own variables that are taken over; others, such as GIT_DIR of a hook that runs this, would mislead it.
_KEPT = ("GIT_SSH", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_SSL_", "GIT_CONFIG_", "GIT_PROXY_", "GIT_EXEC_PATH")
#: Answers git's question for credentials from the environment: they are in no argument and no file.
_HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$GIT_USERNAME" "$GIT_PASSWORD"; }; f'
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "maintenance.auto": "false",
    "init.defaultBranch": "main",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
}


def default_repository() -> Path:
    """Return where the configuration repository of this machine's own sites is: a bare repository in ``home()``."""
    return home() / "config-repo.git"


def locate_repository(repository: str) -> str:
    """Return a repository's address as git takes it.

    Args:
        repository: ``https://``, ``ssh://`` or ``file://`` URL, ``user@host:path`` of ssh, or a path; the repository of
            this machine's own sites when empty.

    Returns:
        The URL or the absolute path.

    Raises:
        InputError: The address holds credentials, is unencrypted or of another kind, or there is no such folder.
    """
    if not repository:
        if not default_repository().is_dir():
            raise InputError(
                f"There is no configuration repository at {default_repository()}: run loopline sites up, or name a "
                "repository."
            )
        return str(default_repository())
    if repository.startswith("-") or "::" in repository.partition("/")[0] or not repository.isprintable():
        raise InputError(f"Repository {repository!r} is not an address: write a URL, user@host:path or a path.")
    if "://" not in repository and (found := re.match(r"([^/]+):", repository)):
        return _checked(repository, found[1].rpartition("@")[2])
    if "://" not in repository:
        path = local_path(repository, "Repository")
        if not path.is_dir():
            raise InputError(f"There is no repository at {repository!r}: check the path, or write a URL.")
        return str(path)
    try:
        parts = urlsplit(repository)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        raise InputError(
            f"Repository {repository!r} is not an address: write a URL, user@host:path or a path."
        ) from None
    if parts.scheme not in ("https", "http", "ssh", "file"):
        raise InputError(f"Repository {repository!r} has another scheme than https, ssh and file: use one of them.")
    if parts.password is not None or (parts.scheme.startswith("http") and "@" in parts.netloc):
        raise InputError(
            f"The address of the repository at {parts.hostname} holds a user name or password, which would be stored "
            "with the run: put them into GIT_USERNAME and GIT_PASSWORD."
        )
    if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
        raise InputError(f"Repository {repository} would be reached over an unencrypted connection: use https://.")
    return repository if parts.scheme == "file" else _checked(repository, parts.hostname or "")


def _checked(repository: str, host: str) -> str:
    """Return a repository's address, once its host is one that may be asked.

    Raises:
        InputError: There is none, ssh would take it for an option, or a step on a cluster may not connect to it.
    """
    if not host or host.startswith("-"):
        raise InputError(f"Repository {repository!r} names no host: write a URL, user@host:path or a path.")
    if on_cluster():
        with contextlib.suppress(OSError):  # git says what is wrong with a name
            resolve(host, 0)
    return repository


def run_git(arguments: Sequence[str]) -> str:
    """Run a git command.

    Args:
        arguments: The command and its arguments; a repository's URL has to be one of them, for the credentials.

    Returns:
        What it printed.

    Raises:
        InputError: It failed, in one sentence.
    """
    return run_git_bytes(arguments).decode("utf-8", "replace")


def run_git_bytes(arguments: Sequence[str], data: bytes = b"", where: str = "") -> bytes:
    """Run a git command on bytes.

    Args:
        arguments: The command and its arguments.
        data: Its input.
        where: The repository to name when it fails; the last one among the arguments when empty.

    Returns:
        What it printed.

    Raises:
        InputError: It failed, in one sentence.
    """
    status, output, errors = call_git(arguments, data)
    if status:
        raise explain_git((errors or output).decode("utf-8", "replace"), where or _where(arguments))
    return output


def call_git(arguments: Sequence[str], data: bytes = b"", timeout_s: float = 0.0) -> tuple[int, bytes, bytes]:
    """Run a git command, whatever comes of it.

    Args:
        arguments: The command and its arguments.
        data: Its input.
        timeout_s: Seconds after which it is ended; ``TIMEOUT_S`` when 0.

    Returns:
        Its exit status, output and errors.

    Raises:
        InputError: There is no git, or it does not end in time.
    """
    timeout_s = timeout_s or TIMEOUT_S
    try:
        # In a session of its own it has no terminal to ask for a password on, and can be ended with its children.
        process = subprocess.Popen(
            ["git", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(arguments),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InputError("There is no git on this machine: install it.") from None
    try:
        output, errors = process.communicate(data, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise AwayError(
            f"Repository {_where(arguments)}: git {_command(arguments)} did not end within {timeout_s:g} s: try again."
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output, errors


def credentials() -> tuple[str, str]:
    """Return user name and password or token of ``GIT_USERNAME`` and ``GIT_PASSWORD``, empty when there is none.

    Raises:
        InputError: One takes more than a line.
    """
    user = os.environ.get("GIT_USERNAME", "").strip() or "git"  # with a token, any name does
    password = os.environ.get("GIT_PASSWORD", "").strip()
    for name, value in (("GIT_USERNAME", user), ("GIT_PASSWORD", password)):
        if len(value.splitlines()) > 1:
            raise InputError(f"{name} has several lines: give the name, password or token alone.")
    return (user, password) if password else ("", "")


def identity(role: str) -> tuple[str, str]:
    """Return name and address of who commits.

    Args:
        role: ``AUTHOR`` or ``COMMITTER``.
    """
    values = (os.environ.get(f"GIT_{role}_NAME") or NAME, os.environ.get(f"GIT_{role}_EMAIL") or EMAIL)
    name, email = (" ".join(re.sub("[<>]", "", value).split()) for value in values)
    return name, email


def _environment(arguments: Sequence[str]) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(_KEPT)}
    user, password = credentials()
    env |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": "file:https:http:ssh",
        "LC_ALL": "C",
        "GIT_USERNAME": user,
        "GIT_PASSWORD": password,
    }
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = identity(role)
    if authorities := ca_bundle():
        env.setdefault("GIT_SSL_CAINFO", authorities)
    if not os.access(env.get("HOME", ""), os.R_OK | os.X_OK):
        env.pop("HOME", None)  # a user of any ID may not read the home of the image's user
    return env | _configuration(env, arguments, bool(password))


def _configuration(env: Mapping[str, str], arguments: Sequence[str], has_password: bool) -> dict[str, str]:
    settings = list(_SETTINGS.items())
    for url in arguments:
        parts = urlsplit(url) if re.match("https?://", url) else None
        if parts and on_cluster():
            settings += _pinned(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        if parts and has_password and is_private(url):
            # The empty value forgets the helpers of this machine, which would be asked first and store the password.
            settings += [
                ("credential.helper", ""),
                (f"credential.{parts.scheme}://{parts.netloc}.helper", _HELPER),
            ]
    start = int(env.get("GIT_CONFIG_COUNT") or 0)
    result = {"GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (key, value) in enumerate(settings, start=start):
        result |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return result


def _pinned(host: str, port: int) -> list[tuple[str, str]]:
    """Have git connect to the addresses that a host has now, once a step may connect to them.

    Raises:
        InputError: A step on a cluster may not connect to one of them.
    """
    try:
        addresses = [f"[{one}]" if ":" in one else one for one in resolve(host, port)]
    except OSError:  # behind a proxy a host need not have an address here; where it has to, git says so itself
        return []
    return [("http.curloptResolve", f"{host}:{port}:{','.join(addresses)}")]


def _where(arguments: Sequence[str]) -> str:
    """Return the repository that a command names: the last address in it, behind the folder of the copy."""
    return next((word for word in reversed(arguments) if re.match(r"[a-z]+://|[^/=]+@[^/]+:|/", word)), "here")


def _command(arguments: Sequence[str]) -> str:
    return next((word for word in arguments if re.fullmatch("[a-z][a-z-]+", word)), "")
