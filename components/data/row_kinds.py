"""Which rows of a table are repeated too often to be copies by mistake, from counts that are small and mergeable.

A table of a few narrow columns repeats most of its rows. All of one kind on one side would have a model judged on just
what it was not shown, so such rows are told apart when they are split.
"""

from dataclasses import dataclass

import numpy as np

#: Kinds of rows that are counted; of more, the most frequent. The others stay together, as copies do.
MOST_KINDS = 2**16


@dataclass(frozen=True)
class RowKinds:
    """Counted kinds of rows.

    Attributes:
        hashes: The hash of each kind, ascending, uint64, shape (n,): see ``hashing.row_hashes``.
        counts: How often it occurs, int64, shape (n,).
        whole: Whether every kind is there.
    """

    hashes: np.ndarray
    counts: np.ndarray
    whole: bool = True

    @classmethod
    def empty(cls) -> "RowKinds":
        """Return what no rows give."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.int64))

    def add(self, hashes: np.ndarray) -> "RowKinds":
        """Return the counts with more rows.

        Args:
            hashes: The hash of each row, uint64, shape (rows,).
        """
        # Only now and then, since sorting is what takes the time.
        kinds = self.merged(RowKinds(*np.unique(hashes, return_counts=True)))
        return kinds.most_frequent() if len(kinds.hashes) > 4 * MOST_KINDS else kinds

    def merged(self, other: "RowKinds") -> "RowKinds":
        """Return the counts of both together."""
        hashes, positions = np.unique(np.concatenate([self.hashes, other.hashes]), return_inverse=True)
        counts = np.bincount(positions, np.concatenate([self.counts, other.counts]), len(hashes))
        return RowKinds(hashes, counts.astype(np.int64), self.whole and other.whole)

    def most_frequent(self) -> "RowKinds":
        """Return the most frequent kinds; where there are more, those that occur once say nothing."""
        if len(self.hashes) <= MOST_KINDS and self.whole:
            return self
        kept = np.sort(np.argsort(-self.counts, kind="stable")[:MOST_KINDS])
        kept = kept[self.counts[kept] > 1]
        return RowKinds(self.hashes[kept], self.counts[kept], False)

    def often(self, copies: int) -> np.ndarray:
        """Return the hashes of the kinds that occur more often than that, ascending."""
        return self.hashes[self.counts > copies]
