"""All tests of one window, and one promise for all of them: false alarms of everything together stay below alpha.

No single test sees every kind of drift: ranks see a small shift best, squared ranks a spread, Cramer-von Mises a shape,
correlations a pair, trees an interaction. The battery asks all of them and splits alpha so that each gets what it needs
where it is best: most of it goes to the columns in equal parts, for there the weakest signals are; a changed pair, a
shift of all columns at once or an interaction shows so clearly that a hundredth of alpha is enough.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from loopline.components.monitoring import multiplicity, pairs, ranks
from loopline.components.monitoring.engines import ColumnTest, DomainTest, Engine, PairTest

#: How alpha is split between kinds of drift; what cannot be tested leaves its share to the others.
SHARES = {"columns": 0.96, "pairs": 0.01, "joint": 0.01, "domain": 0.02}
#: How much each test counts inside its column.
WEIGHTS = {
    "normal_scores": 0.70,
    "cramer_von_mises": 0.15,
    "kolmogorov_smirnov": 0.05,
    "squared_normal_scores": 0.05,
    "chi_squared": 0.95,
    "fisher_exact": 0.95,
    "missing": 0.05,
}


@dataclass(frozen=True)
class ColumnResult:
    """What all tests of a column say together.

    Attributes:
        name: The column.
        test: The test that speaks loudest.
        statistic: Of that test; None where nothing could be tested.
        p_value: Of all tests of the column combined; None where nothing could be tested.
        adjusted_p: Below alpha: significant, whatever else is tested.
        tests: Every test.
    """

    name: str
    test: str
    statistic: float | None
    p_value: float | None
    adjusted_p: float | None
    tests: tuple[ColumnTest, ...]


@dataclass(frozen=True)
class PairResult(PairTest):
    """A pair of numbers, with the adjusted p-value of its changed correlation."""

    adjusted_p: float


@dataclass(frozen=True)
class JointResult:
    """Whether the middles of all numbers together have moved; shift: the root mean square of it a number, in sd."""

    columns: int
    shift: float
    p_value: float
    adjusted_p: float


@dataclass(frozen=True)
class DomainResult(DomainTest):
    """Whether a classifier tells the samples apart, with the adjusted p-value."""

    adjusted_p: float


@dataclass(frozen=True)
class BatteryResult:
    """Everything that was tested; significant is what has an adjusted p-value below alpha."""

    columns: dict[str, ColumnResult]
    pairs: list[PairResult]
    joint: JointResult | None
    domain: DomainResult | None


def run_battery(
    engine: Engine,
    reference: dict[str, np.ndarray],
    current: dict[str, np.ndarray],
    *,
    seed: int = 0,
    alpha: float = 0.05,
    domain: bool = True,
    pairs_kept: int = 10,
) -> BatteryResult:
    """Test whether two samples come from the same population.

    Args:
        engine: What computes the two-sample tests.
        reference: Columns by name, rows in random order: float64 with NaN for missing is a number, int64 codes with
            -1 for missing a category. The samples may differ in size.
        current: The same columns now, in the same coding.
        seed: Decides how the rows are split for the classifier.
        alpha: Pairs that are significant at this level are kept even beyond ``pairs_kept``.
        domain: Whether to train the classifier.
        pairs_kept: How many pairs to return, the most surely changed first.

    Returns:
        Adjusted p-values: those below alpha are false alarms in at most a share alpha of windows without drift.
    """
    numbers = [name for name, values in reference.items() if np.issubdtype(values.dtype, np.floating)]
    tests = _column_tests(engine, reference, current)
    raw = {name: _combined(column) for name, column in tests.items()}
    tested_pairs, joint = _test_numbers(reference, current, numbers)
    classifier = _test_domain(engine, reference, current, seed) if domain else None
    adjusted = _adjust(raw, tested_pairs, joint, classifier)
    pair_results = [
        PairResult(pair.first, pair.second, pair.reference, pair.current, pair.p_value, adjusted["pairs", i])
        for i, pair in enumerate(tested_pairs)
    ]
    pair_results.sort(key=lambda pair: (pair.p_value, -abs(pair.current - pair.reference)))
    kept = [pair for i, pair in enumerate(pair_results) if i < pairs_kept or pair.adjusted_p < alpha]
    return BatteryResult(
        columns={name: _column_result(name, column, raw, adjusted) for name, column in tests.items()},
        pairs=kept,
        joint=None if joint is None else JointResult(len(numbers), *joint, adjusted["joint", ""]),
        domain=None if classifier is None else DomainResult(**vars(classifier), adjusted_p=adjusted["domain", ""]),
    )


def _column_tests(
    engine: Engine, reference: dict[str, np.ndarray], current: dict[str, np.ndarray]
) -> dict[str, tuple[ColumnTest, ...]]:
    """Return for every column the engine's tests, those of its ranks, and that of what is missing."""
    tests = {name: [] for name in reference}
    for test in engine.test_columns(reference, current):
        tests[test.name].append(test)
    for name, before in reference.items():
        now = current[name]
        number = np.issubdtype(before.dtype, np.floating)
        absent = [np.isnan(side) if number else side < 0 for side in (before, now)]
        if number:
            tests[name] += _rank_tests(name, before[~absent[0]], now[~absent[1]])
        if absent[0].any() or absent[1].any():
            tests[name].append(_missing_test(name, *absent))
    return {name: tuple(column) for name, column in tests.items()}


