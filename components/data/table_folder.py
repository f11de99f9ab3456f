"""A table that is a folder of Parquet files, read as if it were one file: what partitions leave, gathered."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.errors import InputError


@contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turn what Arrow says of a Parquet file that breaks off or is garbled within into one sentence.

    Args:
        name: What to call the file.

    Raises:
        InputError: The block raised an error of Arrow.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # Arrow's readers raise an OSError that has no error number.
        if getattr(error, "errno", None) is not None:
            raise
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"{name} is damaged ({reason}): write or fetch it again.") from None


class TableFile(pq.ParquetFile):
    """A Parquet file that says in one sentence when it turns out to be damaged while it is read.

    Args:
        path: The file.
        options: Options of ``pyarrow.parquet.ParquetFile``.

    Raises:
        InputError: It is not a Parquet file.
    """

    def __init__(self, path: str | Path, **options):
        self._name = str(path)
        try:
            super().__init__(path, **options)
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            reason = str(error).partition("\n")[0][:200]
            raise InputError(f"{path} is not a Parquet file ({reason}): convert it with ingest_data first.") from None

    def read(self, *arguments, **options) -> pa.Table:
        """Read the table, or some of its columns, into memory."""
        with naming_damage(self._name):
            return super().read(*arguments, **options)

    def iter_batches(self, *arguments, **options) -> Iterator[pa.RecordBatch]:
        """Read batches."""
        with naming_damage(self._name):
            yield from super().iter_batches(*arguments, **options)


class FolderMetadata:
    """Of the metadata of a Parquet file what readers of tables ask for, over all files of a folder.

    Args:
        footers: The metadata of each file, in order.
    """

    def __init__(self, footers: Sequence[pq.FileMetaData]):
        self.num_rows = sum(footer.num_rows for footer in footers)
        self.groups = [(file, group) for file, footer in enumerate(footers) for group in range(footer.num_row_groups)]
        self.num_row_groups = len(self.groups)
        self._footers = footers

    def row_group(self, number: int) -> pq.RowGroupMetaData:
        """Return the metadata of a row group, counted through all files."""
        file, group = self.groups[number]
        return self._footers[file].row_group(group)


class ParquetFolder:
    """The part of ``pyarrow.parquet.ParquetFile`` that readers of tables use, for the Parquet files of one folder.

    The files are read in the order of their names, one open at a time, and row groups are counted through all of them.
    Batches are as those of one file with the same rows: a model that is trained batch by batch comes out the same.

    Args:
        path: The folder.
        options: Options of ``pyarrow.parquet.ParquetFile``.

    Raises:
        InputError: The folder has no Parquet file, one of them is damaged, or they differ in columns or types.
    """

    def __init__(self, path: str | Path, **options):
        self._files = parquet_files(path)
        self._options = options
        footers, self.schema_arrow = [], None
        for file in self._files:
            with self._open(file) as opened:
                footers.append(opened.metadata)
                schema = opened.schema_arrow
            self.schema_arrow = schema if self.schema_arrow is None else self.schema_arrow
            if not schema.equals(self.schema_arrow):
                raise InputError(
                    f"{file} has other columns or types than {self._files[0].name} beside it: the files of a table "
                    "must have the same."
                )
        self.metadata = FolderMetadata(footers)

    @property
    def num_row_groups(self) -> int:
        """Row groups of all files."""
        return self.metadata.num_row_groups

    def iter_batches(
        self,
        batch_size: int = 65_536,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        use_threads: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Read batches of exactly ``batch_size`` rows, but for the last one.

        Args:
            batch_size: Rows of a batch.
            row_groups: The row groups wanted, counted through all files; all when None.
            columns: The columns wanted; all when None.
            use_threads: Whether to decode columns side by side.

        Yields:
            Record batches, in the order of the files.
        """
        yield from even_batches(self._pieces(batch_size, row_groups, columns, use_threads), batch_size)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the table, or some of its columns, into memory."""
        tables = []
        for file in self._files:
            with self._open(file) as opened:
                tables.append(opened.read(columns=columns))
        return pa.concat_tables(tables)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""

    def __enter__(self) -> "ParquetFolder":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _pieces(
        self, rows: int, row_groups: Sequence[int] | None, columns: Sequence[str] | None, use_threads: bool
    ) -> Iterator[pa.RecordBatch]:
        wanted = self.metadata.groups if row_groups is None else [self.metadata.groups[i] for i in row_groups]
        for number, file in enumerate(self._files):
            groups = [group for owner, group in wanted if owner == number]
            if groups:
                with self._open(file) as opened:
                    yield from opened.iter_batches(rows, row_groups=groups, columns=columns, use_threads=use_threads)

    def _open(self, file: Path) -> TableFile:
        return TableFile(file, **self._options)


def parquet_files(path: str | Path) -> list[Path]:
    """List the files of a table that is a folder, in order.

    Args:
        path: The folder.

    Returns:
        Its Parquet files by name, those that begin with a dot or an underscore left out.

    Raises:
        InputError: There is none.
    """
    files = sorted(file for file in Path(path).glob("*.parquet") if not file.name.startswith((".", "_")))
    if not files:
        raise InputError(f"The folder {path} has no Parquet file: check the path, or run the step that writes it.")
    return files


def even_batches(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Cut and join batches to the same number of rows.

    Args:
        batches: Batches of any size.
        size: Rows of each batch, but for the last one.

    Yields:
        The same rows in the same order.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= size:
            taken = batch.slice(0, size - rows)
            yield _joined([*waiting, taken])
            batch, waiting, rows = batch.slice(taken.num_rows), [], 0
        if batch.num_rows:
            waiting.append(batch)
            rows += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
