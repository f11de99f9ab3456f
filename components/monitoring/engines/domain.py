"""A classifier as a test: can it tell the samples apart on rows that it has not seen (Lopez-Paz and Oquab, 2017)?"""

from dataclasses import dataclass

import numpy as np

#: The rows that the classifier learns from; the rest decides. Folds would reuse rows and cry wolf twice as often.
TRAIN_SHARE = 0.5
#: Histogram boosting takes at most 255 categories a column.
MOST_LEVELS = 250


@dataclass(frozen=True)
class DomainTest:
    """How well a classifier tells the samples apart.

    Attributes:
        auc: Area under the ROC curve on the held-out rows.
        auc_low: Lower end of its 95 % interval (DeLong and others, 1988).
        auc_high: Upper end.
        p_value: Of 0.5 or less (Mann and Whitney, 1947).
        rows: The held-out rows.
    """

    auc: float
    auc_low: float
    auc_high: float
    p_value: float
    rows: int


def domain_model(categorical: list[int], seed: int) -> object:
    """Return the untrained classifier: small boosted trees, which see interactions and take missing values."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=15,
        categorical_features=categorical or None,
        early_stopping=False,
        random_state=seed,
    )


def limit_levels(reference: np.ndarray, current: np.ndarray, categorical: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Number the codes of every category by how often they occur, and join those beyond ``MOST_LEVELS``."""
    reference, current = reference.astype(np.float64), current.astype(np.float64)
    for column in categorical:
        both = np.concatenate([reference[:, column], current[:, column]])
        present = ~np.isnan(both)
        _, codes, counts = np.unique(both[present], return_inverse=True, return_counts=True)
        place = np.empty(len(counts))
        place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        both[present] = np.minimum(place, MOST_LEVELS - 1)[codes]
        reference[:, column], current[:, column] = both[: len(reference)], both[len(reference) :]
    return reference, current


def judge(reference: np.ndarray, current: np.ndarray) -> DomainTest:
    """Judge the scores of held-out rows.

    Args:
        reference: The classifier's scores of rows of the reference.
        current: Its scores of rows of now; higher is more like now.
    """
    from scipy import stats

    n, m = len(reference), len(current)
    if min(n, m) < 2:
        return DomainTest(0.5, 0.0, 1.0, 1.0, n + m)
    pooled = stats.rankdata(np.concatenate([reference, current]))
    # Share of the other sample that lies on the right side of each row.
    above = (pooled[n:] - stats.rankdata(current)) / n
    below = 1 - (pooled[:n] - stats.rankdata(reference)) / m
    auc = float(above.mean())
    half = 1.96 * np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    p_value = stats.mannwhitneyu(current, reference, alternative="greater", method="asymptotic").pvalue
    return DomainTest(auc, float(max(auc - half, 0.0)), float(min(auc + half, 1.0)), float(p_value), n + m)
