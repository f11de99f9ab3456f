"""Thousands of generated inputs: each is refused in one sentence or taken, none ends in a traceback and none hangs.

In the suite a few thousand, the same each time; ``make.py hostile`` feeds eight times as many, others each time.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import hostile_door
import hostile_parsers
import hostile_peers
import hostile_requests
import pytest
from hostile_runs import FULL, TIMES, hammer
from serving_models import release

from loopline.components import STAGES
from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.model_server import serve
from loopline.components.model.directory import read_manifest

#: Inputs of one run, at least: all targets together.
LEAST = 10_000 if FULL else 2_000


def feed(module, names: Sequence[str], samples: Path, record_property) -> None:
    """Feed targets, and count what they were fed."""
    targets, tallies = module.targets(samples), hammer(module.__name__, list(names), samples)
    assert {name: tally.problem for name, tally in tallies.items() if tally.problem} == {}
    for name, tally in tallies.items():
        # Hypothesis ends early where a strategy has no more to give.
        assert tally.fed >= 0.9 * targets[name].count * TIMES - 1, (name, tally.fed)
        record_property("fed", tally.fed)
        record_property("refused", tally.refused)


@pytest.mark.parametrize("stage", sorted(set(STAGES.values())))
def test_components_refuse_what_they_cannot_use(stage, samples, record_property):
    feed(hostile_door, [name for name, of in STAGES.items() if of == stage], samples, record_property)


@pytest.mark.parametrize("group", hostile_parsers.GROUPS)
def test_what_strangers_write_is_read_or_refused(group, samples, record_property):
    feed(hostile_parsers, hostile_parsers.GROUPS[group](samples), samples, record_property)


def test_what_other_servers_answer_is_read_or_refused(samples, record_property):
    feed(hostile_peers, hostile_peers.targets(samples), samples, record_property)


@pytest.fixture(scope="module")
def asked(samples):
    """The samples with a real model server of their model beside them."""
    model = release(samples / "model", samples / "released", 1)
    with serve(model, LOOPLINE_SITE="edge") as server:
        values = {"url": server.url, "grpc": server.grpc, "model": str(model), "name": read_manifest(model).name}
        (samples / hostile_requests.SERVER).write_text(json.dumps(values))
        yield server


def test_a_model_server_refuses_what_is_no_request_and_goes_on(asked, samples, record_property):
    feed(hostile_requests, hostile_requests.targets(samples), samples, record_property)
    golden = read_golden(samples / "model").slice(0, 1)
    assert replay(golden, asked.url).passed


def test_enough_is_fed(samples):
    modules = (hostile_door, hostile_parsers, hostile_peers)
    assert sum(target.count * TIMES for module in modules for target in module.targets(samples).values()) >= LEAST
