"""Counts of one column that add up: what one pass over the rows keeps of it."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.monitoring.bins import OUTER, Bins

#: Values never seen at training of which the counts are kept, for examples.
UNSEEN = 1_000


@dataclass
class NumberTally:
    """What is kept of a number.

    Attributes:
        counts: By bin of the reference, with the outer ones, int64.
        missing: How many values are missing or not finite.
        total: Sum of the present values, less the reference's mean.
        squares: Sum of the squares of the same.
        minimum: The smallest value; infinite for none.
        maximum: The largest value; minus infinite for none.
    """

    counts: np.ndarray
    missing: int = 0
    total: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def present(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    @property
    def outside(self) -> int:
        """How many values lie outside the range seen at training."""
        return int(self.counts[:OUTER].sum() + self.counts[-OUTER:].sum())

    @property
    def far(self) -> int:
        """How many lie farther outside than that range is wide."""
        return int(self.counts[0] + self.counts[-1])

    def add(self, values: np.ndarray, bins: Bins, center: float) -> None:
        """Count single-precision values, NaN for missing."""
        finite = np.isfinite(values)
        if not finite.all():
            values = values[finite]
        self.missing += len(finite) - len(values)
        if not len(values):
            return
        self.counts += bins.count(values)
        with np.errstate(over="ignore"):
            deviations = values - np.float32(center)
            squares = float(np.dot(deviations, deviations))
        if not math.isfinite(squares):
            deviations = values.astype(np.float64) - center
            squares = float(np.dot(deviations, deviations))
        self.total += float(deviations.sum())
        self.squares += squares
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))

    def merged(self, other: "NumberTally") -> "NumberTally":
        """Return the tally of both."""
        return NumberTally(
            self.counts + other.counts,
            self.missing + other.missing,
            self.total + other.total,
            self.squares + other.squares,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def entry(self, center: float) -> dict:
        """Return mean, sd (population), minimum and maximum, None where nothing is present."""
        count = self.present
        if not count:
            return dict.fromkeys(("mean", "sd", "minimum", "maximum"))
        shift = self.total / count
        variance = max(0.0, self.squares / count - shift**2)
        return {
            "mean": center + shift,
            "sd": math.sqrt(variance),
            "minimum": self.minimum,
            "maximum": self.maximum,
        }


@dataclass
class CategoryTally:
    """What is kept of a category.

    Attributes:
        counts: By category of the reference, then those never seen at training, int64.
        missing: How many values are missing.
        examples: Counts of values never seen: of the first ``UNSEEN`` in the order of the alphabet, whose counts are
            then exact however the rows are cut into pieces.
    """

    counts: np.ndarray
    missing: int = 0
    examples: dict[str, int] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    @property
    def unseen(self) -> int:
        """How many values were never seen at training."""
        return int(self.counts[-1])

    def add(self, codes: np.ndarray, values: Callable[[np.ndarray], pa.Array]) -> None:
        """Count codes; ``values`` gives the texts at some rows, asked only where there are new ones."""
        counts = np.bincount(codes + 1, minlength=len(self.counts) + 1)
        self.missing += int(counts[0])
        self.counts += counts[1:]
        if counts[-1]:
            found = pc.value_counts(values(np.flatnonzero(codes == len(self.counts) - 1)))
            texts, numbers = found.field("values").to_pylist(), found.field("counts").to_pylist()
            self._keep(dict(zip(texts, numbers, strict=True)))

    def merged(self, other: "CategoryTally") -> "CategoryTally":
        """Return the tally of both."""
        tally = CategoryTally(self.counts + other.counts, self.missing + other.missing, dict(self.examples))
        tally._keep(other.examples)
        return tally

    def _keep(self, more: dict[str, int]) -> None:
        for text, count in more.items():
            self.examples[text] = self.examples.get(text, 0) + count
        if len(self.examples) > UNSEEN:
            self.examples = {text: self.examples[text] for text in heapq.nsmallest(UNSEEN, self.examples)}
