"""What users and schedules do to the loop while it serves, one after the other, in an order drawn at random."""

import csv
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.soak.faults import Pace, wait_ready
from benchmarks.soak.journal import OPERATION, Journal
from benchmarks.soak.load import Load
from benchmarks.soak.world import SITES, World

if TYPE_CHECKING:
    from loopline.components.delivery.release import Release

logger = logging.getLogger("loopline")

#: How often an operation is repeated that a fault has spoiled.
_REPEATS = 5
#: Seconds to wait for a fault's end before that.
_CALM_S = 30.0
#: Seconds that the sites may take to write the rows they logged.
_FLUSH_S = 3.0


class Operator(threading.Thread):
    """Does one thing after the other until the soak is over.

    Args:
        world: What to do it to.
        journal: Where to record it.
        load: Whose requests are judged.
        pace: How fast, and what has to be left alone when.
        seed: Of its choices.
    """

    def __init__(self, world: World, journal: Journal, load: Load, pace: Pace, seed: int):
        super().__init__(name="operator")
        self._world, self._journal, self._load, self._pace = world, journal, load, pace
        self._random = random.Random(seed)
        self._trained = 0
        self._seen = datetime.now(UTC)
        self._fresh = False
        self._closed: Release | None = None

    def run(self) -> None:
        """Do things until the time is over; each at least once if there is time."""
        chores: list[Callable[[], None]] = []
        while self._pace.goes_on:
            if not chores:
                chores = [self._deliver, self._monitor, self._deliver, self._roll_back, self._spoil, self._close]
                self._random.shuffle(chores)
            chores.pop()()
            self._pace.wait(self._random, 1.0)

    def _do(self, name: str, sites: tuple[str, ...], call: Callable[[], str], outage: bool = False) -> None:
        """Do something, again where a fault has spoiled it: then it has to work."""
        for number in range(1, _REPEATS + 1):
            with self._journal.record(OPERATION, name, sites, outage) as event:
                event.problem = call()
            if not event.problem:
                event.note = "done" if number == 1 else f"done at try {number}"
            elif self._journal.disturbed(event.start, event.end) and number < _REPEATS:
                event.note, event.problem = f"spoiled by a fault, and repeated: {event.problem}", ""
                logger.info("%s was spoiled by a fault: again", name)
                # What is down stays down meanwhile.
                with self._journal.record(OPERATION, f"{name}: wait for the fault's end", sites, outage) as pause:
                    pause.note = "waited"
                    self._await_calm()
                continue
            logger.info("%s: %s", name, event.problem or event.note)
            return

    def _await_calm(self) -> None:
        """Wait for the end of a fault: tries that are made at once would all meet the same one."""
        end = time.monotonic() + _CALM_S
        while (now := time.monotonic()) < end and self._journal.disturbed(now, now):
            time.sleep(0.2)

    def _deliver(self) -> None:
        self._trained += 1
        self._do("train a version", (), lambda: self._world.train(self._trained))
        sites = SITES[:2] if self._pace.steady else SITES
        self._do("deliver it", sites, lambda: self._world.deliver(sites))
        self._fresh = True

    def _roll_back(self) -> None:
        site = self._random.choice(SITES[:2])
        if self._fresh:  # else there may be nothing to go back to
            self._do("roll back", (site,), lambda: self._world.roll_back(site, "a soak"))
            self._fresh = False

    def _spoil(self) -> None:
        """Promote an image that no server can load: the site must go on with what it serves."""
        from loopline.components.delivery.promotion import promote

        site = self._random.choice(SITES[:2])

        def spoil() -> str:
            promote("", site, self._world.bad)
            return ""

        self._do("promote an image that does not load", (site,), spoil)
        self._pace.wait(self._random, 3.0)
        self._do("roll it back", (site,), lambda: self._world.roll_back(site, "it does not load"))

    def _close(self) -> None:
        """Take the release of a site away and bring it back: an outage that somebody wants."""
        site = self._random.choice(SITES[:2])
        self._do("stop and start a site", (site,), lambda: self._stop_and_start(site), outage=True)

    def _stop_and_start(self, site: str) -> str:
        from loopline.components.delivery.release import Release

        # Kept for the repetition, where a fault comes in between.
        self._closed = self._closed or _name_release(site, Release(), f"Close {site} for a soak")
        time.sleep(min(5.0, self._pace.every_s))
        _name_release(site, self._closed, f"Open {site} again")
        self._closed = None
        return "" if wait_ready(site, self._world.model) else f"{site} did not come back"

    def _monitor(self) -> None:
        time.sleep(_FLUSH_S)
        start, end = self._seen, datetime.now(UTC)
        self._seen = end
        self._write_truth()
        self._do("judge a window", (), lambda: self._world.monitor(start.isoformat(), end.isoformat()))

    def _write_truth(self) -> None:
        labels = self._world.labels
        with self._world.truth.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["request_id", "row", self._world.target])
            for sample in self._load.samples():
                if not sample.problem:
                    label = labels[sample.number % len(labels)]
                    lines.writerow([f"soak-{sample.site}-{sample.number}", 0, label])


def _name_release(site: str, release: "Release", message: str) -> "Release":
    """Name a release for a site, as an edit by hand does; returns what it named before."""
    from loopline.components.delivery.config_repository import ConfigRepository
    from loopline.components.delivery.git_repository import Change, commit_change, open_repository

    with open_repository("", "main") as git:
        config = ConfigRepository(git, "sites/{site}")
        before = config.read_releases([site])[site]

        def decide() -> Change | None:
            files = config.write_releases({site: release})
            return Change(files, message) if files else None

        commit_change(git, decide)
    return before
