"""The end of a sweep: the best trial, and the page about all of them."""

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopline.components.documents import read_json, reading
from loopline.components.errors import InputError
from loopline.components.evaluation.metrics import Metric, best_position, find_metric
from loopline.components.registry.store import open_store
from loopline.components.training.study import COMPLETE, Trial, find_study

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Outcome:
    """What came of a sweep.

    Attributes:
        best: The best trial.
        trials: Those that came to an end and those that were given up, in the order of their places.
        metric: What they are compared by.
        target: What they predict.
        rows: Training rows.
    """

    best: Trial
    trials: list[Trial]
    metric: Metric
    target: str
    rows: int

    @property
    def complete(self) -> list[Trial]:
        """The trials that came to their end."""
        return [trial for trial in self.trials if trial.state == COMPLETE]

    def value(self, trial: Trial) -> float:
        """Return what a trial that came to its end scored."""
        return trial.scores[self.metric.name]


def finish_sweep(records: Sequence[str | Path], report: str | Path, metric: str = "") -> str:
    """Find the best trial, write the page, and end the sweep's run in MLflow.

    Args:
        records: What each worker wrote, see ``run_trials``.
        report: Where to write the page.
        metric: What trials are compared by; the task's main one when empty.

    Returns:
        The best trial's parameters as a JSON object.

    Raises:
        InputError: The records are of several sweeps, no trial came to its end, or MLflow cannot be reached.
    """
    from loopline.components.training.sweep_page import sweep_report

    record, *others = (_read_record(path) for path in records)
    if any(other["sweep"] != record["sweep"] for other in others):
        raise InputError("The workers are of several sweeps: pass those of one.")
    with open_store() as store:
        study = find_study(store, record["sweep"])
        outcome = find_best(study.trials(), record, metric)
        sweep_report(outcome).write(report)
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "sweep.html"
            page.write_bytes(Path(report).read_bytes())
            study.finish(outcome.best.params, outcome.best.scores, str(page))
    best = outcome.best
    logger.info(
        "trial %d of %d is best: validation %s %.5g with %s",
        best.place + 1, len(outcome.trials), outcome.metric.name, outcome.value(best), json.dumps(best.params),
    )  # fmt: skip
    return json.dumps(best.params)


def _read_record(path: str | Path) -> dict:
    with reading(path, "what run_trials writes", "pass its output ran"):
        record = read_json(path)
        texts = [record[name] for name in ("sweep", "task", "target")]
        if not all(isinstance(text, str) for text in texts) or not isinstance(record["rows"], int):
            raise TypeError("a value is of another type")
        return record


def find_best(trials: Sequence[Trial], record: dict, metric: str = "") -> Outcome:
    """Find the best of some trials; the first among equals.

    Args:
        trials: The trials.
        record: What a worker wrote.
        metric: What trials are compared by; the task's main one when empty.

    Returns:
        The outcome.

    Raises:
        InputError: No trial came to its end, or one lacks the metric.
    """
    chosen = find_metric(record["task"], metric)
    ended = [trial for trial in trials if trial.state != "RUNNING"]
    complete = [trial for trial in ended if trial.state == COMPLETE]
    if not complete:
        raise InputError("No trial of the sweep came to its end: look at the workers' logs, and run the sweep again.")
    for trial in complete:
        if chosen.name not in trial.scores:
            raise InputError(f"Trial {trial.place + 1} has no score {chosen.name!r}: choose another metric.")
    best = complete[best_position(chosen, [trial.scores[chosen.name] for trial in complete])]
    return Outcome(best, ended, chosen, record["target"], record["rows"])
