"""A study that many processes share: a run in MLflow, whose trials are the runs nested under it.

The model store is the one place that every step can reach, so a sweep needs nothing else: no database of Optuna's, no
broker. MLflow's own storage for Optuna would do the same with some four hundred requests for the twentieth trial, and
eighty for each look at whether to prune; here all trials come with one request, and Optuna is asked in memory.

There is no lock. Each trial has a place, 0 to count - 1. Who wants one makes its run first and looks afterwards: of two
runs at one place both see both, and the same one gives way. A worker that was killed leaves a run that says RUNNING;
when the worker is started anew it marks it as failed, and the place is free again.
"""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loopline.components.errors import InputError
from loopline.components.registry.experiments import experiment_id
from loopline.components.registry.once import CALL, ensure_run
from loopline.components.registry.store import Store

RUNNING, COMPLETE, PRUNED, FAILED = "RUNNING", "FINISHED", "KILLED", "FAILED"

_SWEEP, _PLACE, _WORKER = "loopline.sweep", "loopline.trial", "loopline.worker"
_PARAMS, _CURVE, _PARENT = "loopline.params", "loopline.curve", "mlflow.parentRunId"
_VALUE = "validation_"
#: More runs than trials: each death leaves one.
_MOST_RUNS = 5000


@dataclass
class Trial:
    """One trial, as the store knows it.

    Attributes:
        run_id: Its run in MLflow.
        place: Which of the sweep's trials it is, from 0.
        worker: Who runs it.
        state: ``RUNNING``, ``FINISHED``, ``KILLED`` (pruned) or ``FAILED``.
        params: Its parameters; empty until they are drawn.
        curve: The best score on the validation rows so far, by boosting round.
        scores: Its final scores on the validation rows by metric; empty unless it is complete.
        rounds: The rounds it kept, or was pruned at; 0 until then.
        start: When it began, seconds since 1970.
        seconds: How long it took; 0 until it ends.
        call: Which call made it.
    """

    run_id: str
    place: int
    worker: int
    state: str = RUNNING
    params: dict = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    start: float = 0.0
    seconds: float = 0.0
    call: str = ""


