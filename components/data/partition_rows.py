"""Prepare a partition by the plan: read it once more, set bad rows aside and split the others, in one pass.

What it leaves is a folder: a Parquet file for each side, one for the rows set aside, one for rows whose side is known
when all partitions are there (with their hashes beside it), and ``report.json``.
"""

import dataclasses
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.ingest_csv import read_csv
from loopline.components.data.ingest_parquet import local_files, read_parquet, text_for_null
from loopline.components.data.partition_plan import Plan
from loopline.components.data.partition_split import LATE
from loopline.components.data.partitions import Partition
from loopline.components.data.rules import Failure, arrow_schema, checked_batches
from loopline.components.data.split import SIDES
from loopline.components.data.table_folder import even_batches
from loopline.components.data.tables import BATCH_ROWS, file_digest
from loopline.components.data.writing import writing_table
from loopline.components.documents import make, read_json, reading
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")

#: The tables of a prepared partition: positions are sides, rows that are placed later, rows that break a rule.
TABLES = (*SIDES, "late", "quarantined")
_QUARANTINED = 4
HASHES, REPORT = "late.npy", "report.json"


@dataclasses.dataclass
class PartitionReport:
    """What was found in a partition.

    Attributes:
        number: Which partition, from 1.
        rows: How many rows of each of ``TABLES``.
        digests: The digest of the file of each.
        broken: How many rows break a rule.
        failures: The rules they break.
        known: Rows on each side, by class of the column to stratify by; by ``""`` when the split is another.
    """

    number: int
    rows: dict[str, int] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    broken: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)
    known: dict = dataclasses.field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the report beside the tables."""
        values = dataclasses.asdict(self) | {"known": [[label, rows.tolist()] for label, rows in self.known.items()]}
        (folder / REPORT).write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "PartitionReport":
        """Read what ``save`` wrote.

        Raises:
            InputError: There is no such folder, or it is something else.
        """
        with reading(folder, "a prepared partition", "run prepare_partition again"):
            values = read_json(Path(folder) / REPORT)
            failures = [make(Failure, **failure) for failure in values["failures"]]
            known = {label: np.array(rows, np.int64) for label, rows in values["known"]}
            return make(cls, **values | {"failures": failures, "known": known})


def prepare_partition(partition: Partition, plan: Plan, folder: str | Path) -> PartitionReport:
    """Read, check and split a partition.

    Args:
        partition: The files.
        plan: How to.
        folder: Where to write the tables and the report.

    Returns:
        What was found.

    Raises:
        InputError: A file cannot be reached or read, or has changed since it was profiled.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrow = arrow_schema(text_for_null(plan.types), plan.schema)
    failures: dict[tuple[str, str], Failure] = {}
    known: Counter = Counter()
    hashes = [np.zeros(0, np.uint64)]
    batches = even_batches(_read(partition, plan, folder), BATCH_ROWS)
    start = sum(plan.rows[: partition.number - 1])
    seen = 0
    with ExitStack() as stack:
        sinks = [stack.enter_context(writing_table(folder / f"{name}.parquet", arrow)) for name in TABLES]
        for batch, good in checked_batches(batches, plan.schema, failures, start=start):
            kept = batch.filter(pa.array(good))
            if kept.num_rows:
                sides, late = plan.split.sides(kept, start + seen)
                hashes.append(late)
                known.update(_counts(kept, sides, plan))
                for side, sink in enumerate(sinks[:_QUARANTINED]):
                    _write(sink, kept, sides == side)
            if plan.on_error == "quarantine":
                _write(sinks[_QUARANTINED], batch, ~good)
            seen += batch.num_rows
        if seen != plan.rows[partition.number - 1]:
            raise InputError(
                f"{partition.sources[0].name} has {seen:,} row(s) where it had {plan.rows[partition.number - 1]:,} a "
                "moment ago: run the pipeline again when no file is being written."
            )
    np.save(folder / HASHES, np.concatenate(hashes))
    report = PartitionReport(partition.number, dict(zip(TABLES, (sink.rows for sink in sinks), strict=True)))
    report.digests = {name: file_digest(folder / f"{name}.parquet") for name in TABLES}
    report.failures = list(failures.values())
    report.broken = seen - sum(report.rows[name] for name in TABLES[:_QUARANTINED])
    for (label, side), rows in known.items():
        report.known.setdefault(label, np.zeros(3, int))[side] = rows
    report.save(folder)
    logger.info("partition %s of %s: %s rows, %s break a rule", partition.number, partition.count, f"{seen:,}",
                f"{report.broken:,}")  # fmt: skip
    return report


def _read(partition: Partition, plan: Plan, folder: Path) -> Iterator[pa.RecordBatch]:
    """Read the columns of the plan, in its order and types."""
    if plan.is_csv:
        for table in read_csv(partition.sources, plan.schema.names, plan.form):
            yield from table.to_batches()
        return
    schema = text_for_null(pa.schema([plan.types.field(name) for name in plan.schema.names]))
    with tempfile.TemporaryDirectory(dir=folder.parent) as place, local_files(partition.sources, Path(place)) as files:
        yield from read_parquet(files, schema)


def _write(sink, batch: pa.RecordBatch, chosen: np.ndarray) -> None:
    if chosen.any():
        sink.write(batch.filter(pa.array(chosen)))


def _counts(rows: pa.RecordBatch, sides: np.ndarray, plan: Plan) -> dict:
    """Count rows by class and side, those left out that are placed later."""
    labels = [""]
    codes = np.zeros(len(sides), int)
    if plan.split.method == "stratified":
        encoded = rows.column(plan.split.column).dictionary_encode(null_encoding="encode")
        labels, codes = encoded.dictionary.to_pylist(), np.asarray(encoded.indices)
    placed = sides != LATE
    counts = np.bincount(codes[placed] * 3 + sides[placed], minlength=3 * len(labels))
    return {(labels[i // 3], i % 3): int(count) for i, count in enumerate(counts) if count}
