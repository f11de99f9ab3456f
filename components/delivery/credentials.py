"""Credentials of container registries, from the files that container tools write.

Formats: https://docs.docker.com/reference/cli/docker/login and containers-auth.json(5).
"""

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.secrecy import remember

#: Where a pod finds the secret ``loopline-registry`` (kubernetes.io/dockerconfigjson).
MOUNTED = Path("/var/run/secrets/loopline/registry/.dockerconfigjson")
ADVICE = (
    "log in with podman, docker or oc, or set REGISTRY_AUTH_FILE to the file with the login (in a pod: the secret "
    "loopline-registry, kubernetes.io/dockerconfigjson)"
)
#: What Docker Hub is called in these files.
_DOCKER_HUB = ("docker.io", "registry-1.docker.io", "index.docker.io")
_HELPER_S = 20


@dataclass(frozen=True)
class Credentials:
    """A login.

    Attributes:
        user: The user name.
        password: The password or token.
        identity_token: An OAuth2 refresh token, in place of both.
        source: The file it is from.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    source: str = ""

    @property
    def basic(self) -> str:
        """The value of a header for basic authentication."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def load_credentials(host: str, repository: str) -> Credentials | None:
    """Find the login for a repository: in the first file that has one, the most specific one in it.

    Read are ``REGISTRY_AUTH_FILE``, ``config.json`` in ``DOCKER_CONFIG``, the mounted secret, the file podman writes
    and ``~/.docker/config.json``.

    Args:
        host: The registry's host and port.
        repository: The repository.

    Returns:
        The login; None when no file has one.

    Raises:
        InputError: A file or a credential helper cannot be used.
    """
    for file in _files():
        if found := _find(file, host, repository):
            return found
    return None


def login_hosts() -> dict[str, str]:
    """Find the registries for which there is a login or a credential helper; none is asked.

    Returns:
        For each the first file that has it; a registry's part of its own is named with its path.

    Raises:
        InputError: A file cannot be used.
    """
    hosts = {}
    for file in _files():
        config = _read(file) or {}
        places = [name for key in ("auths", "credHelpers") for name in config.get(key) or {}]
        hosts = {_place(name): str(file) for name in places} | hosts
    return hosts


def _files() -> list[Path]:
    named, files = os.environ.get("REGISTRY_AUTH_FILE"), []
    if named:
        files.append(Path(named))
        if not files[0].is_file():
            raise InputError(
                f"REGISTRY_AUTH_FILE names {named}, which is not a file: mount the login there or unset it."
            )
    if folder := os.environ.get("DOCKER_CONFIG"):
        files.append(Path(folder) / "config.json")
    files.append(MOUNTED)
    if folder := os.environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(folder) / "containers" / "auth.json")
    if os.environ.get("HOME"):
        files.append(Path.home() / ".docker" / "config.json")
    return files


def _find(file: Path, host: str, repository: str) -> Credentials | None:
    config = _read(file)
    if config is None:
        return None
    auths, own_helpers = (config.get(key) or {} for key in ("auths", "credHelpers"))
    logins = {_place(name): login for name, login in auths.items() if login}
    helpers = {_place(name): helper for name, helper in own_helpers.items()}
    for place in _places(host, repository):
        if place in logins:
            return _login(logins[place], file)
    known = any(_place(name) in _hosts(host) for name in auths)
    helper = next((helpers[name] for name in _hosts(host) if name in helpers), "")
    helper = helper or (config.get("credsStore") if known else "")
    return _ask_helper(helper, host, file) if helper else None


def _read(file: Path) -> dict | None:
    """Read a file of logins; None when there is none."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The login in {file} cannot be read ({type(error).__name__}): {ADVICE}.") from None
    if not isinstance(config, dict):
        raise InputError(f"The login in {file} cannot be read (it is no JSON object): {ADVICE}.")
    auths, own_helpers = (config.get(key) or {} for key in ("auths", "credHelpers"))
    if not (isinstance(auths, dict) and isinstance(own_helpers, dict)):
        raise InputError(f"The login in {file} cannot be read (auths and credHelpers are JSON objects): {ADVICE}.")
    return config


def _place(name: str) -> str:
    """Return a key of such a file without scheme and the path that Docker Hub's old key has."""
    name = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return name.removesuffix("/v1").removesuffix("/v2")


def _hosts(host: str) -> tuple[str, ...]:
    return _DOCKER_HUB if host in _DOCKER_HUB else (host,)


def _places(host: str, repository: str) -> list[str]:
    parts = repository.split("/")
    paths = ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
    return [f"{name}/{path}".rstrip("/") for path in paths for name in _hosts(host)]


def _login(login: dict, file: Path) -> Credentials:
    names = ("identitytoken", "username", "password", "auth")
    values = [login.get(name) or "" for name in names] if isinstance(login, dict) else [login]
    if not all(isinstance(value, str) for value in values) or len(values) < len(names):
        raise InputError(f"A login in {file} is not what container tools write: {ADVICE}.")
    token, user, password, auth = values
    if not user and auth:
        try:
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:  # no ASCII, no base64 or no UTF-8
            raise InputError(f"A login in {file} is not base64 of user:password: {ADVICE}.") from None
    return Credentials(user, remember(password.rstrip("\0")), remember(token), str(file))


def _ask_helper(helper: str, host: str, file: Path) -> Credentials | None:
    """Ask a credential helper: https://github.com/docker/docker-credential-helpers, its command ``get``."""
    command = f"docker-credential-{helper}"
    server = "https://index.docker.io/v1/" if host in _DOCKER_HUB else host
    try:
        done = subprocess.run([command, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command}, which {file} names, does not work ({type(error).__name__}): {ADVICE}.") from None
    if done.returncode:
        return None  # it has no login for this host
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{command}, which {file} names, answers no login: {ADVICE}.") from None
    if user == "<token>":
        return Credentials("", "", remember(secret), command)
    return Credentials(user, remember(secret), "", command)
