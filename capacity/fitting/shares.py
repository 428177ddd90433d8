"""A share that several doublings move: logit of what is held as a sum over axes, by least squares
of the shares themselves.

    X = sigma(a + sum over axes of b x)

The forms `extraction_logistic` and `held_logistic` of `text_forms` with further axes. Shares may be
a little below 0, where a mean of noise is, so that no logarithm of them is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, logit

LEAST = 0.02  # share that a starting point takes values beyond 0 and 1 to be
STEEPEST = 15.0  # logits per standard deviation of an axis; more: shares jump between two values


@dataclass(frozen=True)
class Logistic:
    """beta: a, then one number per axis; rms: of the shares about the curve."""

    beta: np.ndarray
    rms: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Shares at axes x [n, k]."""
        return expit(self.beta[0] + np.asarray(x, float) @ self.beta[1:])


def fit(x: np.ndarray, share: np.ndarray) -> Logistic:
    """Axes x [n, k], shares [n]. ValueError where the points do not determine the numbers: fewer
    than these, axes that do not vary apart, or shares that jump."""
    x, y = np.asarray(x, float), np.asarray(share, float)
    design = np.column_stack([np.ones(len(x)), x])
    if len(y) < design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("the points do not determine a slope along every axis")
    middle, scale = x.mean(0), x.std(0)
    z = np.column_stack([np.ones(len(x)), (x - middle) / scale])
    start = np.linalg.lstsq(z, logit(np.clip(y, LEAST, 1 - LEAST)), rcond=None)[0]

    def slopes(beta: np.ndarray) -> np.ndarray:
        p = expit(z @ beta)
        return (p * (1 - p))[:, None] * z

    jacobian: Any = slopes  # which scipy's types take for a word
    found = least_squares(lambda b: expit(z @ b) - y, start, jacobian, method="trf", xtol=1e-12)
    slope = found.x[1:] / scale
    if not found.success or np.abs(found.x).max() > STEEPEST:
        raise ValueError("the shares jump between two values; no slope is determined")
    beta = np.append(found.x[0] - slope @ middle, slope)
    rms = float(np.sqrt(np.mean(found.fun**2)))
    return Logistic(beta, rms)
