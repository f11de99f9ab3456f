"""Schedules made, replaced and looked after; what fires is told by the controller that the server has."""

import itertools
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pipeline_server import Fault

from loopline.components.errors import InputError
from loopline.pipelines.launching import connection, recurring, schedule, schedules, scheduling

PROGRAM = Path(sys.executable).with_name("loopline")
PARAMETERS = {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"}
WORDS = [word for name, value in PARAMETERS.items() for word in (f"--{name}", value)]
MONITORING = {"name": "flights", "target": "late", "history": "s3://bucket/flights"}


def daily(hours_from_now: float = 3) -> str:
    """Return an expression for once a day, at a time that is not near."""
    return f"{datetime.now(UTC) + timedelta(hours=hours_from_now):0 %M %H} * * *"


def freeze(server, now: datetime) -> None:
    """Let it be a time on the server."""
    server.clock = lambda: now


def pass_time(server, **amount) -> list[dict]:
    """Let time pass on the server, ten minutes at a time; returns the runs that were started."""
    started, end = [], server.clock() + timedelta(**amount)
    while server.clock() < end:
        now = server.clock() + timedelta(seconds=600)
        freeze(server, now)
        for run in server.control():
            run["state"] = "SUCCEEDED"
            started.append(run)
    return started


def test_a_schedule_is_one_run_at_a_time_without_catching_up_and_caching(server, loopline):
    done = loopline("schedule", "training", "--cron", "0 0 2 * * *", *WORDS)
    assert (done.returncode, done.stderr) == (0, "")
    (held,) = server.recurring
    assert held["display_name"] == "training-flights"
    assert held["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert (held["max_concurrency"], held["no_catchup"], held["mode"]) == ("1", True, "ENABLE")
    assert held["runtime_config"]["parameters"] == PARAMETERS
    assert [e["display_name"] for e in server.experiments] == ["training"]
    tasks = server.spec_of(held)["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert all(not task.get("cachingOptions") for task in tasks)
    assert "Schedule training-flights: every day at 02:00." in done.stdout
    assert "Next, in UTC (the default, since dspa could not be asked; --time-zone names another):" in done.stdout
    assert done.stdout.count(" 02:00 UTC\n") == 5


def test_the_next_times_are_in_the_clusters_time_zone(server, loopline):
    words = ("schedule", "training", "--cron", "0 0 2 * * *", *WORDS)
    done = loopline(*words, "--time-zone", "Asia/Tokyo")
    assert "Next, in Asia/Tokyo (as given):" in done.stdout and done.stdout.count(" 02:00 JST\n") == 5
    done = loopline("schedules", "list", "training-flights", CRON_SCHEDULE_TIMEZONE="Asia/Tokyo")
    assert "Next, in Asia/Tokyo (by CRON_SCHEDULE_TIMEZONE):" in done.stdout
    done = loopline(*words, "--time-zone", "Tokyo")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "There is no time zone 'Tokyo' (as given): write one like Europe/Berlin." in done.stderr


def test_a_period(server):
    made = schedule("training", PARAMETERS, every="6h")
    assert server.recurring[0]["trigger"] == {"periodic_schedule": {"interval_second": "21600"}}
    begin = made.schedule.created_at
    assert made.schedule.next_times(2) == [begin + timedelta(hours=6), begin + timedelta(hours=12)]
    fired = [run["scheduled_at"] for run in pass_time(server, hours=20)]
    assert [datetime.fromisoformat(text) - begin for text in fired] == [timedelta(hours=6 * n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cron", "0 2 * * *", *WORDS), 'To run every day at 02:00 write "0 0 2 * * *".'),
        (("--cron", "0 0 2 * * *"), "Pipeline training needs 'name', 'target', 'uri'"),
        (("--cron", "0 0 2 * * *", *WORDS, "--rounds", "many"), "Parameter 'rounds' is 'many'"),
        (WORDS, "A schedule needs its times: write either --cron"),
        (("--every", "1s", *WORDS), "is shorter than a minute"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(server, loopline, words, sentence):
    done = loopline("schedule", "training", *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert sentence in done.stderr
    assert server.asked == []


def test_the_same_schedule_is_left_as_it_is(server, loopline):
    cron = daily()
    loopline("schedule", "training", "--cron", cron, *WORDS)
    done = loopline("schedule", "training", "--cron", cron, *WORDS)
    assert "It was there already, and stays as it is." in done.stdout
    assert server.posted("/recurringruns") == 1


@pytest.mark.parametrize(
    "change",
    [{"cron": daily(5)}, {"every": "8h"}, {"arguments": PARAMETERS | {"rounds": 5}}, {"experiment": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_another_one_takes_its_place(server, change):
    first = schedule("training", PARAMETERS, cron=daily()).schedule
    wanted = {"arguments": PARAMETERS} | ({} if "every" in change else {"cron": daily()}) | change
    second = schedule("training", **wanted)
    assert [held["recurring_run_id"] for held in server.recurring] == [second.schedule.id] != [first.id]
    assert [other.id for other in second.replaced] == [first.id]
    # The new one is made before the old one goes.
    changes = [(m, p) for m, p, _ in server.asked if "recurringruns" in p and m != "GET"]
    assert changes[1:] == [
        ("POST", "/recurringruns"),
        ("POST", f"/recurringruns/{first.id}:disable"),
        ("DELETE", f"/recurringruns/{first.id}"),
    ]


def test_which_one_is_newer_does_not_hang_on_seconds_and_ids(server):
    """Servers tell times in whole seconds, and ids are random."""
    freeze(server, datetime.now(UTC))
    server._numbers = itertools.count(9, -1)
    schedule("training", PARAMETERS, cron=daily())
    second = schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())
    assert (second.notes, [held["runtime_config"]["parameters"]["rounds"] for held in server.recurring]) == ((), [5])


def test_a_schedule_that_is_paused_is_put_on_again(server):
    cron = daily()
    schedule("training", PARAMETERS, cron=cron).schedule.pause()
    assert server.recurring[0]["status"] == "DISABLED"
    assert schedule("training", PARAMETERS, cron=cron).made
    assert [held["status"] for held in server.recurring] == ["ENABLED"]


def test_no_time_is_lost_or_doubled_while_it_is_replaced_again_and_again(server):
    """Every day for ten days the schedule is replaced, at another hour each day."""
    freeze(server, datetime.now(UTC))
    begin, cron = server.clock(), daily(13)
    schedule("training", PARAMETERS, cron=cron)
    fired = []
    for day in range(10):
        fired += pass_time(server, hours=2 * day + 1)
        assert schedule("training", PARAMETERS | {"rounds": day}, cron=cron).made
        fired += pass_time(server, hours=23 - 2 * day)
    assert len(server.recurring) == 1
    due = datetime.fromisoformat(fired[0]["scheduled_at"])
    assert begin < due < begin + timedelta(days=1)
    assert [datetime.fromisoformat(run["scheduled_at"]) - due for run in fired] == [
        timedelta(days=n) for n in range(10)
    ]


def test_a_period_goes_on_as_before_when_it_is_replaced(server):
    """Else each replacement would begin it anew, and one a day would keep a daily run from ever coming."""
    freeze(server, datetime.now(UTC) - timedelta(hours=10))
    first = schedule("training", PARAMETERS, every="6h").schedule
    freeze(server, datetime.now(UTC))
    server.control()[0]["state"] = "SUCCEEDED"
    second = schedule("training", PARAMETERS | {"rounds": 5}, every="6h").schedule
    assert second.next_times(1) == [first.created_at + timedelta(hours=12)]
    (run,) = pass_time(server, hours=3)
    assert datetime.fromisoformat(run["scheduled_at"]) == first.created_at + timedelta(hours=12)


def test_killed_between_making_and_deleting_both_are_there_and_the_next_call_mends_it(server, loopline, tmp_path):
    cron = daily()
    loopline("schedule", "training", "--cron", cron, *WORDS)
    words = [str(PROGRAM), "schedule", "training", "--cron", cron, *WORDS, "--rounds", "5"]
    process = subprocess.Popen(words, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.DEVNULL)
    server.before["POST", "/recurringruns/{recurring_run_id}:disable"] = process.kill
    assert process.wait(60) == -9
    (old, new) = server.recurring
    assert new["status"] == "ENABLED" and new["runtime_config"]["parameters"]["rounds"] == 5
    old["status"] = "ENABLED"  # as it is if the kill comes before the server reads the request
    told = loopline("schedules", "list").stdout
    assert "training-flights is there 2 times: it was being replaced." in told

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [held["recurring_run_id"] for held in server.recurring] == [new["recurring_run_id"]]
    assert "It was there already" in done.stdout


@pytest.mark.parametrize("taken", [False, True], ids=["not taken", "answer lost"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/recurringruns"), ("POST", "/recurringruns"), ("POST", ":disable"), ("GET", "/runs"),
     ("DELETE", "/recurring-1"), ("POST", "/upload_version"), ("POST", "/experiments")],
    ids=lambda part: part,
)  # fmt: skip
def test_a_server_that_is_away_for_a_moment_has_one_schedule_in_the_end(server, method, path, taken):
    fault = Fault(method, path, taken=taken)
    if path not in ("/upload_version", "/experiments"):
        schedule("training", PARAMETERS, cron=daily())
    server.faults.append(fault)
    made = schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())
    assert fault.times == 0, "the fault did not come about"
    assert [held["recurring_run_id"] for held in server.recurring] == [made.schedule.id]
    assert server.recurring[0]["runtime_config"]["parameters"]["rounds"] == 5


def test_a_server_that_stays_away_keeps_the_old_one(server, monkeypatch):
    monkeypatch.setattr(connection, "PAUSES", (0.0,))
    first = schedule("training", PARAMETERS, cron=daily()).schedule
    server.faults.append(Fault("POST", "/recurringruns", times=100))
    with pytest.raises(InputError, match="503"):
        schedule("training", PARAMETERS, cron=daily(5))
    assert [(held["recurring_run_id"], held["status"]) for held in server.recurring] == [(first.id, "ENABLED")]


@pytest.mark.parametrize("when", [("POST", "/recurringruns"), ("POST", "/recurringruns/{recurring_run_id}:disable")])
def test_of_two_people_at_once_one_schedule_stays(server, when):
    schedule("training", PARAMETERS, cron=daily())
    theirs = []
    server.before[when] = lambda: theirs.append(schedule("training", PARAMETERS | {"rounds": 7}, cron=daily()))
    mine = schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())
    assert len(theirs) == 1, "the other call did not come about"
    (left,) = server.recurring
    assert left["status"] == "ENABLED"
    if left["runtime_config"]["parameters"]["rounds"] == 7:
        assert any("Somebody else set this schedule at the same moment" in note for note in mine.notes)
    else:
        assert mine.schedule.id == left["recurring_run_id"]


def test_a_schedule_that_somebody_deletes_as_it_is_made_is_said(server):
    schedule("training", PARAMETERS, cron=daily())
    server.before["POST", "/recurringruns/{recurring_run_id}:disable"] = server.recurring.clear
    with pytest.raises(InputError, match="Somebody deleted schedule 'training-flights' as it was made"):
        schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())


@pytest.mark.parametrize("orphans", [False, True], ids=["up to KFP 2.15", "newer"])
def test_a_run_that_goes_on_is_not_ended_with_the_old_schedule(server, orphans):
    server.orphans = orphans
    first = schedule("training", PARAMETERS, cron=daily()).schedule
    freeze(server, datetime.now(UTC) + timedelta(hours=4))
    (run,) = server.control()
    run["state"] = "RUNNING"
    second = schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())
    assert run["state"] == "RUNNING"
    assert {held["recurring_run_id"]: held["status"] for held in server.recurring} == {
        first.id: "DISABLED",
        second.schedule.id: "ENABLED",
    }
    assert f"since its run {run['run_id']} goes on" in second.notes[0]

    run["state"] = "SUCCEEDED"
    schedule("training", PARAMETERS | {"rounds": 5}, cron=daily())
    assert [held["recurring_run_id"] for held in server.recurring] == [second.schedule.id]


def test_a_time_that_is_due_is_let_pass_first(server, monkeypatch):
    """The server starts what is due some seconds late: until then the old schedule stays, and no new one is made."""
    monkeypatch.setattr(scheduling, "_LOOK_S", 0.05)
    freeze(server, datetime.now(UTC) - timedelta(hours=30))
    cron = f"{datetime.now(UTC) - timedelta(seconds=2):%S %M %H} * * *"
    schedule("training", PARAMETERS, cron=cron)
    server.clock = lambda: datetime.now(UTC)
    told, order = [], []

    def late():
        time.sleep(1)
        order.extend(run["scheduled_at"] for run in server.control())

    server.before["POST", "/recurringruns"] = lambda: order.append("made")
    controller = threading.Thread(target=late)
    controller.start()
    schedule("training", PARAMETERS | {"rounds": 5}, cron=cron, note=told.append)
    controller.join()
    assert len(order) == 2 and order[1] == "made"
    assert "so that replacing the schedule neither loses nor doubles it" in told[0]


def test_a_schedule_of_another_pipeline_is_not_replaced(server):
    schedule("monitoring", MONITORING, every="24h", name="nightly")
    with pytest.raises(InputError, match=r"There is a schedule 'nightly' of monitoring-.*: choose another name"):
        schedule("training", PARAMETERS, every="24h", name="nightly")
    assert len(server.recurring) == 1


def test_schedules_are_listed_paused_resumed_and_deleted(server, loopline):
    server.page = 1
    assert "There is no schedule: `loopline schedule PIPELINE" in loopline("schedules", "list").stdout
    loopline("schedule", "training", "--cron", "0 0 2 * * *", *WORDS)
    words = [word for name, value in MONITORING.items() for word in (f"--{name}", value)]
    loopline("schedule", "monitoring", "--every", "24h", *words, "--as", "watch")
    lines = loopline("schedules", "list").stdout.splitlines()
    assert lines[0].split() == ["SCHEDULE", "FIRES", "NEXT", "STATE", "PIPELINE"]
    assert [line.split()[0] for line in lines[1:3]] == ["training-flights", "watch"]
    assert "every day at 02:00" in lines[1] and "  on     training-" in lines[1]

    assert loopline("schedules", "pause", "training-flights").returncode == 0
    assert [held["status"] for held in server.recurring] == ["DISABLED", "ENABLED"]
    assert "  paused  " in loopline("schedules", "list").stdout.splitlines()[1]
    assert "every day at 02:00, paused" in loopline("schedules", "list", "training-flights").stdout
    assert loopline("schedules", "resume", "training-flights").stdout.count(" 02:00 UTC\n") == 5
    assert [held["status"] for held in server.recurring] == ["ENABLED", "ENABLED"]
    assert loopline("schedules", "delete", "training-flights").returncode == 0
    assert [held["display_name"] for held in server.recurring] == ["watch"]
    done = loopline("schedules", "pause", "nightly")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "There is no schedule 'nightly': `loopline schedules list` shows what there is." in done.stderr


def test_deleting_waits_for_a_run_that_goes_on_unless_forced(server, loopline):
    server.orphans = False
    schedule("training", PARAMETERS, cron=daily())
    freeze(server, datetime.now(UTC) + timedelta(hours=4))
    (run,) = server.control()
    done = loopline("schedules", "delete", "training-flights")
    assert done.returncode == 2
    assert f"Run {run['run_id']} of schedule training-flights goes on" in done.stderr
    assert (server.recurring[0]["status"], run["state"]) == ("DISABLED", "PENDING")
    assert loopline("schedules", "delete", "training-flights", "--force").returncode == 0
    assert server.recurring == []


def test_what_somebody_else_made_is_shown_as_far_as_it_can_be_read(server):
    server.hold("training", (Path(recurring.__file__).parents[2] / "compiled" / "training.yaml").read_text())
    common = {
        "runtime_config": {"parameters": PARAMETERS},
        "pipeline_version_reference": {"pipeline_id": "pipeline-0"},
        "max_concurrency": "3",
        "mode": "ENABLE",
    }
    server.add_recurring(common | {"display_name": "five", "trigger": {"cron_schedule": {"cron": "0 2 * * *"}}})
    server.recurring[0]["recurring_run_id"] = "a"
    server.add_recurring(
        common | {"display_name": "newest", "trigger": {"periodic_schedule": {"interval_second": "60"}}}
    )
    server.add_recurring(
        common | {"display_name": "wild", "trigger": {"periodic_schedule": {"interval_second": "9000000000000"}}}
    )
    five, newest, wild = schedules()
    assert (wild.words, wild.next_times()) == ("not known", [])
    assert (five.words, five.next_times()) == ("cron '0 2 * * *'", [])
    assert newest.pipeline == "training, the newest version"


@pytest.mark.parametrize(
    ("times", "hours", "sentence"),
    [
        ({"every": "24h"}, {}, None),
        ({"every": "6h"}, {"hours": 6}, None),
        ({"every": "36h"}, {}, "traffic in between is never looked at. Set hours to 36."),
        ({"cron": "0 0 3 * * 1-5"}, {}, "A window is 24 hours long and runs are up to 72 hours apart"),
        ({"every": "6h"}, {}, "windows overlap: right where the truth comes late, else set hours to 6."),
        ({"cron": "0 0 3 * * *"}, {"start": "2026-11-01"}, "every run looks at the same traffic"),
    ],
)
def test_windows_that_do_not_fit_the_period_are_said(server, times, hours, sentence):
    made = schedule("monitoring", MONITORING | hours, **times)
    assert len(made.notes) == (sentence is not None)
    if sentence:
        assert sentence in made.notes[0]


def test_in_a_notebook_schedules_show_themselves(server):
    made = schedule("training", PARAMETERS | {"name": "<i>x"}, cron="0 0 2 * * *")
    page = made._repr_html_()
    assert "every day at 02:00" in page and page.count("<tr>") == 1 + 5 and "<i>x" not in page
    table = schedules()._repr_html_()
    assert "training-&lt;i&gt;x" in table and "<i>x" not in table
    made.schedule.delete()
    assert schedules() == []
