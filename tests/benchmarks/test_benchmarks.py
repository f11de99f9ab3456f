"""Every benchmark runs, on the smallest sizes that it can: what it says at these is of no interest."""

import shutil

import pytest

from benchmarks import (
    compiling,
    drift_speed,
    engine,
    evaluation,
    growth,
    growth_columns,
    image,
    ingest,
    peers,
    promotions,
    training,
    validation,
)
from benchmarks.__main__ import _run_here
from benchmarks.measure import SideFailed, measure, measure_in
from benchmarks.race import Runner, race
from benchmarks.registry import BENCHMARKS, Benchmark
from benchmarks.result import Curve, Result, Table


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Keep the tests from fetching peers, whose sides are then listed as missing, and threads from waiting."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def peer_python(name):
        raise peers.PeerMissing("not installed: the tests fetch nothing")

    monkeypatch.setattr("benchmarks.race.peer_python", peer_python)


def check(parts, kind, title=""):
    """Return the first table or curve of a benchmark; all sides but the fetched ones have samples."""
    found = next(part for part in parts if isinstance(part, kind) and part.title.startswith(title))
    if kind is Table:
        for side in found.sides:
            assert side.samples or side.note == "not installed: the tests fetch nothing", side
        assert found.measured("ours", found.measures[0])
    return found


def test_ingest():
    table = check(ingest.run(gigabytes=0.001, repeats=1), Table)
    assert {side.name for side in table.sides if not side.samples} == {"polars, whole table", "polars, streamed"}


def test_validation():
    check(validation.run(rows=1000, repeats=1), Table)


def test_training():
    table = check(training.run(rows=1000, features=4, repeats=1, trees=3), Table)
    assert table.measured("limit", "peak MB")


def test_evaluation():
    check(evaluation.run(rows=500, many=1000, repeats=1, replicates=50), Table)


def test_drift():
    table = check(drift_speed.run(rows=1500, repeats=1, partitions=2), Table)
    assert {side.name for side in table.sides if not side.samples} == {"evidently", "nannyml", "whylogs", "frouros"}


def test_growth_of_rows_and_columns(monkeypatch):
    curve = check(growth_columns.run(columns=(4,), rows=500, repeats=1), Curve)
    assert list(curve.lines) == ["ingest", "validate", "split", "train", "evaluate"]
    assert [point.x for point in curve.lines["train"]] == [4]
    monkeypatch.setattr(growth, "measure_steps", lambda sizes, along: ({along: sizes}, {}))
    assert growth.run(rows=(100, 10_000_000), repeats=5)[0].lines == {"rows": [(100, 20, 5), (10_000_000, 20, 1)]}


@pytest.mark.skipif(not shutil.which("docker-registry") or not shutil.which("skopeo"), reason="needs both programs")
def test_image():
    parts = image.run(megabytes=(1,), repeats=1)
    assert check(parts, Table, "Fetch").measured("peer", "seconds")
    into = next(part for part in parts if part.title.endswith("into a registry"))
    assert into.measured("ours", "seconds")
    buildah = next(side for side in into.sides if side.name == "buildah")
    assert buildah.samples or buildah.note == "there is no buildah on this machine"


def test_promotions():
    curve = check(promotions.run(processes=(1, 2), sites=(1, 3), repeats=2), Curve, "One promotion")
    assert [point.x for point in curve.lines["roll all back"]] == [1, 3]


def test_compiling():
    curve = check(compiling.run(repeats=1, tasks=(1, 2)), Curve)
    small, large = next(iter(curve.lines.values()))
    assert large.samples["kB of YAML"] > small.samples["kB of YAML"]


def test_engine():
    check(engine.run(repeats=1, venv=False), Table)


def test_a_peer_that_fails_is_listed_and_ours_that_fails_ends_it():
    runners = [
        Runner("works", "json:dumps", {"obj": 1}, "ours"),
        Runner("fails", "json:loads", {"s": "{"}),
    ]
    table = race("Work", runners, repeats=2)
    assert [len(side.samples.get("seconds", [])) for side in table.sides] == [2, 0]
    assert "JSONDecodeError" in table.sides[1].note
    with pytest.raises(SideFailed, match="JSONDecodeError"):
        race("Work", [Runner("fails", "json:loads", {"s": "{"}, "ours")], repeats=1)


def test_sides_that_did_other_work_are_refused():
    runners = [Runner("one", "json:loads", {"s": "1"}, "ours"), Runner("two", "json:loads", {"s": "2"})]
    with pytest.raises(RuntimeError, match="did not do the same work"):
        race("Work", runners, repeats=1, agree=True)


def test_a_side_that_takes_too_long_is_ended():
    with pytest.raises(SideFailed, match="stopped after 1 s"):
        measure_in("python3", "subprocess", "call", {"args": ["sleep", "30"]}, limit_s=1)


def test_peak_memory_is_that_of_the_call():
    cost = measure("tests.benchmarks.hungry", "eat", megabytes=200)
    assert cost.peak - cost.before >= 200
    assert cost.result == 200


def test_a_benchmark_that_writes_markdown_is_kept_with_what_it_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(BENCHMARKS, "tiny", Benchmark("Tiny", "tiny"))
    monkeypatch.setattr(Benchmark, "load", lambda self: lambda: f"{measure('json', 'dumps', obj=1).result}")
    _run_here("tiny", tmp_path)
    kept = Result.load(tmp_path / "tiny.json")
    assert kept.parts[0].text == "1"
    assert kept.measured[-1]["call"] == "json.dumps"
