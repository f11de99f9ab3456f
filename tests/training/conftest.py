"""Files for the trainers."""

from types import SimpleNamespace

import pytest
from training_tables import COLUMNS, make_table

from loopline.components.data.schema import Schema
from loopline.components.data.tables import write_table


@pytest.fixture
def tables(tmp_path):
    """Paths of a training table, a validation table, an empty one and their schema."""
    paths = SimpleNamespace(
        train=tmp_path / "train.parquet", validation=tmp_path / "validation.parquet",
        empty=tmp_path / "empty.parquet", schema=tmp_path / "schema.json", model=tmp_path / "model", folder=tmp_path,
    )  # fmt: skip
    write_table(paths.train, make_table(3000, 1))
    write_table(paths.validation, make_table(600, 2))
    write_table(paths.empty, make_table(0, 3))
    Schema(COLUMNS).save(paths.schema)
    return paths
