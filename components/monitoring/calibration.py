"""What a stated probability is worth: a calibration with few parameters, and how well those are known."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

#: Standard deviation, in nats, of how far from the stated probabilities the truth is believed to be before any row is
#: seen. It keeps classes that the rows lack from running away and is nothing beside a thousand rows.
_BELIEF = 1.0


@dataclass(frozen=True)
class Calibration:
    """A temperature and a bias for each class but the first.

    The calibrated probability of class k is proportional to ``exp(slope * log p_k + bias_k)`` (Alexandari, Kundaje and
    Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", ICML
    2020); with two classes that is Platt's scaling of the log odds.

    Attributes:
        parameters: The slope and the biases of all classes but the first, shape (classes,).
        covariance: Of the parameters, shape (classes, classes).
    """

    parameters: np.ndarray
    covariance: np.ndarray

    def apply(self, scores: np.ndarray, parameters: np.ndarray | None = None) -> np.ndarray:
        """Calibrate probabilities.

        Args:
            scores: Positive probabilities, shape (rows, classes).
            parameters: Others than the most likely ones, shape (classes,).

        Returns:
            Probabilities, the same shape.
        """
        return _predict(np.log(scores), self.parameters if parameters is None else parameters)

    def draw(self, random: np.random.Generator, times: int) -> np.ndarray:
        """Draw parameters that the rows speak for as well.

        Args:
            random: The random numbers.
            times: How many to draw.

        Returns:
            Parameters, shape (times, classes).
        """
        return random.multivariate_normal(self.parameters, self.covariance, times)


def fit_calibration(truth: np.ndarray, scores: np.ndarray) -> Calibration:
    """Find the most likely calibration by Newton's method; the objective is convex.

    Args:
        truth: Class positions, shape (rows,).
        scores: Positive probabilities that sum to one, shape (rows, classes); rows the model was not trained on.

    Returns:
        The calibration; its covariance is that of Laplace's approximation.
    """
    classes = scores.shape[1]
    logs = np.log(scores)
    hits = np.eye(classes)[truth]
    start = np.eye(1, classes)[0]  # the slope 1 and no bias: as stated
    parameters = start
    for _ in range(50):
        slope, curvature = _derivatives(logs, hits, parameters)
        slope += (parameters - start) / _BELIEF**2
        curvature += np.eye(classes) / _BELIEF**2
        step = np.linalg.solve(curvature, slope)
        # A full step may overshoot where the start is far off; a shorter one cannot.
        step *= min(1.0, 2.0 / np.abs(step).max()) if np.abs(step).max() > 0 else 1.0
        parameters = parameters - step
        if np.abs(step).max() < 1e-9:
            break
    return Calibration(parameters, np.linalg.inv(curvature))


def _predict(logs: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    bias = np.concatenate([[0.0], parameters[1:]])
    return softmax(parameters[0] * logs + bias, axis=1)


def _derivatives(logs: np.ndarray, hits: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient and Hessian of the negative log likelihood."""
    probability = _predict(logs, parameters)
    gap = probability - hits
    gradient = np.concatenate([[(gap * logs).sum()], gap[:, 1:].sum(axis=0)])
    mean = (probability * logs).sum(axis=1)
    hessian = np.empty((len(parameters), len(parameters)))
    hessian[0, 0] = (probability * logs**2).sum() - mean @ mean
    hessian[0, 1:] = hessian[1:, 0] = (probability * (logs - mean[:, None])).sum(axis=0)[1:]
    hessian[1:, 1:] = np.diag(probability[:, 1:].sum(axis=0)) - probability[:, 1:].T @ probability[:, 1:]
    return gradient, hessian
