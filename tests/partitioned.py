"""Prepare a table in one piece and in partitions, with the functions the steps call."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from loopline.components.data.ingest import ingest
from loopline.components.data.partition_gather import gather_partitions
from loopline.components.data.partition_plan import Plan, merge_profiles
from loopline.components.data.partition_profile import write_profile
from loopline.components.data.partition_rows import prepare_partition
from loopline.components.data.partitions import divide_table, find_partition
from loopline.components.data.split import SIDES, split_table
from loopline.components.data.tables import read_table
from loopline.components.data.validate import validate

SPLIT = {"split_method": "random", "split_column": "", "test_size": 0.2, "validation_size": 0.1, "test_start": "",
         "seed": 0}  # fmt: skip


@dataclass
class Prepared:
    """The outcome of a preparation.

    Attributes:
        schema: The schema file's text.
        folder: Where ``train.parquet``, ``validation.parquet`` and ``test.parquet`` are.
        metadata: Rows and digest of each.
    """

    schema: str
    folder: Path
    metadata: dict[str, dict]

    def table(self, side: str) -> pa.Table:
        """Read the rows of a side."""
        return read_table(self.folder / f"{side}.parquet")


def in_one_piece(uri, folder: Path, target="", columns="", csv="{}", task="auto", expectations="{}", on_error="fail",
                 **split) -> Prepared:  # fmt: skip
    """Prepare as the pipeline ``training`` does."""
    folder.mkdir()
    split = SPLIT | split
    ingest(str(uri), folder / "all.parquet", columns=columns, csv=csv)
    validate(
        folder / "all.parquet", folder / "valid.parquet", folder / "quarantined.parquet", folder / "schema.json",
        folder / "report.html", target=target, task=task, expectations=expectations, on_error=on_error,
    )  # fmt: skip
    method, column = split.pop("split_method"), split.pop("split_column")
    paths = [folder / f"{side}.parquet" for side in SIDES]
    written = split_table(folder / "valid.parquet", *paths, method=method, column=column, **split)
    return Prepared((folder / "schema.json").read_text(), folder, dict(zip(SIDES, written, strict=True)))


def in_partitions(uri, folder: Path, most=64, target="", columns="", csv="{}", shuffled=False, **settings) -> Prepared:
    """Prepare as the pipeline ``training-partitioned`` does."""
    folder.mkdir()
    split = SPLIT | {name: value for name, value in settings.items() if name in SPLIT}
    others = {name: value for name, value in settings.items() if name not in SPLIT}
    partitions = divide_table(str(uri), most)
    profiles, prepared = [], []
    for position, partition in enumerate(partitions):
        profiles.append(folder / f"profile-{position}.json")
        write_profile(
            str(uri), partition, profiles[-1], columns, csv, target, split["split_method"], split["split_column"]
        )  # fmt: skip
    plan = merge_profiles(profiles[::-1] if shuffled else profiles, str(uri), csv, target=target, **others, **split)
    plan.save(folder / "plan.json")
    plan.schema.save(folder / "schema.json")
    plan = Plan.load(folder / "plan.json")
    for position, partition in enumerate(partitions):
        prepared.append(folder / f"prepared-{position}")
        prepare_partition(find_partition(str(uri), partition), plan, prepared[-1])
    tables = {name: folder / f"{name}.parquet" for name in (*SIDES, "quarantined")}
    written = gather_partitions(prepared[::-1] if shuffled else prepared, plan, tables, folder / "report.html")
    return Prepared((folder / "schema.json").read_text(), folder, written)
