"""Let several sides do the same work in turn, each run in a process of its own."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.measure import SideFailed, measure_in
from benchmarks.peers import PeerMissing, peer_python
from benchmarks.result import Side, Table

log = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Runner:
    """One side of a race.

    Attributes:
        name: What it is called in the table.
        call: ``module:function``; the module must import nothing that its Python lacks.
        arguments: Of the function, by name.
        role: See ``Side``.
        imports: Modules imported before the clock starts: the work is timed, not the start.
        peer: The environment of ``PEERS`` it needs; none for Loopline's own.
        note: See ``Side``.
        missing: Why it cannot run on this machine; empty where it can.
        most: Runs after which it stands aside, because they take long; 0 for as many as the others.
    """

    name: str
    call: str
    arguments: dict = field(default_factory=dict)
    role: str = "peer"
    imports: tuple[str, ...] = ()
    peer: str = ""
    note: str = ""
    missing: str = ""
    most: int = 0


def race(title: str, runners: Sequence[Runner], repeats: int, limit_s: float = 120.0, agree: bool = False) -> Table:
    """Measure each side ``repeats`` times; they take turns, so that a busy machine slows all alike.

    Args:
        title: Of the table.
        runners: The sides. One that fails is left out from then on, and its line says why.
        repeats: Runs of each.
        limit_s: Seconds after which a run is ended, and counts as failed.
        agree: Whether what Loopline and its peers return must be the same: else the work was not the same.

    Returns:
        Wall seconds, CPU seconds and peak memory of each.

    Raises:
        RuntimeError: One of Loopline's own sides failed, or the sides disagree.
    """
    costs = {runner.name: [] for runner in runners}
    failures = {runner.name: runner.missing for runner in runners if runner.missing}
    for turn in range(repeats):
        for runner in runners:
            if runner.name in failures or 0 < runner.most <= turn:
                continue
            try:
                costs[runner.name].append(_run(runner, limit_s))
            except (SideFailed, PeerMissing) as error:
                if runner.role == "ours":
                    raise
                log.warning("%s: %s", runner.name, error)
                failures[runner.name] = (str(error).strip().splitlines() or ["failed"])[-1][:160]
    if agree:
        same = [runner.name for runner in runners if runner.role in ("ours", "peer") and costs[runner.name]]
        answers = {name: costs[name][-1].result for name in same}
        if len({str(answer) for answer in answers.values()}) > 1:
            raise RuntimeError(f"the sides did not do the same work: {answers}")
    sides = [
        Side(runner.name, _samples(costs[runner.name]), runner.role, failures.get(runner.name, runner.note))
        for runner in runners
    ]
    return Table(title, ("seconds", "CPU seconds", "peak MB"), sides)


def _run(runner: Runner, limit_s: float):
    python = peer_python(runner.peer) if runner.peer else sys.executable
    module, _, function = runner.call.partition(":")
    return measure_in(python, module, function, runner.arguments, runner.imports, limit_s)


def _samples(costs: list) -> dict[str, list[float]]:
    if not costs:
        return {}
    return {
        "seconds": [cost.seconds for cost in costs],
        "CPU seconds": [cost.cpu for cost in costs],
        "peak MB": [cost.peak for cost in costs],
    }
