"""The processors that a step may use, from what the kernel says; its files are laid out in a folder."""

import pytest

from loopline.components import processors

_V1 = "4:cpu,cpuacct:/kubepods/a\n"


@pytest.mark.parametrize(
    ("group", "files", "count"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        # The limit of a pod stands above its containers.
        ("0::/pod/a\n", {"pod/a/cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n"}, 3),
        (_V1, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (_V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ("", {}, 64),
    ],
)
def test_a_limit_of_the_control_group_counts(tmp_path, monkeypatch, group, files, count):
    layout = {"proc/self/cgroup": group, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in layout.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda process: set(range(64)))
    assert processors.processors(tmp_path) == count
