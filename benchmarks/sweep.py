"""A sweep of 20 trials on two cores: two workers at a time against one after another, and against Optuna alone.

Our sides are the compiled ``sweep`` pipeline in the local runner; what counts is the sweep in it: the plan, and from
the start of the first worker to the best parameters. All sides draw 20 trials from the same space with Optuna's TPE
sampler, stop early, and give up on trials by the median from a third of the rounds on. The store is SQLite.
"""

import os
import statistics
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
PEER = "Optuna and bare xgboost in one process, two threads"
#: What each side trains one after another for the machine's own limit: bare trees on made-up numbers.
_ROWS, _TREES = 100_000, 60


def make_data(folder: str) -> None:
    """Write the flights of January to May, and let one trial make the tables of the store."""
    from loopline.examples.flights.prepare import write_months

    write_months(Path(folder) / "flights", range(1, 6))
    ours(folder, 0, 1, False, trials=1)


def ours(folder: str, seed: int, workers: int, alone: bool, trials: int = TRIALS) -> dict:
    """Run the pipeline; returns what the sweep in it took, its best loss, and how many trials were given up."""
    from loopline.pipelines.engine import run_pipeline

    os.environ["LOOPLINE_HOME"] = f"{folder}/home"
    if alone:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    given = {
        "uri": f"{folder}/flights/flights-2013-0[1-5].csv.gz", "target": "late", "name": "bench", "trials": trials,
        "workers": workers, "on_error": "quarantine", "split_method": "time", "split_column": "time_hour",
        "validation_size": 0.05, "test_start": "2013-05-16T00:00:00Z", "rounds": ROUNDS,
        "early_stopping_rounds": STOP, "seed": seed,
    }  # fmt: skip
    times = _step_times()
    done = run_pipeline("sweep", given, times)
    began = min(start for name, (start, _) in times.steps.items() if name.startswith("run-trials"))
    planned, finished = times.steps["plan-sweep"], times.steps["finish-sweep"]
    took = planned[1] - planned[0] + finished[1] - began
    return {"seconds": took, **_read_sweep(done.artifacts["run-trials"]["ran"].path, trials)}


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


def _read_sweep(record: str, trials: int) -> dict:
    import json

    from loopline.components.registry.store import open_store
    from loopline.components.training.study import find_study

    with open_store() as store:
        found = find_study(store, json.loads(Path(record).read_text())["sweep"]).trials()
    assert len(found) == trials
    scored = [trial.scores["log_loss"] for trial in found if trial.scores]
    return {"best": min(scored), "given_up": trials - len(scored)}


def peer(folder: str, seed: int) -> dict:
    """Search as Optuna's own examples do, on the tables of the pipeline's last run."""
    import optuna
    import pandas as pd
    import xgboost

    from loopline.components.training.space import read_space

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
    every, distributions = ROUNDS // 20, read_space("", "", TRIALS).distributions()

    class Report(xgboost.callback.TrainingCallback):
        def __init__(self, trial):
            super().__init__()
            self.trial, self.best, self.pruned = trial, 1e9, False

        def after_iteration(self, model, epoch, evals_log):
            self.best = min(self.best, evals_log["validation"]["logloss"][-1])
            if (epoch + 1) % every == 0:
                self.trial.report(self.best, epoch + 1)
                self.pruned = self.trial.should_prune()
            return self.pruned

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=ROUNDS // 3),
    )
    for _ in range(TRIALS):
        trial = study.ask(distributions)
        report = Report(trial)
        params = {**trial.params, "objective": "binary:logistic", "eval_metric": "logloss", "tree_method": "hist"}
        xgboost.train(params, train, ROUNDS, evals=[(validation, "validation")], early_stopping_rounds=STOP,
                      callbacks=[report], verbose_eval=False)  # fmt: skip
        if report.pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, report.best)
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    return {"seconds": time.monotonic() - start, "best": study.best_value, "given_up": len(pruned)}


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
    """Measure the sides in turn, each repetition with a seed of its own."""
    with tempfile.TemporaryDirectory(prefix="sweep-benchmark-") as folder:
        measure("benchmarks.sweep", "make_data", folder=folder)
        found = {side: [] for side in (*OURS, PEER)}
        gains = []
        for seed in range(repeats):
            for side, (workers, alone) in OURS.items():
                arguments = {"folder": folder, "seed": seed, "workers": workers, "alone": alone}
                found[side].append(measure("benchmarks.sweep", "ours", **arguments).result)
            imports = ("optuna", "xgboost", "pandas", "loopline.components.training.space")
            arguments = {"folder": folder, "seed": seed}
            found[PEER].append(measure_in(sys.executable, "benchmarks.sweep", "peer", arguments, imports).result)
            one, two = (measure("benchmarks.sweep", "machine", processes=count).result for count in (1, 2))
            gains.append(2 * one / two)
    sides = []
    for side, results in found.items():
        samples = {"seconds": [result["seconds"] for result in results], "log loss": [r["best"] for r in results]}
        note = f"{statistics.median(result['given_up'] for result in results):.0f} trials given up"
        role = "peer" if side == PEER else "ours" if side == "two workers" else "other"
        sides.append(Side(side, samples, role, note))
    two, one = (sides[place].median("seconds") for place in (0, 1))
    title = f"{TRIALS} trials of at most {ROUNDS} rounds on the flights of January to May (112,408 training rows)"
    note = (
        f"Two workers are {one / two:.2f} times as fast as one on one core. Two processes that share nothing but the "
        f"machine train {spread(gains, 2)} times as many trees as one: that is the most there is to gain."
    )
    return [Table(title, ("seconds", "log loss"), sides), Text(note)]
