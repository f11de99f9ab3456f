"""How many rows each instant has, small and mergeable: where to cut a table of any size along time.

Instants are counted as they are up to ``MOST`` different ones, and beyond that by intervals as narrow as they can be
for so many: a power of two, the same however the rows are spread over partitions.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Instants or intervals that are told apart.
MOST = 2**16
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class TimeCounts:
    """Counted instants.

    Attributes:
        instants: Where each interval begins, ascending, int64, shape (n,): see ``instants_of``.
        counts: How many rows each has, int64, shape (n,).
        width: The width of an interval; 1 while instants are told apart.
    """

    instants: np.ndarray
    counts: np.ndarray
    width: int = 1

    @classmethod
    def empty(cls) -> "TimeCounts":
        """Return what no rows give."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def add(self, instants: np.ndarray) -> "TimeCounts":
        """Return the counts with more rows.

        Args:
            instants: The instant of each row, int64, shape (rows,).
        """
        return self.merged(TimeCounts(*np.unique(instants, return_counts=True)))

    def merged(self, other: "TimeCounts") -> "TimeCounts":
        """Return the counts of both together."""
        width = max(self.width, other.width)
        instants = np.concatenate([self.instants, other.instants])
        counts = np.concatenate([self.counts, other.counts])
        while True:
            starts, positions = np.unique(instants // width * width, return_inverse=True)
            if len(starts) <= MOST:
                return TimeCounts(starts, np.bincount(positions, counts, len(starts)).astype(np.int64), width)
            width *= 2

    def of_type(self, found: pa.DataType, wanted: pa.DataType) -> "TimeCounts":
        """Return the counts for instants of another type: of a finer unit, or floats instead of integers.

        Args:
            found: The type of the values that were counted.
            wanted: The type they are to have.
        """
        if found == wanted or pa.types.is_null(found):
            return self
        if pa.types.is_floating(wanted) and pa.types.is_integer(found):
            return TimeCounts(_bits(self.instants), self.counts)
        if not (pa.types.is_timestamp(wanted) and pa.types.is_timestamp(found)):
            return self
        finer = _PER_SECOND[wanted.unit] // _PER_SECOND[found.unit]
        return TimeCounts(self.instants * finer, self.counts, self.width * finer)

    def cuts(self, test_size: float, validation_size: float, test_from: int | None = None) -> tuple[int, int]:
        """Find where validation and test begin.

        Args:
            test_size: Share of the latest rows for the test, unless ``test_from`` is given.
            validation_size: Share of the rows, just before the test, for validation.
            test_from: The instant at which the test begins.

        Returns:
            The first instant of validation and that of the test; the same where there is no validation.
        """
        before = np.cumsum(self.counts)
        rows = int(before[-1])
        if test_from is None:
            test_from = self._at(before, min(max(rows - round(rows * test_size), 0), rows - 1))
        earlier = int(self.counts[self.instants < test_from].sum())
        validations = min(round(rows * validation_size), earlier)
        return (self._at(before, earlier - validations) if validations else test_from), test_from

    def _at(self, before: np.ndarray, position: int) -> int:
        """Return the instant of the row at a position, the rows sorted by time."""
        return int(self.instants[np.searchsorted(before, position, side="right")])


def instants_of(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Turn timestamps or numbers into integers of the same order.

    Args:
        values: Timestamps, integers or floats, none of them missing.

    Returns:
        int64, shape (rows,): timestamps in their own unit, integers as they are, floats by their bits.
    """
    if pa.types.is_floating(values.type):
        return _bits(np.asarray(values))
    return np.asarray(pc.cast(values, pa.int64()))


def _bits(values: np.ndarray) -> np.ndarray:
    """Return floats as integers of the same order: the bits, which for those below zero go the other way round."""
    bits = (values.astype(np.float64) + 0.0).view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)
