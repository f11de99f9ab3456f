import dataclasses
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest

from loopline.components.data.tables import read_table, write_table
from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import Answer, predict_grpc, predict_rest
from loopline.components.errors import InputError
from loopline.components.model.predictor import feature_columns, load_predictor


def altered(model, folder, row, value):
    """Copy a model directory and change one golden prediction."""
    copy = shutil.copytree(model, folder / "altered")
    table = read_table(copy / "golden.parquet")
    scores = table["probability_True"].to_numpy().copy()
    scores[row] = value
    position = table.schema.get_field_index("probability_True")
    write_table(copy / "golden.parquet", table.set_column(position, "probability_True", pa.array(scores)))
    return copy


def test_a_server_of_the_model_passes(served, small_model):
    golden = read_golden(small_model)
    for found in (replay(golden, served.url), replay(golden, served.grpc, predict_grpc)):
        assert found.passed and found.wrong == 0 and found.rows == golden.rows.num_rows > 20
        assert found.max_difference < 1e-5


@pytest.mark.parametrize("predict", [predict_rest, predict_grpc])
def test_the_order_of_the_features_does_not_matter(served, small_model, predict):
    """Neither that of the schema, which is the order of the request, nor that of the rows' columns."""
    golden = read_golden(small_model)
    address = served.url if predict is predict_rest else served.grpc
    backwards = golden.reverse()
    assert backwards.features.names == golden.features.names[::-1] != golden.features.names
    mixed = dataclasses.replace(golden, rows=backwards.rows)
    for other in (backwards, mixed):
        found, straight = replay(other, address, predict), replay(golden, address, predict)
        assert found.passed
        np.testing.assert_array_equal(found.answer.scores, straight.answer.scores)


def test_a_server_that_takes_features_by_position_fails(small_model):
    """As MLServer's own classes do; here as a function, of the two features that are numbers."""
    predictor = load_predictor(small_model)
    numbers = ["size", "count"]

    def by_position(address, model, rows, features, timeout_s):
        sent = feature_columns(rows, features)
        taken = iter([values for name, values in sent.items() if name in numbers])
        columns = {name: next(taken) if name in numbers else sent[name] for name in predictor.features.names}
        return Answer(predictor.score(columns), model, "", {})

    golden = read_golden(small_model)
    assert replay(golden, "", by_position).passed
    assert not replay(golden.reverse(), "", by_position).passed


def test_one_prediction_beyond_the_tolerance_fails(served, small_model, tmp_path):
    right = float(read_golden(small_model).scores[3, 1])
    beyond, within = right + 1e-3, right + 1e-6
    found = replay(read_golden(altered(small_model, tmp_path / "beyond", 3, np.float32(beyond))), served.url)
    assert not found.passed and found.wrong == 1
    assert found.max_difference == pytest.approx(1e-3, rel=0.01)
    assert replay(read_golden(altered(small_model, tmp_path / "within", 3, np.float32(within))), served.url).passed


def test_a_prediction_that_is_no_number_fails(served, small_model, tmp_path):
    found = replay(read_golden(altered(small_model, tmp_path, 0, np.float32("nan"))), served.url)
    assert not found.passed and found.wrong == 1 and math.isnan(found.max_difference)


def test_a_server_of_another_model_is_told_from_its_shape(served, small_model):
    golden = read_golden(small_model)
    other = type(golden)(golden.model, golden.digest, golden.features, golden.rows, golden.scores[:, :1])
    with pytest.raises(InputError, match="serves another model"):
        replay(other, served.url)


def test_golden_rows_cannot_be_none(small_model, tmp_path):
    copy = shutil.copytree(small_model, tmp_path / "empty")
    write_table(copy / "golden.parquet", read_table(copy / "golden.parquet").slice(0, 0))
    with pytest.raises(InputError, match="has no rows"):
        read_golden(copy)
