"""Regression of how far sequences stand out of others, each known by its rank among a sample of
others, by maximum likelihood.

    e ~ N(x beta, sigma^2)      exposure in bits: 2^-e of all such sequences are as likely as this
    r ~ Binomial(N, 2^-e)       or likelier, of N that were drawn r are

The count r is what a run measures: the exposure that it reports is log2 (N + 1) / (1 + r) (Carlini
et al., arXiv 1802.08232, section 4.2). It ends at log2 (N + 1), where r = 0, and near this end it
is far below e: at e = log2 N one other is expected to be ahead, so that it reads a bit too low. A
censored regression of reported exposures takes that for a flatter line; the likelihood of the
counts does not.

At the other end a sequence without any memory has a rank, too. Counts of `most` or more, which are
reached by chance, say only that they are so many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from capacity.fitting import added_terms, censored

CHANCE = 0.01  # part of sequences without memory that a count below `most` may come from
STEP = 0.1  # bits between points of the integral over e; a count below `most` is wider than two
BEYOND = 9.0  # bits above log2 N from which on no other is ahead: within 0.2%
CLEAR = 3.0  # bits below the end at which reported exposures are good enough to start from
STEPS = 80  # of Newton's iteration; about ten do
CONVERGED = 1e-8


def most_of(others: int, chance: float = CHANCE) -> int:
    """Counts as large as this are reached by more than this part of sequences by chance."""
    return int(np.floor(chance * others)) + 1


def count_of(exposure: np.ndarray, at_most: np.ndarray) -> np.ndarray:
    """How many others are ahead, int [n], of reported exposures and of their largest value."""
    return np.rint(2.0 ** (np.asarray(at_most) - np.asarray(exposure))).astype(int) - 1


def fit(
    x: np.ndarray,
    count: np.ndarray,
    others: int,
    clusters: Sequence[np.ndarray],
    chance: float = CHANCE,
) -> censored.Fit | None:
    """The line. x: [n, k], its first column ones; count: r of each sequence, int [n]; others: N;
    clusters: one or more [n], names of what rows share noise by; chance: see CHANCE.

    As of `censored.fit` are its covariance and what is None; below: counts of `most_of` and more,
    above: counts of 0.
    """
    n, k = x.shape
    most = most_of(others, chance)
    capped = np.minimum(count, most)
    begin = censored.fit(
        x,
        np.log2(others + 1) - np.log2(count + 1.0),
        np.full(n, np.log2(others + 1) - np.log2(most + 1.0)),
        np.full(n, np.log2(others + 1) - (CLEAR if (capped > 7).any() else 0.0)),
        clusters,
    )
    if begin is None:
        return None
    middle, scale = censored.standard(x)
    z = (x - middle) / scale
    theta = np.append(begin.beta * scale, np.log(begin.sigma))
    theta[0] = begin.beta @ np.append(1.0, middle[1:])
    # rows of equal place and count are alike
    alike, first, where, times = np.unique(
        np.column_stack([z, capped]),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    data = _Data(z[first], capped[first], times.astype(float), *_integral(others, most))
    theta = _maximum(theta, data)
    if theta is None:
        return None
    slope, curvature = data.derivatives(theta)
    pull = (slope @ np.linalg.inv(curvature))[where.reshape(-1)]
    fewest = min(len(np.unique(names)) for names in clusters)
    sandwich = censored.crossed(pull, clusters) * fewest / (fewest - k)
    back = np.diag(1 / scale)
    back[0] -= middle / scale
    back[0, 0] = 1.0
    return censored.Fit(
        back @ theta[:-1],
        float(np.exp(theta[-1])),
        back @ sandwich[:k, :k] @ back.T,
        fewest - k,
        int((capped == most).sum()),
        int(((capped > 0) & (capped < most)).sum()),
        int((capped == 0).sum()),
    )


def null(
    x: np.ndarray,
    count: np.ndarray,
    others: int,
    fitted: censored.Fit,
    chance: float = CHANCE,
) -> added_terms.Law:
    """The fitted line for a test of terms that it lacks. In simulated studies a sequence has the
    exposure of the line or the one that chance gives without memory, whichever is larger, so that a
    few that were not learned lie above the limit, as they do in real ones."""
    most, k = most_of(others, chance), x.shape[1]
    kinds, place = np.unique(x, axis=0, return_inverse=True)
    place, lines = place.reshape(-1), kinds @ fitted.beta
    grid, of_count = _integral(others, most)
    theta = np.array([1.0, np.log(fitted.sigma)])
    outcomes = np.arange(most + 1)
    tables = []
    for line in lines:
        here = np.full((most + 1, 1), line)
        data = _Data(here, outcomes, np.ones(most + 1), grid, of_count)
        whole, one, two = data.moments(theta, 2)
        tables.append((whole, one / whole, two / whole - 1))
    probability, score, extra = (np.stack(part) for part in zip(*tables, strict=True))
    probability /= probability.sum(axis=1, keepdims=True)
    mean, sigma = lines[place], fitted.sigma

    def draw(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        bits = np.maximum(mean + sigma * u, rng.exponential(np.log2(np.e), u.shape))
        return np.minimum(rng.binomial(others, 2.0**-bits), most)

    assert k == len(fitted.beta), "the fit is of other columns"
    shared = (probability * score**2).sum(axis=1)  # the score is the mean of u given the count
    return added_terms.Law(
        x, place, score, extra, probability, shared, np.minimum(count, most), draw
    )


def _integral(others: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Points e [G], bits, and P(r | e) [most + 1, G], the last row of r >= most."""
    grid = np.arange(STEP / 2, np.log2(others) + BEYOND, STEP)
    of_count = binom.pmf(np.arange(most)[:, None], others, 2.0**-grid)
    return grid, np.vstack([of_count, np.maximum(1 - of_count.sum(axis=0), 0.0)])


