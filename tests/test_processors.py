"""The processors that a step may use."""

import pytest

from loopline.components import processors


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_a_limit_of_the_control_group_counts(tmp_path, monkeypatch, files, count):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(processors, "_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(processors, "_V1", tmp_path)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda process: set(range(64)))
    assert processors.processors() == count
