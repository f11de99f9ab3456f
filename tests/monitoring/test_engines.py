"""The two engines: the same tests with the same answers, missing values and rare categories included."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from loopline.components.errors import InputError
from loopline.components.monitoring.engines import open_engine
from loopline.components.monitoring.engines.engine import join_rare

needs_alibi = pytest.mark.skipif(importlib.util.find_spec("alibi_detect") is None, reason="alibi-detect is missing")


def make_columns(rows: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gaps = rng.normal(shift, 1, rows)
    gaps[rng.random(rows) < 0.3] = np.nan
    levels = rng.choice(6, rows, p=[0.4, 0.3, 0.15, 0.1, 0.045, 0.005])
    return {
        "plain": rng.normal(shift, 1, rows),
        "gaps": gaps,
        "tied": rng.poisson(2, rows).astype(float),
        "category": np.where(rng.random(rows) < 0.1, -1, levels).astype(np.int64),
        "flag": (rng.random(rows) < 0.3 + shift).astype(np.int64),
    }


@pytest.fixture(scope="module")
def alibi():
    return open_engine("alibi")


@needs_alibi
@pytest.mark.parametrize("rows", [15, 700])
def test_engines_give_the_same_tests(alibi, rows):
    before, now = make_columns(900, 1), make_columns(rows, 2, shift=0.15)
    ours, theirs = (engine.test_columns(before, now) for engine in (open_engine("scipy"), alibi))
    assert [(one.name, one.test) for one in ours] == [(one.name, one.test) for one in theirs]
    assert {one.test for one in ours} >= {"kolmogorov_smirnov", "cramer_von_mises", "chi_squared", "fisher_exact"}
    np.testing.assert_allclose([one.p_value for one in ours], [one.p_value for one in theirs], atol=1e-6)
    np.testing.assert_allclose([one.statistic for one in ours], [one.statistic for one in theirs], rtol=1e-5)
    assert all(0 < one.p_value <= 1 for one in ours)


@needs_alibi
def test_engines_judge_the_domain_alike(alibi):
    rng = np.random.default_rng(3)
    before, now = rng.normal(size=(600, 3)), rng.normal(size=(400, 3))
    now[:, 1] = now[:, 0] * 0.9 + now[:, 1] * 0.4
    state = np.random.get_state()[1].copy()
    found = [engine.test_domain(before, now, [], 5) for engine in (open_engine("scipy"), alibi)]
    assert found[0] == found[1]
    assert found[0].rows == 500 and found[0].auc_low > 0.55 and found[0].p_value < 1e-6
    assert (np.random.get_state()[1] == state).all()


def test_domain_reads_categories_and_says_nothing_of_the_same_population():
    rng = np.random.default_rng(4)
    engine = open_engine("scipy")
    # 400 categories are more than boosting takes; -1 would be a number like any other, so missing is NaN.
    before, now, moved = (np.where(rng.random((800, 1)) < 0.1, np.nan, rng.integers(0, 400, (800, 1))) for _ in "abc")
    same = engine.test_domain(before, now, [0], 0)
    assert same.auc_low < 0.5 < same.auc_high and same.p_value > 0.01
    moved[rng.random(800) < 0.4] = 7
    assert engine.test_domain(before, moved, [0], 0).p_value < 1e-6


def test_missing_values_hide_no_drift():
    rng = np.random.default_rng(5)
    before, now = rng.normal(size=1000), rng.normal(0.5, 1, 1000)
    now[rng.random(1000) < 0.9] = np.nan
    tests = open_engine("scipy").test_columns({"x": before}, {"x": now})
    assert all(one.p_value < 1e-3 for one in tests)
    absent = open_engine("scipy").test_columns({"x": before}, {"x": np.full(1000, np.nan)})
    assert [one.p_value for one in absent] == [None, None]


def test_rare_categories_are_joined():
    before = np.repeat(np.arange(6), [500, 300, 190, 4, 3, 3]).astype(np.int64)
    now = np.repeat(np.arange(6), [510, 290, 192, 3, 4, 1]).astype(np.int64)
    joined, joined_now, levels = join_rare(before, now)
    assert levels == 4
    assert np.bincount(joined).tolist() == [500, 300, 190, 10] and np.bincount(joined_now).tolist() == [
        510,
        290,
        192,
        8,
    ]
    # A category that is new and not rare stays one of its own.
    assert join_rare(before, np.concatenate([now, np.full(50, 9)]))[2] == 5


def test_chi_squared_is_the_textbooks():
    before = np.repeat([0, 1, 2], [10, 20, 30]).astype(np.int64)
    now = np.repeat([0, 1, 2], [20, 20, 20]).astype(np.int64)
    (test,) = open_engine("scipy").test_columns({"c": before}, {"c": now})
    # Expected 15, 20, 25 a side: 2 * (25/15 + 0 + 25/25) = 16/3; two degrees of freedom: exp(-statistic / 2).
    assert test.statistic == pytest.approx(16 / 3)
    assert test.p_value == pytest.approx(np.exp(-8 / 3))


def test_equal_values_make_no_alarm():
    engine = open_engine("scipy")
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(200):
        before, now = ({"x": rng.poisson(0.2, 400).astype(float)} for _ in range(2))
        p_values += [one.p_value for one in engine.test_columns(before, now) if one.test == "cramer_von_mises"]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.11
    constant = engine.test_columns({"x": np.ones(5000)}, {"x": np.ones(3000)})
    assert [one.p_value for one in constant] == [1.0, 1.0]


def test_constant_columns_and_unknown_engines():
    tests = open_engine("scipy").test_columns({"c": np.zeros(50, np.int64)}, {"c": np.zeros(30, np.int64)})
    assert tests[0].p_value == 1.0
    with pytest.raises(InputError, match="choose from alibi, scipy"):
        open_engine("frouros")


def test_without_alibi_detect_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "alibi_detect", None)
    with pytest.raises(InputError, match=r"pip install loopline\[drift\].*choose scipy"):
        open_engine("alibi")


def test_alibi_detect_is_not_imported_before_it_is_asked_for():
    program = (
        "import sys; from loopline.components.monitoring import battery, engines; engines.open_engine('scipy'); "
        "sys.exit('alibi_detect' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
