"""One pass over all rows of a window: exact counts in the bins of the reference, and a bounded sample of rows.

Summaries add up. Partitions can be summarized apart, anywhere, and merged to what the whole would have given.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loopline.components.data.log_columns import DIGEST, ID, PREFIX, ROW
from loopline.components.data.table_folder import ParquetFolder
from loopline.components.data.tables import check_columns, open_parquet
from loopline.components.documents import make, reading
from loopline.components.errors import InputError
from loopline.components.monitoring.reference import Reference, Watched, encode_column
from loopline.components.monitoring.sampling import Sample, hash_text, mix
from loopline.components.monitoring.tallies import CategoryTally, NumberTally

#: Rows of the window that travel to the tests.
SAMPLE = 10_000
#: Arrow and NumPy let go of Python's lock; more threads would need more memory.
_THREADS = 2
#: Rows looked at together: one column of them fits in the processor's cache, 30 in some MB.
BATCH = 32_768
#: In the sample, whether a row was predicted by the model that is watched.
OWN = f"{PREFIX}own"


@dataclass
class Summary:
    """What is kept of the rows of a window.

    Attributes:
        rows: How many there are.
        own_rows: How many of them the model that is watched predicted.
        tallies: By column what was counted; predictions of own rows alone.
        sample: Rows drawn at random: each watched column as ``Reference.sample`` has it, and ``OWN``.
    """

    rows: int
    own_rows: int
    tallies: dict[str, NumberTally | CategoryTally]
    sample: Sample

    @classmethod
    def empty(cls, reference: Reference, sample: int = SAMPLE) -> "Summary":
        """Return the summary of nothing."""
        tallies = {
            column.name: (CategoryTally if column.is_text else NumberTally)(np.zeros(len(column.counts), np.int64))
            for column in reference.columns
        }
        return cls(0, 0, tallies, Sample.empty(sample))

    def profile(self, reference: Reference) -> dict:
        """Return the rows' profile in the reference's bins, as ``profile_table`` describes it.

        Args:
            reference: What the summary was made with.

        Returns:
            ``rows`` and ``columns``; categories never seen at training only as far as examples of them are kept.
        """
        columns = {}
        for column in reference.columns:
            tally, kind = self.tallies[column.name], {"kind": column.kind}
            if column.is_text:
                seen = {name: int(n) for name, n in zip(column.levels, tally.counts[:-1], strict=True) if n}
                counts = dict(sorted((seen | tally.examples).items()))
                columns[column.name] = {**kind, "missing": tally.missing, "counts": counts}
            else:
                edges = column.bins.edges.tolist()
                figures = tally.entry(column.center)
                counted = {"edges": edges, "counts": tally.counts.tolist()}
                columns[column.name] = {**kind, "missing": tally.missing, **figures, **counted}
        return {"rows": self.rows, "columns": columns}

    def save(self, path: str | Path) -> None:
        """Write the summary as one file that ``load`` reads; about 10 kB a column and the sample."""
        arrays = {f"counts/{name}": tally.counts for name, tally in self.tallies.items()}
        arrays |= {f"sample/{name}": values for name, values in self.sample.columns.items()}
        rest = {
            name: {key: value for key, value in vars(tally).items() if key != "counts"}
            for name, tally in self.tallies.items()
        }
        head = {"rows": self.rows, "own_rows": self.own_rows, "size": self.sample.size, "tallies": rest}
        with open(path, "wb") as file:
            np.savez_compressed(file, head=json.dumps(head), priorities=self.sample.priorities, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Summary":
        """Read a summary that ``save`` wrote.

        Raises:
            InputError: The file is missing or something else.
        """
        with (
            reading(path, "a summary of traffic", "summarize the window again"),
            np.load(path, allow_pickle=False) as file,
        ):
            head = json.loads(str(file["head"]))
            tallies = {
                name: make(
                    CategoryTally if "examples" in values else NumberTally, counts=file[f"counts/{name}"], **values
                )
                for name, values in head["tallies"].items()
            }
            names = [name.removeprefix("sample/") for name in file.files if name.startswith("sample/")]
            columns = {name: file[f"sample/{name}"] for name in names}
            sample = make(Sample, size=head["size"], priorities=file["priorities"], columns=columns)
            return make(cls, rows=head["rows"], own_rows=head["own_rows"], tallies=tallies, sample=sample)

    def add(self, batch: pa.RecordBatch, reference: Reference, seed: int, start: int) -> None:
        """Count a batch of rows.

        Args:
            batch: The rows.
            reference: What they are compared with.
            seed: The sample's random seed.
            start: What to count rows from that have no request id, so that each has its own number.
        """
        own = _own_rows(batch, reference)
        priorities = _priorities(batch, seed, start)
        chosen = self.sample.choose(priorities)
        kept = {OWN: own[chosen]}
        for column in reference.columns:
            values = batch.column(column.name)
            numbers = encode_column(values, column)
            kept[column.name] = numbers[chosen]
            self._count(column, values, numbers if column.role == "input" else numbers[own])
        self.rows += batch.num_rows
        self.own_rows += int(own.sum())
        self.sample = self.sample.merged(Sample(self.sample.size, priorities[chosen], kept))

    def _count(self, column: Watched, values: pa.Array, numbers: np.ndarray) -> None:
        tally = self.tallies[column.name]
        if column.is_text:
            tally.add(numbers, lambda rows: pc.cast(values.take(pa.array(rows)), pa.string()))
        else:
            tally.add(numbers, column.bins, column.center)


def summarize_traffic(
    paths: Iterable[str | Path], reference: Reference, sample: int = SAMPLE, seed: int = 0
) -> Summary:
    """Summarize all rows of some Parquet files in one pass, whatever their size.

    Args:
        paths: The files: collected traffic, or any with the reference's columns.
        reference: What the rows are compared with.
        sample: The most rows to keep.
        seed: The sample's random seed.

    Returns:
        The summary. Of rows with request ids it is the same however they are spread over files.

    Raises:
        InputError: A file cannot be read, or lacks a column.
    """
    parts, start = [], 0
    for path in paths:
        with open_parquet(path) as file:
            schema = file.schema_arrow
            check_columns(schema.names, [column.name for column in reference.columns], path)
            for group in range(file.num_row_groups):
                parts.append(_Part(path, group, start, schema))
                start += file.metadata.row_group(group).num_rows
    # Each thread has parts of its own, so that the sums are the same on every run.
    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [
            pool.submit(_summarize_parts, parts[i::_THREADS], reference, sample, seed)
            for i in range(min(_THREADS, len(parts)))
        ]
        found = [job.result() for job in jobs]
    return reduce(merge, found, Summary.empty(reference, sample))


def merge(first: Summary, second: Summary) -> Summary:
    """Add two summaries that were made with the same reference.

    Args:
        first: A summary.
        second: Another.

    Returns:
        The summary of all rows together.

    Raises:
        InputError: They have other columns or bins, or samples of another size.
    """
    shapes = [{name: len(tally.counts) for name, tally in one.tallies.items()} for one in (first, second)]
    if shapes[0] != shapes[1] or first.sample.size != second.sample.size:
        raise InputError("These summaries were made with different references: summarize the partitions with the same.")
    tallies = {name: tally.merged(second.tallies[name]) for name, tally in first.tallies.items()}
    sample = first.sample.merged(second.sample)
    return Summary(first.rows + second.rows, first.own_rows + second.own_rows, tallies, sample)


@dataclass(frozen=True)
class _Part:
    """A row group: its file, its position, how many rows came before it, and what the file holds."""

    path: str | Path
    group: int
    start: int
    schema: pa.Schema


def _summarize_parts(parts: Sequence[_Part], reference: Reference, sample: int, seed: int) -> Summary:
    summary = Summary.empty(reference, sample)
    wanted = [ID, ROW, DIGEST, *(column.name for column in reference.columns)]
    for path, groups in itertools.groupby(parts, key=lambda part: part.path):
        groups = list(groups)
        columns = [name for name in wanted if name in groups[0].schema.names]
        with open_stream(path, groups[0].schema) as file:
            for part in groups:
                start = part.start
                for batch in file.iter_batches(BATCH, row_groups=[part.group], columns=columns, use_threads=False):
                    summary.add(batch, reference, seed, start)
                    start += batch.num_rows
    return summary


def open_stream(path: str | Path, schema: pa.Schema) -> pq.ParquetFile | ParquetFolder:
    """Open a Parquet file for reading it once, in little memory.

    Args:
        path: The file.
        schema: What it holds.

    Returns:
        The open file. Text comes as positions in a dictionary, which it mostly is in the file.
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type) and field.name != ID]
    # A buffered stream reads pages, not whole columns of a row group.
    return open_parquet(path, buffer_size=2**16, read_dictionary=texts)


def _own_rows(batch: pa.RecordBatch, reference: Reference) -> np.ndarray:
    if DIGEST not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    digests = batch.column(DIGEST)
    if pa.types.is_dictionary(digests.type):
        codes = pc.fill_null(digests.indices, len(digests.dictionary)).to_numpy(zero_copy_only=False)
        same = pc.fill_null(pc.equal(digests.dictionary, reference.digest), False).to_numpy(zero_copy_only=False)
        return np.append(same, False)[codes]
    return pc.fill_null(pc.equal(digests, reference.digest), False).to_numpy(zero_copy_only=False)


def _priorities(batch: pa.RecordBatch, seed: int, start: int) -> np.ndarray:
    """Return what decides which rows are kept: a hash of what identifies a row, or of its number in the stream."""
    if ID not in batch.schema.names or ROW not in batch.schema.names:
        return mix(np.arange(start, start + batch.num_rows), seed)
    rows = pc.fill_null(batch.column(ROW), 0).to_numpy(zero_copy_only=False)
    return mix(hash_text(pc.cast(batch.column(ID), pa.string())) ^ mix(rows, 1), seed)
