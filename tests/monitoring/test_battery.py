"""The battery: every kind of drift is seen, false alarms of everything together stay below alpha."""

import numpy as np
import pytest
from scipy import stats

from loopline.components.monitoring import pairs, ranks
from loopline.components.monitoring.battery import run_battery
from loopline.components.monitoring.engines import open_engine

ENGINE = open_engine("scipy")


def make_table(seed: int, rows: int = 1000, correlation: float = 0.6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = {f"x{i}": rng.normal(size=rows) for i in range(5)}
    table["x1"] = correlation * table["x0"] + np.sqrt(1 - correlation**2) * table["x1"]
    # Correlated with heavy tails: Fisher's error would be far too small here.
    heavy = rng.standard_t(1.5, size=rows)
    table["x3"], table["x4"] = heavy * table["x3"], heavy * table["x4"]
    for i in range(3):
        table[f"c{i}"] = rng.choice(5, rows, p=[0.3, 0.25, 0.2, 0.15, 0.1]).astype(np.int64)
    gaps = rng.random(rows) < 0.1
    table["x2"][gaps] = np.nan
    # Few distinct values, most of them zero; and the same value everywhere.
    table["count"], table["constant"] = rng.poisson(0.3, rows).astype(float), np.ones(rows)
    table["c2"][rng.random(rows) < 0.05] = -1
    return table


def smallest(result) -> float:
    everything = [column.adjusted_p for column in result.columns.values()] + [pair.adjusted_p for pair in result.pairs]
    everything += [one.adjusted_p for one in (result.joint, result.domain) if one]
    return min(everything)


@pytest.mark.parametrize("rows", [200, 1000])
def test_false_alarms_stay_below_alpha(rows):
    trials = 150
    alarms = [
        smallest(run_battery(ENGINE, make_table(2 * i), make_table(2 * i + 1, rows), domain=False)) < 0.05
        for i in range(trials)
    ]
    # At 5 % this many or more happen once in a thousand such tests.
    assert sum(alarms) <= stats.binom.isf(0.001, trials, 0.05)


def test_what_moved_is_named():
    before, now = make_table(0), make_table(1)
    now["x0"] = now["x0"] + 0.4
    now["x3"] = now["x3"] * 2
    now["c1"][:250] = 4
    now["x2"][:400] = np.nan
    result = run_battery(ENGINE, before, now, domain=False)
    loudest = {name: column.test for name, column in result.columns.items() if column.adjusted_p < 0.05}
    assert loudest == {"x0": "normal_scores", "x3": "squared_normal_scores", "c1": "chi_squared", "x2": "missing"}
    assert result.columns["x2"].statistic == pytest.approx(0.36, abs=0.03)
    assert smallest(run_battery(ENGINE, before, before, domain=False)) == 1.0


def test_a_changed_correlation_is_seen_in_no_column_but_in_the_pair():
    result = run_battery(ENGINE, make_table(2), make_table(3, correlation=0.0), domain=False)
    assert min(column.adjusted_p for column in result.columns.values()) > 0.05
    top = result.pairs[0]
    assert {top.first, top.second} == {"x0", "x1"} and top.adjusted_p < 1e-6
    assert top.reference == pytest.approx(0.58, abs=0.06) and top.current == pytest.approx(0, abs=0.1)


def test_a_small_shift_of_everything_is_seen_together():
    rng = np.random.default_rng(4)
    before, now = rng.normal(size=(2, 1000, 20))
    columns = [{f"x{i}": side[:, i] for i in range(20)} for side in (before, now + 0.1)]
    result = run_battery(ENGINE, *columns, domain=False)
    assert result.joint.adjusted_p < 1e-3 and result.joint.shift == pytest.approx(0.1, abs=0.03)


def test_only_the_classifier_sees_an_interaction():
    rng = np.random.default_rng(5)
    before = {name: rng.normal(size=2000) for name in "abc"}
    now = {name: rng.normal(size=2000) for name in "abc"}
    now["c"] = np.abs(now["c"]) * np.sign(now["a"] * now["b"])  # No pair is correlated: all three hang together.
    result = run_battery(ENGINE, before, now, seed=1)
    assert result.domain.adjusted_p < 1e-4 and result.domain.auc_low > 0.55
    others = [column.adjusted_p for column in result.columns.values()] + [pair.adjusted_p for pair in result.pairs]
    assert min(others) > 0.05


def test_odd_columns_are_judged_or_left_out():
    rows = 60
    rng = np.random.default_rng(6)
    before = {
        "empty": np.full(rows, np.nan),
        "constant": np.ones(rows),
        "fine": rng.normal(size=rows),
        "copy": np.zeros(rows),
        "nothing": np.full(rows, -1),
    }
    before["copy"] = before["fine"].copy()
    result = run_battery(ENGINE, before, {name: values[:40].copy() for name, values in before.items()})
    assert smallest_or_one(result) > 0.5
    assert result.columns["empty"].p_value == pytest.approx(0.99)  # That nothing is there has not changed.
    lone = run_battery(ENGINE, {"c": np.zeros(0, np.int64)}, {"c": np.ones(9, np.int64)})
    assert lone.columns["c"].adjusted_p is None and not lone.pairs and lone.joint is None and lone.domain is None


def smallest_or_one(result) -> float:
    return min([column.adjusted_p for column in result.columns.values() if column.adjusted_p is not None] or [1.0])


def test_rank_tests_agree_with_all_permutations():
    rng = np.random.default_rng(7)
    scores = rng.exponential(size=60) ** 2
    statistic, p_value = ranks.linear_rank_test(scores, 12)
    drawn = np.array([rng.permutation(scores)[-12:].sum() for _ in range(40_000)])
    extreme = scores[-12:].sum()
    tail = min((drawn >= extreme).mean(), (drawn <= extreme).mean())
    assert p_value == pytest.approx(2 * tail, rel=0.1)
    moved = np.sort(scores)
    tail = (drawn >= moved[-14:-2].sum()).mean()
    assert ranks.linear_rank_test(np.concatenate([moved[:-14], moved[-2:], moved[-14:-2]]), 12)[1] < max(4 * tail, 0.01)
    assert ranks.linear_rank_test(scores, 12)[0] == pytest.approx(statistic)


def test_joint_shift_is_the_one_of_multivariate_analysis():
    rng = np.random.default_rng(8)
    values = rng.normal(size=(300, 1))
    # One column: Pillai's trace is the t-test's t^2 / (t^2 + n - 2).
    scores = values - values.mean()
    _, p_value = ranks.joint_location_test(scores, 100)
    assert p_value == pytest.approx(stats.ttest_ind(values[200:, 0], values[:200, 0]).pvalue)


def test_errors_of_correlations_are_right_where_fishers_are_not():
    rng = np.random.default_rng(9)

    def heavy(rows):
        factor = rng.choice([0.01, 1.0, 100.0], size=(rows, 1))
        return factor * rng.normal(size=(rows, 2)) + 0.3 * factor * rng.choice([-1, 1], size=(rows, 1))

    found = [pairs.pair_tests(heavy(400), heavy(300), ["a", "b"])[0] for _ in range(400)]
    p_values = np.array([one.p_value for one in found])
    assert 0.02 < (p_values < 0.05).mean() < 0.085
    fisher = 2 * stats.norm.sf(
        [abs(np.arctanh(one.reference) - np.arctanh(one.current)) / np.sqrt(1 / 397 + 1 / 297) for one in found]
    )
    assert (fisher < 0.05).mean() > 1.3 * (p_values < 0.05).mean()


def test_ties_make_no_pair_drift():
    rng = np.random.default_rng(11)

    def tied(rows):
        rain = np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(size=rows))
        return np.column_stack([rain, rng.poisson(0.2 + rain)])

    p_values = np.array([pairs.pair_tests(tied(500), tied(300), ["a", "b"])[0].p_value for _ in range(400)])
    assert (p_values < 0.05).mean() < 0.085 and (p_values < 0.005).mean() < 0.02


def test_pairs_skip_what_is_missing():
    rng = np.random.default_rng(10)
    before, now = rng.normal(size=(2, 500, 3))
    before[:, 1] = before[:, 0]
    now[:, 1] = now[:, 0]
    before[:480, 2] = np.nan
    now[:250, 1] = np.nan
    (test,) = pairs.pair_tests(before, now, ["a", "b", "c"])
    assert (test.first, test.second) == ("a", "b") and test.p_value > 0.01
    assert test.reference == pytest.approx(1) and test.current == pytest.approx(1, abs=0.02)
