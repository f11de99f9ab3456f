"""Where predictions go, a file a partition: a folder, or a bucket of S3. A file is there whole or not at all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from loopline.components.data.places import Bucket, read_place
from loopline.components.environment import home, home_is_kept
from loopline.components.errors import InputError
from loopline.components.registry.versions import check_name


@dataclass(frozen=True)
class Written:
    """A file of predictions.

    Attributes:
        uri: Where it is.
        rows: Its rows.
        dropped: Those without a prediction.
    """

    uri: str
    rows: int
    dropped: int


class Destination(Protocol):
    """Takes files of predictions."""

    #: A folder on the destination's own disk to write in before a file is published; None for any.
    workspace: Path | None

    def find(self, name: str, output: str) -> Written | None:
        """Return a file that was published before, None when there is none; ``output`` is a predicted column."""

    def publish(self, file: Path, name: str, rows: int, dropped: int) -> Written:
        """Take over a finished file, in place of one of the same name."""


def open_destination(uri: str, name: str) -> Destination:
    """Open the place for the predictions of a model.

    Args:
        uri: A folder or ``s3://bucket/prefix``; a folder of the model under LOOPLINE_HOME when empty.
        name: The model's name.

    Returns:
        The destination.

    Raises:
        InputError: It can be neither, or nothing was named where this machine's own folders are not kept.
    """
    if not uri.strip():
        if not home_is_kept():
            raise InputError("output is empty: name s3://bucket/prefix, since what a pod keeps for itself is lost.")
        uri = str(home() / "scores" / check_name(name))
    place = read_place(uri.strip(), "The output")
    if isinstance(place, Bucket):
        return _Bucket(*place)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Predictions cannot be written to {place} ({error.strerror}): name another folder.") from None
    return _Folder(place)


class _Folder:
    def __init__(self, folder: Path):
        self.workspace = folder

    def find(self, name: str, output: str) -> Written | None:
        file = self.workspace / name
        if not file.is_file():
            return None
        found = pq.read_metadata(file)
        # By path: the fields of a nested column may be named as a prediction is.
        paths = [found.schema.column(position).path for position in range(found.num_columns)]
        column = paths.index(output)
        groups = (found.row_group(group).column(column) for group in range(found.num_row_groups))
        return Written(str(file), found.num_rows, sum(group.statistics.null_count for group in groups))

    def publish(self, file: Path, name: str, rows: int, dropped: int) -> Written:
        place = self.workspace / name
        file.replace(place)
        return Written(str(place), rows, dropped)


class _Bucket:
    workspace = None

    def __init__(self, bucket: str, prefix: str):
        from loopline.components.data.s3 import s3_client

        self._client, self._bucket = s3_client(), bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def find(self, name: str, output: str) -> Written | None:
        from minio.error import S3Error

        from loopline.components.data.s3 import clear_errors

        with clear_errors(self._uri(name)):
            try:
                found = self._client.stat_object(self._bucket, self._prefix + name).metadata
            except S3Error as error:
                if error.code not in ("NoSuchKey", "NoSuchObject"):
                    raise
                return None
        rows, dropped = (int(found.get(f"x-amz-meta-{key}", 0)) for key in ("rows", "dropped"))
        return Written(self._uri(name), rows, dropped)

    def publish(self, file: Path, name: str, rows: int, dropped: int) -> Written:
        from loopline.components.data.s3 import clear_errors

        counts = {"rows": str(rows), "dropped": str(dropped)}
        with clear_errors(self._uri(name), "write"):
            self._client.fput_object(self._bucket, self._prefix + name, str(file), metadata=counts)
        return Written(self._uri(name), rows, dropped)

    def _uri(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"
