"""What an engine of tests gives, and what all engines share: what is missing is set aside, rare categories are joined.

A number is tested with Kolmogorov-Smirnov and Cramer-von Mises, a category with chi-squared, a two-valued one with
Fisher's exact test, and the whole table with a classifier that learns to tell the two samples apart.
"""

import abc
from dataclasses import dataclass

import numpy as np
import threadpoolctl

from loopline.components.monitoring.engines import domain

#: Categories that the smaller sample is expected to hold fewer times are tested together (Cochran, 1954).
LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class ColumnTest:
    """One test of one column; statistic and p-value are None when one side has nothing to test."""

    name: str
    test: str
    statistic: float | None
    p_value: float | None


@dataclass(frozen=True)
class PairTest:
    """Whether two columns hang together as before: Spearman's correlation in the reference and now."""

    first: str
    second: str
    reference: float
    current: float
    p_value: float


DomainTest = domain.DomainTest


class Engine(abc.ABC):
    """A library of two-sample tests; an engine is one subclass with the five tests."""

    name: str

    def test_columns(self, reference: dict[str, np.ndarray], current: dict[str, np.ndarray]) -> list[ColumnTest]:
        """Test every column of the reference against the same column now.

        Args:
            reference: Columns by name: float64 with NaN for missing is a number, int64 codes with -1 for missing
                a category.
            current: The same columns now, in the same coding.

        Returns:
            The tests: ``kolmogorov_smirnov`` and ``cramer_von_mises`` of a number, ``chi_squared`` or
            ``fisher_exact`` of a category. Missing values take no part in them.
        """
        tests = []
        for name, before in reference.items():
            if np.issubdtype(before.dtype, np.floating):
                tests += self._test_number(name, before, current[name])
            else:
                tests.append(self._test_category(name, before, current[name]))
        return tests

    def test_domain(
        self, reference: np.ndarray, current: np.ndarray, categorical: list[int], seed: int
    ) -> domain.DomainTest:
        """Train a classifier to tell the samples apart on one half of the rows and judge it on the other.

        Args:
            reference: Float matrix (rows x columns) with codes for categories and NaN for missing.
            current: The same columns now.
            categorical: Which columns hold codes.
            seed: Decides how the rows are split.

        Returns:
            The area under the ROC curve on the held-out rows (0.5: the samples cannot be told apart).
        """
        before, now = domain.limit_levels(reference, current, categorical)
        # One thread: the samples are small, and threads that wait for busy cores take ten times as long.
        with threadpoolctl.threadpool_limits(1):
            held_out = self.domain_scores(before, now, domain.domain_model(categorical, seed), seed)
        return domain.judge(*held_out)

    def _test_number(self, name: str, before: np.ndarray, now: np.ndarray) -> list[ColumnTest]:
        before, now = before[~np.isnan(before)], now[~np.isnan(now)]
        tests = {"kolmogorov_smirnov": self.kolmogorov_smirnov, "cramer_von_mises": self.cramer_von_mises}
        if min(len(before), len(now)) < 2:
            return [ColumnTest(name, test, None, None) for test in tests]
        if before.min() == before.max() == now.min() == now.max():
            return [ColumnTest(name, test, 0.0, 1.0) for test in tests]
        tests["cramer_von_mises"] = lambda before, now: self.cramer_von_mises(*break_ties(before, now))
        return [ColumnTest(name, test, *function(before, now)) for test, function in tests.items()]

    def _test_category(self, name: str, before: np.ndarray, now: np.ndarray) -> ColumnTest:
        before, now = before[before >= 0], now[now >= 0]
        if not len(before) or not len(now):
            return ColumnTest(name, "chi_squared", None, None)
        before, now, levels = join_rare(before, now)
        if levels == 1:
            return ColumnTest(name, "chi_squared", 0.0, 1.0)
        if levels == 2:
            return ColumnTest(name, "fisher_exact", *self.fisher_exact(before, now))
        return ColumnTest(name, "chi_squared", *self.chi_squared(before, now))

    @abc.abstractmethod
    def kolmogorov_smirnov(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the largest distance of the distribution functions and its asymptotic p-value."""

    @abc.abstractmethod
    def cramer_von_mises(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the statistic (Anderson, 1962) and its p-value, exact for up to 20 values a side."""

    @abc.abstractmethod
    def chi_squared(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return Pearson's statistic of the table sample x code and its p-value."""

    @abc.abstractmethod
    def fisher_exact(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the odds ratio of code 1 between reference and now, and the two-sided p-value; codes are 0 and 1."""

    @abc.abstractmethod
    def domain_scores(
        self, reference: np.ndarray, current: np.ndarray, model: object, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the classifier on one half of the rows; return its scores of the held-out rows of each sample."""


def break_ties(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace values by their ranks, equal ones in random order, the same every time.

    Cramer-von Mises is made for values that are all different: where many are equal, as integers are, the libraries'
    p-values are wrong, for a constant column the more so the more rows there are.

    Args:
        reference: Numbers, none missing.
        current: Numbers now, none missing.

    Returns:
        Ranks of both samples among all values, float64.
    """
    pooled = np.concatenate([reference, current])
    ranks = np.empty(len(pooled))
    ranks[np.lexsort((np.random.default_rng(0).random(len(pooled)), pooled))] = np.arange(len(pooled))
    return ranks[: len(reference)], ranks[len(reference) :]


def join_rare(reference: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Join the categories that are too rare for the chi-squared approximation into one.

    Args:
        reference: Codes, none missing.
        current: Codes now, none missing.

    Returns:
        Both samples with codes from 0 on, and how many codes there are.
    """
    _, pooled = np.unique(np.concatenate([reference, current]), return_inverse=True)
    counts = np.bincount(pooled)
    smaller = min(len(reference), len(current)) / len(pooled)
    rare = counts * smaller < LEAST_EXPECTED
    if rare.any() and counts[rare].sum() * smaller < LEAST_EXPECTED and not rare.all():
        # All rare ones together are still too rare: they go with the smallest of the others.
        rare[np.argmin(np.where(rare, counts.max() + 1, counts))] = True
    renumbered = np.where(rare, (~rare).sum(), np.cumsum(~rare) - 1)
    return renumbered[pooled[: len(reference)]], renumbered[pooled[len(reference) :]], len(np.unique(renumbered))
