import math
import shutil

import numpy as np
import pyarrow as pa
import pytest

from loopline.components.data.tables import read_table, write_table
from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import predict_grpc
from loopline.components.errors import InputError


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
