"""How much memory a step may use, from what the kernel says; its files are laid out in a folder."""

import pytest

from loopline.components.errors import InputError
from loopline.components.memory import memory_limit

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write files under a root; the limit found there."""
    monkeypatch.delenv("LOOPLINE_MEMORY_LIMIT", raising=False)

    def find(**files: str):
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return memory_limit(tmp_path)

    return find


def test_without_a_container_it_is_the_available_memory(machine):
    found = machine(**{"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"})
    assert (found.bytes, found.source) == (8_000_000 * 1024, "available memory")


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4294967296\n"},
        # The limit of a pod stands above its containers.
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/container/memory.max": "max\n",
            "sys/fs/cgroup/pod/memory.max": "4294967296\n",
        },
        # Version 1, whose path is the host's and is not there inside of a container.
        {
            "proc/self/cgroup": "5:memory:/kubepods/a\n4:cpu:/kubepods/a\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4294967296\n",
        },
    ],
)
def test_a_container_has_a_limit(machine, files):
    found = machine(**files)
    assert (found.bytes, found.source) == (2**32, "the container's limit")
    assert str(found) == "4.0 GiB (the container's limit)"


def test_no_limit_of_version_1_is_a_huge_number(machine):
    files = {"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert machine(**files).source == "available memory"


@pytest.mark.parametrize(("text", "size"), [("4Gi", 2**32), ("1.5G", 1_500_000_000), ("300000000", 300_000_000)])
def test_the_environment_overrides(machine, monkeypatch, text, size):
    machine()
    monkeypatch.setenv("LOOPLINE_MEMORY_LIMIT", text)
    assert machine().bytes == size


@pytest.mark.parametrize("text", ["much", "4 GB", "-1Gi", "0"])
def test_nonsense_in_the_environment_is_refused(monkeypatch, text):
    monkeypatch.setenv("LOOPLINE_MEMORY_LIMIT", text)
    with pytest.raises(InputError, match=r"LOOPLINE_MEMORY_LIMIT is .*such as 4Gi"):
        memory_limit()
