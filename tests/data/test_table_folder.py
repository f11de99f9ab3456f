"""Every step that takes a table takes a folder of Parquet files, and gives what it gives for one file."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from monitoring_collected import Server
from monitoring_models import FEATURES, SCHEMA, make_events, make_model

from loopline.components.data.extend import extend
from loopline.components.data.schema import Schema
from loopline.components.data.split import split_table
from loopline.components.data.tables import (
    BATCH_ROWS,
    open_parquet,
    read_batches,
    read_table,
    table_digest,
    write_table,
)
from loopline.components.data.validate import validate
from loopline.components.errors import InputError
from loopline.components.evaluation.compare import Contest, compare
from loopline.components.evaluation.evaluate import Settings, evaluate
from loopline.components.model.directory import read_manifest
from loopline.components.monitoring.drift import DriftSettings, detect
from loopline.components.monitoring.performance import measure
from loopline.components.monitoring.reference_table import reference_of_table
from loopline.components.training.train import train_boosted_trees, train_estimator


def in_files(path: Path, cuts: tuple[int, ...] = (0, 1, 700)) -> Path:
    """Write a table of one file as a folder of several, one of them without rows."""
    table = read_table(path)
    folder = path.with_name(f"{path.stem}-files")
    for number, (start, end) in enumerate(zip((0, *cuts), (*cuts, table.num_rows), strict=True)):
        write_table(folder / f"{number:05}.parquet", table.slice(start, end - start))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with a trained model, test rows and traffic."""
    folder = tmp_path_factory.mktemp("world")
    make_model(folder)
    write_table(folder / "test.parquet", make_events(1_000, 5))
    Server(folder / "model").serve(folder / "traffic.parquet", make_events(1_000, 6))
    return folder


def trained_again(world: Path, tmp_path: Path, name: str, train: Path, validation: Path):
    train_boosted_trees(
        train, validation, world / "schema.json", tmp_path / name, params='{"max_depth": 3, "learning_rate": 0.3}',
        rounds=20, seed=0,
    )  # fmt: skip
    return read_manifest(tmp_path / name)


def test_training_gives_the_same_trees(world, tmp_path):
    files = in_files(world / "train.parquet"), in_files(world / "validation.parquet")
    one = trained_again(world, tmp_path, "one", world / "train.parquet", world / "validation.parquet")
    many = trained_again(world, tmp_path, "many", *files)
    assert (tmp_path / "one" / one.file).read_bytes() == (tmp_path / "many" / many.file).read_bytes()
    assert many.training == one.training
    assert many.provenance["data_digest"] == table_digest(files[0]) != one.provenance["data_digest"]


def test_scikit_learn_gives_the_same_scores(world, tmp_path):
    scores = [
        train_estimator(
            tables[0], tables[1], world / "schema.json", tmp_path / str(number), estimator="LogisticRegression"
        ).training
        for number, tables in enumerate(
            [
                (world / "train.parquet", world / "validation.parquet"),
                (in_files(world / "train.parquet"), in_files(world / "validation.parquet")),
            ]
        )
    ]
    assert scores[0] == scores[1]


def test_evaluation_and_comparison_give_the_same_figures(world, tmp_path):
    settings, contest = Settings(("carrier",), bootstrap=50), Contest(bootstrap=50)
    train_estimator(
        world / "train.parquet", None, world / "schema.json", tmp_path / "other", estimator="LogisticRegression"
    )
    found = []
    for test in (world / "test.parquet", in_files(world / "test.parquet")):
        evaluation = evaluate(world / "model", test, settings)
        verdict, differences = compare(tmp_path / "other", world / "model", test, contest)
        found.append((evaluation.flat_metrics(), evaluation.slices, verdict.verdict, differences))
    assert found[0][:3] == found[1][:3]
    # A linear model adds in single precision, and how depends on where batches end.
    assert found[0][3] == pytest.approx(found[1][3], abs=1e-7)


