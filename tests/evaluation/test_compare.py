"""Champion against challenger."""

import json
import shutil

import numpy as np
import pytest
from evaluation_models import make_model, make_table

from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.evaluation.compare import Contest, compare
from loopline.components.evaluation.page import verdict_report
from loopline.components.model.directory import mark_absent

QUICK = Contest(bootstrap=200)


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(bench, weak):
    better, differences = compare(bench.model(), weak, bench.test(), QUICK)
    worse, _ = compare(weak, bench.model(), bench.test(), QUICK)
    assert (better.verdict, worse.verdict) == ("promote", "keep")
    assert 0 < better.difference["low"] < better.difference["value"] < better.difference["high"]
    assert worse.difference["value"] == pytest.approx(-better.difference["value"])
    assert better.challenger["value"] < better.champion["value"]
    assert len(differences) == 200
    assert "gets worse by" in worse.reason


@pytest.mark.parametrize("metric", ["roc_auc", "brier", "f1"])
def test_the_direction_of_the_metric_is_known(bench, weak, metric):
    verdict, _ = compare(bench.model(), weak, bench.test(), Contest(metric, bootstrap=200))
    assert verdict.verdict == "promote"
    assert verdict.difference["low"] > 0


@pytest.mark.parametrize(("metric", "belief"), [("log_loss", "false"), ("roc_auc", "true"), ("roc_auc", "yes")])
def test_a_contradicted_direction_is_refused(bench, weak, metric, belief):
    with pytest.raises(InputError, match="lower_is_better is"):
        compare(bench.model(), weak, bench.test(), Contest(metric, belief, bootstrap=200))


def test_the_calibration_error_is_compared_without_the_bias_of_resampling(bench, weak):
    result, differences = compare(bench.model(), weak, bench.test(), Contest("calibration_error", bootstrap=200))
    assert result.difference["low"] < result.difference["value"] < result.difference["high"]
    assert np.mean(differences) == pytest.approx(result.difference["value"])
    ends = [result.difference["low"], result.difference["high"]]
    assert ends == pytest.approx(np.quantile(differences, [0.025, 0.975]).tolist())


def test_an_improvement_within_the_margin_is_not_enough(bench, weak):
    gain = compare(bench.model(), weak, bench.test(), QUICK)[0].difference
    for margin, expected in ((gain["low"] * 0.99, "promote"), (gain["low"] * 1.01, "keep"), (1.0, "keep")):
        assert compare(bench.model(), weak, bench.test(), Contest(margin=margin, bootstrap=200))[0].verdict == expected


def test_a_model_trained_on_other_rows_of_the_same_kind_is_not_surely_better(bench, tmp_path):
    twin = make_model(tmp_path / "twin", make_table(2000, seed=9), "binary")
    verdicts = {
        compare(one, other, bench.test(), QUICK)[0].verdict
        for one, other in ((twin, bench.model()), (bench.model(), twin))
    }
    assert verdicts == {"keep"}


def test_pairing_makes_the_interval_narrower_than_that_of_one_model(bench, tmp_path):
    from loopline.components.evaluation.evaluate import Settings, evaluate

    twin = make_model(tmp_path / "twin", make_table(2000, seed=9), "binary")
    difference = compare(twin, bench.model(), bench.test(), QUICK)[0].difference
    alone = evaluate(twin, bench.test(), Settings(bootstrap=200, importance_repeats=0)).metrics["log_loss"]
    assert difference["high"] - difference["low"] < 0.3 * (alone["high"] - alone["low"])


def test_no_champion_yet_promotes(bench, tmp_path):
    mark_absent(tmp_path / "none", "nothing is registered")
    verdict, differences = compare(bench.model(), tmp_path / "none", bench.test(), QUICK)
    assert (verdict.verdict, verdict.reason) == ("promote", "There is no champion yet.")
    assert verdict.champion == {}
    assert verdict.challenger["value"] > 0
    assert not len(differences)
    assert "champion_value" not in verdict.metadata


def test_the_same_model_under_another_path_is_kept(bench, tmp_path):
    copy = shutil.copytree(bench.model(), tmp_path / "copy")
    verdict, _ = compare(copy, bench.model(), bench.test(), QUICK)
    assert (verdict.verdict, verdict.reason) == ("keep", "The challenger is the same model as the champion.")


def test_models_that_answer_other_questions_are_refused(bench):
    with pytest.raises(InputError, match="challenger's task is 'binary' and the champion's is 'multiclass'"):
        compare(bench.model(), bench.model("multiclass"), bench.test(), QUICK)


def test_other_classes_are_refused(bench, tmp_path):
    table = make_table(600)
    renamed = ["on time" if label == "ok" else label for label in table.column("target").to_pylist()]
    other = make_model(tmp_path / "other", table.set_column(3, "target", [renamed]), "binary")
    with pytest.raises(InputError, match="classes"):
        compare(other, bench.model(), bench.test(), QUICK)


def test_rows_that_the_champion_cannot_score_name_the_champion(bench, weak, tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, read_table(bench.test()).drop_columns(["carrier"]))
    with pytest.raises(InputError, match=r"The champion cannot score .*'carrier'"):
        compare(weak, bench.model(), path, QUICK)


def test_an_undefined_metric_is_refused(bench, weak, tmp_path):
    table = read_table(bench.test())
    path = tmp_path / "t.parquet"
    write_table(path, table.set_column(3, "target", [["ok"] * table.num_rows]))
    with pytest.raises(InputError, match="ROC AUC is undefined"):
        compare(bench.model(), weak, path, Contest("roc_auc", bootstrap=200))
    assert compare(bench.model(), weak, path, QUICK)[0].verdict in ("promote", "keep")


@pytest.mark.parametrize(
    "settings", [{"margin": -0.1}, {"margin": np.nan}, {"confidence": 0.4}, {"confidence": 95.0}, {"bootstrap": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Contest(**settings)


def test_verdict_file_and_page_hold_the_evidence(bench, weak, tmp_path):
    verdict, differences = compare(bench.model(), weak, bench.test(), QUICK)
    verdict.save(tmp_path / "verdict.json")
    saved = json.loads((tmp_path / "verdict.json").read_text())
    assert {"verdict", "reason", "metric", "margin", "champion", "challenger", "difference", "rows"} <= saved.keys()
    assert saved["difference"]["low"] == verdict.metadata["difference_low"]
    verdict_report(verdict, differences).write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert saved["champion"]["digest"] in page
    assert "<svg" in page
