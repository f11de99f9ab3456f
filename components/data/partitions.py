"""Divide the files of a table into partitions, each of which is prepared in a step of its own.

A partition is so many files that stand one after the other, whatever their number: the steps are as many as the cluster
can use, not as many as the files. What travels between the steps is a few characters; each step lists the files again
and sees by a digest of their names that they are still the same.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from loopline.components.data.sources import Source, find_sources, safe_name
from loopline.components.errors import InputError

#: What a step is told of all partitions that it gathers must fit into one argument of a program.
MOST_PARTITIONS = 256


@dataclass(frozen=True)
class Partition:
    """Some of the files of a table.

    Attributes:
        name: What ``divide_table`` calls it.
        number: Which partition, from 1.
        count: How many there are.
        sources: Its files, in the table's order.
        first: The first file of the whole table, which says how all of them are written.
    """

    name: str
    number: int
    count: int
    sources: Sequence[Source]
    first: Source


def divide_table(uri: str, most: int = 64) -> list[str]:
    """Divide the files behind a URI into partitions.

    Args:
        uri: A local path, folder or glob, ``s3://bucket/key`` with a prefix or glob, or an ``https://`` address.
        most: The most partitions; with more files than that, a partition has several.

    Returns:
        A few characters a partition, for ``find_partition``.

    Raises:
        InputError: There is no file, the place cannot be read, or ``most`` is out of range.
    """
    if not uri.strip():
        raise InputError("uri is empty: give a path, glob, s3://bucket/key or an https:// address.")
    if not 1 <= most <= MOST_PARTITIONS:
        raise InputError(f"most {most} must be 1 to {MOST_PARTITIONS}: a partition may have any number of files.")
    sources = find_sources(uri.strip())
    count = min(most, len(sources))
    return [f"{number}/{count}:{_digest(sources)}" for number in range(1, count + 1)]


def find_partition(uri: str, partition: str) -> Partition:
    """Find the files of a partition.

    Args:
        uri: The URI that was divided.
        partition: What ``divide_table`` gave.

    Returns:
        The partition.

    Raises:
        InputError: It is none of that table, or files have come or gone since.
    """
    parts = re.fullmatch(r"(\d+)/(\d+):([0-9a-f]{16})", partition)
    if not parts or not 1 <= int(parts[1]) <= int(parts[2]):
        raise InputError(f"partition {partition!r} is none that divide_table gave, such as 1/8:0123456789abcdef.")
    number, count = int(parts[1]), int(parts[2])
    sources = find_sources(uri.strip())
    if _digest(sources) != parts[3]:
        raise InputError(
            f"The files at {safe_name(uri)} are not those that were divided into partitions (there are "
            f"{len(sources):,} now): run the pipeline again when no files come or go."
        )
    start, end = ((number - 1) * len(sources) // count, number * len(sources) // count)
    return Partition(partition, number, count, sources[start:end], sources[0])


def _digest(sources: Sequence[Source]) -> str:
    return hashlib.sha256("\n".join(source.name for source in sources).encode()).hexdigest()[:16]
