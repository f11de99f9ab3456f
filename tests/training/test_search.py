"""What Optuna decides: parameters that come next, and trials that are not worth going on with."""

import pytest

from loopline.components.evaluation.metrics import find_metric
from loopline.components.training.search import as_optuna, draw, is_hopeless
from loopline.components.training.space import read_space
from loopline.components.training.study import COMPLETE, PRUNED, RUNNING, Trial

LOSS, AREA = find_metric("binary", "log_loss"), find_metric("binary", "roc_auc")
SPACE = read_space("", '{"eta": {"low": 0.0, "high": 1.0}, "max_depth": {"low": 2, "high": 9}, "max_bin": 64}', 30)


def _complete(place: int, eta: float, loss: float, **more) -> Trial:
    scores = {"log_loss": loss, "roc_auc": 1 - loss}
    return Trial(f"r{place}", place, 0, COMPLETE, {"eta": eta, "max_depth": 5}, scores=scores, **more)


@pytest.mark.parametrize("metric", [LOSS, AREA])
def test_draws_move_to_where_trials_did_well(metric):
    trials = [_complete(place, place / 20, abs(place / 20 - 0.8)) for place in range(20)]
    drawn = [draw(SPACE, trials, place, 0, metric) for place in range(20, 30)]
    assert sum(abs(one["eta"] - 0.8) < 0.2 for one in drawn) >= 7
    assert all(one["max_bin"] == 64 and 2 <= one["max_depth"] <= 9 for one in drawn)
    # The same place, seed and history draw the same; another place does not.
    assert draw(SPACE, trials, 20, 0, metric) == drawn[0]
    assert len({one["eta"] for one in drawn}) == 10


def test_what_runs_or_was_given_up_is_seen_as_well():
    running = Trial("a", 0, 0, RUNNING, {"eta": 0.5, "max_depth": 3})
    given_up = Trial("b", 1, 0, PRUNED, {"eta": 0.1, "max_depth": 3}, curve={100: 0.7})
    study = as_optuna(SPACE, [running, given_up, Trial("c", 2, 0), _complete(3, 0.2, 0.4)], AREA)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "PRUNED", "COMPLETE"]
    assert study.trials[1].intermediate_values == {100: -0.7}
    assert study.best_value == pytest.approx(0.6)


def test_a_trial_behind_the_median_is_given_up_after_a_third_of_the_rounds():
    # The first three ended early: what they gave stands for the rounds they did not need.
    trials = [_complete(place, 0.1, 0.4, curve={15: 0.5, 40: 0.4 + place / 100}) for place in range(3)]
    trials.append(_complete(3, 0.1, 0.4, curve={15: 0.6, 105: 0.45, 300: 0.39}))
    assert is_hopeless({90: 0.6, 105: 0.43}, trials, 300)
    assert not is_hopeless({90: 0.6, 105: 0.41}, trials, 300)
    assert not is_hopeless({90: 0.9}, trials, 300), "the first third is left alone"
    assert not is_hopeless({105: 0.9}, trials[:3], 300), "three trials are no measure"
