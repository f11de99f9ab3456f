"""What docs/reliability.md says is so: each test that it names is there, and as many faults are tried as it counts."""

import importlib.util
import re
from pathlib import Path

import faults_chosen
import pytest

ROOT = Path(__file__).parents[2]
#: The part of the page that is about these tests: delivery has one of its own.
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").partition("\n## Delivery")[0]
#: How a test stands in the table, and how many cases of it there are.
_NAMED = re.compile(r"`(test_\w+)` in `(tests/[\w/]+\.py)` \((\d+)\)")


def _cases(test) -> int:
    """Count what a test is parametrized with."""
    cases = 1
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            cases *= len(mark.args[1])
    return cases


@pytest.fixture
def whole(monkeypatch):
    """Load a file of tests as it is when all faults are tried."""
    monkeypatch.setattr(faults_chosen, "ALL", True)

    def load(file: str):
        spec = importlib.util.spec_from_file_location(f"whole_{Path(file).stem}", ROOT / file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_page_names_tests_that_are_there_and_counts_them(whole):
    rows = _NAMED.findall(PAGE)
    assert len(rows) > 20
    counted = 0
    for name, file, number in rows:
        test = getattr(whole(file), name, None)
        assert test, f"{name} is not in {file}"
        assert _cases(test) == int(number), f"{name} has {_cases(test)} cases"
        counted += int(number)
    assert f"The table has **{counted}** cases" in PAGE


def test_every_test_of_a_fault_is_on_the_page(whole):
    named = {(name, file) for name, file, _ in _NAMED.findall(PAGE)}
    for path in sorted((ROOT / "tests/faults").glob("test_*.py")):
        file = str(path.relative_to(ROOT))
        if path != Path(__file__):
            for name in vars(whole(file)):
                assert not name.startswith("test_") or (name, file) in named, f"{name} of {file} is not on the page"


def test_a_part_of_the_faults_has_every_component():
    """Over all faults: a component that no part had would be tried by nobody."""
    names = [f"component {number}" for number in range(9)]
    seen = {name for fault in "abcdefghij" for name in faults_chosen.chosen(fault, names)}
    assert seen == set(names)
