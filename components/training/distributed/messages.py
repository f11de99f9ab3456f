"""What step and workers of a job tell each other, by names in the place that they share."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

from loopline.components.training.distributed.exchange import Exchange

#: What is asked of the workers, where the tracker listens, what came of it, and that all shall end.
ORDER, TRACKER, RESULT, MODEL, STOP = "order.json", "tracker.json", "result.json", "model.ubj", "stop"
_BEGUN, _FAILED = "begun-", "failed-"


@dataclass(frozen=True)
class Failure:
    """Why a worker ended before its time.

    Attributes:
        message: A sentence about the worker.
        cause: ``input`` for something given that cannot be used, ``killed`` for a worker that ended without a word,
            ``error`` for anything else of its own, ``others`` when it only lost the others.
    """

    message: str
    cause: str


def begin(place: Exchange, worker: int) -> bool:
    """Note that a worker begins; returns whether it is the first time."""
    name = f"{_BEGUN}{worker}"
    first = place.read(name) is None
    place.write(name, b"")
    return first


def report_failure(place: Exchange, worker: int, failure: Failure) -> None:
    """Tell the step why a worker ends, unless that is told already."""
    name = f"{_FAILED}{worker}"
    if place.read(name) is None:
        place.write(name, json.dumps(dataclasses.asdict(failure)).encode())


def find_failure(place: Exchange, names: Iterable[str]) -> Failure | None:
    """Return what went wrong first, as far as can be told; None while nothing did.

    Args:
        place: What step and workers share.
        names: The names there.
    """
    found = [Failure(**json.loads(place.read(name))) for name in sorted(names) if name.startswith(_FAILED)]
    ranked = sorted(found, key=lambda failure: ("input", "error", "killed", "others").index(failure.cause))
    return ranked[0] if ranked else None
