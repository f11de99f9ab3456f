"""What a sweep tries, and what is refused before anything runs."""

import json

import pytest

from loopline.components.errors import InputError
from loopline.components.training.space import DEFAULT_SPACE, Range, read_space
from loopline.components.training.sweep import Worker, plan_sweep


def test_space_is_ranges_choices_and_fixed_values():
    text = '{"max_depth": {"low": 3, "high": 9}, "learning_rate": {"low": 0.01, "high": 1, "log": true}, '
    space = read_space("", text + '"subsample": [0.7, 0.9], "max_bin": 64}', 5)
    assert space.ranges == {"max_depth": Range(3, 9), "learning_rate": Range(0.01, 1, log=True)}
    assert (space.choices, space.fixed, space.count) == ({"subsample": [0.7, 0.9]}, {"max_bin": 64}, 5)
    kinds = {name: type(one).__name__ for name, one in space.distributions().items()}
    assert kinds == {
        "max_depth": "IntDistribution", "learning_rate": "FloatDistribution", "subsample": "CategoricalDistribution",
    }  # fmt: skip
    assert space.corners() == [
        {"max_depth": 3, "learning_rate": 0.01, "subsample": 0.7, "max_bin": 64},
        {"max_depth": 9, "learning_rate": 1, "subsample": 0.9, "max_bin": 64},
    ]


def test_sets_are_their_own_trials():
    space = read_space('{"max_depth": [4, 8], "eta": [0.1]}', "", 20)
    assert space.count == 2
    assert space.corners() == [{"eta": 0.1, "max_depth": 4}, {"eta": 0.1, "max_depth": 8}]


def test_nothing_given_is_the_default():
    assert read_space("", "", 20).ranges.keys() == DEFAULT_SPACE.keys()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("[{}]", '{"max_depth": [3]}', 5), "Both parameter_sets and space are given"),
        (("", "[1]", 5), "space '[1]' is not a JSON object"),
        (("", '{"max_depth": 3}', 5), "leaves nothing to try"),
        (("", '{"max_depth": {"low": 3}}', 5), "'max_depth' is {\"low\": 3}: give the numbers low and high"),
        (("", '{"max_depth": {"low": 3, "high": 9, "log": 1}}', 5), "cannot be logarithmic"),
        (("", '{"eta": {"low": 0, "high": 1, "log": true}}', 5), "cannot be logarithmic"),
        (("", '{"eta": {"low": 1, "high": 0.1}}', 5), "begins at 1 and ends at 0.1: exchange"),
        (("", '{"eta": {"low": 0.1, "high": 1, "step": 0}}', 5), "has the step 0"),
        (("", '{"eta": {"low": 0.1, "high": 1, "size": 2}}', 5), "give the numbers low and high"),
        (("", '{"eta": []}', 5), "The choices of 'eta' are []"),
        (("", "", 0), "A sweep takes 1 to 200 trials, not 0."),
    ],
)
def test_what_cannot_be_tried_is_refused(given, sentence):
    with pytest.raises(InputError) as caught:
        read_space(*given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"depth": {"low": 3, "high": 9}}', 'XGBoost has no parameter "depth"'),
        ('{"subsample": {"low": 0.5, "high": 1.5}}', "XGBoost refuses these parameters"),
        ('{"booster": ["gbtree", "forest"]}', "XGBoost refuses these parameters"),
        ('{"n_estimators": [10, 20]}', "use the argument rounds"),
    ],
)
def test_xgboost_is_asked_about_every_bound_before_a_run_is_made(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        plan_sweep("flights", read_space("", text, 5))
    assert not (tmp_path / "home").exists()


def test_workers_are_refused_and_read(tmp_path):
    with pytest.raises(InputError, match="1 to 64 workers, or 0 to choose by itself, not 65"):
        plan_sweep("flights", read_space("", "", 5), 65)
    assert Worker.read(Worker("abc", 1, 2).write()) == Worker("abc", 1, 2)
    for text in ('{"number": 1}', '{"sweep": "a", "number": 1, "size": 3}', "[]"):
        with pytest.raises(InputError, match="worker"):
            Worker.read(text)


def test_workers_share_processors_on_one_machine_and_have_their_own_in_pods(monkeypatch):
    space = read_space("", "", 20)
    monkeypatch.setattr("loopline.components.training.sweep.processors", lambda: 8)
    here = plan_sweep("flights", space, pipeline_run="run-1")
    assert [(worker.number, worker.threads(8)) for worker in here] == [(0, 4), (1, 4)]
    # The same run again continues its sweep.
    assert plan_sweep("flights", space, pipeline_run="run-1") == here
    assert plan_sweep("flights", space, pipeline_run="run-2")[0].sweep != here[0].sweep
    assert len(plan_sweep("flights", read_space(json.dumps([{"max_depth": 3}]), "", 20), 4)) == 1
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert [worker.threads(8) for worker in plan_sweep("flights", space)] == [8] * 4
