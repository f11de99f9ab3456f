"""Combining tests of one column, and holding the false alarms of many."""

import numpy as np
import pytest
from scipy import stats

from loopline.components.monitoring.multiplicity import combine, weighted_holm


def test_tests_that_agree_do_not_dilute_each_other():
    assert combine([0.003, 0.003, 0.003], [0.7, 0.2, 0.1]) == pytest.approx(0.003)
    assert combine([1e-4, 0.5], [0.8, 0.2]) == pytest.approx(1e-4 / 0.8, rel=1e-3)


def test_one_sure_nothing_outweighs_no_signal():
    # An exact test gives 1 where nothing has happened at all.
    assert combine([1e-6, 1.0], [0.95, 0.05]) == pytest.approx(1e-6 / 0.95, rel=1e-3)
    assert combine([0.0, 1.0], [0.5, 0.5]) == 0.0
    assert combine([1e-200, 0.4], [0.5, 0.5]) == pytest.approx(2e-200)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_combined_p_values_keep_their_level_under_dependence(correlation):
    rng = np.random.default_rng(0)
    first = rng.normal(size=200_000)
    second = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=first.size)
    p_values = 2 * stats.norm.sf(np.abs(np.column_stack([first, second])))
    # The same formula for all rows at once; a few rows show that it is the function's.
    statistic = (np.tan((0.5 - np.minimum(p_values, 0.99)) * np.pi) * [0.75, 0.25]).sum(axis=1)
    combined = 0.5 - np.arctan(statistic) / np.pi
    assert combine(p_values[7], [0.75, 0.25]) == pytest.approx(combined[7])
    share = (combined < 0.0025).mean()
    assert 0.7 * 0.0025 < share < 0.0025 * 1.15 + 3 * np.sqrt(0.0025 / first.size)


def test_holm_is_the_textbooks():
    # Equal weights: 4 * 0.01, 3 * 0.015, 2 * 0.03 (raised to what came before), 0.2.
    np.testing.assert_allclose(weighted_holm([0.03, 0.01, 0.2, 0.015], [1, 1, 1, 1]), [0.06, 0.04, 0.2, 0.045])
    # 0.01 has a tenth of alpha: 0.1; then the other has all of it.
    np.testing.assert_allclose(weighted_holm([0.01, 0.2], [0.1, 0.9]), [0.1, 0.2])
    np.testing.assert_allclose(weighted_holm([0.9, 0.9], [0.5, 0.5]), [1.0, 1.0])


def test_holm_holds_the_share_of_false_alarms():
    rng = np.random.default_rng(1)
    weights = [0.5, 0.2, 0.2, 0.05, 0.05]
    alarms = [weighted_holm(rng.random(5), weights).min() < 0.05 for _ in range(20_000)]
    assert 0.043 < np.mean(alarms) < 0.054
