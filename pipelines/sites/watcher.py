"""Watch the configuration repository, as Argo CD does on a cluster."""

import logging
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from loopline.components.delivery.git import run_git
from loopline.components.delivery.release import read_release_env, read_site_env
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites.plan import Plan

logger = logging.getLogger("loopline")

#: Seconds between two looks at a repository on this machine, and at one elsewhere.
LOCAL_S, REMOTE_S = 1.0, 10.0
#: Names in the agent's own folder.
RESERVED = frozenset({"agent", "app", "config.git", "images"})


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
        """Begin to watch.

        Args:
            repository: URL or path.
            branch: The branch.
            mirror: A folder for a copy; it is made anew.
            interval_s: Seconds between two looks; 0 for what suits the repository's place.
        """
        self.latest = Snapshot()
        self._repository, self._branch, self._mirror = repository, branch, mirror
        self._interval_s = interval_s or (LOCAL_S if Path(repository).exists() else REMOTE_S)
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
            commit = self._remote_commit()
            if commit != self.latest.commit:
                self._git("fetch", "--quiet", "--depth=1", self._repository, commit_ref(self._branch))
                commit = self._git("rev-parse", "FETCH_HEAD").strip()
                self.latest = Snapshot(commit, self._read_plans(commit))
                logger.info("the configuration repository is at %s", commit[:12])
            elif self.latest.problem:
                self.latest = replace(self.latest, problem="")
        except InputError as error:
            if str(error) != self.latest.problem:
                logger.error("%s", error)
            self.latest = replace(self.latest, problem=str(error))

    def _run(self) -> None:
        shutil.rmtree(self._mirror, ignore_errors=True)  # an earlier life may have left locks in it
        run_git(["init", "--quiet", "--bare", str(self._mirror)])
        while not self._ending.is_set():
            self.look()
            self._ending.wait(self._interval_s)

    def _remote_commit(self) -> str:
        listed = run_git(["ls-remote", self._repository, commit_ref(self._branch)]).split()
        if not listed:
            raise InputError(f"{self._repository} has no branch {self._branch!r}: name one with --branch.")
        return listed[0]

    def _read_plans(self, commit: str) -> dict[str, Plan]:
        names = self._git("ls-tree", "--name-only", "-d", commit, "sites/").split("\n")
        sites = [name.removeprefix("sites/") for name in names if name]
        if taken := sorted(RESERVED.intersection(sites)):
            raise InputError(f"A site on this machine cannot be called {taken[0]!r}: rename sites/{taken[0]}.")
        return {site: self._read_plan(commit, site) for site in sites}

    def _read_plan(self, commit: str, site: str) -> Plan:
        try:
            release = read_release_env(self._git("show", f"{commit}:sites/{site}/release.env"))
            values = read_site_env(self._git("show", f"{commit}:sites/{site}/site.env"))
        except InputError as error:
            before = self.latest.plans.get(site, Plan(site))
            return replace(before, problem=f"sites/{site}: {error}", commit=commit)
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

    def _git(self, *arguments: str) -> str:
        return run_git(["--git-dir", str(self._mirror), *arguments])


def commit_ref(branch: str) -> str:
    """Return the full name of a branch."""
    return f"refs/heads/{branch}"
