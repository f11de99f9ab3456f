"""A clock that jumps a day between two runs of a step: forth and back, and back and forth.

The clock is the one of the step's process alone, moved by Debian's libfaketime.
"""

import itertools
import os
from pathlib import Path

import pytest
from faults_chosen import ALL, chosen
from faults_model_store import CASES
from faults_steps import Fault, Steps
from faults_world import World
from pipeline_server import pipeline_server

from loopline.pipelines.spec import compiled_folder

_LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
pytestmark = [
    pytest.mark.skipif(_LIBRARY is None, reason="no libfaketime here: install Debian's package faketime"),
    pytest.mark.skipif(not ALL, reason="python3 make.py faults tries these: they take long"),
]
_names = itertools.count(1)


@pytest.fixture(scope="module")
def clock(place):
    """Moves the clock of the steps by so many hours."""
    file = place / "clock"
    file.write_text("+0")
    return lambda hours: file.write_text(f"{hours:+d}h")


@pytest.fixture(scope="module")
def moved(place, mlflow, clock):
    """A world whose steps go by that clock."""
    own = {
        "LD_PRELOAD": str(_LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(place / "clock"), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip
    variables = {"LOOPLINE_HOME": str(place / "moved home"), **mlflow}
    with Steps(place / "moved runs", variables, own) as steps:
        world = World(place / "moved world", steps)
        yield world
        if "site" in vars(world):
            world.site.close()


@pytest.mark.parametrize(
    "component", chosen("clock", ["register_model", "plan_sweep", "run_trials", "decide_retraining"])
)
@pytest.mark.parametrize("hours", [25, -25])
def test_killed_with_one_clock_and_run_again_with_another(moved, mlflow, clock, component, hours):
    clock(0)
    case = CASES[component](moved, mlflow, f"clock-{next(_names)}", component)
    clock(hours)
    ended = case.run(Fault(death=3))
    assert ended.killed or ended.status == 0, ended.said
    case.check(False)
    clock(0)
    again = case.run()
    assert again.status == 0, again.said
    case.check(True, again)
    clock(-hours)
    case.check(True, case.run())
    clock(0)


def test_rows_from_the_future_are_counted_and_not_lost(moved, clock, tmp_path):
    """With a clock that is a day and more late the log's rows lie ahead; once it is right they are all there."""
    import monitoring_models

    model = moved.out("train_xgboost", "model")
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    monitoring_models.write_traffic(
        tmp_path / "log", model, monitoring_models.make_events(100, seed=5), start=now - timedelta(hours=3), hours=2
    )
    given = {"model": model, "name": moved.NAME, "uri": tmp_path / "log", "hours": 24}
    clock(-25)
    late = moved.steps.run("collect_traffic", **given)
    assert late.value() == "0"
    assert '"clock_ahead": 100' in (late.out / "counts").read_text()
    clock(0)
    assert moved.steps.run("collect_traffic", **given).value() == "100"


@pytest.mark.parametrize("hours", [25, -25])
def test_an_event_starts_one_run_whatever_the_clock(moved, clock, tmp_path, hours):
    with pipeline_server(tmp_path) as (server, variables):
        server.hold("training", (compiled_folder() / "training.yaml").read_text())
        given = {"pipeline": "training", "event": "event 1", "parameters": '{"uri": "x", "target": "y", "name": "z"}'}
        fault = Fault(variables={**variables, "HOME": str(tmp_path)})
        first = moved.steps.run("trigger_pipeline", fault, **given)
        assert first.status == 0, first.said
        clock(hours)
        # The certificate is valid for an hour on either side: with this clock it is none that anyone may trust.
        ended = moved.steps.run("trigger_pipeline", fault, **given)
        assert ended.sentence
        clock(0)
        assert moved.steps.run("trigger_pipeline", fault, **given).value() == first.value()
        assert len(server.runs) == 1


def test_the_clock_of_the_steps_moves(moved, clock, tmp_path):
    """Else the tests above would show nothing."""
    clock(25)
    listed = moved.steps.run("list_windows", hours=1.0, pieces=1).value()
    clock(0)
    assert listed != moved.steps.run("list_windows", hours=1.0, pieces=1).value()
    assert os.environ.get("LD_PRELOAD") is None
