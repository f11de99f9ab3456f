"""Count numbers into the bins of a reference profile, fast, in the precision of the traffic log.

A number that was 0.7 in double precision at training is 0.69999999 in the log, which holds what the model was given:
single precision. So the edges are rounded to single precision as well, and both sides are compared in it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Cells of the grid over the edges: few hold more than one edge, and 16,384 of them fit in a processor's cache.
_CELLS = 16_384
#: How many bins there are before the first and after the last of the profile: far below and below what training saw.
OUTER = 2
_FINITE = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))


@dataclass(frozen=True)
class Bins:
    """The bins of one numeric column: those of its profile, with two more on either side.

    Attributes:
        edges: Ascending, single precision: far below, minimum, the profile's edges, just above the maximum, far above.
            Bin i holds edges[i-1] <= x < edges[i].
    """

    edges: np.ndarray

    @classmethod
    def of(cls, entry: dict) -> "Bins":
        """Make the bins of a profile's numeric entry; "far" is farther out than the whole range is wide."""
        inner = np.unique(np.asarray(entry["edges"], np.float32))
        # A column that is all missing has no range: one bin for zero, so that what comes now is outside of it.
        low, high = np.float32(entry["minimum"] or 0.0), np.float32(entry["maximum"] or 0.0)
        reach = max(float(high) - float(low), 1e-6 * abs(float(low))) or 1.0
        above = np.nextafter(max(high, inner[-1] if len(inner) else high), np.float32(np.inf), dtype=np.float32)
        outer = np.array([float(low) - reach, float(high) + reach]).clip(*_FINITE).astype(np.float32)
        below = min(low, inner[0]) if len(inner) else low
        edges = np.concatenate([[min(outer[0], below), below], inner, [above, max(outer[1], above)]])
        return cls(edges.astype(np.float32))

    def __len__(self) -> int:
        return len(self.edges) + 1

    def __eq__(self, other) -> bool:
        return isinstance(other, Bins) and np.array_equal(self.edges, other.edges)

    def counts_of(self, entry: dict) -> np.ndarray:
        """Return a profile's own counts in these bins, int64 of shape (bins,)."""
        counts = np.zeros(len(self), np.int64)
        # Edges that are the same in single precision leave no room between them: what lies there is above them all.
        starts = np.concatenate([[self.edges[1]], np.asarray(entry["edges"], np.float32)])
        positions = np.searchsorted(self.edges, starts, side="right")
        np.add.at(counts, positions, np.asarray(entry["counts"], np.int64))
        return counts

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the bin of each value.

        Args:
            values: Finite single-precision numbers, shape (rows,).

        Returns:
            Positions, shape (rows,).
        """
        bases, nexts, crowded = self._grid
        cells = self._cells(values)
        # At most one edge lies in most cells, so one comparison settles the bin; the few others are searched.
        bins = bases[cells]
        bins += values >= nexts[cells]
        if crowded.any():
            rest = np.flatnonzero(crowded[cells])
            bins[rest] = np.searchsorted(self.edges, values[rest], side="right")
        return bins

    def count(self, values: np.ndarray) -> np.ndarray:
        """Count finite single-precision values into the bins; returns int64 of shape (bins,)."""
        return np.bincount(self.place(values), minlength=len(self))

    def _cells(self, values: np.ndarray) -> np.ndarray:
        # Rounding keeps the order, so a value in a cell above an edge's cell is above the edge.
        low, scale = self._span
        with np.errstate(over="ignore"):
            cells = (values - low) * scale
        return np.clip(cells, 0, _CELLS - 1, out=cells).astype(np.int32)

    @cached_property
    def _span(self) -> tuple[np.float32, np.float32]:
        # Without the outer edges, which lie far apart.
        inner = self.edges[OUTER:-OUTER] if len(self.edges) > 2 * OUTER else self.edges[1:-1]
        width = float(inner[-1]) - float(inner[0])
        scale = (_CELLS - 1) / width if width > 0 else 1.0
        return inner[0], np.float32(min(scale, _FINITE[1]))

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each cell: the edges before it, the first edge in it (infinite for none), whether it holds several."""
        held = np.bincount(self._cells(self.edges), minlength=_CELLS)
        before = np.cumsum(held) - held
        nexts = np.append(self.edges, np.float32(np.inf))[np.minimum(before, len(self.edges))]
        nexts[held == 0] = np.inf
        return before.astype(np.int32), nexts, held > 1
