"""Every trainer writes a model directory that predicts what the trained model predicts, and always the same one."""

import json
import shutil

import numpy as np
import onnx
import pyarrow as pa
import pytest
from training_tables import OTHERS, make_table

from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, verify_model
from loopline.components.model.predictor import feature_columns, load_predictor
from loopline.components.training.plan import plan_training
from loopline.components.training.sklearn_model import fit_sklearn
from loopline.components.training.train import train_boosted_trees, train_estimator
from loopline.components.training.xgboost_model import fit_xgboost

TASKS = {"late": "binary", "grade": "multiclass", "amount": "regression"}
ESTIMATORS = {
    "late": ["LogisticRegression", "RandomForestClassifier", "HistGradientBoostingClassifier", "KNeighborsClassifier"],
    "grade": ["LogisticRegression", "ExtraTreesClassifier", "GaussianNB"],
    "amount": ["Ridge", "RandomForestRegressor", "HistGradientBoostingRegressor", "KNeighborsRegressor"],
}


def _plan(tables, target):
    return plan_training(tables.train, Schema.load(tables.schema), target, exclude=OTHERS[target])


@pytest.mark.parametrize("target", TASKS)
def test_xgboost_predicts_as_trained(tables, target):
    manifest = train_boosted_trees(
        tables.train, tables.validation, tables.schema, tables.model, target=target, exclude=OTHERS[target], rounds=30
    )
    assert manifest.task == TASKS[target]
    assert manifest.format == "onnx"
    assert manifest.conversion["max_difference"] <= 1e-3
    native = fit_xgboost(tables.train, tables.validation, _plan(tables, target), rounds=30)
    fresh = make_table(500, 9)
    predictor = load_predictor(tables.model)
    expected = native.score(feature_columns(fresh, predictor.features))
    np.testing.assert_allclose(predictor.predict(fresh), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("target", "estimator"), [(t, e) for t, names in ESTIMATORS.items() for e in names])
def test_sklearn_predicts_as_trained(tables, target, estimator):
    manifest = train_estimator(
        tables.train, tables.validation, tables.schema, tables.model, estimator=estimator, target=target,
        exclude=OTHERS[target],
    )  # fmt: skip
    native = fit_sklearn(tables.train, _plan(tables, target), estimator)
    fresh = make_table(500, 9)
    predictor = load_predictor(tables.model)
    expected = native.score(feature_columns(fresh, predictor.features))
    np.testing.assert_allclose(predictor.predict(fresh), expected, rtol=1e-4, atol=1e-4)
    assert manifest.format in ("onnx", "skops")
    assert manifest.conversion.get("reason") or manifest.conversion["status"] == "converted"


def test_columns_of_many_texts_convert(tables):
    """The converter alone would number the nodes below each set of texts once a text, at every level: for hours."""
    random = np.random.default_rng(0)
    texts = {name: [f"{name}{i}" for i in random.integers(0, 100, 3000)] for name in ("dest", "tail", "model")}
    target = pa.array((np.char.str_len(texts["dest"]) + random.normal(size=3000) > 5).tolist())
    write_table(tables.train, pa.table({**texts, "late": target}))
    columns = [Column(name, "category", categories=tuple(sorted(set(values)))) for name, values in texts.items()]
    Schema((*columns, Column("late", "boolean"))).save(tables.schema)
    manifest = train_boosted_trees(tables.train, None, tables.schema, tables.model, target="late", rounds=30)
    assert manifest.format == "onnx"
    # One kind of comparison is what onnxruntime is fastest at, and neighboring texts share one.
    ensemble = onnx.load(tables.model / "model.onnx").graph.node[-1]
    found = {one.name: onnx.helper.get_attribute_value(one) for one in ensemble.attribute}
    assert set(found["nodes_modes"]) == {b"BRANCH_LT", b"LEAF"}
    # Missing and unknown texts go where the trees send what is missing, whichever side of a set that is.
    assert len(set(found["nodes_missing_value_tracks_true"])) == 2
    native = fit_xgboost(tables.train, None, plan_training(tables.train, Schema.load(tables.schema), "late"), rounds=30)
    predictor = load_predictor(tables.model)
    rows = {name: [*values[:500], *[None, "never seen"] * 50] for name, values in texts.items()}
    random.shuffle(rows["tail"])
    columns = feature_columns(pa.table(rows), predictor.features)
    np.testing.assert_allclose(predictor.score(columns), native.score(columns), rtol=1e-4, atol=1e-5)


