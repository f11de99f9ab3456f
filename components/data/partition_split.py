"""Split partitions, each by itself and before the others are known, as the whole table would be split.

At random, a row's side follows from the rank of its hash among all rows. A partition knows the hash and not the rank,
but a rank follows from the hash to within a few times the square root of the number of rows: only rows whose hash lies
so close to a cut are kept apart, and placed once all partitions are there. So the sides are those of the whole table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from loopline.components.data.hashing import row_hashes, seeded
from loopline.components.data.split import TEST, TRAIN, VALIDATION, assign_groups, class_shares
from loopline.components.data.time_counts import instants_of

#: The side of a row that is placed when all partitions are known.
LATE = 3
#: Standard deviations of a rank by which a cut is widened: copies of rows, which share a hash, make it uncertain, too.
_SURE = 10
#: An odd number with bits all over: its multiples are far apart.
_APART = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class PartitionSplit:
    """How each partition is split.

    Attributes:
        method: ``random``, ``stratified``, ``time`` or ``group``.
        column: The class, the timestamp or the group.
        test_size: Share of the test.
        validation_size: Share of validation.
        seed: Seed of the hash that places rows or groups.
        rows: How many rows the table has.
        classes: Stratified: how many rows each class has, null being one.
        often: Hashes of the rows that are repeated too often to be copies, ascending, uint64: each is placed by itself.
        cuts: By time: where validation and test begin, as ``instants_of`` counts.
    """

    method: str
    column: str
    test_size: float
    validation_size: float
    seed: int
    rows: int
    classes: Mapping = field(default_factory=dict)
    cuts: tuple[int, int] = (0, 0)
    often: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64), compare=False)

    def sides(self, batch: pa.RecordBatch, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Give rows their sides, as far as they are known.

        Args:
            batch: The rows, with every column of the table.
            start: A number that no row of another batch or partition has, and none of the next ones up to its length.

        Returns:
            A side (0 train, 1 validation, 2 test, 3 known later) for each row, uint8, shape (rows,), and the hash of
            each row that is known later, uint64.
        """
        none = np.zeros(0, np.uint64)
        if self.method == "group":
            values = pa.chunked_array([batch.column(self.column)])
            return assign_groups(values, self.test_size, self.validation_size, self.seed), none
        if self.method == "time":
            instants = instants_of(batch.column(self.column))
            return np.searchsorted(self.cuts, instants, side="right").astype(np.uint8), none
        hashes = row_hashes(batch)
        repeated = np.flatnonzero(np.isin(hashes, self.often))
        hashes[repeated] += (np.uint64(start) + repeated.astype(np.uint64)) * _APART
        hashes = seeded(hashes, self.seed)
        sides = self._bounds(batch).sides(hashes)
        return sides, hashes[sides == LATE]

    def _bounds(self, batch: pa.RecordBatch) -> "Bounds":
        if self.method == "random":
            return Bounds.of(np.array([self.rows]), self.test_size, self.validation_size)
        encoded = batch.column(self.column).dictionary_encode(null_encoding="encode")
        rows = np.array([self.classes.get(label, 0) for label in encoded.dictionary.to_pylist()], int)
        return Bounds.of(rows[np.asarray(encoded.indices)], self.test_size, self.validation_size)


@dataclass(frozen=True)
class Bounds:
    """Where a row's side is certain: shares of all hashes, each of shape (rows,) or (1,).

    Attributes:
        test_below: A hash below this is in the test.
        first_to: The end of what is uncertain about the cut between test and validation.
        second_from: The start of what is uncertain about the cut between validation and training.
        train_above: A hash above this is for training.
    """

    test_below: np.ndarray
    first_to: np.ndarray
    second_from: np.ndarray
    train_above: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, test_size: float, validation_size: float) -> "Bounds":
        """Return the bounds for so many rows."""
        first, second = test_size, test_size + validation_size
        reaches = [
            _SURE * (np.sqrt(cut * (1 - cut) / np.maximum(rows, 1)) + 1 / np.maximum(rows, 1))
            for cut in (first, second)
        ]
        return cls(first - reaches[0], first + reaches[0], second - reaches[1], second + reaches[1])

    def sides(self, hashes: np.ndarray) -> np.ndarray:
        """Return the side of each hash, ``LATE`` where it is uncertain; uint8, shape (rows,)."""
        shares = hashes / 2.0**64
        sides = np.full(len(hashes), LATE, np.uint8)
        sides[(shares > self.first_to) & (shares < self.second_from)] = VALIDATION
        sides[shares < self.test_below] = TEST
        sides[shares > self.train_above] = TRAIN
        return sides


