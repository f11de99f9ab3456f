"""Small models and tables, made once."""

from pathlib import Path

import pytest
from evaluation_models import make_model, make_table

from loopline.components.data.tables import write_table


class Bench:
    """Models and test tables by task."""

    def __init__(self, folder: Path):
        self.folder = folder

    def model(self, task: str = "binary") -> Path:
        return self.folder / f"{task}-model"

    def test(self, task: str = "binary") -> Path:
        return self.folder / f"{task}-test.parquet"


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("evaluation"))
    for task in ("binary", "multiclass", "regression"):
        make_model(bench.model(task), make_table(2000, task), task)
        write_table(bench.test(task), make_table(1500, task, seed=1))
    return bench


@pytest.fixture(scope="session")
def weak(bench) -> Path:
    """A binary model that sees noise alone."""
    return make_model(bench.folder / "weak-model", make_table(2000), "binary", features=("noise",))
