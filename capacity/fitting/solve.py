"""Many fits of one form at once: damped Gauss-Newton on the robust objective, one row per start,
resample or fixed value.

    objective(u) = sum over points of w rho(e),   e = s (T(y) - T(f(x, u)))          a sum, never a
                                                  mean

T is the transform in which residuals are taken, s the root of a point's precision (1 on average), w
how often the row counts the point (0: left out), rho the loss of Huber (1964, Ann. Math. Stat. 35,
73): e^2 / 2 up to delta, delta (|e| - delta / 2) beyond. A point known only to lie above its y
counts with -sigma^2 log Phi(-e / sigma) instead (Tobin 1958, Econometrica 26, 24). u are the
parameters in the coordinates of `form.Parameter`; derivatives are exact. Shapes: B rows, n points,
k parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.form import Arrays, Form

TINY = 1e-300
HUGE = 1e60
FLAT = 1e-100  # values below have no slope in the transform
CHUNK = 4e5  # numbers of [rows, n, k] at a time, so that they stay in cache
STALLED = 1e12

Rows = Any  # an index of rows
EVERY: Rows = slice(None)


def forward(transform: str, value: ArrayLike) -> np.ndarray:
    """T(value). ValueError for an unknown transform."""
    value = np.asarray(value, float)
    if transform == "identity":
        return value
    with np.errstate(divide="ignore", invalid="ignore"):
        if transform == "log":
            return np.log(np.maximum(value, TINY))
        if transform == "logit":
            return np.log(np.maximum(value, TINY)) - np.log(np.maximum(1 - value, TINY))
    raise ValueError(f"unknown transform {transform!r}: use one of log, logit, identity")


def back(transform: str, t: ArrayLike) -> np.ndarray:
    """Inverse of `forward`."""
    with np.errstate(over="ignore"):
        return {
            "identity": lambda: np.asarray(t, float),
            "log": lambda: np.exp(t),
            "logit": lambda: 0.5 * (1 + np.tanh(0.5 * np.asarray(t))),
        }[transform]()


@dataclass(frozen=True)
class Problem:
    """What all rows share. t: T(y), [n] or one row each [B, n]. root: s [n]. censored [n]: y is a
    lower bound. low, high [k]: box of u. sigma: of residuals, read by censored points only."""

    form: Form
    transform: str
    x: Arrays
    t: np.ndarray
    root: np.ndarray
    censored: np.ndarray
    low: np.ndarray
    high: np.ndarray
    delta: float = np.inf
    sigma: float = 1.0

    def to_natural(self, u: np.ndarray) -> np.ndarray:
        """Parameters in natural units [..., k]."""
        return np.stack(
            [p.to_natural(u[..., j]) for j, p in enumerate(self.form.parameters)], axis=-1
        )

    def to_search(self, theta: np.ndarray) -> np.ndarray:
        """u, inside of the box."""
        return np.clip(
            np.stack(
                [p.to_search(theta[..., j]) for j, p in enumerate(self.form.parameters)], axis=-1
            ),
            self.low,
            self.high,
        )

    def model(self, u: np.ndarray) -> np.ndarray:
        """T(f) [B, n]."""
        with np.errstate(all="ignore"):
            return forward(self.transform, self.form.slopes(self.x, self.to_natural(u))[0])

    def model_and_slopes(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T(f) [B, n] and its derivatives by u [B, n, k]."""
        theta = self.to_natural(u)
        with np.errstate(all="ignore"):
            f, df = self.form.slopes(self.x, theta)
            g = forward(self.transform, f)
            over = {
                "identity": lambda: None,
                "log": lambda: np.where(f > FLAT, 1.0 / f, 0.0),
                "logit": lambda: np.where(f * (1 - f) > FLAT, 1.0 / (f * (1 - f)), 0.0),
            }[self.transform]()
            out = np.empty((*g.shape, len(df)))
            for j, p in enumerate(self.form.parameters):
                column = df[j] if over is None else df[j] * over
                out[..., j] = column * theta[..., j, None] if p.scale == "log" else column
        return g, out

    def errors(self, u: np.ndarray, rows: Rows = EVERY) -> np.ndarray:
        """e [B, n]."""
        return self._errors(self.model(u), rows)

    def residuals(self, u: np.ndarray, rows: Rows = EVERY) -> tuple[np.ndarray, np.ndarray]:
        """e [B, n] and the derivatives of -e [B, n, k]."""
        g, jacobian = self.model_and_slopes(u)
        slopes = np.clip(_finite(jacobian * self.root[:, None]), -HUGE, HUGE)
        return self._errors(g, rows), slopes

    def _errors(self, g: np.ndarray, rows: Rows) -> np.ndarray:
        e = self.root * ((self.t if self.t.ndim == 1 else self.t[rows]) - g)
        return np.clip(_finite(e, HUGE), -HUGE, HUGE)

    def loss(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """rho, its first derivative, its second derivative (0 or 1 under Huber), and the weight of
        the majorizing parabola, all [B, n]."""
        size = np.abs(e)
        near = size <= self.delta
        if np.isinf(self.delta):
            rho, psi, curve, major = 0.5 * size**2, e.copy(), np.ones_like(e), np.ones_like(e)
        else:
            rho = np.where(
                near,
                0.5 * np.minimum(size, self.delta) ** 2,
                self.delta * (size - 0.5 * self.delta),
            )
            psi, curve, major = (
                np.clip(e, -self.delta, self.delta),
                near.astype(float),
                self.delta / np.maximum(size, self.delta),
            )
        if self.censored.any():
            from scipy.special import log_ndtr

            z = np.clip(e[:, self.censored] / self.sigma, -40, 1e8)
            below = log_ndtr(-z)
            hazard = np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - below)
            rho[:, self.censored], psi[:, self.censored] = (
                -(self.sigma**2) * below,
                self.sigma * hazard,
            )
            curve[:, self.censored] = major[:, self.censored] = np.clip(
                hazard * (hazard - z), 0.0, 1.0
            )
        return rho, psi, curve, major


