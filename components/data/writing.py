"""Write tables so that a step that fails leaves nothing half-written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from loopline.components.data.tables import BATCH_ROWS, abandon, file_digest, table_writer
from loopline.components.errors import explain, is_full

#: A row group is closed at this size even when it has few rows, which bounds memory for wide tables.
GROUP_BYTES = 64 * 2**20


class TableSink:
    """Collects batches into row groups of even size, so that the bytes depend on the rows alone.

    Args:
        writer: The open Parquet file.
        schema: The Arrow schema of every batch.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema):
        self._writer = writer
        self.schema = schema
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Add rows.

        Args:
            table: Rows with exactly the sink's schema.
        """
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self.rows += table.num_rows
        self._rows += table.num_rows
        self._bytes += table.nbytes
        self._waiting.append(table)
        if self._rows >= BATCH_ROWS or self._bytes >= GROUP_BYTES:
            self._flush(keep=self._bytes < GROUP_BYTES)

    def _flush(self, keep: bool) -> None:
        """Write whole row groups; the rest waits for more rows when ``keep``."""
        table = pa.concat_tables(self._waiting)
        whole = table.num_rows - table.num_rows % BATCH_ROWS if keep else table.num_rows
        self._writer.write_table(table.slice(0, whole), row_group_size=BATCH_ROWS)
        rest = table.slice(whole)
        self._waiting = [rest] if rest.num_rows else []
        self._rows, self._bytes = rest.num_rows, rest.nbytes

    def finish(self) -> None:
        """Write what is still waiting."""
        if self._waiting:
            self._flush(keep=False)


@contextmanager
def writing_table(path: str | Path, schema: pa.Schema) -> Iterator[TableSink]:
    """Open a table for writing; it appears at ``path`` when the block ends well and not at all when it does not.

    Args:
        path: The Parquet file to write.
        schema: Its Arrow schema.

    Yields:
        The sink to write batches to.

    Raises:
        InputError: The disk is full.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    sink = None
    with _disk_full(path):
        writer = table_writer(part, schema)
        try:
            sink = TableSink(writer, schema)
            yield sink
            sink.finish()
            writer.close()
            part.replace(path)
        except BaseException:
            abandon(writer, part)
            raise


def describe_file(path: str | Path, rows: int) -> dict:
    """Return the metadata of a table that was just written: its rows and the digest of its bytes."""
    return {"rows": rows, "digest": file_digest(path)}


@contextmanager
def _disk_full(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        # Arrow's errors do not say where.
        raise explain(OSError(error.errno, "", str(path.parent))) from None
