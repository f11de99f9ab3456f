"""What a step asks of its workers, as a document in the place that they share."""

import dataclasses
import json
from dataclasses import dataclass

from loopline.components.data.schema import Schema
from loopline.components.training.distributed.shares import Part
from loopline.components.training.plan import Plan
from loopline.components.training.xgboost_model import Recipe


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
