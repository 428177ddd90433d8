"""Softmax regression with an L2 penalty: the linear probe of `measure/inside.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_STEPS = 200  # of L-BFGS
TOLERANCE = 1e-5  # largest entry of the gradient of the mean loss


def log_probabilities(logit_NC: Floats) -> Floats:
    """Logarithms in nats of the softmax of each row, [N, C]."""
    from scipy.special import log_softmax  # a worker that asks for no probe does without

    return log_softmax(logit_NC, axis=1)


def fit(
    x_NF: Floats,
    label_N: NDArray[np.int64],
    classes: int,
    l2: float,
    start: Floats | None = None,
    offset_NC: Floats | float = 0.0,
) -> Floats:
    """Weights [F + 1, C] of the least mean negative log-likelihood in nats plus l2 / 2 times their
    squared sum; the last row is the bias, which is penalised as well, so that a class that no
    label shows stays possible and a strong penalty gives every class alike.

    x_NF: features, of mean 0 and deviation 1 (`standard`); start: weights of another penalty;
    offset_NC: logits that are there without weights.
    ValueError for a label outside of the classes and for a penalty that is not above 0."""
    from scipy.optimize import minimize

    if l2 <= 0:
        raise ValueError(f"a penalty above 0, not {l2:g}")
    if len(label_N) == 0 or label_N.min() < 0 or label_N.max() >= classes:
        raise ValueError(f"labels from 0 to {classes - 1}, at least one")
    x, n = with_bias(x_NF), len(label_N)
    hot = np.zeros((n, classes))
    hot[np.arange(n), label_N] = 1.0

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(-1, classes)
        log_p = log_probabilities(x @ w + offset_NC)
        value = -float((log_p * hot).sum()) / n + 0.5 * l2 * float((w * w).sum())
        return value, (x.T @ (np.exp(log_p) - hot) / n + l2 * w).ravel()

    first = np.zeros((x.shape[1], classes)) if start is None else start
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "gtol": TOLERANCE},
    )
    return found.x.reshape(-1, classes)


def log_posterior(w_FC: Floats, x_NF: Floats, offset_NC: Floats | float = 0.0) -> Floats:
    """Log probabilities in nats of every class, [N, C]; offset_NC: as of `fit`."""
    return log_probabilities(with_bias(x_NF) @ w_FC + offset_NC)


def path(
    x_NF: Floats,
    label_N: NDArray[np.int64],
    classes: int,
    penalties: Sequence[float],
    offset_NC: Floats | float = 0.0,
) -> list[Floats]:
    """`fit` of each penalty, every one begun at the weights of the next stronger one."""
    found: dict[float, Floats] = {}
    start = None
    for l2 in sorted(penalties, reverse=True):
        found[l2] = start = fit(x_NF, label_N, classes, l2, start, offset_NC)
    return [found[l2] for l2 in penalties]


def standard(x_NF: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation [F] of features; a feature that does not vary has a deviation of 1."""
    deviation = x_NF.std(axis=0)
    return x_NF.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def with_bias(x_NF: Floats) -> Floats:
    """Features with a one behind them, [N, F + 1]."""
    return np.concatenate([x_NF, np.ones((len(x_NF), 1))], axis=1)
