"""How much each feature of a row moves its score: Shapley values by sampling permutations.

The value of a feature is the mean change of the score when it is switched from the value of a reference row to that of
the explained row, over orders in which the features are switched: Strumbelj and Kononenko, "Explaining prediction
models and individual predictions with feature contributions" (2014). Every order is also taken in reverse, which makes
the estimate steadier: Mitchell et al., "Sampling permutations for Shapley value estimation" (2022).
"""

from collections.abc import Callable

import numpy as np

#: Reference rows, each with an order of its own; pairs share one, the second in reverse.
REFERENCES = 100
#: The most rows of one request that asks for contributions: each costs ``REFERENCES`` x features predictions.
MAX_ROWS = 16
#: The most values of the rows predicted for one explained row, some 80 MB: fewer reference rows above 300 features.
MAX_VALUES = 10_000_000


class Explainer:
    """Explains scores of one model. The same row gets the same contributions every time.

    Args:
        score: From columns of shape (rows,) by name to one score a row.
        reference: Rows to compare with, by name arrays of shape (rows,); what the training data looked like.
    """

    def __init__(self, score: Callable[[dict[str, np.ndarray]], np.ndarray], reference: dict[str, np.ndarray]):
        self._score = score
        self._names = list(reference)
        scores = np.asarray(score(reference), np.float64)
        # At even steps through the sorted scores, so that their mean is close to that of all reference rows.
        count = min(REFERENCES, len(scores), max(2, MAX_VALUES // len(self._names) ** 2))
        chosen = np.argsort(scores, kind="stable")[((np.arange(count) + 0.5) * len(scores) / count).astype(int)]
        self._starts = scores[chosen]
        self._rank = _ranks(count, len(self._names))
        # Between the reference row and the explained row: after each switch but the last, which features are switched.
        steps = np.arange(1, len(self._names))
        self._switched = self._rank[:, None, :] < steps[None, :, None]
        self._reference = {name: np.repeat(values[chosen], len(steps)) for name, values in reference.items()}

    @property
    def baseline(self) -> float:
        """The mean score of the reference rows."""
        return float(self._starts.mean())

    def explain(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Explain rows.

        Args:
            columns: By name arrays of shape (rows,).

        Returns:
            Contributions in the order of the reference's columns, shape (rows, features), single precision. With the
            baseline they add up to the score.
        """
        ends = np.asarray(self._score(columns), np.float64)
        rows = [
            self._explain_row({name: columns[name][row] for name in self._names}, ends[row]) for row in range(len(ends))
        ]
        return np.array(rows, np.float32)

    def _explain_row(self, values: dict, end: float) -> np.ndarray:
        count = len(self._starts)
        path = np.empty((count, len(self._names) + 1))
        path[:, 0], path[:, -1] = self._starts, end
        if len(self._names) > 1:
            mixed = {
                name: np.where(self._switched[:, :, position].reshape(-1), values[name], self._reference[name])
                for position, name in enumerate(self._names)
            }
            path[:, 1:-1] = np.asarray(self._score(mixed), np.float64).reshape(count, -1)
        return np.take_along_axis(np.diff(path, axis=1), self._rank, axis=1).mean(axis=0)


def _ranks(count: int, features: int) -> np.ndarray:
    """Return at which step each feature is switched, shape (orders, features)."""
    generator = np.random.default_rng(0)
    orders = [generator.permutation(features) for _ in range((count + 1) // 2)]
    return np.array([rank for order in orders for rank in (order, features - 1 - order)])[:count]
