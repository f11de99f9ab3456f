"""What the kernel's control groups say of this process, in version 2 or 1."""

from collections.abc import Iterator
from pathlib import Path


def control_group_files(controller: str, root: str | Path = "/") -> Iterator[tuple[int, Path]]:
    """Find where a controller's settings for this process are: those of its own group and of all above it hold.

    Args:
        controller: ``memory`` or ``cpu``.
        root: Where ``sys/fs/cgroup`` and ``proc`` are.

    Yields:
        The version and a folder, which need not be there: in a container a process's own group often is the root,
        whatever its path says.
    """
    root = Path(root)
    for line in read_setting(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = Path(path.lstrip("/"))
        for part in (group, *group.parents):
            yield (1 if controllers else 2), base / part


def read_setting(path: Path) -> str:
    """Return what a file of the kernel says, without the space around it; empty when it is not there."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