def test_a_model_that_onnx_cannot_express_falls_back_and_says_why(tables, monkeypatch):
    """The feature names are those of the graph's outputs, which ONNX cannot tell apart."""
    table = read_table(tables.train).select(["size", "count", "late"]).rename_columns(["label", "count", "late"])
    write_table(tables.train, table)
    Schema((Column("label", "number"), Column("count", "integer"), Column("late", "boolean"))).save(tables.schema)
    manifest = train_boosted_trees(tables.train, None, tables.schema, tables.model, target="late", rounds=5)
    assert (manifest.format, manifest.file) == ("xgboost", "model.ubj")
    assert "named like the output 'label'" in manifest.conversion["reason"]
    assert not (tables.model / "model.onnx").exists()
    shutil.rmtree(tables.model)
    manifest = train_estimator(tables.train, None, tables.schema, tables.model, estimator="GaussianNB", target="late")
    assert (manifest.format, manifest.file) == ("skops", "model.skops")
    assert load_predictor(tables.model).predict(table).shape == (3000, 2)


def test_a_pickle_is_written_only_when_allowed_and_is_named(tables):
    manifest = train_estimator(
        tables.train, None, tables.schema, tables.model, estimator="GaussianNB", target="late",
        exclude=OTHERS["late"], allow_pickle=True,
    )  # fmt: skip
    assert manifest.file == "model.joblib"
    assert manifest.conversion["pickle"] is True
    settings = json.loads((tables.model / "model-settings.json").read_text())
    assert settings["implementation"] == "mlserver_sklearn.SKLearnModel"


@pytest.mark.parametrize("estimator", ["", "RandomForestClassifier", "KNeighborsClassifier", "pickle"])
def test_same_input_same_digest_other_input_other_digest(tables, estimator):
    """skops and joblib files included: their archives hold no times and no memory addresses."""
    if not estimator:
        train, extra = train_boosted_trees, {"rounds": 10}
    else:
        pickled = estimator == "pickle"
        train = train_estimator
        extra = {"estimator": "RandomForestClassifier" if pickled else estimator, "allow_pickle": pickled}
    digests = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 7)):
        more = {"exclude": OTHERS["late"] + (",count" if folder == "c" else "")}
        manifest = train(
            tables.train, tables.validation, tables.schema, tables.folder / folder, target="late", seed=seed,
            pipeline_run=folder, **extra, **more,
        )  # fmt: skip
        digests.append(manifest.digest)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_digest_is_the_same_in_another_process(tables):
    """Memory addresses and hash seeds differ between processes."""
    import subprocess
    import sys

    program = (
        "import sys; from loopline.components.training.train import train_estimator\n"
        "a = sys.argv[1:]\n"
        "print(train_estimator(a[0], None, a[1], a[2], estimator='KNeighborsClassifier', target='late',"
        " exclude='grade,amount').digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(tables.train), str(tables.schema), str(tables.folder / name)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("a", "b")
    }
    assert len(digests) == 1


def test_everything_later_steps_need_travels_with_the_model(tables):
    manifest = train_boosted_trees(
        tables.train, tables.validation, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=5,
        name="delays", pipeline_run="run-7",
    )  # fmt: skip
    names = {file.name for file in tables.model.iterdir()}
    assert names == {
        "loopline.json", "model-settings.json", "model.onnx", "schema.json", "reference-profile.json",
        "reference-rows.parquet", "held-out-rows.parquet", "golden.parquet",
    }  # fmt: skip
    golden = read_table(tables.model / "golden.parquet")
    predictor = load_predictor(tables.model)
    recorded = np.column_stack([golden[name].to_numpy() for name in manifest.output_names])
    np.testing.assert_array_equal(predictor.predict(golden), recorded)
    assert golden["size"].null_count > 0
    profile = json.loads((tables.model / "reference-profile.json").read_text())
    assert profile["rows"] == 3000
    assert sum(profile["columns"]["size"]["counts"]) + profile["columns"]["size"]["missing"] == 3000
    assert profile["scores"]["held_out"] is True
    assert manifest.provenance["pipeline_run"] == "run-7"
    assert manifest.provenance["data_digest"].startswith("sha256:")
    assert manifest.libraries["scikit-learn"]
    settings = json.loads((tables.model / "model-settings.json").read_text())
    assert settings["name"] == "delays"
    assert settings["parameters"]["version"] == manifest.digest
    assert [entry["name"] for entry in settings["inputs"]] == ["size", "count", "color"]


