import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from registry_models import SCHEMA, make_rows

from loopline.components.data.schema import Column, Schema
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest
from loopline.components.model.predictor import Predictor, load_predictor
from loopline.components.registry.flavor import ServedModel, model_signature
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import promote


@pytest.fixture(scope="module")
def loaded(trained, empty_store, tmp_path_factory):
    """The champion, loaded the way a user of MLflow loads it."""
    home = tmp_path_factory.mktemp("flavor") / "home"
    shutil.copytree(empty_store, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOPLINE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        promote("flavor", register(*trained.paths(), "flavor"))
        with open_store():
            return mlflow.pyfunc.load_model("models:/flavor@champion")


def same(loaded, trained, frame: pd.DataFrame, table: pa.Table) -> pd.DataFrame:
    got = loaded.predict(frame)
    np.testing.assert_array_equal(got.to_numpy(), load_predictor(trained.model).predict(table))
    return got


def test_predictions_are_those_of_the_model_directory(loaded, trained):
    table = make_rows(200, seed=5)
    frame = table.to_pandas().set_index(np.arange(200) * 2)
    assert frame[["distance", "hour", "holiday", "carrier"]].isna().any().all()
    got = same(loaded, trained, frame, table)
    assert list(got.columns) == ["probability_False", "probability_True"]
    assert (got.dtypes == np.float32).all()
    assert list(got.index) == list(frame.index)


def test_unknown_category_and_all_missing(loaded, trained):
    table = pa.table(
        {
            "distance": pa.array([1.0, None], pa.float64()),
            "hour": pa.array([None, None], pa.int64()),
            "holiday": pa.array([None, True], pa.bool_()),
            "carrier": pa.array(["ZZ", None], pa.string()),
        }
    )
    same(loaded, trained, table.to_pandas(), table)


@pytest.mark.parametrize(
    ("column", "type_"),
    [("hour", "int64"), ("hour", "int8"), ("hour", "Int64"), ("hour", "float32"), ("distance", "float32")],
)
def test_number_types_that_pandas_makes(loaded, trained, column, type_):
    table = make_rows(20).drop_columns([column]).append_column(column, pa.array(range(20), pa.int64()))
    frame = table.to_pandas().astype({column: type_})
    same(loaded, trained, frame, table)


def test_missing_feature_is_refused(loaded):
    with pytest.raises(MlflowException, match="carrier"):
        loaded.predict(make_rows(5).to_pandas().drop(columns="carrier"))
    with pytest.raises(InputError, match="carrier"):
        loaded._model_impl.predict(make_rows(5).to_pandas().drop(columns="carrier"))


def test_mixed_types_are_refused(loaded):
    frame = make_rows(3).to_pandas()
    frame["carrier"] = ["AA", 1, "UA"]
    with pytest.raises(InputError, match="mix types"):
        loaded.predict(frame)


def test_example_and_requirements_travel_with_the_model(loaded):
    assert list(loaded.input_example.columns) == ["distance", "hour", "holiday", "carrier"]
    assert len(loaded.predict(loaded.input_example)) == 5
    requirements = Path(mlflow.pyfunc.get_model_dependencies(loaded.metadata.artifact_path)).read_text().split()
    assert requirements == ["loopline==0.1.0", f"mlflow=={mlflow.__version__}", "scikit-learn==1.8.0"]


def test_model_is_not_a_pickle_of_ours(loaded):
    """MLflow imports a module by name; it unpickles nothing of its own."""
    flavor = loaded.metadata.flavors["python_function"]
    assert flavor["loader_module"] == "loopline.components.registry.flavor"
    assert "python_model" not in flavor
    assert "cloudpickle_version" not in flavor


def test_signature_of_each_kind():
    schema = Schema((*SCHEMA.columns[:-1], Column("time", "timestamp")))
    manifest = Manifest(task="multiclass", target="late", classes=["a", "b"], format="joblib", file="model.joblib")
    signature = model_signature(schema, manifest)
    assert [str(column.type) for column in signature.inputs] == [
        "DataType.double", "Any", "DataType.boolean", "DataType.string", "DataType.datetime",
    ]  # fmt: skip
    assert signature.outputs.input_names() == ["probability_a", "probability_b"]
    assert model_signature(schema, replace(manifest, task="regression")).outputs.input_names() == ["prediction"]


def test_regression_gives_one_column():
    manifest = Manifest(task="regression", target="late", classes=[], format="joblib", file="model.joblib")
    predictor = Predictor(manifest, SCHEMA, lambda columns: columns["distance"] * 2)
    got = ServedModel(predictor).predict(make_rows(4).to_pandas().assign(distance=[1.0, 2.0, 3.0, np.nan]))
    pd.testing.assert_frame_equal(got, pd.DataFrame({"prediction": np.float32([2, 4, 6, np.nan])}))