def _rank_tests(name: str, before: np.ndarray, now: np.ndarray) -> list[ColumnTest]:
    if not len(before) or not len(now):
        return []
    scores = ranks.normal_scores(np.concatenate([before, now]))
    return [
        ColumnTest(name, "normal_scores", *ranks.linear_rank_test(scores, len(now))),
        ColumnTest(name, "squared_normal_scores", *ranks.linear_rank_test(scores**2, len(now))),
    ]


def _missing_test(name: str, before: np.ndarray, now: np.ndarray) -> ColumnTest:
    """Test the share of missing values with Fisher's exact test; the statistic is how much the share has grown."""
    if not len(before) or not len(now):
        return ColumnTest(name, "missing", None, None)
    table = [[int(side.sum()), int((~side).sum())] for side in (before, now)]
    return ColumnTest(name, "missing", float(now.mean() - before.mean()), float(stats.fisher_exact(table).pvalue))


def _combined(tests: tuple[ColumnTest, ...]) -> float | None:
    done = [test for test in tests if test.p_value is not None]
    if not done:
        return None
    return multiplicity.combine([test.p_value for test in done], [WEIGHTS[test.test] for test in done])


def _test_numbers(
    reference: dict[str, np.ndarray], current: dict[str, np.ndarray], numbers: list[str]
) -> tuple[list[PairTest], tuple[float, float] | None]:
    """Return the tests of all pairs, and shift and p-value of all numbers together."""
    if len(numbers) < 2:
        return [], None
    before, now = (np.column_stack([side[name] for name in numbers]) for side in (reference, current))
    if not len(before) or not len(now):
        return [], None
    scores = np.zeros((len(before) + len(now), len(numbers)))
    for i, values in enumerate(np.concatenate([before, now]).T):
        present = ~np.isnan(values)
        found = ranks.normal_scores(values[present])
        scores[present, i] = found - found.mean() if len(found) else found
    return pairs.pair_tests(before, now, numbers), ranks.joint_location_test(scores, len(now))


def _test_domain(
    engine: Engine, reference: dict[str, np.ndarray], current: dict[str, np.ndarray], seed: int
) -> DomainTest | None:
    matrices = []
    for side in (reference, current):
        columns = [
            values if np.issubdtype(values.dtype, np.floating) else np.where(values < 0, np.nan, values)
            for values in side.values()
        ]
        matrices.append(np.column_stack(columns))
    if min(len(matrix) for matrix in matrices) < 20:
        return None
    categorical = [i for i, values in enumerate(reference.values()) if not np.issubdtype(values.dtype, np.floating)]
    return engine.test_domain(*matrices, categorical, seed)


def _adjust(
    columns: dict[str, float | None],
    tested_pairs: list[PairTest],
    joint: tuple[float, float] | None,
    classifier: DomainTest | None,
) -> dict[tuple[str, str | int], float]:
    """Return the adjusted p-values by kind and column (or number of the pair)."""
    p_values = {("columns", name): value for name, value in columns.items() if value is not None}
    p_values |= {("pairs", i): pair.p_value for i, pair in enumerate(tested_pairs)}
    if joint is not None:
        p_values["joint", ""] = joint[1]
    if classifier is not None:
        p_values["domain", ""] = classifier.p_value
    sizes = {kind: sum(key[0] == kind for key in p_values) for kind in SHARES}
    weights = [SHARES[kind] / sizes[kind] for kind, _ in p_values]
    if not p_values:
        return {}
    adjusted = multiplicity.weighted_holm(list(p_values.values()), weights)
    return {key: float(value) for key, value in zip(p_values, adjusted, strict=True)}


def _column_result(
    name: str, tests: tuple[ColumnTest, ...], raw: dict[str, float | None], adjusted: dict
) -> ColumnResult:
    done = [test for test in tests if test.p_value is not None]
    if not done:
        return ColumnResult(name, tests[0].test if tests else "", None, None, None, tests)
    loudest = min(done, key=lambda test: test.p_value / WEIGHTS[test.test])
    return ColumnResult(name, loudest.test, loudest.statistic, raw[name], adjusted["columns", name], tests)
