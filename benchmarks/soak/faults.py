"""Faults, injected for real and at random while the loop serves."""

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable

from benchmarks.soak.journal import FAULT, Journal
from benchmarks.soak.world import SITES, World

logger = logging.getLogger("loopline")

#: Seconds that a site may take to answer again.
_BACK_S = 120.0
#: Seconds between two deaths of one site's server: three without a minute of service in between, and the site goes
#: back to the image before, as it should.
_APART_S = 75.0
#: The share of the soak before which, and after which, the processes whose memory is followed may be ended.
_STEADY = (0.15, 0.9)
#: The share of faults that are a death of the agent while it may be ended.
_AGENT_SHARE = 0.4


class Pace:
    """How fast things happen, and for how long.

    Attributes:
        every_s: Seconds between two faults, about.
    """

    def __init__(self, seconds: float, every_s: float):
        self.every_s = every_s
        self._start = time.monotonic()
        self._end = self._start + seconds
        self._over = threading.Event()

    @property
    def goes_on(self) -> bool:
        """Whether the time is not over."""
        return not self._over.is_set() and time.monotonic() < self._end

    @property
    def steady(self) -> bool:
        """Whether this is the time in which the agent and one site live, so that their memory can be followed."""
        share = (time.monotonic() - self._start) / (self._end - self._start)
        return _STEADY[0] <= share < _STEADY[1]

    def stop(self) -> None:
        """End it early."""
        self._over.set()

    def wait(self, choice: random.Random, most_s: float = 0.0) -> None:
        """Wait a random time, not beyond the end."""
        seconds = min(most_s or self.every_s, self.every_s) * choice.uniform(0.5, 1.5)
        self._over.wait(min(seconds, max(0.0, self._end - time.monotonic())))


class Chaos:
    """Injects one fault after the other until the soak is over; what it breaks it mends.

    Args:
        world: What to break.
        journal: Where to record it.
        pace: How often, and what has to be left alone when.
        seed: Of its choices.
    """

    def __init__(self, world: World, journal: Journal, pace: Pace, seed: int):
        self._world, self._journal, self._pace = world, journal, pace
        self._random = random.Random(seed)
        self._killed: dict[str, float] = {}

    def run(self) -> None:
        """Break and mend until the time is over, every fault in turn in an order of chance."""
        faults: list[Callable[[], None]] = []
        while self._pace.goes_on:
            self._pace.wait(self._random)
            if not self._pace.goes_on:
                return
            if not self._pace.steady and self._random.random() < _AGENT_SHARE:
                self._kill_agent()
                continue
            if not faults:
                faults = [self._kill_server, self._take_registry, self._hang_server, self._take_repository]
                self._random.shuffle(faults)
            faults.pop()()

    def _away_s(self) -> float:
        return min(self._random.uniform(2.0, 6.0), self._pace.every_s)

    def _sites(self) -> list[str]:
        return list(SITES[:2] if self._pace.steady else SITES)

    def _kill_server(self) -> None:
        now = time.monotonic()
        sites = [site for site in self._sites() if now - self._killed.get(site, -_APART_S) >= _APART_S]
        serving = [site for site in sites if _pid(site)]
        if not serving:
            return
        site = self._random.choice(serving)
        self._killed[site] = now
        with self._journal.record(FAULT, "kill -9 of the model server", (site,), outage=True) as event:
            old = _pid(site)
            os.kill(old, signal.SIGKILL)
            event.problem = (
                "" if wait_ready(site, self._world.model, but=old) else f"{site} did not come back in {_BACK_S:g} s"
            )
        self._tell(event)

    def _hang_server(self) -> None:
        serving = [site for site in self._sites() if _pid(site)]
        if not serving:
            return
        site = self._random.choice(serving)
        # No outage: who waits is answered.
        with self._journal.record(FAULT, "model server stopped for a moment (SIGSTOP)", (site,)) as event:
            pid = _pid(site)
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(self._away_s() / 2)
            finally:
                os.kill(pid, signal.SIGCONT)
        self._tell(event)

    def _kill_agent(self) -> None:
        from loopline.pipelines.sites.process import find_agent

        agent = find_agent()
        if not agent:
            return
        with self._journal.record(FAULT, "kill -9 of the agent", SITES, outage=True) as event:
            os.kill(agent.pid, signal.SIGKILL)
            time.sleep(self._away_s() / 2)
            self._world.run("sites", "up")
            late = [site for site in SITES if not wait_ready(site, self._world.model)]
            event.problem = f"{', '.join(late)} did not come back in {_BACK_S:g} s" if late else ""
        self._tell(event)

    def _take_registry(self) -> None:
        with self._journal.record(FAULT, "registry away") as event:
            registry, layout = self._world.registry, self._world.folder / "images"
            if registry:
                registry.down()
            else:
                layout.rename(layout.with_suffix(".away"))
            try:
                time.sleep(self._away_s())
            finally:
                if registry:
                    registry.up()
                else:
                    layout.with_suffix(".away").rename(layout)
        self._tell(event)

    def _take_repository(self) -> None:
        from loopline.components.delivery.git import default_repository

        with self._journal.record(FAULT, "configuration repository away") as event:
            repository = default_repository()
            away = repository.with_suffix(".away")
            repository.rename(away)
            try:
                time.sleep(self._away_s())
            finally:
                away.rename(repository)
        self._tell(event)

    def _tell(self, event) -> None:
        on = f" at {', '.join(event.sites)}" if event.sites else ""
        logger.info(
            "%s%s for %.1f s%s", event.name, on, event.end - event.start, event.problem and f": {event.problem}"
        )


def wait_ready(site: str, model: str, but: int = 0, seconds: float = _BACK_S) -> bool:
    """Wait until a site answers; returns whether it did.

    Args:
        site: The site.
        model: What it serves.
        but: A process that does not count: the one before.
        seconds: How long to wait.
    """
    from loopline.components.delivery.inference import is_ready
    from loopline.pipelines.sites.state import read_states

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = next((state for state in read_states() if state.site == site), None)
        if state and state.pid not in (0, but) and is_ready(state.url, model):
            return True
        time.sleep(0.1)
    return False


def _pid(site: str) -> int:
    """Return the process that serves a site; 0 when none does."""
    from loopline.pipelines.sites.state import read_states

    return next((state.pid for state in read_states() if state.site == site), 0)
