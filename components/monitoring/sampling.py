"""A bounded sample of a stream of rows that is the same however the stream is cut into pieces.

Each row gets a pseudorandom priority from what identifies it, and the rows with the lowest priorities are kept
(bottom-k sampling: Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007). So the samples of two
partitions, merged, are the sample of the whole.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

#: Odd constants with well-mixed bits: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
_GAMMA, _FIRST, _SECOND = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass
class Sample:
    """The rows with the lowest priorities so far.

    Attributes:
        size: The most rows kept.
        priorities: uint64, shape (rows,).
        columns: By name an array of shape (rows,).
    """

    size: int
    priorities: np.ndarray
    columns: dict[str, np.ndarray]

    @classmethod
    def empty(cls, size: int) -> "Sample":
        """Return a sample of nothing."""
        return cls(size, np.zeros(0, np.uint64), {})

    def choose(self, priorities: np.ndarray) -> np.ndarray:
        """Return which rows of a batch may still come into the sample, given their priorities."""
        if len(self.priorities) >= self.size:
            return np.flatnonzero(priorities < self.priorities.max())
        if len(priorities) > self.size:
            return np.sort(np.argpartition(priorities, self.size - 1)[: self.size])
        return np.arange(len(priorities))

    def merged(self, other: "Sample") -> "Sample":
        """Return the sample of both streams together; its rows are in the order of their priorities."""
        priorities = np.concatenate([self.priorities, other.priorities])
        order = np.argsort(priorities, kind="stable")[: self.size]
        # One of them may be empty, and then has no columns.
        names = self.columns or other.columns
        parts = [sample.columns for sample in (self, other) if sample.columns]
        columns = {name: np.concatenate([part[name] for part in parts])[order] for name in names}
        return Sample(self.size, priorities[order], columns)


def mix(values: np.ndarray, seed: int) -> np.ndarray:
    """Turn whole numbers into pseudorandom ones, the same for the same number and seed.

    Args:
        values: Integers, shape (rows,).
        seed: The random seed.

    Returns:
        uint64, shape (rows,).
    """
    mixed = values.astype(np.uint64) + np.uint64(int(_GAMMA) * (2 * seed + 1) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def hash_text(values: pa.StringArray) -> np.ndarray:
    """Hash texts, all of one length at a time.

    Args:
        values: The texts; null counts as empty.

    Returns:
        uint64, shape (rows,).
    """
    if values.null_count:
        values = values.fill_null("")
    _, offsets, data = values.buffers()
    hashes = np.zeros(len(values), np.uint64)
    if data is None:
        return hashes
    offsets = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(data, np.uint8)
    lengths = np.diff(offsets)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        words = np.zeros((len(rows), -(-int(length) // 8) * 8), np.uint8)
        if len(rows) == len(values):
            words[:, :length] = data[offsets[0] : offsets[-1]].reshape(-1, length)
        else:
            words[:, :length] = data[offsets[rows][:, None] + np.arange(length)]
        state = np.full(len(rows), length, np.uint64)
        for word in words.view("<u8").T:
            state = mix(state ^ word, 0)
        hashes[rows] = state
    return hashes
