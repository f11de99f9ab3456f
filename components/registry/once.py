"""Runs in MLflow that are there once: after a death, after an answer that was lost, beside another process.

MLflow has no unique names for runs, and its client asks again when an answer is lost, so that one call may make two.
Who wants a run therefore marks it as its own, makes it, and looks: of several for the same purpose the oldest stays for
everybody, and who made another one takes it back.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loopline.components.registry.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

#: The tag by which a caller knows what its own call has made.
CALL = "loopline.call"


def ensure_run(
    store: Store, experiment: str, name: str, tags: Mapping[str, str], known: "Callable[[], list[Run]]"
) -> "Run":
    """Return the run of a purpose, which is made when there is none.

    Args:
        store: The open store.
        experiment: The experiment's identifier.
        name: The name of a new run.
        tags: Its tags, by which others find it.
        known: Lists the runs of the purpose that were not deleted, those of other calls among them.

    Returns:
        The oldest.
    """
    return _oldest(known()) or make_run(store, experiment, name, tags, known)


def make_run(
    store: Store, experiment: str, name: str, tags: Mapping[str, str], known: "Callable[[], list[Run]]"
) -> "Run":
    """Make a run of a purpose although there may be one; returns the one that stays. See ``ensure_run``."""
    call = uuid.uuid4().hex
    store.client.create_run(experiment, run_name=name, tags={**tags, CALL: call})
    found = known()
    stays = _oldest(found)
    for run in found:
        if run.data.tags.get(CALL) == call and run.info.run_id != stays.info.run_id:
            store.client.delete_run(run.info.run_id)
    return stays


def _oldest(runs: "list[Run]") -> "Run | None":
    return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