@dataclass(frozen=True)
class _Data:
    """Rows that differ: z [m, k], count [m], how often each comes [m]; grid [G] and P(r | e) of
    `_integral`. Below the grid every other is ahead, above it none."""

    z: np.ndarray
    count: np.ndarray
    times: np.ndarray
    grid: np.ndarray
    of_count: np.ndarray

    def likelihood(self, theta: np.ndarray) -> float:
        """Logarithm. theta: beta of z, log sigma."""
        return float(self.times @ np.log(self.moments(theta, 0)[0]))

    def derivatives(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope of each row's log-likelihood [m, k + 1], and minus the second derivative of their
        sum [k + 1, k + 1], from the moments of u = (e - z beta) / sigma given the count."""
        k, sigma = self.z.shape[1], np.exp(theta[-1])
        whole, *moments = self.moments(theta, 4)
        one, two, three, four = (moment / whole for moment in moments)
        slope = np.column_stack([self.z * (one / sigma)[:, None], two - 1])
        second_by_mean = self.times * (two - 1 - one**2) / sigma**2
        mixed = self.times * (three - one * two - 2 * one) / sigma
        second = np.empty((k + 1, k + 1))
        second[:k, :k] = (self.z * second_by_mean[:, None]).T @ self.z
        second[:k, k] = second[k, :k] = self.z.T @ mixed
        second[k, k] = self.times @ (four - two**2 - 2 * two)
        return slope, -second

    def moments(self, theta: np.ndarray, highest: int) -> list[np.ndarray]:
        """Integrals [m] of u^i x density x P(count | u) for i = 0 to `highest`."""
        mean, sigma = self.z @ theta[:-1], float(np.exp(theta[-1]))
        u = (self.grid - mean[:, None]) / sigma
        weight = np.exp(-(u**2) / 2) * self.of_count[self.count]
        weight *= STEP / (sigma * np.sqrt(2 * np.pi))
        above = _tail((self.grid[-1] + STEP / 2 - mean) / sigma, highest)
        # the mirror image: odd moments change their sign
        below = _tail((mean - self.grid[0] + STEP / 2) / sigma, highest)
        none, many = self.count == 0, self.count == len(self.of_count) - 1
        out = []
        for i in range(highest + 1):
            tails = np.where(none, above[i], 0.0) + np.where(many, (-1) ** i * below[i], 0.0)
            out.append(np.maximum(weight.sum(axis=1) + tails, 1e-300) if i == 0 else tails)
            if i:
                weight = weight * u
                out[i] = weight.sum(axis=1) + tails
        return out


def _tail(a: np.ndarray, highest: int) -> list[np.ndarray]:
    """Integrals of u^i x normal density from a on, i = 0 to `highest`: M(i) = a^(i-1) density(a) +
    (i - 1) M(i - 2)."""
    density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    out = [ndtr(-a), density]
    for i in range(2, highest + 1):
        out.append(a ** (i - 1) * density + (i - 1) * out[i - 2])
    return out


def _maximum(theta: np.ndarray, data: _Data) -> np.ndarray | None:
    """Newton's iteration from theta, along a positive curvature; None where it does not settle."""
    now = data.likelihood(theta)
    for _ in range(STEPS):
        slope, curvature = data.derivatives(theta)
        gradient = data.times @ slope
        values, vectors = np.linalg.eigh(curvature)
        values = np.maximum(np.abs(values), 1e-9 * np.abs(values).max())
        move = vectors @ ((vectors.T @ gradient) / values)
        move *= min(1.0, 2.0 / np.abs(move).max()) if np.abs(move).max() > 0 else 1.0
        step = 1.0
        while step > 1e-9 and data.likelihood(theta + step * move) < now - 1e-10 * abs(now):
            step /= 2
        theta = theta + step * move
        now = data.likelihood(theta)
        if np.abs(step * move).max() < CONVERGED * max(1.0, np.abs(theta).max()):
            values = np.linalg.eigvalsh(data.derivatives(theta)[1])
            return theta if values[0] > 1e-9 * values[-1] else None
    return None
