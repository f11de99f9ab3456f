"""The steps of partitioned preparation, from URIs and files to files: what the components call."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.partition_plan import Plan, make_plan
from loopline.components.data.partition_profile import PartitionProfile, profile_partition
from loopline.components.data.partitions import find_partition
from loopline.components.parameters import split_names


def profile(
    uri: str, partition: str, path: str | Path, columns: str, csv: str, target: str, split_method: str,
    split_column: str,
) -> PartitionProfile:  # fmt: skip
    """Profile a partition and write the profile; see the component ``profile_partition``."""
    found = profile_partition(
        find_partition(uri, partition),
        split_names(columns),
        CsvFormat.parse(csv),
        [name for name in (target, split_column if split_method == "stratified" else "") if name],
        split_column if split_method == "time" else "",
    )
    found.save(path)
    return found


def merge(paths: Sequence[str | Path], uri: str, csv: str, **settings) -> Plan:
    """Make the plan of the profiles at some paths; see the component ``merge_profiles``.

    Args:
        paths: The profile of each partition.
        uri: The table.
        csv: How CSV is written.
        settings: What ``make_plan`` takes.
    """
    profiles = [PartitionProfile.load(path) for path in paths]
    form = CsvFormat.parse(csv)
    if profiles[0].is_csv:
        form = form.completed(find_partition(uri, profiles[0].partition).first)

    def read_again(profile: PartitionProfile, columns: Sequence[str]) -> PartitionProfile:
        text = dataclasses.replace(form, column_types=dict.fromkeys(columns, pa.string()))
        names = [name for name in profile.classes if name in columns]
        return profile_partition(find_partition(uri, profile.partition), columns, text, names)

    return make_plan(profiles, read_again, form, **settings)
