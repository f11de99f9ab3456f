"""The agent: it serves at each site what the configuration repository says, until it is told to end."""

import argparse
import contextlib
import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from loopline.components.errors import InputError
from loopline.pipelines.sites import app as apps
from loopline.pipelines.sites.app import App, read_module
from loopline.pipelines.sites.images import Images
from loopline.pipelines.sites.plan import Plan
from loopline.pipelines.sites.process import enter_agent, write_followed
from loopline.pipelines.sites.site import Site
from loopline.pipelines.sites.state import STARTING, SiteState, now, read_states, sites_home, write_state
from loopline.pipelines.sites.watcher import Watcher

logger = logging.getLogger("loopline")

#: Seconds between two looks at the processes.
_TICK_S = 0.1


class Supervisor:
    """All sites, and the application beside them."""

    def __init__(self):
        """Take up what an earlier life of the agent left."""
        self._images = Images(sites_home() / "images")
        self._before = {state.site: _begin(state) for state in read_states()}
        self._sites: dict[str, Site] = {}
        self._app: App | None = None
        self._needed: set[str] = set()
        self._broken: dict[str, str] = {}

    def tick(self, plans: dict[str, Plan]) -> None:
        """Go one step towards what the repository wants.

        Args:
            plans: What it wants of each site.
        """
        for name in self._before.keys() - plans.keys() - self._sites.keys() - {apps.NAME}:
            shutil.rmtree(sites_home() / name, ignore_errors=True)
            del self._before[name]
        for name in plans.keys() | self._sites.keys():
            self._guard(name, lambda name=name: self._tick_site(name, plans.get(name)))
        needed = {image for site in self._sites.values() for image in site.needed}
        if needed != self._needed and self._images.prune(needed):
            self._needed = needed
        self._guard(apps.NAME, lambda: self._tick_app(plans))

    def _guard(self, name: str, step: Callable[[], None]) -> None:
        """Take a step for one part, whose trouble must not become that of the others: it is taken again and again."""
        try:
            step()
            self._broken.pop(name, None)
        except Exception as error:
            if self._broken.get(name) != repr(error):
                logger.exception("%s: what is next could not be done", name)
            self._broken[name] = repr(error)

    def _tick_site(self, name: str, plan: Plan | None) -> None:
        if name not in self._sites:
            self._sites[name] = Site(name, self._images, self._before.get(name))
        site = self._sites[name]
        if plan:
            site.tick(plan)
            return
        site.stop()
        if site.stopped():
            del self._sites[name]
            shutil.rmtree(site.folder, ignore_errors=True)

    def _tick_app(self, plans: dict[str, Plan]) -> None:
        module = read_module()
        if self._app and self._app.module != module:
            self._app.stop()
            if self._app.stopped():
                self._app = None
        elif self._app:
            model = next((plan.model for plan in plans.values() if plan.model), "")
            self._app.tick({name: plan.url for name, plan in plans.items()}, model)
        elif module:
            self._app = App(module, self._before.get(apps.NAME))

    def stop(self) -> None:
        """Tell everything to end; ``stopped`` sees to it."""
        for part in self._parts():
            part.stop()

    def stopped(self) -> bool:
        """Return whether everything has ended."""
        gone = [part.stopped() for part in self._parts()]  # each is looked at: one that hangs must not hide another
        return all(gone)

    def _parts(self) -> list[Site | App]:
        return [*self._sites.values(), *([self._app] if self._app else [])]


def _begin(state: SiteState) -> SiteState:
    """Write down that what an earlier life served is not served yet."""
    begun = replace(state, state=STARTING, running="", running_version="", pid=0, reason="", since=now())
    with contextlib.suppress(OSError):  # on a full disk the sites can be served all the same
        write_state(begun)
    return begun


def run_agent(repository: str, branch: str = "main", interval_s: float = 0.0) -> None:
    """Serve what a repository says until SIGTERM or SIGINT.

    Args:
        repository: URL or path of the configuration repository.
        branch: The branch that the sites follow.
        interval_s: Seconds between two looks at it; 0 for what suits its place.

    Raises:
        InputError: An agent runs already, or its folder cannot be written.
    """
    try:
        enter_agent(repository, branch)
    except OSError as error:
        raise InputError(
            f"{sites_home()} cannot be written ({error.strerror}): make room, or set LOOPLINE_HOME to a folder that "
            "can be written."
        ) from None
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    logger.info("following branch %s of %s", branch, repository)
    watcher = Watcher(repository, branch, sites_home() / "config.git", interval_s)
    supervisor = Supervisor()
    watcher.start()
    told, unwritable = None, ""
    while not ending.wait(_TICK_S):
        snapshot = watcher.latest
        if snapshot.commit:
            supervisor.tick(snapshot.plans)
        if snapshot is not told:
            try:
                write_followed(snapshot.commit, snapshot.problem)
                told, unwritable = snapshot, ""
            except OSError as error:  # a full disk must not end the sites; it is tried again until there is room
                if error.strerror != unwritable:
                    logger.error("what is followed cannot be written down (%s)", error.strerror)
                unwritable = error.strerror
    logger.info("ending")
    watcher.stop()
    supervisor.stop()
    while not supervisor.stopped():
        time.sleep(_TICK_S)


def main(arguments: list[str] | None = None) -> int:
    """Run the agent in this process: ``python -m loopline.pipelines.sites.agent``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--interval", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logger.setLevel(logging.INFO)
    try:
        run_agent(options.repository, options.branch, options.interval)
    except InputError as error:
        print(f"loopline: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
