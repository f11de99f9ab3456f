"""Bring the prepared partitions together: one table a side, without decoding a row, and one report."""

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from loopline.components.data.partition_merge import in_order
from loopline.components.data.partition_plan import Plan
from loopline.components.data.partition_rows import HASHES, PartitionReport
from loopline.components.data.partition_split import place_late
from loopline.components.data.rules import Failure, rule_count
from loopline.components.data.split import SIDES, check_sides
from loopline.components.data.tables import file_digest, folder_digest, read_table, write_table
from loopline.components.data.validate import failed, none_left
from loopline.components.data.validation_report import Findings, write_report
from loopline.components.documents import reading

logger = logging.getLogger("loopline")


def gather_partitions(
    folders: Sequence[str | Path], plan: Plan, tables: dict[str, str | Path], report: str | Path
) -> dict[str, dict]:
    """Make the tables of all partitions into one each, a folder of Parquet files.

    Args:
        folders: What each partition left, in any order.
        plan: What they were prepared by.
        tables: Where to write the tables ``train``, ``validation``, ``test`` and ``quarantined``, each a folder.
        report: Where to write the HTML report of the validation; written before a failure is raised.

    Returns:
        ``rows`` and ``digest`` of each table.

    Raises:
        InputError: A partition is missing, rows break a rule and ``on_error`` is ``fail``, or a side would be empty.
    """
    parts = [PartitionReport.load(folder) for folder in folders]
    numbers = [part.number for part in parts]
    folders = [Path(folder) for folder in in_order(folders, numbers, len(plan.rows))]
    parts = in_order(parts, numbers, len(plan.rows))
    failures = _merged_failures(parts)
    broken = sum(part.broken for part in parts)
    kept = sum(plan.rows) - broken
    findings = Findings(
        plan.columns, plan.schema, True, failures, rule_count(plan.schema), kept, broken, [], plan.on_error
    )
    write_report(findings, report)
    if failures and plan.on_error == "fail":
        raise failed(failures, report)
    if not kept:
        raise none_left(failures, report)
    late = _place_late(folders, parts, plan)
    counts = np.array([sum(part.rows[name] for part in parts) for name in SIDES])
    counts += sum((np.bincount(sides, minlength=3) for sides in late), np.zeros(3, int))
    check_sides(counts, plan.split.method, plan.split.validation_size)
    rows = dict(zip(SIDES, map(int, counts), strict=True)) | {"quarantined": sum(p.rows["quarantined"] for p in parts)}
    digests = {name: _gather(folders, parts, late, name, Path(path)) for name, path in tables.items()}
    logger.info("%s train, %s validation and %s test rows", *(f"{rows[name]:,}" for name in SIDES))
    return {name: {"rows": rows[name], "digest": digests[name]} for name in tables}


def _merged_failures(parts: Sequence[PartitionReport]) -> list[Failure]:
    merged: dict[tuple[str, str], Failure] = {}
    for failure in (failure for part in parts for failure in part.failures):
        rule = failure.column, failure.rule
        merged[rule] = merged[rule].merged(failure) if rule in merged else failure
    return sorted(merged.values(), key=lambda failure: -failure.rows)


def _place_late(folders: Sequence[Path], parts: Sequence[PartitionReport], plan: Plan) -> list[np.ndarray]:
    """Return the sides of each partition's rows that were kept apart."""
    if plan.split.method not in ("random", "stratified"):
        return [np.zeros(0, np.uint8) for _ in folders]
    hashes = []
    for folder in folders:
        with reading(folder / HASHES, "what prepare_partition keeps apart", "run prepare_partition again"):
            hashes.append(np.load(folder / HASHES))
    known: dict = {}
    for label, counts in (entry for part in parts for entry in part.known.items()):
        known[label] = known.get(label, 0) + counts
    values = pa.chunked_array([], pa.null())
    if plan.split.method == "stratified":
        column = plan.split.column
        values = pa.concat_tables(read_table(folder / "late.parquet", [column]) for folder in folders).column(0)
    sides = place_late(plan.split, values, np.concatenate(hashes), known)
    return np.split(sides, np.cumsum([len(part) for part in hashes])[:-1])


def _gather(
    folders: Sequence[Path], parts: Sequence[PartitionReport], late: Sequence[np.ndarray], name: str, target: Path
) -> str:
    """Put the files of one table into a folder; returns its digest.

    Rows that were kept apart stand behind the other rows of their partition.
    """
    # An attempt that was cut short may have left something.
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    digests = []
    for folder, part, sides in zip(folders, parts, late, strict=True):
        if part.rows[name]:
            _link(folder / f"{name}.parquet", target / f"{part.number:05}-1.parquet")
            digests.append(part.digests[name])
        if name in SIDES and (sides == SIDES.index(name)).any():
            rows = read_table(folder / "late.parquet").filter(pa.array(sides == SIDES.index(name)))
            placed = target / f"{part.number:05}-2.parquet"
            write_table(placed, rows)
            digests.append(file_digest(placed))
    if not digests:
        # A table without rows has columns still.
        _link(folders[0] / f"{name}.parquet", target / f"{1:05}-1.parquet")
        digests.append(parts[0].digests[name])
    return folder_digest(digests)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it to where that cannot be."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
