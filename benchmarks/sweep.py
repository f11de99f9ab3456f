"""A sweep of 20 trials on two cores: two workers at a time against one after another, and against Optuna alone.

Measured is the sweep alone, from its plan to its best parameters, each step a process as the engine starts it; the
data are split beforehand. All sides draw 20 trials from the same space with Optuna's TPE sampler, stop early, and give
up on trials by the median from a third of the rounds on. The store is SQLite.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import markdown, measure, spread

TRIALS, ROUNDS, STOP = 20, 300, 20
SIDES = {
    "parallel": "two workers at a time, one thread each",
    "serial_threads": "one after another, two threads each",
    "serial": "one after another, one thread each",
    "peer": "optuna.optimize(n_jobs=1), bare xgboost with two threads, all in one process",
}


def make_data(folder: str) -> None:
    """Write the flights of January to May as the steps do: train, validation, test and schema."""
    from loopline.examples.flights.prepare import write_months

    write_months(Path(folder) / "flights", range(1, 6))
    _run(folder, "ingest_data", uri="flights/flights-2013-0[1-5].csv.gz", data="data")
    _run(folder, "validate_data", data="data", target="late", on_error="quarantine", valid="valid",
         quarantined="quarantined", schema_out="schema", report="report.html")  # fmt: skip
    _run(folder, "split_data", data="valid", method="time", column="time_hour", validation_size=0.05,
         test_start="2013-05-16T00:00:00Z", train="train", validation="validation", test="test")  # fmt: skip
    _run(folder, "plan_sweep", name="bench", trials=1)  # the first run makes the store's tables


def parallel(folder: str, seed: int) -> dict:
    """Run two workers at a time."""
    return _sweep(folder, seed, workers=2, together=2)


def serial_threads(folder: str, seed: int) -> dict:
    """Run one worker that has both cores."""
    return _sweep(folder, seed, workers=1, together=1)


def serial(folder: str, seed: int) -> dict:
    """Run one worker with one thread."""
    return _sweep(folder, seed, workers=1, together=2)


def _sweep(folder: str, seed: int, workers: int, together: int) -> dict:
    """Run a sweep; returns its run in MLflow, to be read when nobody measures."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        _run(folder, "plan_sweep", name="bench", trials=TRIALS, workers=workers, returns=f"{home}/plan")
        planned = [json.loads(text) for text in json.loads(Path(home, "plan").read_text())]
        steps = [
            _start(
                folder, "run_trials", train="train", validation="validation", schema="schema", target="late",
                worker=json.dumps({**worker, "together": together}), trials=TRIALS, rounds=ROUNDS,
                early_stopping_rounds=STOP, seed=seed, ran=f"{home}/ran-{number}",
            )
            for number, worker in enumerate(planned)
        ]  # fmt: skip
        for step in steps:
            _wait(step)
        _run(folder, "finish_sweep", ran=[f"{home}/ran-{number}" for number in range(workers)],
             report=f"{home}/report.html", returns=f"{home}/best")  # fmt: skip
        return {"sweep": planned[0]["sweep"]}


def read_sweep(folder: str, sweep: str) -> dict:
    """Return the best loss of a sweep, and how many trials were given up."""
    from loopline.components.registry.store import open_store
    from loopline.components.training.study import find_study

    os.environ["LOOPLINE_HOME"] = f"{folder}/home"
    with open_store() as store:
        trials = find_study(store, sweep).trials()
    assert len(trials) == TRIALS
    scored = [trial.scores["log_loss"] for trial in trials if trial.scores]
    return {"best": min(scored), "given_up": TRIALS - len(scored)}


def peer(folder: str, seed: int) -> dict:
    """Search as Optuna's own examples do."""
    import optuna
    import pandas as pd
    import xgboost

    from loopline.components.training.space import read_space

    def matrix(name: str, like=None):
        frame = pd.read_parquet(f"{folder}/{name}").drop(columns="time_hour")
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
    return {"best": study.best_value, "given_up": len(pruned)}


def _start(folder: str, component: str, **inputs: object) -> subprocess.Popen:
    os.environ["LOOPLINE_HOME"] = f"{folder}/home"
    words = []
    for name, value in inputs.items():
        for one in value if isinstance(value, list) else [value]:
            words.append(f"--{name.replace('_', '-')}={one}")
    command = [sys.executable, "-m", "loopline.components", component, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _wait(step: subprocess.Popen) -> None:
    said = step.communicate()[1]
    if step.returncode:
        raise RuntimeError(f"{step.args[3]} failed: {said[-2000:]}")


def _run(folder: str, component: str, **inputs: object) -> None:
    _wait(_start(folder, component, **inputs))


def run(repeats: int = 3, sides: tuple[str, ...] = tuple(SIDES), folder: str = "") -> str:
    """Measure the sides in turn, each repetition with a seed of its own; returns a Markdown table."""
    with tempfile.TemporaryDirectory() as made:
        folder = folder or made
        if not Path(folder, "schema").exists():
            make_data(folder)
        costs = {side: [] for side in sides}
        for seed in range(repeats):
            for side in sides:
                costs[side].append(measure("benchmarks.sweep", side, folder=folder, seed=seed))
        fastest = statistics.median(cost.whole for cost in costs[sides[0]])
        table = []
        for side, found in costs.items():
            seconds = [cost.whole for cost in found]
            results = [read_sweep(folder, **cost.result) if "sweep" in cost.result else cost.result for cost in found]
            ratio = statistics.median(seconds) / fastest
            best, given_up = [one["best"] for one in results], [one["given_up"] for one in results]
            table.append([SIDES[side], spread(seconds), f"{ratio:.2f}", spread(best, 4), spread(given_up, 0)])
    headers = ["side", "seconds: median (min-max)", "ratio", "best log loss", "given up"]
    note = f"{TRIALS} trials of at most {ROUNDS} rounds on the flights of January to May (112,408 training rows).\n\n"
    return note + markdown(headers, table)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    parser.add_argument("--folder", default="", help="where the prepared data are, or go; temporary when not given")
    options = parser.parse_args()
    print(run(options.repeats, tuple(options.sides), options.folder))
