"""Find columns that tell the target by themselves, as what is written down with it or after it does."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.profile import as_floats
from loopline.pipelines.project.goal import Goal
from loopline.pipelines.project.look import Look

#: From this share of what can be known on, a column is suspected. Honest columns seldom come near.
SUSPICIOUS = 0.99
#: Fewer rows than this make too many columns look perfect; more than this tell no more.
FEWEST_ROWS, MOST_ROWS = 50, 5000
_LEAVES, _LEAF_ROWS = 64, 3


def find_leaks(look: Look, goal: Goal, names: Sequence[str]) -> dict[str, float]:
    """Find the columns that predict the target nearly perfectly on rows they were not fitted to.

    A small decision tree for numbers, or the commonest target by value for text, is fitted on half of the rows and
    judged on the other: by balanced accuracy, or by how well it ranks a quantity.

    Args:
        look: The table.
        goal: What is to be predicted.
        names: The columns to try.

    Returns:
        What share of the target each suspicious column knows, between ``SUSPICIOUS`` and 1.
    """
    rows = look.sample.filter(_labeled(look, goal))
    if rows.num_rows < FEWEST_ROWS:
        return {}
    random = np.random.default_rng(0)
    order = random.permutation(rows.num_rows)[:MOST_ROWS]
    rows = rows.take(pa.array(order))
    truth = _truth(rows.column(goal.target).combine_chunks(), goal)
    fitted = np.arange(len(truth)) < len(truth) // 2
    found = {}
    for name in names:
        values = rows.column(name).combine_chunks()
        text = look[name].kind == "category"
        guesses = (_by_value if text else _by_tree)(values, truth, fitted, goal.is_classification)
        known = (_class_skill if goal.is_classification else _rank_skill)(truth[~fitted], guesses)
        if known >= SUSPICIOUS:
            found[name] = known
    return found


def _labeled(look: Look, goal: Goal) -> pa.ChunkedArray:
    values = look.sample.column(goal.target)
    if goal.is_classification:
        return pc.is_in(values, value_set=pa.array(list(goal.classes), values.type))
    return pc.is_finite(values).fill_null(False) if pa.types.is_floating(values.type) else values.is_valid()


def _truth(values: pa.Array, goal: Goal) -> np.ndarray:
    """Return class positions, or the ranks of a quantity: neither its scale nor its outliers matter then."""
    if goal.is_classification:
        return np.asarray(pc.index_in(values, value_set=pa.array(list(goal.classes), values.type)), np.int64)
    return _ranks(np.asarray(values.cast(pa.float64(), safe=False)))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, positions, counts = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(counts) - counts / 2) / len(values))[positions]


def _by_tree(values: pa.Array, truth: np.ndarray, fitted: np.ndarray, classes: bool) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    numbers = as_floats(values, np.float32)
    # Trees of scikit-learn know missing values, but none that is infinite.
    numbers = np.where(np.isinf(numbers), np.sign(numbers) * np.finfo(np.float32).max / 2, numbers).reshape(-1, 1)
    options = {"max_leaf_nodes": _LEAVES, "min_samples_leaf": _LEAF_ROWS, "random_state": 0}
    tree = DecisionTreeClassifier(**options, class_weight="balanced") if classes else DecisionTreeRegressor(**options)
    return tree.fit(numbers[fitted], truth[fitted]).predict(numbers[~fitted])


def _by_value(values: pa.Array, truth: np.ndarray, fitted: np.ndarray, classes: bool) -> np.ndarray:
    codes = np.asarray(values.dictionary_encode(null_encoding="encode").indices)
    levels = int(codes.max()) + 1
    if not classes:
        sums = np.bincount(codes[fitted], truth[fitted], levels)
        counts = np.bincount(codes[fitted], minlength=levels)
        means = np.where(counts, sums / np.maximum(counts, 1), truth[fitted].mean())
        return means[codes[~fitted]]
    width = int(truth.max()) + 1
    counts = np.bincount(codes[fitted] * width + truth[fitted], minlength=levels * width).reshape(levels, width)
    # As with balanced weights: the class that a value is most typical of.
    totals = np.maximum(np.bincount(truth[fitted], minlength=width), 1)
    return (counts / totals).argmax(axis=1)[codes[~fitted]]


def _class_skill(truth: np.ndarray, guesses: np.ndarray) -> float:
    """Return the balanced accuracy, scaled so that guessing gives 0."""
    classes = np.unique(truth)
    if len(classes) < 2:
        return 0.0
    accuracy = np.mean([np.mean(guesses[truth == value] == value) for value in classes])
    return float((accuracy - 1 / len(classes)) / (1 - 1 / len(classes)))


def _rank_skill(truth: np.ndarray, guesses: np.ndarray) -> float:
    """Return the share of the ranks' variance that is explained."""
    spread = np.var(truth)
    return float(1 - np.mean((truth - guesses) ** 2) / spread) if spread else 0.0
