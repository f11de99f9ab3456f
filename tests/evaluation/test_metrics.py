"""The metrics, their fast weighted twins, and the intervals made from them."""

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import choose_rows, draw_counts, resample
from loopline.components.evaluation.curves import operating_points, reliability, thin_precision_recall, thin_roc
from loopline.components.evaluation.metrics import METRICS, calibration_error, find_metric, resolve_direction, score
from loopline.components.evaluation.weighted import weighted_statistic


def sample(task: str, rows: int = 400, seed: int = 0):
    """Return truth and scores with many tied scores."""
    random = np.random.default_rng(seed)
    if task == "regression":
        truth = 50 + random.normal(size=rows) * 5
        return truth, truth + np.round(random.normal(size=rows), 1)
    classes = 2 if task == "binary" else 4
    truth = random.integers(0, classes, rows)
    scores = random.random((rows, classes)) + 0.8 * np.eye(classes)[truth]
    scores = np.round(scores / scores.sum(axis=1, keepdims=True), 2) + 0.01
    return truth, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_equal_scikit_learn_on_repeated_rows(task, seed):
    truth, scores = sample(task, seed=seed)
    statistic = weighted_statistic(task, truth, scores, 0.4)
    for counts in draw_counts(len(truth), 3, seed):
        rows = np.repeat(np.arange(len(truth)), counts.astype(int))
        expected = score(task, truth[rows], scores[rows], 0.4)
        # The bins of the calibration error are those of all rows, not of the rows drawn.
        expected.pop("calibration_error", None)
        found = statistic(counts)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("task", METRICS)
def test_weighted_metrics_equal_the_reported_ones_on_all_rows(task):
    truth, scores = sample(task)
    assert weighted_statistic(task, truth, scores)(np.ones(len(truth))) == pytest.approx(score(task, truth, scores))


def test_one_class_only_leaves_the_ranking_undefined_and_the_rest_defined():
    scores = np.column_stack([[0.9, 0.2], [0.1, 0.8]])
    found = score("binary", np.array([0, 0]), scores)
    undefined = {"roc_auc", "average_precision", "balanced_accuracy", "recall"}
    assert {name for name, value in found.items() if value is None} == undefined
    weighted = weighted_statistic("binary", np.array([0, 0]), scores)(np.ones(2))
    assert {name for name, value in weighted.items() if value is None} == undefined


def test_calibration_error_of_a_known_gap():
    # Two groups: 30 percent stated where 50 happen, 70 stated where 90 happen.
    truth = np.array([0, 1] * 50 + [1] * 90 + [0] * 10)
    probability = np.repeat([0.3, 0.7], 100)
    assert calibration_error(truth, probability) == pytest.approx(0.2)


def test_interval_matches_the_theory_of_a_mean():
    truth = np.zeros(2000)
    scores = np.random.default_rng(0).exponential(size=2000)
    statistic = weighted_statistic("regression", truth, scores, only={"mae"})
    low, high = resample(statistic, 2000, 2000, 2000, seed=1).interval("mae", float(scores.mean()))
    half = 1.96 * scores.std() / np.sqrt(2000)
    assert low == pytest.approx(scores.mean() - half, abs=half * 0.1)
    assert high == pytest.approx(scores.mean() + half, abs=half * 0.1)


def test_interval_of_a_part_of_the_rows_is_as_wide_as_that_of_all():
    truth, scores = sample("binary", rows=40_000)
    widths = []
    for work in (10**9, 5_000 * 400):
        chosen = choose_rows(len(truth), 400, 1, seed=0, work=work)
        statistic = weighted_statistic("binary", truth[chosen], scores[chosen], only={"roc_auc"})
        value = roc_auc_score(truth, scores[:, 1])
        low, high = resample(statistic, len(chosen), len(truth), 400, seed=0).interval("roc_auc", value)
        widths.append(high - low)
    assert len(chosen) == 5_000
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(1000 + seed)
        truth = random.integers(0, 2, 300)
        # Normal scores one standard deviation apart have an AUC of Phi(1 / sqrt(2)).
        probability = 1 / (1 + np.exp(-(random.normal(size=300) + truth)))
        scores = np.column_stack([1 - probability, probability])
        statistic = weighted_statistic("binary", truth, scores, only={"roc_auc"})
        replicates = resample(statistic, 300, 300, 200, seed)
        low, high = replicates.interval("roc_auc", replicates.centers["roc_auc"])
        covered += low <= 0.7602 <= high
    assert 88 <= covered <= 100


def test_thinned_roc_keeps_area_ends_and_finite_thresholds():
    truth, scores = sample("binary", rows=20_000)
    probability = np.clip(scores[:, 1] + np.random.default_rng(1).normal(size=20_000) * 0.1, 0, 1)
    false, true, thresholds = thin_roc(truth, probability)
    assert len(false) <= 200
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.isfinite(thresholds).all()
    assert auc(false, true) == pytest.approx(roc_auc_score(truth, probability), abs=2e-3)


def test_thinned_precision_recall_starts_where_enough_rows_are_called():
    truth = np.random.default_rng(0).integers(0, 2, 5000)
    probability = np.linspace(0.999, 0.001, 5000)
    recall, precision, thresholds = thin_precision_recall(truth, probability)
    assert len(recall) <= 400
    assert (recall[0], precision[0]) == (1, truth.mean())
    assert thresholds[-1] == pytest.approx(probability[9])
    assert precision[-1] == pytest.approx(truth[:10].mean())
    assert len(thin_precision_recall(np.array([0, 1]), np.array([0.2, 0.7]))[0]) == 2


def test_operating_points_count_what_a_threshold_calls():
    truth = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    points = {one.why: one for one in operating_points(truth, probability, 0.65)}
    chosen, best = points["chosen"], points["highest F1"]
    assert (chosen.called, chosen.precision, chosen.recall) == pytest.approx((0.3, 2 / 3, 2 / 3))
    assert (best.threshold, best.f1) == pytest.approx((0.6, 6 / 7))
    assert operating_points(truth, probability, 0.99)[0].precision is None


def test_operating_points_leave_out_shares_that_ties_make_unreachable():
    truth = np.tile([0, 1], 50)
    probability = np.append(np.ones(25), np.linspace(0.9, 0, 75))
    points = {one.why: one for one in operating_points(truth, probability, 0.5)}
    assert points["highest score"].called == 0.25
    assert {why for why in points if why.startswith("calls")} == {"calls 30% of the rows", "calls 50% of the rows"}
    assert points["calls 30% of the rows"].called == pytest.approx(0.3)


def test_reliability_bins_hold_every_row():
    truth, scores = sample("binary")
    bins = reliability(truth, scores[:, 1])
    assert sum(one.rows for one in bins) == len(truth)
    assert all(one.low <= one.observed <= one.high for one in bins)


def test_a_contradicted_direction_and_an_unknown_metric_are_refused():
    assert resolve_direction(find_metric("binary", "roc_auc"), "false") is False
    assert resolve_direction(find_metric("regression"), "auto") is True
    with pytest.raises(InputError, match="a higher roc_auc is better"):
        resolve_direction(find_metric("binary", "roc_auc"), "true")
    with pytest.raises(InputError, match="use auto, true or false"):
        resolve_direction(find_metric("binary"), "yes")
    with pytest.raises(InputError, match="'rmse' is unknown for a binary model"):
        find_metric("binary", "rmse")
