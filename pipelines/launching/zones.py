"""The time zone in which the server reads cron expressions."""

import contextlib
import os
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from loopline.components.errors import InputError
from loopline.pipelines.launching.cluster import APPLICATION, Cluster


@dataclass(frozen=True)
class Zone:
    """A time zone, and how it is known.

    Attributes:
        name: Its name, e.g. ``Europe/Berlin``.
        source: How it is known.
        sure: Whether it was told rather than taken for granted.
    """

    name: str
    source: str
    sure: bool = True

    @property
    def info(self) -> ZoneInfo:
        """The zone for Python."""
        return ZoneInfo(self.name)


def find_zone(name: str = "", namespace: str = "") -> Zone:
    """Find out in which time zone the server's schedules are.

    It is a setting of the namespace's ``DataSciencePipelinesApplication``, which the server itself does not tell.

    Args:
        name: The zone; found when empty.
        namespace: The server's namespace.

    Returns:
        The zone.

    Raises:
        InputError: There is no such zone.
    """
    if name:
        return _zone(name, "as given")
    named = os.environ.get("CRON_SCHEDULE_TIMEZONE", "")
    if named:
        return _zone(named, "by CRON_SCHEDULE_TIMEZONE")
    cluster = None
    with contextlib.suppress(InputError):  # a login that cannot be read is not needed here
        cluster = Cluster.find()
    told = cluster.cron_zone() if cluster and cluster.namespace == namespace else ""
    if told:
        return _zone(told, f"as {APPLICATION} says")
    return Zone("UTC", f"the default, since {APPLICATION} could not be asked", sure=False)


def _zone(name: str, source: str) -> Zone:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InputError(f"There is no time zone {name!r} ({source}): write one like Europe/Berlin.") from None
    return Zone(name, source)