def place_late(split: PartitionSplit, values: pa.ChunkedArray, hashes: np.ndarray, known: Mapping) -> np.ndarray:
    """Give the rows that were kept apart their sides.

    Args:
        split: How the table is split: ``random`` or ``stratified``.
        values: Stratified: the class of each row; not looked at otherwise.
        hashes: The hash of each row, uint64, shape (rows,).
        known: How many rows are on each side already, shape (3,), by class; by ``""`` when the split is ``random``.

    Returns:
        A side for each row, uint8, shape (rows,).

    Raises:
        InputError: A class has too few rows to be on every side.
    """
    if split.method == "random":
        counts = known.get("", np.zeros(3, int))
        rows = int(counts.sum()) + len(hashes)
        return _by_rank(split, hashes, counts, round(rows * split.test_size), round(rows * split.validation_size))
    sides = np.full(len(hashes), TRAIN, np.uint8)
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    order = np.argsort(encoded.indices, kind="stable")
    groups = np.split(order, np.searchsorted(np.asarray(encoded.indices)[order], np.arange(1, len(encoded.dictionary))))
    members = dict(zip(encoded.dictionary.to_pylist(), groups, strict=False))
    for label in dict.fromkeys([*known, *members]):
        rows, counts = members.get(label, order[:0]), known.get(label, np.zeros(3, int))
        total = int(counts.sum()) + len(rows)
        shares = class_shares(label, total, split.test_size, split.validation_size)
        sides[rows] = _by_rank(split, hashes[rows], counts, *shares)
    return sides


def _by_rank(
    split: PartitionSplit, hashes: np.ndarray, known: Sequence[int], tests: int, validations: int
) -> np.ndarray:
    """Rank the rows among those whose sides are known, and cut as the whole table would be cut."""
    trains, validated, tested = map(int, known)
    rows = trains + validated + tested + len(hashes)
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    shares = ranked / 2.0**64
    # Rows that are known to be for validation stand between the two uncertain regions, if these are apart.
    lower = int(np.searchsorted(shares, _middle(split), side="right")) if validated else len(ranked)
    regions = ((tested, ranked[:lower]), (tested + lower + validated, ranked[lower:]))
    second_region = regions[1] if validated else regions[0]
    reach = min((side for side in (tests, validations, rows - tests - validations) if side), default=0)
    first = _cut(*regions[0], tests, reach, 1, rows - 1 - bool(validations))
    second = first
    if validations:
        second = _cut(*second_region, max(tests + validations, first + 1), reach, first + 1, rows - 1)
    ranks = tested + np.arange(len(ranked)) + np.where(np.arange(len(ranked)) >= lower, validated, 0)
    sides = np.full(len(hashes), TRAIN, np.uint8)
    sides[order[ranks < second]] = VALIDATION
    sides[order[ranks < first]] = TEST
    return sides


def _middle(split: PartitionSplit) -> float:
    return split.test_size + split.validation_size / 2


def _cut(before: int, ranked: np.ndarray, cut: int, reach: int, least: int, most: int) -> int:
    """Return the number of rows in front of a cut: moved out of equal rows, and into the region where it may be."""
    cut = min(max(cut, before), before + len(ranked))
    place = cut - before
    if not 0 < place < len(ranked) or ranked[place - 1] != ranked[place]:
        return cut
    ends = [before + int(np.searchsorted(ranked, ranked[place], side=side)) for side in ("left", "right")]
    nearest = sorted((end for end in ends if least <= end <= most), key=lambda end: abs(end - cut))
    return nearest[0] if nearest and abs(nearest[0] - cut) <= reach else cut