def test_a_changed_file_is_found(tables):
    train_boosted_trees(
        tables.train, None, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=2
    )
    verify_model(tables.model)
    file = tables.model / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"model\.onnx in model directory .* is changed"):
        verify_model(tables.model)


def test_unseen_categories_and_missing_values_predict(tables):
    train_boosted_trees(
        tables.train, None, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=10
    )
    rows = pa.table({"size": pa.array([None, 0.5], pa.float64()), "count": [1, None], "color": ["ultraviolet", None]})
    predictor = load_predictor(tables.model)
    scores = predictor.predict(rows)
    assert np.isfinite(scores).all()
    unknown = rows.set_column(2, "color", pa.array([None, "ultraviolet"], pa.string()))
    np.testing.assert_array_equal(scores, predictor.predict(unknown))


def test_validation_rows_stop_training_early_and_are_scored(tables):
    manifest = train_boosted_trees(
        tables.train, tables.validation, tables.schema, tables.model, target="late", exclude=OTHERS["late"],
        rounds=500, early_stopping_rounds=5,
    )  # fmt: skip
    assert manifest.training["best_iteration"] < 500
    assert 0 < manifest.training["validation"]["log_loss"] < 0.6
    assert manifest.training["validation"]["roc_auc"] > 0.85
    shutil.rmtree(tables.model)
    manifest = train_boosted_trees(
        tables.train, tables.empty, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=20
    )
    assert manifest.training["best_iteration"] == 20
    assert manifest.training["validation"] == {}


def test_class_weights_move_the_scores(tables):
    means = []
    for weight in ("", '{"false": 1, "true": 20}'):
        folder = tables.folder / f"weighted{len(means)}"
        train_boosted_trees(
            tables.train, None, tables.schema, folder, target="late", exclude=OTHERS["late"], rounds=20,
            class_weight=weight,
        )  # fmt: skip
        means.append(load_predictor(folder).predict(read_table(tables.validation))[:, 1].mean())
    assert means[1] > means[0] + 0.1


def test_manifest_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no model in"):
        read_manifest(tmp_path)


def test_what_a_server_would_load_cannot_be_swapped(tables):
    train_boosted_trees(
        tables.train, None, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=2
    )
    file = tables.model / "model-settings.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "implementation": "evil.Model"}))
    with pytest.raises(InputError, match=r"model-settings\.json in model directory .* is changed"):
        verify_model(tables.model)


def test_long_tables_are_sampled_over_their_whole_length(tables, monkeypatch):
    """The first rows of a table in order of time are its oldest: no reference for what comes later."""
    from loopline.components.training import write

    for name, rows in (("PROFILE_ROWS", 1000), ("REFERENCE_ROWS", 200), ("CHECK_ROWS", 100)):
        monkeypatch.setattr(write, name, rows)
    table = make_table(3000, 1)
    table = table.set_column(1, "count", pa.array(range(3000)))
    from loopline.components.data.tables import write_table

    write_table(tables.train, table)
    manifest = train_boosted_trees(
        tables.train, None, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=3
    )
    reference = read_table(tables.model / "reference-rows.parquet")["count"].to_numpy()
    assert len(reference) == 200
    assert 1200 < np.median(reference) < 1800
    assert reference.max() > 2800
    assert manifest.conversion["rows"] == 100
    profile = json.loads((tables.model / "reference-profile.json").read_text())
    assert profile["rows"] == 1000
    assert profile["columns"]["count"]["maximum"] > 2900


def test_golden_rows_hold_missing_values_of_either_kind(tables):
    """Parquet from pandas says NaN where Arrow says null."""
    from loopline.components.data.tables import write_table

    table = make_table(3000, 1)
    size = pa.array(table["size"].to_numpy(), from_pandas=False)
    assert size.null_count == 0
    complete = table.set_column(0, "size", size)
    complete = complete.set_column(2, "color", pa.array(["red"] * 3000))
    write_table(tables.train, complete)
    train_boosted_trees(
        tables.train, None, tables.schema, tables.model, target="late", exclude=OTHERS["late"], rounds=2
    )
    golden = read_table(tables.model / "golden.parquet")
    assert np.isnan(golden["size"].to_numpy()).sum() == 32


def test_an_objective_of_positive_values_is_tried_on_such(tables):
    from loopline.components.training.xgboost_model import check_params

    settings = check_params('{"objective": "reg:gamma"}', _plan(tables, "amount"), seed=0)
    assert settings["objective"] == "reg:gamma"
