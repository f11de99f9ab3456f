"""Profiles of partitions add up to the profile of the whole."""

import numpy as np
import pyarrow as pa
import pytest
from training_tables import COLUMNS, make_table

from loopline.components.data.profile import merge_profiles, profile_table
from loopline.components.data.schema import Schema
from loopline.components.errors import InputError


def test_merged_partitions_equal_the_whole():
    schema = Schema(COLUMNS)
    whole = make_table(3000, 1)
    reference = profile_table(whole, schema)
    parts = [profile_table(whole.slice(start, 1000), schema, like=reference) for start in (0, 1000, 2000)]
    merged = merge_profiles(merge_profiles(parts[0], parts[1]), parts[2])
    assert merged["rows"] == 3000
    for name, entry in reference["columns"].items():
        got = merged["columns"][name]
        assert got["counts"] == entry["counts"], name
        assert got["missing"] == entry["missing"]
        if entry["kind"] != "category":
            for key in ("mean", "sd", "minimum", "maximum"):
                assert got[key] == pytest.approx(entry[key]), (name, key)


def test_a_partition_without_values_adds_nothing_but_its_gaps():
    schema = Schema((COLUMNS[0],))
    full = profile_table(make_table(100, 1), schema)
    empty = profile_table(pa.table({"size": pa.array([None] * 5, pa.float64())}), schema, like=full)
    merged = merge_profiles(full, empty)["columns"]["size"]
    assert merged["missing"] == full["columns"]["size"]["missing"] + 5
    assert merged["mean"] == full["columns"]["size"]["mean"]


def test_bins_hold_equal_shares():
    values = pa.table({"size": np.random.default_rng(0).normal(size=51_200)})
    counts = profile_table(values, Schema((COLUMNS[0],)))["columns"]["size"]["counts"]
    assert len(counts) == 512
    assert min(counts) >= 99 and max(counts) <= 101


def test_profiles_with_other_bins_are_refused():
    schema = Schema((COLUMNS[0],))
    with pytest.raises(InputError, match="different bins"):
        merge_profiles(profile_table(make_table(100, 1), schema), profile_table(make_table(100, 2), schema))
