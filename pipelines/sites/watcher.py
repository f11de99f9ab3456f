"""Watch the configuration repository, as Argo CD does on a cluster."""

import logging
import math
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from loopline.components.delivery.config_repository import SITE_NAME
from loopline.components.delivery.git import locate_repository, run_git
from loopline.components.delivery.git_repository import Repository
from loopline.components.delivery.release import RELEASE_FILE, SITE_FILE, read_release_env, read_site_env
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites.plan import Plan

logger = logging.getLogger("loopline")

#: Seconds between two looks at a repository on this machine, and at one elsewhere.
LOCAL_S, REMOTE_S = 1.0, 10.0
#: Names in the agent's own folder.
RESERVED = frozenset({"agent", "app", "config.git", "images"})
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Snapshot:
    """What the repository said last.

    Attributes:
        commit: The branch's commit; empty before the first look.
        plans: What it wants of each site.
        problem: Why it cannot be read now; empty when it can.
    """

    commit: str = ""
    plans: dict[str, Plan] = field(default_factory=dict)
    problem: str = ""


class Watcher:
    """A thread that keeps up with a branch of a repository.

    Attributes:
        latest: What it said last.
    """

    def __init__(self, repository: str, branch: str, mirror: Path, interval_s: float = 0.0):
        """Take up a repository.

        Args:
            repository: URL or path.
            branch: The branch.
            mirror: A folder for a copy; it is made anew.
            interval_s: Seconds between two looks; 0 for what suits the repository's place.

        Raises:
            InputError: The address or the interval cannot be used.
        """
        if not 0 <= interval_s < math.inf:
            raise InputError(f"The interval is {interval_s:g} s: write how many seconds to wait, or 0.")
        self.latest = Snapshot()
        url = locate_repository(repository)
        self._mirror = mirror
        self._interval_s = interval_s or (LOCAL_S if url.startswith("/") else REMOTE_S)
        shutil.rmtree(mirror, ignore_errors=True)  # an earlier life may have left locks in it
        run_git(["init", "--quiet", "--bare", "--template=", str(mirror)])
        self._copy = Repository(url, branch, mirror)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to watch."""
        self._ending.set()

    def look(self) -> None:
        """Read the branch if it has moved."""
        try:
            listed = run_git(["ls-remote", self._copy.url, f"refs/heads/{self._copy.branch}"]).split()
            if not listed or listed[0] != self.latest.commit:
                commit = self._copy.fetch()
                self.latest = Snapshot(commit, self._read_plans(commit))
                logger.info("the configuration repository is at %s", commit[:12])
            elif self.latest.problem:
                self.latest = replace(self.latest, problem="")
        except InputError as error:
            if str(error) != self.latest.problem:
                logger.error("%s", error)
                self.latest = replace(self.latest, problem=str(error))

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.look()
            except Exception as error:  # whatever happens here, the sites go on with what they have
                logger.exception("the configuration repository cannot be read")
                self.latest = replace(self.latest, problem=f"{type(error).__name__}: {error}")
            self._ending.wait(self._interval_s)

    def _read_plans(self, commit: str) -> dict[str, Plan]:
        sites = self._copy.list_folders("sites")
        if not sites:
            raise InputError(f"Repository {self._copy.url} has no folder in sites/: begin with deploy/config-repo.")
        if strange := [site for site in sites if not SITE_NAME.fullmatch(site)]:
            # It names a folder here, which is deleted with the site: a tree that was made by hand may say even "..".
            raise InputError(f"{strange[0]!r} in sites/ is no name of a site: use lower-case letters, digits, hyphens.")
        if taken := sorted(RESERVED.intersection(sites)):
            raise InputError(f"A site on this machine cannot be called {taken[0]!r}: rename sites/{taken[0]}.")
        return {site: self._read_plan(commit, site) for site in sites}

    def _read_plan(self, commit: str, site: str) -> Plan:
        try:
            release = self._parse(site, RELEASE_FILE, read_release_env)
            values = self._parse(site, SITE_FILE, read_site_env)
        except InputError as error:
            return replace(self.latest.plans.get(site, Plan(site)), problem=str(error), commit=commit)
        return Plan(
            site=site,
            model=release.name,
            version=str(release.version or ""),
            image=release.image,
            url=values.get("SERVICE_URL", ""),
            traffic_uri=values.get("LOOPLINE_TRAFFIC_URI") or str(home() / "traffic"),
            traffic_sample=values.get("LOOPLINE_TRAFFIC_SAMPLE") or "1",
            commit=commit,
        )

    def _parse(self, site: str, name: str, parse: Callable[[str], _Parsed]) -> _Parsed:
        path = f"sites/{site}/{name}"
        [content] = self._copy.read([path])
        if content is None:
            raise InputError(f"There is no {path} in the configuration repository: take it over from the template.")
        try:
            return parse(content.decode("utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8 text: write it anew.") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
