"""The layout of a configuration repository: one folder a site, with what it serves and where it answers."""

import contextlib
import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loopline.components.delivery.git_repository import Repository, Version
from loopline.components.delivery.release import (
    RELEASE_FILE,
    SITE_FILE,
    Release,
    read_release_env,
    read_site_env,
    write_release_env,
)
from loopline.components.errors import InputError

#: A label of DNS, since Argo CD names an application and Kubernetes a namespace after a site.
SITE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FOLDER = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")

#: Trailers of the commits: what was promoted, by which runs and who approved it; what a rollback took away.
MODEL, MODEL_VERSION, IMAGE = "Model", "Model-Version", "Image"
MLFLOW_RUN, PIPELINE_RUN, ROLLED_BACK, APPROVED_BY = "MLflow-Run", "Pipeline-Run", "Rolled-back", "Approved-By"


@dataclass(frozen=True)
class State:
    """What a site's ``release.env`` said from some commit on.

    Attributes:
        version: The commit.
        release: What the site was to serve.
    """

    version: Version
    release: Release


def parse_sites(sites: str) -> list[str]:
    """Read a list of sites.

    Args:
        sites: Comma-separated names.

    Returns:
        The names, each once.

    Raises:
        InputError: One cannot be a site's name.
    """
    names = [name for name in (part.strip() for part in sites.split(",")) if name]
    for name in names:
        if not SITE_NAME.fullmatch(name):
            raise InputError(f"{name!r} is not a name of a site: write lower-case letters, digits and hyphens.")
    return list(dict.fromkeys(names))


def list_sites(sites: Collection[str]) -> str:
    """Name sites in the subject of a commit: one by one while they are few."""
    return ", ".join(sites) if len(sites) <= 5 else f"{len(sites)} sites"


def write_message(subject: str, sites: Collection[str], trailers: Sequence[tuple[str, str]], reason: str = "") -> str:
    """Write the message of a commit that changes what sites serve.

    Args:
        subject: Its first line.
        sites: The sites it changes.
        trailers: Keys and values; those without a value are left out.
        reason: Why; empty when there is nothing to say.
    """
    why = " ".join(reason.split())
    lines = [f"{key}: {value}" for key, value in trailers if value]
    parts = [subject, *([why] if why else []), f"Sites: {', '.join(sites)}.", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


class ConfigRepository:
    """The sites in a branch of a configuration repository.

    Attributes:
        git: The branch.
    """

    def __init__(self, git: Repository, overlay: str):
        """Look at a branch.

        Args:
            git: The branch.
            overlay: The folder of a site, with ``{site}`` in it.

        Raises:
            InputError: The folder cannot be one, or would be the same for each site.
        """
        parts = overlay.replace("{site}", "site").split("/")
        if overlay.count("{site}") != 1 or not _FOLDER.fullmatch("/".join(parts)) or {".", "..", ".git"} & set(parts):
            raise InputError(
                f"overlay is {overlay!r}: write the folder of a site in the repository, as sites/{{site}}."
            )
        self.git, self._overlay = git, overlay

    def release_path(self, site: str) -> str:
        """Return where a site's release stands."""
        return f"{self._overlay.replace('{site}', site)}/{RELEASE_FILE}"

    def read_releases(self, sites: Sequence[str]) -> dict[str, Release]:
        """Read what sites are to serve.

        Args:
            sites: Their names.

        Returns:
            What each site is to serve.

        Raises:
            InputError: There is no such site, or its file cannot be read.
        """
        texts = self._read_texts(sites, RELEASE_FILE)
        return {site: self._parse(read_release_env, text, site, RELEASE_FILE) for site, text in texts.items()}

    def read_urls(self, sites: Sequence[str]) -> dict[str, str]:
        """Read where sites answer.

        Args:
            sites: Their names.

        Returns:
            The address by site.

        Raises:
            InputError: There is no such site, its file cannot be read or has no address.
        """
        urls = {}
        for site, text in self._read_texts(sites, SITE_FILE).items():
            urls[site] = self._parse(read_site_env, text, site, SITE_FILE).get("SERVICE_URL", "")
            if not re.match(r"https?://[^/\s]", urls[site]):
                raise InputError(
                    f"SERVICE_URL in {self._overlay.replace('{site}', site)}/{SITE_FILE} is {urls[site]!r}: write the "
                    "http:// or https:// address of the site's model server."
                )
        return urls

    def write_releases(self, releases: dict[str, Release]) -> dict[str, bytes]:
        """Return what files to change so that sites serve something.

        Args:
            releases: What each site is to serve.

        Returns:
            The new content by path, of the files that do not say so already.
        """
        files = {}
        for site, text in self._read_texts(list(releases), RELEASE_FILE).items():
            write = functools.partial(write_release_env, release=releases[site])
            if (changed := self._parse(write, text, site, RELEASE_FILE)) != text:
                files[self.release_path(site)] = changed.encode()
        return files

    def history(self, sites: Sequence[str]) -> dict[str, list[State]]:
        """Return what sites were to serve; what cannot be read in an old commit is left out.

        The history of the branch has to be fetched.

        Args:
            sites: Their names.

        Returns:
            By site its states, newest first.
        """
        versions = self.git.versions([self.release_path(site) for site in sites])
        return {site: _readable(versions[self.release_path(site)]) for site in sites}

    def _read_texts(self, sites: Sequence[str], file: str) -> dict[str, str]:
        folders = [self._overlay.replace("{site}", site) for site in sites]
        texts = {}
        for site, folder, content in zip(
            sites, folders, self.git.read([f"{folder}/{file}" for folder in folders]), strict=True
        ):
            if content is None:
                raise InputError(self._explain_missing(site, folder, file))
            texts[site] = self._parse(bytes.decode, content, site, file)
        return texts

    def _explain_missing(self, site: str, folder: str, file: str) -> str:
        before, _, after = self._overlay.partition("{site}")
        parent, _, prefix = before.rpartition("/")
        suffix = after.partition("/")[0]
        known = [
            name.removeprefix(prefix).removesuffix(suffix)
            for name in self.git.list_folders(parent)
            if name.startswith(prefix) and name.endswith(suffix)
        ]
        if site in known:
            return f"Site {site} has no {folder}/{file} in {self.git.url}: add it."
        choice = f"choose from {', '.join(known[:30])}" if known else f"it has none at {self._overlay}, see overlay"
        return f"There is no site {site!r} in {self.git.url}: {choice}."

    def _parse(self, parse, content, site: str, file: str):
        path = f"{self._overlay.replace('{site}', site)}/{file} of {self.git.url}"
        try:
            return parse(content)
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8 text: save it as such.") from None
        except InputError as error:
            raise InputError(f"{path} cannot be used: {error}") from None


def _readable(versions: Sequence[Version]) -> list[State]:
    states = []
    for version in versions:
        with contextlib.suppress(ValueError):
            states.append(State(version, read_release_env((version.content or b"").decode())))
    return states
