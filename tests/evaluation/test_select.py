"""The best trial of a sweep."""

import json
import shutil

import pytest

from loopline.components.errors import InputError
from loopline.components.evaluation.page import trials_report
from loopline.components.evaluation.select import copy_model, select
from loopline.components.model.directory import MANIFEST, verify_model


@pytest.fixture
def trials(bench, tmp_path):
    """Make copies of a model that recorded other validation scores."""

    def make(*scores: dict, task: str = "binary") -> list:
        paths = []
        for position, recorded in enumerate(scores):
            path = shutil.copytree(bench.model(task), tmp_path / f"trial-{task}-{position}")
            manifest = json.loads((path / MANIFEST).read_text())
            manifest["training"] = {"estimator": "LogisticRegression", "validation": recorded}
            (path / MANIFEST).write_text(json.dumps(manifest))
            paths.append(path)
        return paths

    return make


def test_the_metric_decides_which_way_is_better(trials):
    paths = trials({"log_loss": 0.5, "roc_auc": 0.9}, {"log_loss": 0.3, "roc_auc": 0.7})
    assert select(paths).position == 1
    assert select(paths, "roc_auc").position == 0


def test_the_first_among_equals_wins(trials):
    assert select(trials({"log_loss": 0.4}, {"log_loss": 0.3}, {"log_loss": 0.3})).position == 1


@pytest.mark.parametrize("scores", [{}, {"roc_auc": 0.9}, {"log_loss": float("nan")}])
def test_a_missing_score_is_refused(trials, scores):
    with pytest.raises(InputError, match="Model 1 has no validation score 'log_loss'"):
        select(trials({"log_loss": 0.4}, scores))


def test_what_cannot_be_compared_is_refused(trials):
    mixed = trials({"log_loss": 0.4}) + trials({"log_loss": 0.4}, task="multiclass")
    with pytest.raises(InputError, match="predict the same"):
        select(mixed)
    with pytest.raises(InputError, match="no models"):
        select([])
    with pytest.raises(InputError, match="lower log_loss is better"):
        select(mixed[:1], lower_is_better="false")


def test_the_copy_is_the_model(bench, tmp_path):
    target = tmp_path / "best"
    target.mkdir()
    copy_model(bench.model(), target)
    assert verify_model(target).digest == verify_model(bench.model()).digest
    assert [one.name for one in tmp_path.iterdir() if "best" in one.name] == ["best"]


def test_a_failed_copy_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_model(tmp_path / "missing", tmp_path / "out" / "best")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_page_lists_every_trial(trials, tmp_path):
    trials_report(select(trials({"log_loss": 0.51}, {"log_loss": 0.32}))).write(tmp_path / "t.html")
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "number 2 of 2 is best" in page
    assert "0.51" in page
