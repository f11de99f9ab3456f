"""The beginning of a sweep, before any data are there: what will be tried, and by how many workers."""

import json
import logging
import os
import re
import uuid
from dataclasses import asdict, dataclass

from loopline.components.environment import on_cluster
from loopline.components.errors import InputError
from loopline.components.parameters import parse_object
from loopline.components.processors import processors
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import check_name
from loopline.components.training.space import Space
from loopline.components.training.study import open_study

#: Workers when nobody says how many: on a cluster, and on one machine, where kfp runs two steps of a loop at a time.
_ON_CLUSTER, _ON_MACHINE = 4, 2
#: More are a mistake more often than a plan.
_MOST_WORKERS = 64

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Worker:
    """One of the workers of a sweep.

    Attributes:
        sweep: The sweep's run in MLflow.
        number: Which worker, from 0.
        together: How many workers share this one's processors and memory.
    """

    sweep: str
    number: int
    together: int = 1

    @classmethod
    def read(cls, text: str) -> "Worker":
        """Read what ``write`` wrote.

        Raises:
            InputError: It is something else.
        """
        try:
            return cls(**parse_object(text, "worker", '{"sweep": "...", "number": 0}'))
        except TypeError:
            raise InputError(f"worker {text!r} is not one of a sweep: pass one that plan_sweep returned.") from None

    def write(self) -> str:
        """Return the worker as JSON."""
        return json.dumps(asdict(self))

    def threads(self, available: int) -> int:
        """Return how many threads a worker trains with, so that those on one machine do not wait for each other.

        Args:
            available: Processors that this process may use.
        """
        return max(1, available // self.together)


def plan_sweep(name: str, space: Space, workers: int = 0, pipeline_run: str = "") -> list[Worker]:
    """Check what will be tried, and make the sweep's run in MLflow.

    Args:
        name: The model, after which the MLflow experiment is named.
        space: What will be tried.
        workers: How many workers; 0 for four on a cluster, and two that share the processors on one machine.
        pipeline_run: The pipeline run: the same again continues its sweep. Empty for a sweep of its own.

    Returns:
        The workers, no more than there are trials.

    Raises:
        InputError: XGBoost refuses a parameter, a number is out of range, or MLflow cannot be reached.
    """
    check_name(name)
    if not re.fullmatch(r"[\w.:/-]{0,200}", pipeline_run):  # what a sweep goes by stands in a filter of MLflow
        raise InputError(
            f"pipeline_run is {pipeline_run[:200]!r}: give the run's ID, or nothing for a sweep of its own."
        )
    if not 0 <= workers <= _MOST_WORKERS:
        raise InputError(f"A sweep takes 1 to {_MOST_WORKERS} workers, or 0 to choose by itself, not {workers}.")
    _try_corners(space)
    # A workbench is a pod as well, but one in which the workers run side by side.
    in_pods = on_cluster() and not os.environ.get("NB_PREFIX")
    count = min(workers or (_ON_CLUSTER if in_pods else min(_ON_MACHINE, processors())), space.count)
    together = 1 if in_pods else min(count, _ON_MACHINE)
    with open_store() as store:
        study = open_study(store, name, pipeline_run or uuid.uuid4().hex)
    logger.info("%d trial(s) by %d worker(s), run %s in MLflow", space.count, count, study.run_id)
    return [Worker(study.run_id, number, together) for number in range(count)]


def _try_corners(space: Space) -> None:
    """Let XGBoost look at every bound and choice, so that no trial is the first to learn that one is impossible."""
    from loopline.components.data.schema import Schema
    from loopline.components.training.plan import Plan
    from loopline.components.training.xgboost_model import check_params

    anything = Plan("", "regression", [], Schema((), ""), {}, 0)
    for params in space.corners():
        check_params(json.dumps(params), anything, 0)
