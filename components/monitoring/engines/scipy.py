"""The tests from scipy and scikit-learn."""

import numpy as np
from scipy import stats

from loopline.components.monitoring.engines import domain
from loopline.components.monitoring.engines.engine import Engine


class ScipyEngine(Engine):
    """Two-sample tests of scipy, and a classifier of scikit-learn."""

    name = "scipy"

    def kolmogorov_smirnov(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the largest distance of the distribution functions and its asymptotic p-value."""
        result = stats.ks_2samp(reference, current, method="asymp")
        return float(result.statistic), float(result.pvalue)

    def cramer_von_mises(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the statistic and its p-value, exact for up to 20 values a side."""
        result = stats.cramervonmises_2samp(reference, current, method="auto")
        return float(result.statistic), float(result.pvalue)

    def chi_squared(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return Pearson's statistic of the table sample x code and its p-value."""
        levels = int(max(reference.max(), current.max())) + 1
        result = stats.chi2_contingency([np.bincount(sample, minlength=levels) for sample in (reference, current)])
        return float(result.statistic), float(result.pvalue)

    def fisher_exact(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the odds ratio of code 1 between now and the reference, and the two-sided p-value."""
        ones, ones_before = int(current.sum()), int(reference.sum())
        result = stats.fisher_exact([[ones, ones_before], [len(current) - ones, len(reference) - ones_before]])
        return float(result.statistic), float(result.pvalue)

    def domain_scores(
        self, reference: np.ndarray, current: np.ndarray, model: object, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the classifier on one half of the rows; return its scores of the held-out rows of each sample."""
        rows = np.concatenate([reference, current])
        truth = np.repeat([0, 1], [len(reference), len(current)])
        order = np.random.RandomState(seed).choice(np.arange(len(rows)), size=len(rows), replace=False)
        train, held_out = np.split(order, [int(len(rows) * domain.TRAIN_SHARE)])
        scores = model.fit(rows[train], truth[train]).predict_proba(rows[held_out])[:, 1]
        return scores[truth[held_out] == 0], scores[truth[held_out] == 1]
