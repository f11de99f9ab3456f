"""Soak the loop: python3 make.py soak [MINUTES].

Three real sites answer a steady load while versions are trained, delivered and rolled back, windows are judged, and
faults are injected at random. The report is in .loopline/soak. Fails when a request failed outside of an outage, when
a process that lives long grew by more than 5 %, when something done without a fault failed, or when a process was left.
"""

import argparse
import datetime
import logging
import random
import signal
import sys
import time
from datetime import UTC
from pathlib import Path

from benchmarks.result import describe_machine
from benchmarks.soak.faults import Chaos, Pace
from benchmarks.soak.journal import Journal
from benchmarks.soak.load import Load
from benchmarks.soak.memory import MemoryWatch
from benchmarks.soak.operations import Operator
from benchmarks.soak.report import Soak, report_text, write_report
from benchmarks.soak.world import World, open_world

logger = logging.getLogger("loopline")

#: Seconds of load before anything is done, and after all is mended.
_QUIET_S = 5.0


def main(words: list[str] | None = None) -> int:
    """Soak as the command line says; returns 0 when it is passed, 1 when not."""
    options = _parse(words)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    folder = Path(options.folder or f".loopline/soak/{datetime.datetime.now():%Y%m%d-%H%M%S}").absolute()
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever ends it ends the sites
        signal.signal(number, _interrupt)
    print(f"Soaking for {options.minutes:g} minutes with seed {seed}, in {folder}", flush=True)
    with open_world(folder) as world:
        soak = soak_world(world, options.minutes * 60, seed, options.rate, options.every)
    page = write_report(soak, folder)
    print(f"\n{report_text(soak)}\nReport: {page}")
    return 1 if soak.problems else 0


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _parse(words: list[str] | None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make.py soak", description=__doc__, formatter_class=raw)
    parser.add_argument("minutes", nargs="?", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--seed", type=int, help="of all choices (default: drawn, and printed)")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second to each site (default: 10)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between faults, about (default: 10)")
    parser.add_argument("--folder", help="where to (default: .loopline/soak/TIME)")
    options = parser.parse_args(words)
    if not (options.minutes > 0 and options.rate > 0 and options.every > 0):
        parser.error("minutes, rate and every have to be above 0")
    return options


def soak_world(world: World, seconds: float, seed: int, per_second: float, every_s: float) -> Soak:
    """Soak a world that serves.

    Args:
        world: The world; its agent is stopped at the end.
        seconds: How long.
        seed: Of all choices.
        per_second: Requests a second to each site.
        every_s: Seconds between two faults, about.

    Returns:
        What came of it.
    """
    from loopline.pipelines.sites.process import stop_agent

    started, start, journal = datetime.datetime.now(UTC), time.monotonic(), Journal()
    with Load(world.order(per_second), world.folder) as load, MemoryWatch(world.processes) as memory:
        time.sleep(_QUIET_S)
        pace = Pace(seconds, every_s)
        operator = Operator(world, journal, load, pace, seed)
        operator.start()
        try:
            Chaos(world, journal, pace, seed + 1).run()
        finally:
            pace.stop()
            operator.join()
        time.sleep(_QUIET_S)
    took = time.monotonic() - start
    stop_agent()
    time.sleep(1.0)  # what is ending ends
    machine = describe_machine()
    setting = (
        f"Three sites of this machine ({machine['cores']}, {machine['memory']}), commit {machine['commit']}; images in "
        f"{'a docker-registry' if world.registry else 'a folder'}, MLflow on SQLite."
    )
    return Soak(
        seed, started.isoformat(timespec="seconds"), took, per_second, setting, start, load.samples(), journal.events,
        memory.growth(took), world.versions, world.leftovers(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
