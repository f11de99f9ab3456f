"""One worker of a training job: a program. ``python -m loopline.components.training.distributed.worker PLACE``

The place is what the step and its workers share; the worker's number is JOB_COMPLETION_INDEX, which Kubernetes gives
every pod of an indexed job. Worker 0 runs XGBoost's tracker and writes the model.
"""

import contextlib
import dataclasses
import json
import logging
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.training.distributed.certificates import trust_mounted
from loopline.components.training.distributed.exchange import Exchange, open_exchange
from loopline.components.training.distributed.messages import (
    MODEL,
    ORDER,
    RESULT,
    TRACKER,
    Failure,
    begin,
    report_failure,
)
from loopline.components.training.distributed.order import Order
from loopline.components.training.distributed.shares import copy_share, cut_share

#: Seconds that workers wait for each other: to begin, since pods do not start together, and within one operation.
_MEET_S, _OPERATION_S = 3600, 900
_POLL_S = 0.5

logger = logging.getLogger("loopline")


def main(words: list[str]) -> int:
    """Run a worker.

    Args:
        words: The place that step and workers share.

    Returns:
        The exit status: 0 done, 1 failed, 2 something given cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with tempfile.TemporaryDirectory() as scratch:
        trust_mounted(Path(scratch))
        place, worker = open_exchange(words[0]), int(os.environ["JOB_COMPLETION_INDEX"])
        if not begin(place, worker):
            sentence = f"Worker {worker} ended without a word, as one does that is killed for its memory."
            report_failure(place, worker, Failure(sentence, "killed"))
            return 1
        try:
            _work(place, worker, Path(scratch))
        except InputError as error:
            report_failure(place, worker, Failure(str(error), "input"))
            return 2
        except Exception as error:
            traceback.print_exc()
            report_failure(place, worker, _explain(worker, error))
            return 1
    return 0


def _end_with(parent: int) -> None:
    """End when the process that started this one does: nothing else would, where that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(place: Exchange, worker: int, scratch: Path) -> None:
    from loopline.components.training.xgboost_model import boost

    order = Order.from_json(place.read(ORDER))
    columns = [*order.plan.features.names, order.plan.target]
    train, validation = scratch / "train.parquet", scratch / "validation.parquet"
    started = time.monotonic()
    rows = copy_share(cut_share(order.train, worker, order.workers), columns, train)
    if order.validation:
        copy_share(cut_share(order.validation, worker, order.workers), columns, validation)
    logger.info("has %s rows after %.1f s", f"{rows:,}", time.monotonic() - started)
    with _joined(place, worker, order):
        plan = dataclasses.replace(order.plan, rows=rows)
        fitted = boost(train, validation if order.validation else None, plan, order.recipe)
        counts = _gather(worker, order.workers, rows)
        if worker == 0:
            place.write(MODEL, bytes(fitted.booster.save_raw("ubj")))
            place.write(RESULT, json.dumps({"best_iteration": fitted.best_iteration, "rows": counts}).encode())


@contextlib.contextmanager
def _joined(place: Exchange, worker: int, order: Order) -> Iterator[None]:
    """Make this process one of XGBoost's workers: what it trains meanwhile, all train together.

    After a failure nobody is told goodbye: the others would have to answer, and they may wait for this worker in
    another place. The process has to end then, which closes its connections, and they see that.
    """
    from xgboost import collective
    from xgboost.tracker import RabitTracker

    if worker == 0:
        host = "127.0.0.1" if order.local else socket.gethostbyname(socket.gethostname())
        tracker = RabitTracker(order.workers, host, sortby="task", timeout=_MEET_S)
        tracker.start()
        place.write(TRACKER, json.dumps(tracker.worker_args()).encode())
    address = _wait_for(place, TRACKER)
    collective.init(**json.loads(address), dmlc_task_id=f"{worker:06}", dmlc_timeout=_OPERATION_S, dmlc_retry=5)
    yield
    collective.finalize()
    if worker == 0:
        tracker.wait_for(_OPERATION_S)


def _wait_for(place: Exchange, name: str) -> bytes:
    end = time.monotonic() + _MEET_S
    while (data := place.read(name)) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"worker 0 did not begin within {_MEET_S // 60} minutes")
        time.sleep(_POLL_S)
    return data


def _gather(worker: int, workers: int, rows: int) -> list[int]:
    """Return the rows of every worker."""
    import numpy as np
    from xgboost import collective

    counts = np.zeros(workers, np.int64)
    counts[worker] = rows
    return collective.allreduce(counts, collective.Op.SUM).tolist()


def _explain(worker: int, error: Exception) -> Failure:
    from xgboost.core import XGBoostError

    if isinstance(error, XGBoostError) and "/collective/" in str(error):
        return Failure(f"Worker {worker} lost the connection to another one.", "others")
    message = str(error).strip().partition("\n")[0][:300]
    return Failure(f"Worker {worker} failed ({type(error).__name__}: {message}).", "error")


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: XGBoost's tracker would wait for workers that are gone
