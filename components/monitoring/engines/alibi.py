"""The tests from alibi-detect (Business Source License 1.1): the only module that imports it."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import numpy as np

from loopline.components.environment import environment
from loopline.components.errors import InputError
from loopline.components.monitoring.engines import domain
from loopline.components.monitoring.engines.engine import Engine


class AlibiEngine(Engine):
    """The detectors of alibi-detect, each for one column or for the whole table."""

    name = "alibi"

    def __init__(self):
        # transformers, which comes along, would say that it finds no framework.
        with _quiet(), environment({"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}):
            try:
                from alibi_detect import cd
            except ImportError as error:
                raise InputError(
                    f"the drift engine 'alibi' needs alibi-detect, which cannot be imported ({error}): pip install "
                    "loopline[drift] (Business Source License: look whether it covers your use) or choose scipy"
                ) from None
        self._detectors = cd

    def kolmogorov_smirnov(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the largest distance of the distribution functions and its asymptotic p-value."""
        return _feature_test(self._detectors.KSDrift, reference, current)

    def cramer_von_mises(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the statistic and its p-value, exact for up to 20 values a side."""
        return _feature_test(self._detectors.CVMDrift, reference, current)

    def chi_squared(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return Pearson's statistic of the table sample x code and its p-value."""
        return _feature_test(self._detectors.ChiSquareDrift, reference, current)

    def fisher_exact(self, reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
        """Return the odds ratio of code 1 between now and the reference, and the two-sided p-value."""
        return _feature_test(self._detectors.FETDrift, reference, current, alternative="two-sided")

    def domain_scores(
        self, reference: np.ndarray, current: np.ndarray, model: object, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the classifier on one half of the rows; return its scores of the held-out rows of each sample."""
        with _quiet(), _seeded(seed):
            detector = self._detectors.ClassifierDrift(
                reference, model=model, backend="sklearn", train_size=domain.TRAIN_SHARE
            )
            answer = detector.predict(current, return_probs=True)["data"]
        return answer["probs_ref"], answer["probs_test"]


def _feature_test(kind: type, reference: np.ndarray, current: np.ndarray, **options: str) -> tuple[float, float]:
    with _quiet():
        detector = kind(reference[:, None], **options)
        p_values, statistics = detector.feature_score(reference[:, None], current[:, None])
    return float(statistics[0]), float(p_values[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own warnings and log lines out of ours."""
    logger = logging.getLogger("alibi_detect")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global generator for a while: it splits the rows, whatever seed the detector is given."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
