"""Workers of one sweep, each a process, and the model store that they share: an MLflow server, and SQLite."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from mlflow_server import run_server
from training_tables import OTHERS

from loopline.components.errors import InputError
from loopline.components.registry.store import open_store
from loopline.components.training.finish_sweep import finish_sweep
from loopline.components.training.run_trials import Rules, run_trials
from loopline.components.training.space import read_space
from loopline.components.training.study import COMPLETE, FAILED, PRUNED, RUNNING, find_study
from loopline.components.training.sweep import Worker, plan_sweep

SPACE = '{"max_depth": {"low": 1, "high": 6}, "learning_rate": {"low": 0.001, "high": 0.5, "log": true}}'


@pytest.fixture(params=["server", "SQLite"])
def store(request, tmp_path, monkeypatch):
    if request.param == "SQLite":
        yield
        return
    (tmp_path / "server").mkdir()
    with run_server(tmp_path / "server") as (url, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield


def _start(tables, worker: Worker, **inputs) -> subprocess.Popen:
    given = {"train": tables.train, "validation": tables.validation, "schema": tables.schema, "target": "late",
             "exclude": OTHERS["late"], "worker": worker.write(), "ran": tables.folder / f"ran-{worker.number}",
             **inputs}  # fmt: skip
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    command = [sys.executable, "-m", "loopline.components", "run_trials", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _runs(sweep: str) -> list:
    with open_store() as store:
        return find_study(store, sweep)._runs()


def _await(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def test_two_workers_share_the_trials_and_give_up_on_some(tables, store):
    workers = plan_sweep("late", read_space("", SPACE, 12), 2)
    given = {"space": SPACE, "trials": 12, "rounds": 60}
    for process in [_start(tables, worker, **given) for worker in workers]:
        _await(process)
    runs = _runs(workers[0].sweep)
    assert sorted(trial.place for trial in runs) == list(range(12)), "each place once"
    assert {trial.worker for trial in runs} == {0, 1}
    states = Counter(trial.state for trial in runs)
    assert states[COMPLETE] >= 4 and states[PRUNED] >= 1 and states[COMPLETE] + states[PRUNED] == 12
    assert len({json.dumps(trial.params) for trial in runs}) == 12, "no two drew alike"

    records = [tables.folder / f"ran-{number}" for number in (0, 1)]
    params = json.loads(finish_sweep(records, tables.folder / "page.html"))
    best = min((trial for trial in runs if trial.scores), key=lambda trial: trial.scores["log_loss"])
    assert params == best.params
    page = (tables.folder / "page.html").read_text()
    assert f"trial {best.place + 1} of 12 is best" in page and "given up" in page
    with open_store() as opened:
        run = opened.client.get_run(workers[0].sweep)
        assert (run.info.status, run.data.params["max_depth"]) == ("FINISHED", str(params["max_depth"]))
        assert run.data.metrics["validation_log_loss"] == best.scores["log_loss"]
        assert [file.path for file in opened.client.list_artifacts(run.info.run_id, "report")] == ["report/sweep.html"]
        history = opened.client.get_metric_history(best.run_id, "boosting_logloss")
        assert {point.step: point.value for point in history} == best.curve
        assert opened.client.get_run(best.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id


def test_trials_on_pages_score_as_trials_in_memory(tables, monkeypatch, caplog):
    caplog.set_level("INFO", "loopline")
    sets = '[{"max_depth": 2, "max_bin": 64}, {"max_depth": 4, "max_bin": 128}]'
    space, found = read_space(sets, "", 0), []
    for limit in ("8Gi", "1Mi"):
        monkeypatch.setenv("LOOPLINE_MEMORY_LIMIT", limit)
        [worker] = plan_sweep("late", space, 1)
        rules = Rules(rounds=10, prune=False)
        run_trials(
            tables.train, tables.validation, tables.schema, worker, space, rules, target="late", exclude=OTHERS["late"]
        )
        found.append([trial.scores for trial in _runs(worker.sweep)])
    assert "training from pages on disk" in caplog.text
    assert found[0] == found[1]


def test_a_worker_that_was_killed_goes_on_where_it_stopped(tables):
    sets = '[{"max_depth": 2}, {"max_depth": 3}, {"max_depth": 4}]'
    [worker] = plan_sweep("late", read_space(sets, "", 0), 1)
    given = {"parameter_sets": sets, "early_stopping_rounds": 0}
    process = _start(tables, worker, rounds=1_000_000, **given)
    while not any(trial.params for trial in _runs(worker.sweep)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    [left] = _runs(worker.sweep)
    assert left.state == RUNNING

    assert "1 trial(s) that a worker left unfinished" in _await(_start(tables, worker, rounds=5, **given))
    runs = _runs(worker.sweep)
    assert Counter(trial.state for trial in runs) == {COMPLETE: 3, FAILED: 1}
    with open_store() as store:
        trials = find_study(store, worker.sweep).trials()
    assert [trial.params["max_depth"] for trial in trials] == [2, 3, 4]
    # Once more: nothing is left to do, and nothing is done twice.
    _await(_start(tables, worker, rounds=5, **given))
    assert len(_runs(worker.sweep)) == 4


def test_who_comes_second_to_a_place_gives_way(tables):
    [worker] = plan_sweep("late", read_space("", SPACE, 2), 1)
    with open_store() as store:
        study = find_study(store, worker.sweep)
        first = study.claim(2, 0)
        assert (first.place, study.claim(2, 5).place, study.claim(2, 0)) == (0, 1, None)

        # Both looked before either had made its run: each sees two runs at a place, and the same one stays.
        tags = store.client.get_run(first.run_id).data.tags
        late = store.client.create_run(study.experiment, start_time=int(time.time() * 1000) + 60_000, tags=tags)
        assert study.trials()[0].run_id == first.run_id
        store.client.set_terminated(late.info.run_id, COMPLETE)
        assert study.trials()[0].run_id == late.info.run_id, "what is complete has the place"


@pytest.mark.parametrize("target", ["late", "grade", "amount"])
def test_every_task_and_metric(tables, target):
    sets = '[{"max_depth": 1, "learning_rate": 0.01}, {"max_depth": 5}]'
    space, metric = read_space(sets, "", 0), "mae" if target == "amount" else "accuracy"
    [worker] = plan_sweep("all", space, 1)
    rules = Rules(rounds=20, metric=metric, class_weight="" if target == "amount" else "balanced")
    record = run_trials(
        tables.train, tables.validation, tables.schema, worker, space, rules, target=target, exclude=OTHERS[target]
    )
    (tables.folder / "ran").write_text(json.dumps(record))
    best = json.loads(finish_sweep([tables.folder / "ran"], tables.folder / "page.html", metric))
    assert best == {"max_depth": 5}
    assert record["trials"] == 2


def test_what_the_workers_cannot_use_is_refused(tables):
    space = read_space("", SPACE, 2)
    [worker] = plan_sweep("late", space, 1)
    paths, more = (tables.train, tables.validation, tables.schema), {"target": "late", "exclude": OTHERS["late"]}
    for changed, sentence in (
        ((*paths[:1], tables.empty, paths[2], worker, space, Rules()), "set validation_size above 0"),
        ((*paths, worker, space, Rules(rounds=0)), "Rounds must be at least 1"),
        ((*paths, worker, space, Rules(metric="rmse")), "Metric 'rmse' is unknown"),
        ((*paths, Worker("0" * 32, 0), space, Rules()), "There is no sweep '0000"),
    ):
        with pytest.raises(InputError, match=sentence):
            run_trials(*changed, **more)
    (tables.folder / "ran").write_text(json.dumps({"sweep": worker.sweep, "task": "binary", "target": "", "rows": 1}))
    with pytest.raises(InputError, match="No trial of the sweep came to its end"):
        finish_sweep([tables.folder / "ran"], tables.folder / "page.html")


def test_a_trial_that_fails_leaves_its_place_free(tables):
    sets = '[{"max_depth": 3, "objective": "reg:absoluteerror"}]'  # refused once it is known that there are classes
    space = read_space(sets, "", 0)
    [worker] = plan_sweep("late", space, 1)
    with pytest.raises(InputError, match="'objective' follows from the classes"):
        run_trials(
            tables.train, tables.validation, tables.schema, worker, space, Rules(), target="late",
            exclude=OTHERS["late"],
        )  # fmt: skip
    assert [trial.state for trial in _runs(worker.sweep)] == [FAILED]
