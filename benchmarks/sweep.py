"""A sweep of 20 trials on two cores: two workers at a time against one after another, and against bare xgboost.

Our sides are the compiled ``sweep`` pipeline in the local runner; what counts is the sweep in it: the plan, and from
the start of the first worker to the best parameters. The store is SQLite. All sides train the same 20 sets of
parameters, drawn at random from the sweep's own space, stop early, and give up on none: what Optuna draws next and what
is pruned hangs on which trial ended first, and two sides would not do the same work.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import measure, measure_in, spread
from benchmarks.result import Side, Table, Text

TRIALS, ROUNDS, STOP = 20, 300, 20
#: By side its workers, and whether it has one core only.
OURS = {
    "two workers": (2, False),
    "one worker on one core": (1, True),
    "one worker on both cores": (1, False),
}
PEER = "a loop around bare xgboost, two threads"
#: What each side trains one after another for the machine's own limit: bare trees on made-up numbers.
_ROWS, _TREES = 100_000, 60


def make_data(folder: str) -> None:
    """Write the flights of January to May, and let one trial make the tables of the store."""
    from loopline.examples.flights.prepare import write_months

    write_months(Path(folder) / "flights", range(1, 6))
    ours(folder, [{"max_depth": 2}], 1, False)


def draw_sets(seed: int) -> list[dict]:
    """Draw the parameters of all trials from the space of a sweep that names none."""
    import optuna

    from loopline.components.training.space import read_space

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [study.ask(read_space("", "", TRIALS).distributions()).params for _ in range(TRIALS)]


def ours(folder: str, sets: list[dict], workers: int, alone: bool) -> dict:
    """Run the pipeline; returns what the sweep in it took, s, and its best loss."""
    from loopline.pipelines.engine import run_pipeline

    os.environ["LOOPLINE_HOME"] = f"{folder}/home"
    if alone:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    given = {
        "uri": f"{folder}/flights/flights-2013-0[1-5].csv.gz", "target": "late", "name": "bench", "prune": False,
        "parameter_sets": json.dumps(sets), "workers": workers, "on_error": "quarantine", "split_method": "time",
        "split_column": "time_hour", "validation_size": 0.05, "test_start": "2013-05-16T00:00:00Z", "rounds": ROUNDS,
        "early_stopping_rounds": STOP,
    }  # fmt: skip
    times = _step_times()
    done = run_pipeline("sweep", given, times)
    began = min(start for name, (start, _) in times.steps.items() if name.startswith("run-trials"))
    planned, finished = times.steps["plan-sweep"], times.steps["finish-sweep"]
    took = planned[1] - planned[0] + finished[1] - began
    return {"seconds": took, "best": _best_loss(done.artifacts["run-trials"]["ran"].path, len(sets))}


def _step_times():
    from loopline.pipelines.progress import Progress

    class Times(Progress):
        """Notes when each step began and ended, s."""

        steps: dict[str, tuple[float, float]] = {}

        def start(self, step: str) -> str:
            name = super().start(step)
            self.steps[name] = (time.monotonic(), 0.0)
            return name

        def done(self, step: str, seconds: float | None = None) -> None:
            self.steps[step] = (self.steps[step][0], time.monotonic())
            super().done(step, seconds)

    return Times.silent()


def _best_loss(record: str, trials: int) -> float:
    from loopline.components.registry.store import open_store
    from loopline.components.training.study import find_study

    with open_store() as store:
        found = find_study(store, json.loads(Path(record).read_text())["sweep"]).trials()
    assert len(found) == trials
    return min(trial.scores["log_loss"] for trial in found)


def peer(folder: str, sets: list[dict]) -> dict:
    """Train and score every set on the tables of the pipeline's last run."""
    import pandas as pd
    import xgboost

    start = time.monotonic()
    [split] = sorted(Path(folder, "home", "runs").glob("sweep-*/*/split-data"))[-1:]

    def matrix(name: str, like=None):
        frame = pd.read_parquet(split / name).drop(columns="time_hour")
        label = frame.pop("late")
        for column in frame.select_dtypes(exclude=["number", "bool"]):
            frame[column] = frame[column].astype("category")
        return xgboost.QuantileDMatrix(frame, label, enable_categorical=True, ref=like)

    train = matrix("train")
    validation = matrix("validation", train)
    losses = []
    for params in sets:
        settings = {"objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist", **params}
        booster = xgboost.train(settings, train, ROUNDS, evals=[(validation, "validation")],
                                early_stopping_rounds=STOP, verbose_eval=False)  # fmt: skip
        losses.append(booster.best_score)
    return {"seconds": time.monotonic() - start, "best": min(losses)}


def machine(processes: int) -> float:
    """Train the same trees with one thread in some processes at once; returns the seconds of the slowest."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_train_bare, [1] * processes, chunksize=1)  # imports and first touches are over
        return max(pool.map(_train_bare, [_TREES] * processes, chunksize=1))


def _train_bare(trees: int) -> float:
    import numpy as np
    import xgboost

    random = np.random.default_rng(0)
    values = random.normal(size=(_ROWS, 20)).astype(np.float32)
    data = xgboost.QuantileDMatrix(values, values[:, 0] + values[:, 1] * values[:, 2] > 0)
    start = time.monotonic()
    xgboost.train({"objective": "binary:logistic", "nthread": 1, "max_depth": 8}, data, trees)
    return time.monotonic() - start


def run(repeats: int = 3) -> list[Table | Text]:
    """Measure the sides in turn, each repetition with sets of its own."""
    with tempfile.TemporaryDirectory(prefix="sweep-benchmark-") as folder:
        measure("benchmarks.sweep", "make_data", folder=folder)
        found = {side: [] for side in (*OURS, PEER)}
        gains, limits = [], []
        for seed in range(repeats):
            given = {"folder": folder, "sets": draw_sets(seed)}
            for side, (workers, alone) in OURS.items():
                cost = measure("benchmarks.sweep", "ours", **given, workers=workers, alone=alone)
                found[side].append(cost.result)
            cost = measure_in(sys.executable, "benchmarks.sweep", "peer", given, ("xgboost", "pandas"))
            found[PEER].append(cost.result)
            two, one = (found[side][-1]["seconds"] for side in list(OURS)[:2])
            gains.append(one / two)
            one, two = (measure("benchmarks.sweep", "machine", processes=count).result for count in (1, 2))
            limits.append(2 * one / two)
    sides = []
    for side, results in found.items():
        samples = {"seconds": [one["seconds"] for one in results], "log loss": [one["best"] for one in results]}
        role = "peer" if side == PEER else "ours" if side == "two workers" else "other"
        sides.append(Side(side, samples, role))
    title = f"{TRIALS} trials of at most {ROUNDS} rounds on the flights of January to May (112,408 training rows)"
    note = (
        f"Two workers are {spread(gains, 2)} times as fast as one on one core, the same sets compared. Two processes "
        f"that share nothing but the machine train {spread(limits, 2)} times as many trees as one: that is the most "
        "there is to gain."
    )
    return [Table(title, ("seconds", "log loss"), sides), Text(note)]
