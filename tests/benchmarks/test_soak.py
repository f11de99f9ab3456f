"""The soak for some seconds, and that it fails where it should."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from delivery_models import train_small
from training_tables import make_table

from benchmarks.soak import __main__ as command
from benchmarks.soak.journal import FAULT, OPERATION, Event, Journal
from benchmarks.soak.load import Sample
from benchmarks.soak.memory import Growth, MemoryWatch
from benchmarks.soak.report import Soak, report_text, write_report
from benchmarks.soak.world import SITES, World, open_world
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.promotion import promote
from loopline.components.delivery.rollback import rollback
from loopline.pipelines.sites import control
from loopline.pipelines.sites.repository import init_config_repository


class SmallWorld(World):
    """Real sites, server processes and commits; models of a second ago instead of pipelines that take half a minute."""

    model, target = "small-late", "late"

    def begin(self) -> str:
        self._model = train_small(self.folder)
        init_config_repository()
        self.deliver(SITES)
        control.up(interval_s=0.2)
        return ""

    def train(self, seed: int) -> str:
        return ""

    def deliver(self, sites: tuple[str, ...]) -> str:
        self.newest += 1
        image = build_image(self._model, self.place, version=self.newest)
        attest_tested(image, {"result": "PASSED", "configuration": [], "passedTests": ["golden"]})
        promote("", ",".join(sites), image)
        self.versions.append(self.newest)
        return ""

    def roll_back(self, site: str, reason: str) -> str:
        rollback("", site, reason=reason)
        return ""

    def monitor(self, start: str, end: str) -> str:
        return "" if self.truth.read_text().startswith(f"request_id,row,{self.target}\nsoak-") else "no truth"

    def rows(self):
        return make_table(100, 2)


def test_some_seconds_of_load_and_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)  # a folder is quicker than a registry
    monkeypatch.setattr(command, "_QUIET_S", 1.0)
    with open_world(tmp_path / "soak", SmallWorld) as world:
        soak = command.soak_world(world, seconds=10, seed=14, per_second=10, every_s=2)
    page = write_report(soak, tmp_path)
    # A fault may end the agent after the few seconds that there are, and a shorter life is not judged.
    judged = any(growth.judged for growth in soak.memory)
    assert soak.problems == ([] if judged else ["No process lived long enough for its memory to be judged."]), (
        page.read_text()
    )
    assert {sample.site for sample in soak.samples} == set(SITES)
    assert len(soak.samples) > 3 * 10 * 10
    assert {event.kind for event in soak.events} == {FAULT, OPERATION}
    assert len(soak.versions) >= 2 and any(sample.version == "2" for sample in soak.samples)
    assert "agent of the sites" in {growth.name for growth in soak.memory}
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is judged
    assert world.leftovers() == []


@pytest.fixture
def passed() -> Soak:
    """A soak of three requests, of which one failed in an outage of its site."""
    samples = [
        Sample(0, "edge", 10.0, 0.01, "1", ""),
        Sample(1, "edge", 20.0, 0.01, "", "ServerDisconnectedError"),
        Sample(1, "cloud", 20.0, 0.01, "1", ""),
    ]
    events = [Event(FAULT, "kill -9 of the model server", ("edge",), outage=True, start=19.0, end=22.0)]
    memory = [Growth("agent of the sites", 1, 60.0, 100.0, 101.0, judged=True)]
    return Soak(1, "2026-11-28", 60.0, 1.0, "Here.", 0.0, samples, events, memory, [1], [])


def test_what_fails_in_an_outage_is_excused(passed):
    assert passed.problems == []
    assert "passed" in report_text(passed).splitlines()[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"samples": []}, "No request was sent"),
        ({"events": []}, "1 requests failed outside of outages (1 x ServerDisconnectedError)"),
        (
            {"events": [Event(FAULT, "away", ("edge",), outage=False, start=19.0, end=22.0)]},
            "failed outside of outages",
        ),
        (
            {"events": [Event(FAULT, "kill", ("cloud",), outage=True, start=19.0, end=22.0)]},
            "failed outside of outages",
        ),
        ({"memory": [Growth("agent", 1, 60.0, 100.0, 105.2, judged=True)]}, "The agent grew by 5.2%"),
        ({"memory": []}, "No process lived long enough"),
        ({"memory": [Growth("agent", 1, 6.0, 100.0, 105.2, judged=False)]}, "No process lived long enough"),
        ({"leftovers": ["7 python"]}, "A process was left over: 7 python"),
    ],
)
def test_what_must_not_be_is_said(passed, changes, sentence):
    soak = replace(passed, **changes)
    assert any(sentence in problem for problem in soak.problems)
    assert "FAILED" in report_text(soak).splitlines()[0]


def test_a_failed_operation_is_a_problem_unless_a_fault_spoiled_it(passed):
    failed = Event(OPERATION, "deliver it", ("edge",), start=1.0, end=2.0, problem="exit code 1")
    assert replace(passed, events=[*passed.events, failed]).problems == ["deliver it (edge): exit code 1"]
    journal = Journal()
    with journal.record(FAULT, "registry away") as event:
        assert journal.disturbed(event.start, event.start + 1)  # while it lasts
    assert not journal.disturbed(event.end + 1, event.end + 2)
    with journal.record(OPERATION, "stumble") as stumbled:
        raise RuntimeError("over a stone")
    assert stumbled.problem == "RuntimeError: over a stone"


def test_memory_that_grows_is_seen_through_its_noise():
    watch, noise = MemoryWatch(dict), np.random.default_rng(0)
    times = np.arange(0.0, 600.0, 2.0)
    for pid, slope in ((1, 0.0), (2, 0.02)):
        held = 100 + 50 * np.exp(-times / 10) + slope * times + noise.normal(0, 0.5, len(times))
        watch._seen["server", pid] = list(zip(times, held, strict=True))
    watch._seen["killed soon", 3] = watch._seen["server", 2][:100]
    steady, growing, short = watch.growth(600.0)
    assert abs(steady.percent) < 1 and 8 < growing.percent < 11
    assert (steady.judged, growing.judged, short.judged) == (True, True, False)
