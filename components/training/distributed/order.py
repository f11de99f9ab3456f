"""What a step asks of its workers, and what they tell: documents in the place that they share."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

from loopline.components.data.schema import Schema
from loopline.components.training.distributed.exchange import Exchange
from loopline.components.training.distributed.shares import Part
from loopline.components.training.plan import Plan
from loopline.components.training.xgboost_model import Recipe

#: Names in the place that step and workers share.
ORDER, TRACKER, RESULT, MODEL, STOP = "order.json", "tracker.json", "result.json", "model.ubj", "stop"
_BEGUN, _FAILED = "begun-", "failed-"


@dataclass(frozen=True)
class Order:
    """What the workers do together.

    Attributes:
        workers: How many there are.
        train: The files of the training table.
        validation: The files of the validation table; none for none.
        plan: What to learn from which columns.
        recipe: How to train.
        local: Whether all workers are processes of one machine.
    """

    workers: int
    train: list[Part]
    validation: list[Part]
    plan: Plan
    recipe: Recipe
    local: bool

    def to_json(self) -> str:
        """Return the order as text; the same order is the same text."""
        plan = {field.name: getattr(self.plan, field.name) for field in dataclasses.fields(self.plan)}
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plan["features"] = self.plan.features.to_dict()
        return json.dumps(values | {"plan": plan, "recipe": dataclasses.asdict(self.recipe)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Order":
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        plan = values["plan"] | {"features": Schema.from_dict(values["plan"]["features"])}
        return cls(
            **values
            | {
                "train": [Part(*part) for part in values["train"]],
                "validation": [Part(*part) for part in values["validation"]],
                "plan": Plan(**plan),
                "recipe": Recipe(**values["recipe"]),
            }
        )


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
    found = [Failure(**json.loads(place.read(name) or b"{}")) for name in sorted(names) if name.startswith(_FAILED)]
    ranked = sorted(found, key=lambda failure: ("input", "error", "killed", "others").index(failure.cause))
    return ranked[0] if ranked else None
