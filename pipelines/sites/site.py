"""One site: it serves what the repository wants or, when that cannot be, the last image that ran as it should."""

import contextlib
import logging
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from loopline.components.delivery.model_server import reserve_ports
from loopline.components.errors import InputError
from loopline.pipelines.sites import state as states
from loopline.pipelines.sites.backoff import backoff
from loopline.pipelines.sites.images import Fetch, Images
from loopline.pipelines.sites.plan import Plan
from loopline.pipelines.sites.server import Server, bind
from loopline.pipelines.sites.state import SiteState, now, sites_home, write_state

logger = logging.getLogger("loopline")

#: Seconds an image must serve before it counts as one to return to.
SETTLE_S = 60.0
#: Deaths before that which make the site return to the last good image.
DEATHS = 3
#: Seconds until the next try after a server died, and after an image could not be fetched or started: from, at most.
RESTART_S, RETRY_S = (1.0, 30.0), (5.0, 300.0)


@dataclass
class _Record:
    """What became of an image at this site since the repository last said something new."""

    problem: str = ""
    failures: int = 0
    deaths: int = 0
    end: str = ""
    due: float = 0.0


class Site:
    """A site and its model servers.

    Nothing here waits: ``tick`` looks, does the next thing and returns.

    Attributes:
        name: The site.
        state: What it does.
    """

    def __init__(self, name: str, images: Images, before: SiteState | None = None):
        """Take up a site.

        Args:
            name: The site.
            images: Where images come from.
            before: What it did in the agent's earlier life.
        """
        self.name = name
        self.state = SiteState(name, good=before.good, good_version=before.good_version) if before else SiteState(name)
        self._images = images
        self._plan = Plan(name)
        self._records: dict[str, _Record] = {}
        self._fetch: Fetch | None = None
        self._active: Server | None = None
        self._next: Server | None = None
        self._leaving: list[Server] = []
        self._listeners: dict[str, socket.socket] = {}
        self._ports = contextlib.ExitStack()
        [self._grpc_port] = self._ports.enter_context(reserve_ports(1))
        self._written: SiteState | None = None
        self._unwritable = ""

    @property
    def folder(self) -> Path:
        """Where the site keeps its state and logs."""
        return sites_home() / self.name

    @property
    def needed(self) -> list[str]:
        """The images it serves, wants or would return to."""
        serving = [server.plan.image for server in (self._active, self._next, *self._leaving) if server]
        return [image for image in (*serving, self._plan.image, self.state.good) if image]

    def tick(self, plan: Plan) -> None:
        """Go one step towards what the repository wants.

        Args:
            plan: What it wants now.
        """
        self._take(plan)
        self._reap()
        if self._next:
            self._watch_start()
        elif target := self._choose():
            self._prepare(target)
        self._settle()
        self._show()

    def stop(self) -> None:
        """Tell all servers to answer what is open and to end; ``stopped`` sees to it."""
        for server in (self._next, self._active):
            if server:
                server.terminate()
                self._leaving.append(server)
        self._next = self._active = None

    def stopped(self) -> bool:
        """Return whether all servers have ended."""
        self._leaving = [server for server in self._leaving if not server.poll_gone()]
        if not self._leaving:
            self._close_listeners()
            self._ports.close()
        return not self._leaving

    def _take(self, plan: Plan) -> None:
        if plan != self._plan:
            if self._active and not self._record(self._active.plan.image).deaths:
                self._keep_good(self._active.plan)
            self._records.clear()
            self._fetch = None
            if self._next:
                self._next.kill()
                self._next = None
            logger.info("%s: to serve %s", self.name, f"version {plan.version}, {plan.image}" if plan.image else "none")
        elif plan.commit != self._plan.commit:
            for record in self._records.values():
                # An image that kept dying under way is not tried again for a commit that says nothing new of it.
                record.due = 0.0 if record.due != float("inf") else record.due
        self._plan = plan
        if not plan.image and self._active:
            self.stop()

    def _reap(self) -> None:
        """Notice servers that ended."""
        self._leaving = [server for server in self._leaving if not server.poll_gone()]
        if not self._active or not (end := self._active.end()):
            return
        image, self._active = self._active.plan.image, None
        record = self._record(image)
        record.deaths += 1
        logger.warning("%s: the model server %s", self.name, end)
        record.end = end
        if record.deaths >= DEATHS and image == self._plan.image and self._can_return():
            self._fail(image, f"It died {record.deaths} times before it had served for {SETTLE_S:g} s: it {end}")
            record.due = float("inf")
        else:
            record.due = time.monotonic() + backoff(RESTART_S, record.deaths)

    def _choose(self) -> Plan | None:
        """Return what to start now: what is wanted or, where that cannot be and nothing serves, the last good image."""
        wanted = self._plan
        if not wanted.image or (self._active and self._active.plan == wanted):
            return None
        record = self._record(wanted.image)
        if time.monotonic() >= record.due:
            return wanted
        if self._active or not record.problem or not self._can_return():
            return None  # something serves, it comes back in a moment, or there is nothing else
        good = replace(wanted, image=self.state.good, version=self.state.good_version)
        return good if time.monotonic() >= self._record(good.image).due else None

    def _can_return(self) -> bool:
        """Return whether there is another image to return to."""
        return self.state.good not in ("", self._plan.image)

    def _prepare(self, target: Plan) -> None:
        if not self._fetch or self._fetch.image != target.image:
            self._fetch = self._images.fetch(target.image)
        if not self._fetch.done.is_set():
            return
        fetch, self._fetch = self._fetch, None
        try:
            if fetch.problem:
                raise InputError(fetch.problem)
            if target.url not in self._listeners:
                self._listeners[target.url] = bind(target.url, self.name)
            self._next = Server(target, fetch.model, self._listeners[target.url], self._grpc_port, self.folder)
        except (InputError, OSError) as error:
            self._fail(target.image, str(error))

    def _watch_start(self) -> None:
        try:
            if not self._next.poll_ready():
                return
        except InputError as error:
            image, self._next = self._next.plan.image, None
            self._fail(image, str(error))
            return
        before, self._active, self._next = self._active, self._next, None
        logger.info("%s: version %s serves, process %d", self.name, self._active.plan.version, self._active.pid)
        self._record(self._active.plan.image).problem = ""
        if before:
            before.terminate()
            self._leaving.append(before)
        self._close_listeners(but=self._active.plan.url)

    def _fail(self, image: str, problem: str) -> None:
        record = self._record(image)
        record.failures += 1
        record.problem = " ".join(problem.split())
        record.due = time.monotonic() + backoff(RETRY_S, record.failures)
        logger.error("%s: %s cannot be served: %s", self.name, image, record.problem)

    def _settle(self) -> None:
        if self._active and time.monotonic() - self._active.ready_at > SETTLE_S:
            self._record(self._active.plan.image).deaths = 0
            self._keep_good(self._active.plan)

    def _keep_good(self, plan: Plan) -> None:
        self.state.good, self.state.good_version = plan.image, plan.version

    def _show(self) -> None:
        """Write down what the site does, when that has changed."""
        plan, active = self._plan, self._active
        record = self._records.get(plan.image, _Record())
        shown = replace(
            self.state,
            state=self._name_state(record),
            url=plan.url,
            wanted=plan.image,
            wanted_version=plan.version,
            running=active.plan.image if active else "",
            running_version=active.plan.version if active else "",
            reason=plan.problem or record.problem or ("" if active else record.end),
            model=plan.model,
            pid=active.pid if active else 0,
            grpc=f"127.0.0.1:{self._grpc_port}" if active else "",
            metrics=active.metrics if active else "",
            commit=plan.commit,
        )
        if (shown.state, shown.pid) != (self.state.state, self.state.pid) or not shown.since:
            shown.since = now()
        if shown.state in (states.IDLE, states.FAILED):
            self._close_listeners()
        self.state = shown
        if shown != self._written:
            self._write()

    def _write(self) -> None:
        try:
            write_state(self.state)
            self._written, self._unwritable = replace(self.state), ""
        except OSError as error:  # a full disk must not end a server that serves
            if error.strerror != self._unwritable:  # the name of the file is another each time
                logger.error("%s: its state cannot be written (%s)", self.name, error.strerror)
            self._unwritable = error.strerror

    def _name_state(self, record: _Record) -> str:
        if self._active:
            if record.problem or self._plan.problem:
                return states.DEGRADED
            return states.READY if self._active.plan == self._plan else states.UPDATING
        if not self._plan.image:
            return states.FAILED if self._plan.problem else states.IDLE
        if record.deaths and not record.problem:
            return states.RESTARTING
        stuck = record.problem and not (self._can_return() and not self._record(self.state.good).problem)
        return states.FAILED if stuck and not self._next and not self._fetch else states.STARTING

    def _record(self, image: str) -> _Record:
        return self._records.setdefault(image, _Record())

    def _close_listeners(self, but: str = "") -> None:
        """Give up addresses; clients are refused there, and do not wait for a server that may never come."""
        for url in [url for url in self._listeners if url != but]:
            self._listeners.pop(url).close()
