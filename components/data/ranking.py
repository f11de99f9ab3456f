"""Rank as many 64-bit hashes as a table has rows without a second array of them: a part is sorted at a time."""

from collections.abc import Iterator

import numpy as np

#: Hashes that are worked on at a time: 32 MB.
_BLOCK = 2**22
_LEADING = np.uint64(48)


def blocks(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array in views of a bounded length, for work that would need its memory once more.

    Args:
        hashes: Shape (rows,).

    Yields:
        Its parts, in order.
    """
    for start in range(0, len(hashes), _BLOCK):
        yield hashes[start : start + _BLOCK]


def find_repeated(hashes: np.ndarray, most: int) -> np.ndarray:
    """Find the hashes that occur too often.

    Args:
        hashes: 64-bit hashes, shape (rows,).
        most: How often one may occur.

    Returns:
        Those that occur more often, each once, ascending.
    """
    found = []
    shares = len(hashes) // _BLOCK + 1
    for share in range(shares):
        first, last = 2**64 * share // shares, 2**64 * (share + 1) // shares - 1
        ranked = np.sort(hashes[(hashes >= np.uint64(first)) & (hashes <= np.uint64(last))])
        found.append(np.unique(ranked[most:][ranked[most:] == ranked[:-most]]))
    return np.concatenate(found)


def count_before(values: np.ndarray) -> np.ndarray:
    """Return how often each value occurs before its own place, int64 of shape (rows,)."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    before = np.empty(len(values), np.int64)
    before[order] = np.arange(len(values)) - np.searchsorted(ranked, ranked)
    return before


def value_at(hashes: np.ndarray, rank: int) -> np.uint64:
    """Return the hash of a rank, by sorting only those that share its leading bits.

    Args:
        hashes: 64-bit hashes, shape (rows,).
        rank: From 0, below the number of rows.

    Returns:
        What ``np.sort(hashes)[rank]`` is.
    """
    counts = sum(np.bincount((block >> _LEADING).astype(np.int64), minlength=2**16) for block in blocks(hashes))
    ends = np.cumsum(counts)
    bits = int(np.searchsorted(ends, rank, side="right"))
    near = np.concatenate([block[block >> _LEADING == bits] for block in blocks(hashes)])
    return np.sort(near)[rank - (ends[bits] - counts[bits])]


def mark_lowest(hashes: np.ndarray, count: int) -> np.ndarray:
    """Mark the rows of the lowest hashes; among equal ones those that come first.

    Args:
        hashes: 64-bit hashes, shape (rows,).
        count: How many rows to mark.

    Returns:
        Booleans, shape (rows,).
    """
    if count >= len(hashes):
        return np.ones(len(hashes), bool)
    tie = value_at(hashes, count)
    lowest = hashes < tie
    missing = count - int(np.count_nonzero(lowest))
    if missing:
        lowest[np.flatnonzero(hashes == tie)[:missing]] = True
    return lowest
