"""Find the files of a traffic log, as the serving layer writes it: by model, site and hour, in a folder or on S3."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from loopline.components.data.places import Bucket, read_place
from loopline.components.data.sources import Source, is_data_name
from loopline.components.environment import home, home_is_kept
from loopline.components.errors import InputError

_HOUR = re.compile(r"date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/([^/]+\.parquet)")


@dataclass(frozen=True)
class Part:
    """One file of the log.

    Attributes:
        source: The file.
        site: The site that wrote it.
        hour: The start of the hour that its rows are of, UTC.
    """

    source: Source
    site: str
    hour: datetime


class Log(Protocol):
    """Where a traffic log lies."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right under a folder, sorted; none when there is no such folder."""

    def files(self, prefix: str, first: str) -> Iterator[Source]:
        """Yield the files under a folder in the order of their paths below it, from ``first`` on."""


def open_log(uri: str) -> Log:
    """Open a traffic log.

    Args:
        uri: A folder or ``s3://bucket/prefix``; ``LOOPLINE_TRAFFIC_URI``, else this machine's own, when empty.

    Returns:
        The log; it need not be there yet.

    Raises:
        InputError: It can be neither, or nothing was named where this machine's own folders are not kept.
    """
    uri = uri.strip() or os.environ.get("LOOPLINE_TRAFFIC_URI", "")
    if not uri and not home_is_kept():
        raise InputError("No traffic log is named: give s3://bucket/prefix, where the sites log; a pod has none.")
    place = read_place(uri or str(home() / "traffic"), "The traffic log", "be at")
    if isinstance(place, Bucket):
        return _BucketLog(*place)
    if place.is_file():
        raise InputError(f"The traffic log {place} is a file: name the folder that holds model=NAME/site=NAME/....")
    return _FolderLog(place)


def find_sites(log: Log, model: str) -> list[str]:
    """List the sites that logged a model.

    Args:
        log: The traffic log.
        model: The model's name.

    Returns:
        Their names, sorted.
    """
    return _values(log.folders(_model_folder(model)), "site")


def find_models(log: Log) -> list[str]:
    """List the models in a log, sorted by name."""
    return _values(log.folders(""), "model")


def find_parts(log: Log, model: str, sites: Sequence[str], start: datetime, end: datetime | None) -> list[Part]:
    """Find the files with the rows of an interval, without opening any.

    Args:
        log: The traffic log.
        model: The model's name.
        sites: The sites wanted.
        start: The interval's first instant.
        end: The first instant after it; None for all files from the start on.

    Returns:
        The files in the order of hour, site and name; hidden files, which are still being written, are left out.
    """
    first_hour = start.replace(minute=0, second=0, microsecond=0)
    found = []
    for site in sites:
        folder = f"{_model_folder(model)}/site={quote(site, safe='')}"
        for source in log.files(folder, f"date={first_hour:%Y-%m-%d}/hour={first_hour:%H}/"):
            match = _HOUR.fullmatch(source.name.rpartition(f"/{folder}/")[2])
            if not match or not is_data_name(match.group(3)):
                continue
            hour = _read_hour(match)
            if hour is None or hour < first_hour:
                continue
            if end is not None and hour >= end:
                break
            found.append(Part(source, site, hour))
    return sorted(found, key=lambda part: (part.hour, part.site, part.source.name))


def _model_folder(model: str) -> str:
    return f"model={quote(model, safe='')}"


def _values(folders: Sequence[str], key: str) -> list[str]:
    return sorted(unquote(name.partition("=")[2]) for name in folders if name.startswith(f"{key}="))


def _read_hour(match: re.Match) -> datetime | None:
    try:
        return datetime.fromisoformat(match.group(1)).replace(tzinfo=UTC) + timedelta(hours=int(match.group(2)))
    except ValueError:
        return None


class _FolderLog:
    def __init__(self, folder: Path):
        self._folder = folder

    def folders(self, prefix: str) -> list[str]:
        place = self._folder / prefix
        with _reading(place):
            return sorted(entry.name for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else []

    def files(self, prefix: str, first: str) -> Iterator[Source]:
        first_date, first_hour = first.split("/")[:2]
        for date in self.folders(prefix):
            if date < first_date:
                continue
            for hour in self.folders(f"{prefix}/{date}"):
                if date == first_date and hour < first_hour:
                    continue
                place = self._folder / prefix / date / hour
                with _reading(place):
                    files = sorted(file for file in place.iterdir() if file.is_file())
                for file in files:
                    yield Source(str(file), partial(file.open, "rb"), file)


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    """Turn what a folder can refuse into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The traffic log {place} cannot be read ({error.strerror or error}): check its permissions."
        ) from None


class _BucketLog:
    def __init__(self, bucket: str, prefix: str):
        from loopline.components.data.s3 import s3_client

        self._client, self._bucket = s3_client(), bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def folders(self, prefix: str) -> list[str]:
        start = f"{self._prefix}{prefix}/" if prefix else self._prefix
        names = (item.object_name for item in self._list(start, recursive=False))
        return sorted(name.removeprefix(start).rstrip("/") for name in names if name.endswith("/") and name != start)

    def files(self, prefix: str, first: str) -> Iterator[Source]:
        # Keys come sorted, and date and hour sort as time does: the listing begins where the window does.
        start = f"{self._prefix}{prefix}/"
        for item in self._list(start, recursive=True, start_after=start + first):
            key = item.object_name
            yield Source(f"s3://{self._bucket}/{key}", partial(self._open, key))

    def _list(self, prefix: str, **options) -> Iterator:
        from loopline.components.data.s3 import clear_errors

        name = f"s3://{self._bucket}/{prefix}"
        with clear_errors(name):
            # In pieces of one answer of the store, so that no error of what is done with a key is taken for its own.
            listing = self._client.list_objects(self._bucket, prefix=prefix, **options)
        while True:
            with clear_errors(name):
                items = list(itertools.islice(listing, 1000))
            if not items:
                return
            yield from items

    def _open(self, key: str):
        from loopline.components.data.s3 import open_object

        return open_object(self._client, self._bucket, key)