def test_monitoring_gives_the_same_verdicts(world):
    found = []
    for traffic in (world / "traffic.parquet", in_files(world / "traffic.parquet")):
        drift = detect(world / "model", traffic, DriftSettings(engine="scipy")).to_dict()
        performance = measure(world / "model", traffic, bootstrap=50)
        found.append((drift, performance.verdict, performance.flat_metrics))
    assert found[0] == found[1]


def test_a_table_as_reference_gives_the_same_counts(world):
    features = Schema(SCHEMA).select(FEATURES)
    one, many = (
        reference_of_table(path, features) for path in (world / "test.parquet", in_files(world / "test.parquet"))
    )
    assert one.rows == many.rows == 1_000
    # Bins are drafted from some row groups, which are others in a folder.
    profiles = [{column.name: column.entry for column in found.inputs} for found in (one, many)]
    assert profiles[0]["carrier"] == profiles[1]["carrier"]
    assert profiles[0]["distance"]["missing"] == profiles[1]["distance"]["missing"]


def test_data_steps_give_the_same_rows(world, tmp_path):
    split = []
    for name, data in (("one", world / "test.parquet"), ("many", in_files(world / "test.parquet"))):
        folder = tmp_path / name
        folder.mkdir()
        valid = validate(data, *(folder / file for file in ("valid", "quarantined", "schema.json", "report.html")),
                         target="late").valid  # fmt: skip
        sides = split_table(data, *(folder / side for side in ("train", "validation", "test")))
        extended = extend(data, world / "traffic.parquet" if name == "one" else in_files(world / "traffic.parquet"),
                          folder / "extended", "late")  # fmt: skip
        split.append((valid, sides, extended.rows, extended.test_start, table_digest(folder / "extended")))
    assert split[0] == split[1]


def test_batches_are_those_of_one_file(tmp_path):
    rows = 2 * BATCH_ROWS + 5
    write_table(tmp_path / "one.parquet", pa.table({"a": range(rows), "b": ["x", "y", None, "z", "x"] * (rows // 5)
                                                    + ["x"] * (rows % 5)}))  # fmt: skip
    folder = in_files(tmp_path / "one.parquet", (7, 7, BATCH_ROWS, BATCH_ROWS + 9))
    one, many = (list(read_batches(path, ["b", "a"])) for path in (tmp_path / "one.parquet", folder))
    assert [batch.num_rows for batch in one] == [batch.num_rows for batch in many] == [BATCH_ROWS, BATCH_ROWS, 5]
    assert all(a.equals(b) for a, b in zip(one, many, strict=True))
    with open_parquet(folder) as opened:
        assert opened.metadata.num_rows == rows
        sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        assert sum(sizes) == rows
        last = list(opened.iter_batches(100, row_groups=[opened.num_row_groups - 1], columns=["a"]))
        assert last[0].column("a")[0].as_py() == rows - sizes[-1]


def test_the_digest_goes_by_content_and_order_alone(tmp_path):
    write_table(tmp_path / "one.parquet", pa.table({"a": range(10)}))
    folder = in_files(tmp_path / "one.parquet", (3,))
    before = table_digest(folder)
    for file in folder.iterdir():
        os.utime(file, (1, 1))
        file.rename(folder / f"part-{file.name}")
    assert table_digest(folder) == before
    (folder / "part-00000.parquet").rename(folder / "z.parquet")
    assert table_digest(folder) != before


def test_a_folder_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no Parquet file"):
        read_table(tmp_path)
    write_table(tmp_path / "a.parquet", pa.table({"a": [1]}))
    write_table(tmp_path / "b.parquet", pa.table({"a": ["x"]}))
    with pytest.raises(InputError, match=r"b.parquet has other columns or types than a.parquet"):
        read_table(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"b.parquet is not a Parquet file"):
        list(read_batches(tmp_path))
    pq.write_table(pa.table({"a": [2]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="Column 'z' is not in"):
        read_table(tmp_path, ["z"])
    assert read_table(tmp_path)["a"].to_pylist() == [1, 2]