@dataclass(frozen=True)
class Study:
    """A sweep's run in MLflow.

    Attributes:
        store: The open store.
        experiment: The MLflow experiment.
        run_id: The sweep's run.
    """

    store: Store
    experiment: str
    run_id: str

    def trials(self) -> list[Trial]:
        """Return the trials that run or have ended as they should, one a place, in the order of their places."""
        return _one_a_place(self._runs())

    def claim(self, count: int, worker: int) -> Trial | None:
        """Take the next free place.

        Args:
            count: How many places there are.
            worker: Who asks; workers that ask at the same moment begin with different places.

        Returns:
            A trial that nobody else runs; None when there is no free place.
        """
        while True:
            taken = {trial.place for trial in self.trials()}
            free = [place for place in range(count) if place not in taken]
            if not free:
                return None
            place = free[min(worker, len(free) - 1)]
            # One call may make two runs: the client asks again when an answer is lost.
            tags = {_PARENT: self.run_id, _PLACE: str(place), _WORKER: str(worker), CALL: uuid.uuid4().hex}
            self.store.client.create_run(self.experiment, run_name=f"trial {place + 1}", tags=tags)
            runs = self._runs()
            winner = next(trial for trial in _one_a_place(runs) if trial.place == place)
            for own in runs:
                if own.call == tags[CALL] and own.run_id != winner.run_id:
                    self.store.client.delete_run(own.run_id)
            if winner.call == tags[CALL]:
                return winner

    def bury(self, worker: int) -> int:
        """Mark what a worker of this number left running as failed; returns how many trials that were."""
        dead = [trial for trial in self._runs() if trial.state == RUNNING and trial.worker == worker]
        for trial in dead:
            self.fail(trial)
        return len(dead)

    def begin(self, trial: Trial, params: Mapping) -> None:
        """Note a trial's parameters."""
        from mlflow.entities import Param, RunTag

        trial.params = dict(params)
        named = [Param(name, str(value)) for name, value in params.items()]
        tags = [RunTag(_PARAMS, json.dumps(trial.params))]
        self.store.client.log_batch(trial.run_id, params=named, tags=tags)

    def report(self, trial: Trial, metric: str, since: int = 0) -> None:
        """Note a trial's curve.

        Args:
            trial: The trial.
            metric: What the curve is of.
            since: Rounds up to this one are noted already.
        """
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        points = [Metric(f"boosting_{metric}", v, now, step) for step, v in trial.curve.items() if step > since]
        self.store.client.log_batch(trial.run_id, metrics=points, tags=[RunTag(_CURVE, json.dumps(trial.curve))])

    def complete(self, trial: Trial, scores: Mapping[str, float], rounds: int) -> None:
        """Note a trial's final scores and the rounds it kept, and end it."""
        from mlflow.entities import Metric

        trial.scores, trial.rounds = dict(scores), rounds
        now = int(time.time() * 1000)
        values = [Metric(f"{_VALUE}{name}", value, now, 0) for name, value in scores.items()]
        self.store.client.log_batch(trial.run_id, metrics=[*values, Metric("rounds", rounds, now, 0)])
        self._end(trial, COMPLETE)

    def prune(self, trial: Trial, rounds: int) -> None:
        """End a trial that is not worth going on with."""
        trial.rounds = rounds
        self.store.client.log_metric(trial.run_id, "rounds", rounds)
        self._end(trial, PRUNED)

    def fail(self, trial: Trial) -> None:
        """End a trial that did not come to its end; its place is free again."""
        self._end(trial, FAILED)

    def finish(self, params: Mapping, scores: Mapping[str, float], page: str) -> None:
        """Note the best parameters, their scores and the page of a sweep, and end its run.

        Args:
            params: The best trial's parameters.
            scores: Its scores on the validation rows.
            page: The file of the page.
        """
        from mlflow.entities import Metric, Param

        client, now = self.store.client, int(time.time() * 1000)
        known = client.get_run(self.run_id).data.params
        named = [Param(name, str(value)) for name, value in params.items() if name not in known]
        values = [Metric(f"{_VALUE}{name}", value, now, 0) for name, value in scores.items()]
        client.log_batch(self.run_id, metrics=values, params=named)
        client.log_artifact(self.run_id, page, "report")
        client.set_terminated(self.run_id, COMPLETE)

    def _end(self, trial: Trial, state: str) -> None:
        end = time.time()
        trial.state, trial.seconds = state, end - trial.start
        self.store.client.set_terminated(trial.run_id, state, int(end * 1000))

    def _runs(self) -> list[Trial]:
        under = f"tags.`{_PARENT}` = '{self.run_id}'"
        runs = self.store.client.search_runs([self.experiment], under, max_results=_MOST_RUNS)
        return [_read_trial(run) for run in runs if _PLACE in run.data.tags]


def open_study(store: Store, name: str, sweep: str) -> Study:
    """Find or make the run of a sweep.

    Args:
        store: The open store.
        name: The MLflow experiment, unless the environment names one.
        sweep: What the sweep goes by: the same again continues it.

    Returns:
        The study.
    """
    experiment = experiment_id(store, name)

    def known() -> list:
        return store.client.search_runs([experiment], f"tags.`{_SWEEP}` = '{sweep}'")

    run = ensure_run(store, experiment, "sweep", {_SWEEP: sweep}, known)
    return Study(store, experiment, run.info.run_id)


def find_study(store: Store, run_id: str) -> Study:
    """Return a study by its run.

    Args:
        store: The open store.
        run_id: The sweep's run in MLflow.

    Raises:
        InputError: There is no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(f"There is no sweep {run_id!r} in MLflow: pass what plan_sweep returned.") from None
    return Study(store, run.info.experiment_id, run_id)


def _one_a_place(runs: Iterable[Trial]) -> list[Trial]:
    found: dict[int, Trial] = {}
    for trial in sorted(runs, key=_precedence):
        if trial.state != FAILED:
            found.setdefault(trial.place, trial)
    return [found[place] for place in sorted(found)]


def _precedence(trial: Trial) -> tuple:
    """Order trials at one place by who has it: what is complete, else who came first."""
    return trial.state == RUNNING, trial.start, trial.run_id


def _read_trial(run) -> Trial:
    tags, metrics, info = run.data.tags, run.data.metrics, run.info
    return Trial(
        info.run_id,
        int(tags[_PLACE]),
        int(tags[_WORKER]),
        info.status,
        json.loads(tags.get(_PARAMS, "{}")),
        {int(step): value for step, value in json.loads(tags.get(_CURVE, "{}")).items()},
        {name.removeprefix(_VALUE): value for name, value in metrics.items() if name.startswith(_VALUE)},
        int(metrics.get("rounds", 0)),
        info.start_time / 1000,
        (info.end_time - info.start_time) / 1000 if info.end_time else 0.0,
        tags.get(CALL, ""),
    )
