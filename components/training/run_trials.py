"""A worker of a sweep: draws parameters, trains, and gives up on what is hopeless, until no trial is left.

One worker runs many trials, since what a step costs before its first tree (a pod, its image, the table from object
storage, imports, quantizing) would otherwise be paid once a trial.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xgboost

from loopline.components.data.schema import Schema
from loopline.components.data.tables import open_parquet
from loopline.components.errors import InputError
from loopline.components.evaluation.metrics import Metric, find_metric, score
from loopline.components.memory import memory_limit
from loopline.components.processors import processors
from loopline.components.registry.store import open_store
from loopline.components.training.batches import quantized
from loopline.components.training.pages import PageFolder, pages_if_needed
from loopline.components.training.plan import Plan, plan_training
from loopline.components.training.search import CHECKPOINTS, draw, is_hopeless
from loopline.components.training.space import Space
from loopline.components.training.study import Study, Trial, find_study
from loopline.components.training.sweep import Worker
from loopline.components.training.write import PROFILE_ROWS
from loopline.components.training.xgboost_model import check_params, class_weights

#: How old what a worker knows of the others may be while it trains, and the others of it, in seconds.
_READ_EVERY_S, _WRITE_EVERY_S = 5, 15

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Rules:
    """How each trial is trained and judged.

    Attributes:
        rounds: The most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty, ``balanced``, or a JSON object from label to weight.
        metric: What trials are compared by; the task's main one when empty.
        prune: Whether to give up on trials that are behind most others.
        seed: The random seed.
    """

    rounds: int = 300
    early_stopping_rounds: int = 20
    class_weight: str = ""
    metric: str = ""
    prune: bool = True
    seed: int = 0


def run_trials(
    train: str | Path,
    validation: str | Path,
    schema: str | Path,
    worker: Worker,
    space: Space,
    rules: Rules,
    *,
    target: str = "",
    task: str = "auto",
    exclude: str = "",
) -> dict:
    """Run trials of a sweep until none is left that nobody runs.

    Args:
        train: The training table.
        validation: The validation table.
        schema: The schema file.
        worker: Which worker of which sweep this is. What one of the same number left unfinished is done anew.
        space: What the sweep tries.
        rules: How each trial is trained and judged.
        target: See ``plan_training``, as ``task`` and ``exclude``.
        task: See ``plan_training``.
        exclude: See ``plan_training``.

    Returns:
        The sweep's run, the task, the target, the rows, and the number of trials that this worker ended.

    Raises:
        InputError: Something given cannot be used, there are no validation rows, or MLflow cannot be reached.
    """
    plan = plan_training(train, Schema.load(schema), target, task, exclude=exclude)
    metric = find_metric(plan.task, rules.metric)
    if rules.rounds < 1:
        raise InputError(f"Rounds must be at least 1, not {rules.rounds}.")
    held_out = open_parquet(validation).metadata.num_rows
    if not held_out:
        raise InputError("Trials are compared on validation rows and there are none: set validation_size above 0.")
    weights = class_weights(train, plan, rules.class_weight)
    limit = memory_limit()
    share = replace(limit, bytes=limit.bytes // worker.together)
    ended = 0
    with open_store() as store, pages_if_needed(plan, held_out, share) as pages:
        trainer = _Trainer(train, validation, plan, weights, rules, worker.threads(processors()), pages)
        study = find_study(store, worker.sweep)
        if dead := study.bury(worker.number):
            logger.info("%d trial(s) that a worker left unfinished are run anew", dead)
        while trial := study.claim(space.count, worker.number):
            with _failing(study, trial):
                params = draw(space, study.trials(), trial.place, rules.seed, metric)
                study.begin(trial, params)
                trainer.train(study, trial)
            ended += 1
            _announce(trial, space.count, metric)
        trainer.release()
    return {"sweep": worker.sweep, "task": plan.task, "target": plan.target, "rows": plan.rows, "trials": ended}


class _Trainer:
    """Trains trials on data that are quantized once."""

    def __init__(
        self, train, validation, plan: Plan, weights: np.ndarray | None, rules: Rules, threads: int,
        pages: PageFolder | None,
    ):  # fmt: skip
        self._tables, self._plan, self._weights, self._pages = (train, validation), plan, weights, pages
        self._rules, self._threads, self._metric = rules, threads, find_metric(plan.task, rules.metric).name
        self._bins, self._matrices = 0, ()

    def train(self, study: Study, trial: Trial) -> None:
        rules = self._rules
        params = json.dumps({"nthread": self._threads, **trial.params})
        settings = check_params(params, self._plan, rules.seed)
        train, validation = self._quantized(int(settings["max_bin"]))
        # With a metric of the user's own nobody knows which direction is better, so there is no curve to go by.
        watch = _Watch(study, trial, rules) if "eval_metric" not in trial.params else None
        booster = xgboost.train(
            settings,
            train,
            rules.rounds,
            evals=[(validation, "validation")],
            early_stopping_rounds=rules.early_stopping_rounds if rules.early_stopping_rounds > 0 else None,
            callbacks=[watch] if watch else None,
            verbose_eval=False,
        )
        if watch:
            watch.write()
        if watch and watch.pruned:
            study.prune(trial, booster.num_boosted_rounds())
        else:
            kept = booster.best_iteration + 1 if rules.early_stopping_rounds > 0 else rules.rounds
            scores = self._scores(booster, validation, kept)
            if self._metric not in scores:
                raise InputError(f"The validation rows do not define {self._metric}: choose another metric.")
            study.complete(trial, scores, kept)

    def _quantized(self, max_bin: int) -> tuple:
        if max_bin != self._bins:
            self.release()  # the old ones go before there are new ones
            train, validation = self._tables
            matrix = quantized(train, self._plan, max_bin, self._weights, pages=self._pages)
            held_out = quantized(validation, self._plan, max_bin, self._weights, matrix, self._pages)
            self._matrices = matrix, held_out
            self._bins = max_bin
        return self._matrices

    def release(self) -> None:
        """Let go of the data: their pages are closed before the folder goes."""
        self._matrices = ()

    def _scores(self, booster, validation: xgboost.DMatrix, rounds: int) -> dict[str, float]:
        scores = booster.predict(validation, iteration_range=(0, rounds)).astype(float)
        truth = validation.get_label()
        if self._plan.is_classification:
            truth = truth.astype(int)
        if self._plan.task == "binary":
            scores = np.column_stack([1 - scores, scores])
        elif self._plan.task == "multiclass":
            scores /= scores.sum(axis=1, keepdims=True)  # single precision sums to one only to seven digits
        if len(truth) > PROFILE_ROWS:
            rows = np.random.default_rng(self._rules.seed).choice(len(truth), PROFILE_ROWS, replace=False)
            truth, scores = truth[rows], scores[rows]
        found = score(self._plan.task, truth, scores)
        return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}


class _Watch(xgboost.callback.TrainingCallback):
    """Keeps a trial's curve, shows it to the others, and ends the trial when theirs say that it is hopeless."""

    def __init__(self, study: Study, trial: Trial, rules: Rules):
        super().__init__()
        self._study, self._trial = study, trial
        self._prune, self._rounds = rules.prune, rules.rounds
        self._every = max(1, rules.rounds // CHECKPOINTS)
        self._best, self._round, self._name = np.inf, 0, ""
        self._others, self._read = (), -np.inf
        self._written, self._written_rounds = time.monotonic(), 0
        self.pruned = False

    def after_iteration(self, model, epoch: int, evals_log: dict) -> bool:
        [(self._name, values)] = evals_log["validation"].items()
        self._best, self._round = min(self._best, values[-1]), epoch + 1
        if self._round % self._every:
            return False
        self._trial.curve[self._round] = round(self._best, 7)
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            self.write()
        if self._prune:
            if time.monotonic() - self._read > _READ_EVERY_S:
                self._others, self._read = self._study.trials(), time.monotonic()
            self.pruned = is_hopeless(self._trial.curve, self._others, self._rounds)
        return self.pruned

    def write(self) -> None:
        """Show the curve as far as it is known."""
        self._trial.curve[self._round] = round(self._best, 7)
        self._study.report(self._trial, self._name, self._written_rounds)
        self._written, self._written_rounds = time.monotonic(), self._round


@contextlib.contextmanager
def _failing(study: Study, trial: Trial) -> Iterator[None]:
    """End a trial as failed when the block fails; the block's own error is the one to report."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BaseException:
        try:
            study.fail(trial)
        except MlflowException:
            logger.warning("a trial could not be marked as failed")
        raise


def _announce(trial: Trial, count: int, metric: Metric) -> None:
    number = f"trial {trial.place + 1} of {count}"
    if trial.scores:
        value = trial.scores[metric.name]
        logger.info("%s: %s %.5g, %d rounds, %.1f s", number, metric.name, value, trial.rounds, trial.seconds)
    else:
        logger.info("%s: given up after %d rounds, %.1f s", number, trial.rounds, trial.seconds)