@dataclass(frozen=True)
class Solution:
    """One row each: u [B, k], objective [B], gradient [B, k] (of free parameters that could still
    move, else 0), decrement [B] (the fall of the objective that its parabola still promises),
    iterations [B], converged [B]."""

    u: np.ndarray
    objective: np.ndarray
    gradient: np.ndarray
    decrement: np.ndarray
    iterations: np.ndarray
    converged: np.ndarray


def normal(
    problem: Problem, u: np.ndarray, weight: np.ndarray, rows: Rows = EVERY
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Objective [B], gradient by u [B, k], second derivatives of Gauss and Newton [B, k, k], and of
    the majorizer."""
    e, jacobian = problem.residuals(u, rows)
    rho, psi, curve, major = problem.loss(e)
    gradient = -np.matmul((weight * psi)[:, None, :], jacobian)[:, 0]
    turned = jacobian.swapaxes(1, 2)
    hessian = np.matmul(turned * (weight * curve)[:, None, :], jacobian)
    upper = (
        hessian
        if np.isinf(problem.delta)
        else np.matmul(turned * (weight * major)[:, None, :], jacobian)
    )
    return (weight * rho).sum(1), gradient, hessian, upper


def solve(
    problem: Problem,
    start: np.ndarray,
    weight: np.ndarray | None = None,
    free: np.ndarray | None = None,
    *,
    tol: float = 1e-13,
    most: int = 500,
) -> Solution:
    """A minimum from every start [B, k] (u). weight: [n] or [B, n]; free: [k] or [B, k], which
    parameters may move.

    Converged: one more step would lower the objective by less than tol of it. Bounds are kept by
    projection: a parameter on its bound whose slope points outward stands still."""
    start = np.atleast_2d(np.asarray(start, float))
    (count, k), n = start.shape, problem.root.size
    weight = np.ones(n) if weight is None else np.asarray(weight, float)
    free = np.ones(k, bool) if free is None else np.asarray(free, bool)
    step = max(1, int(CHUNK / (n * k)))
    parts = []
    for i in range(0, count, step):
        rows = np.arange(i, min(i + step, count))
        parts.append(
            _solve(
                problem,
                start[rows],
                weight if weight.ndim == 1 else weight[rows],
                free if free.ndim == 1 else free[rows],
                rows,
                tol,
                most,
            )
        )
    return Solution(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _solve(  # noqa: PLR0913 (the arguments of `solve`, for some of its rows)
    problem: Problem,
    start: np.ndarray,
    weight: np.ndarray,
    free: np.ndarray,
    rows: np.ndarray,
    tol: float,
    most: int,
) -> tuple[np.ndarray, ...]:
    u = np.clip(start, problem.low, problem.high)
    count, k = u.shape
    weight, free = (
        np.broadcast_to(weight, (count, problem.root.size)),
        np.broadcast_to(free, u.shape),
    )
    objective, gradient, hessian, upper = normal(problem, u, weight, rows)
    damping, turns = np.full(count, 1e-3), np.zeros(count, int)
    done, decrement, open_ = np.zeros(count, bool), np.full(count, np.inf), np.arange(count)
    for _ in range(most):
        held = held_still(problem, u[open_], gradient[open_], free[open_])
        g = np.where(held, 0.0, gradient[open_])
        move, promise = damped_step(g, hessian[open_], upper[open_], held, damping[open_])
        small = promise <= tol * objective[open_] + TINY
        decrement[open_] = promise
        finished = (small & (damping[open_] <= 1e-2)) | (damping[open_] > STALLED)
        done[open_[finished]] = True
        open_, move = open_[~finished], move[~finished]
        if not len(open_):
            break
        turns[open_] += 1
        tried = np.clip(u[open_] + move, problem.low, problem.high)
        new = normal(problem, tried, weight[open_], rows[open_])
        better = new[0] < objective[open_]
        win, lose = open_[better], open_[~better]
        u[win] = tried[better]
        objective[win], gradient[win], hessian[win], upper[win] = (part[better] for part in new)
        damping[win] = np.maximum(damping[win] * 0.1, 1e-12)
        damping[lose] = np.maximum(damping[lose] * 8.0, 1e-6)
    gradient = np.where(held_still(problem, u, gradient, free), 0.0, gradient)
    return u, objective, gradient, decrement, turns, done


def polish(problem: Problem, u: np.ndarray, free: np.ndarray, *, most: int = 50) -> np.ndarray:
    """The minimum [k] beside u [k], where a search has ended, to the accuracy of the arithmetic.

    A search compares objectives, which tell minima apart to the root of eps standard errors only;
    the gradient tells them apart to eps. So full Gauss-Newton steps are taken as long as each
    promises less than the one before (half of it, or the last figures are noise). Returns u itself
    where such a step leads uphill by more than rounding: away from a minimum nothing is polished.
    """
    u = np.clip(np.asarray(u, float), problem.low, problem.high)[None]
    one, free = np.ones(problem.root.size), np.broadcast_to(np.asarray(free, bool), u.shape)
    now = normal(problem, u, one)
    first, start, last = now[0][0], u, np.inf
    for _ in range(most):
        held = held_still(problem, u, now[1], free)
        move, promise = damped_step(np.where(held, 0.0, now[1]), now[2], now[3], held, np.zeros(1))
        if not promise[0] < 0.5 * last:
            break
        last, before = promise[0], u
        u = np.clip(u + move, problem.low, problem.high)
        if (u == before).all():
            break
        now = normal(problem, u, one)
    return (u if now[0][0] <= first * (1 + 1e-12) + TINY else start)[0]


def held_still(
    problem: Problem, u: np.ndarray, gradient: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """True for parameters [B, k] that are not free, or on a bound with a slope that points
    outward."""
    return ~free | ((u <= problem.low) & (gradient > 0)) | ((u >= problem.high) & (gradient < 0))


def damped_step(
    g: np.ndarray, hessian: np.ndarray, upper: np.ndarray, held: np.ndarray, damping: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The damped step and the decrease g A^-1 g / 2 that it promises; held parameters stay."""
    k = g.shape[1]
    scale = np.einsum("bii->bi", upper)
    scale = np.maximum(scale, 1e-14 * scale.max(1, keepdims=True) + TINY)
    a = hessian + damping[:, None, None] * upper
    place = np.arange(k)
    a[:, place, place] += (damping[:, None] + 1e-13) * scale
    either = held[:, :, None] | held[:, None, :]
    a = np.where(either, 0.0, a)
    a[:, place, place] = np.where(held, 1.0, a[:, place, place])
    root = np.sqrt(np.einsum("bii->bi", a))
    with np.errstate(all="ignore"):
        try:
            scaled = (
                np.linalg.solve(a / (root[:, :, None] * root[:, None, :]), (g / root)[:, :, None])[
                    :, :, 0
                ]
                / root
            )
        except np.linalg.LinAlgError:
            scaled = g / (root * root)
    scaled = _finite(np.where(held, 0.0, scaled))
    return -scaled, 0.5 * np.abs((g * scaled).sum(1))


def _finite(x: np.ndarray, nan: float = 0.0) -> np.ndarray:
    """`np.nan_to_num`, which costs more than the step where all numbers are finite already."""
    return x if np.isfinite(x).all() else np.nan_to_num(x, nan=nan)


def projected(problem: Problem, starts: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Starts [S, k] (natural units) with the form's linear parameters replaced by their weighted
    least-squares values given the others.

    Variable projection (Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413) of squared residuals;
    relative ones under the log transform, to first order, as residuals of logarithms are not linear
    in anything. Bounds at one side of 0 are kept exactly, by trying all sets of active ones."""
    form = problem.form
    places = [form.index(name) for name in form.linear]
    if not places:
        return starts
    starts = starts.copy()
    reference = starts.copy()
    reference[:, places] = np.clip(
        0.5, [form.parameters[j].low for j in places], [form.parameters[j].high for j in places]
    )
    with np.errstate(all="ignore"):
        f, df = form.slopes(problem.x, reference)
        basis = np.stack([np.broadcast_to(df[j], f.shape) for j in places], axis=-1)
        rest = y - (f - (basis * reference[:, None, places]).sum(-1))
        size = {
            "identity": 1.0,
            "log": 1.0 / np.maximum(np.abs(y), TINY),
            "logit": 1.0 / np.maximum(np.abs(y * (1 - y)), 1e-6),
        }[problem.transform]
    factor = problem.root * size * ~problem.censored
    a, b = (
        np.nan_to_num(basis * np.broadcast_to(factor, y.shape)[:, None]),
        np.nan_to_num(rest * factor),
    )
    starts[:, places] = bounded_least_squares(
        a, b, np.array([form.parameters[j].low for j in places])
    )
    return starts


def bounded_least_squares(a: np.ndarray, b: np.ndarray, low: np.ndarray) -> np.ndarray:
    """argmin |a c - b|^2 for every row of a [S, n, l], b [S, n], with c >= low where low is finite:
    the best of all active sets."""
    count, _, width = a.shape
    best, cost = np.zeros((count, width)), np.full(count, np.inf)
    for chosen in range(2**width):
        inside = np.array([(chosen >> j) & 1 == 1 for j in range(width)])
        if (np.isinf(low) & ~inside).any():
            continue
        c = np.where(inside, 0.0, np.where(np.isinf(low), 0.0, low)) * np.ones((count, 1))
        if inside.any():
            part = a[:, :, inside]
            length = np.sqrt((part**2).sum(1, keepdims=True)) + TINY
            gram = np.matmul((part / length).swapaxes(1, 2), part / length) + 1e-13 * np.eye(
                inside.sum()
            )
            right = np.matmul(
                (part / length).swapaxes(1, 2),
                (b - np.matmul(a, c[:, :, None])[:, :, 0])[:, :, None],
            )
            c[:, inside] = np.linalg.solve(gram, right)[:, :, 0] / length[:, 0]
        value = ((np.matmul(a, c[:, :, None])[:, :, 0] - b) ** 2).sum(1)
        better = (c >= low - 1e-300).all(1) & (value < cost) & np.isfinite(value)
        best[better], cost[better] = c[better], value[better]
    return best
