"""The partitions of a table to score: one a file."""

from urllib.parse import urlsplit

from loopline.components.data.s3 import object_identity
from loopline.components.data.sources import Source, find_sources
from loopline.components.data.tables import file_digest
from loopline.components.errors import InputError


def list_partitions(uri: str, most: int = 1000) -> list[str]:
    """List the files behind a URI, each to be scored by itself.

    Args:
        uri: A local path, folder or glob, ``s3://bucket/key`` with a prefix or glob, or an ``https://`` address; CSV or
            Parquet.
        most: The most files to allow: each becomes a step of its own.

    Returns:
        One URI a file, sorted.

    Raises:
        InputError: There is none, there are too many, or the place cannot be read.
    """
    if not uri.strip():
        raise InputError("uri is empty: give a path, glob, s3://bucket/key or an https:// address.")
    sources = find_sources(uri.strip())
    if len(sources) > most:
        raise InputError(
            f"{uri} has {len(sources):,} files and each would be a step of its own, of which {most:,} are allowed: "
            "write fewer and larger files, or score one folder after the other."
        )
    if urlsplit(uri).scheme in ("http", "https"):
        return [uri.strip()]
    return sorted(str(source.path.absolute()) if source.path else source.name for source in sources)


def find_partition(uri: str) -> Source:
    """Find the one file of a partition.

    Args:
        uri: What ``list_partitions`` gave.

    Returns:
        The file.

    Raises:
        InputError: There is none, or more than one.
    """
    sources = find_sources(uri.strip())
    if len(sources) > 1:
        raise InputError(f"{uri} is {len(sources):,} files: list_partitions gives each of them.")
    return sources[0]


def content_identity(source: Source) -> str:
    """Return what changes when a file's content does, without fetching it from where it lies.

    Args:
        source: The file; what comes over HTTPS is known only once it has been fetched.

    Returns:
        The digest of a local file, size and ETag of an object.

    Raises:
        InputError: It cannot be reached.
    """
    return file_digest(source.path) if source.path else object_identity(source.name)
