"""What is believed before the runs: parameters of a form, noise over seeds, scatter over models,
and how far each may be off.

A plan is an average over draws from this. `Prior.fitted` moves it by measured points, by
Gauss-Newton steps to the posterior mode with scatter and noise as a covariance; `Variance.updated`
is the inverse-gamma update of a variance (Gelman et al., Bayesian Data Analysis, 3rd ed., sections
2.6 and 14.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from capacity.fitting.forms import Form

WEAK = 3.0  # degrees of freedom that an assumed variance counts for


@dataclass(frozen=True)
class Variance:
    """A standard deviation (relative) and the degrees of freedom behind it."""

    sd: float
    dof: float = WEAK

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Standard deviations that are as likely as not, lognormal: the log of a variance with n
        degrees of freedom has variance 2 / n."""
        return self.sd * np.exp(rng.standard_normal(count) / np.sqrt(2 * self.dof))

    def updated(self, square: float, dof: float) -> Variance:
        """With a mean square of measured deviations."""
        if dof <= 0:
            return self
        return Variance(
            float(np.sqrt((self.dof * self.sd**2 + dof * square) / (self.dof + dof))),
            self.dof + dof,
        )


@dataclass(frozen=True, kw_only=True)
class Truths:
    """Draws [T]: parameters theta [T, k] in natural units, sharpness k of the corner, noise,
    scatter, the bend that the form does not have, and, where the form does not say it, bits per
    parameter in fp32 (level)."""

    theta: np.ndarray
    sharpness: np.ndarray
    noise: np.ndarray
    scatter: np.ndarray
    bend: np.ndarray
    level: np.ndarray | None = None

    def one(self, i: int) -> Truths:
        """The i-th alone."""
        return Truths(
            theta=self.theta[i : i + 1],
            sharpness=self.sharpness[i : i + 1],
            noise=self.noise[i : i + 1],
            scatter=self.scatter[i : i + 1],
            bend=self.bend[i : i + 1],
            level=None if self.level is None else self.level[i : i + 1],
        )


@dataclass(frozen=True, kw_only=True)
class Prior:
    """u: normal with this mean [k] and covariance [k, k], in the coordinates in which the form is
    searched. log_k: mean and sd of the log sharpness of the corner; log_level: of the log bits per
    parameter in fp32, for a form of precision. bend: sd of the trend that the form
    lacks (see `optimal`). sources: what it is based on, by line of the report."""

    form: Form
    mean: np.ndarray
    covariance: np.ndarray
    log_k: tuple[float, float]
    noise: Variance
    scatter: Variance
    bend: float
    sources: dict[str, str]
    log_level: tuple[float, float] | None = None

    @property
    def theta(self) -> np.ndarray:
        """The middle, in natural units."""
        return self._natural(self.mean)

    @property
    def error(self) -> np.ndarray:
        """Standard deviations of u [k]."""
        return np.sqrt(np.diag(self.covariance))

    def sourced(self, **sources: str) -> Prior:
        """The same with other words on what it is based on."""
        return replace(self, sources=self.sources | sources)

    def _natural(self, u: np.ndarray) -> np.ndarray:
        out = np.stack(
            [p.to_natural(u[..., j]) for j, p in enumerate(self.form.parameters)], axis=-1
        )
        # a draw beyond the bounds of a parameter is as far from the middle as it can be
        low = np.array(
            [
                max(p.low, 0.05 * p.to_natural(m))
                if np.isfinite(p.low) and p.to_natural(m) > 0
                else p.low
                for p, m in zip(self.form.parameters, self.mean, strict=True)
            ]
        )
        return np.clip(out, low, [p.high for p in self.form.parameters])

    def draw(self, rng: np.random.Generator, count: int) -> Truths:
        """Truths that this belief allows; the corner's own sharpness is a parameter where the form
        has one."""
        root = np.linalg.cholesky(
            self.covariance + 1e-14 * np.diag(np.diag(self.covariance) + 1e-300)
        )
        theta = self._natural(self.mean + rng.standard_normal((count, len(self.mean))) @ root.T)
        sharpness = np.exp(self.log_k[0] + self.log_k[1] * rng.standard_normal(count))
        if "k" in self.form.names:
            sharpness = theta[:, self.form.index("k")]
        return Truths(
            theta=theta,
            sharpness=np.maximum(sharpness, 1.0),
            noise=self.noise.draw(rng, count),
            scatter=self.scatter.draw(rng, count),
            bend=self.bend * rng.standard_normal(count),
            level=None
            if self.log_level is None
            else np.exp(self.log_level[0] + self.log_level[1] * rng.standard_normal(count)),
        )

    def middle(self) -> Truths:
        """The single most plausible truth."""
        theta = self.theta[None]
        k = (
            theta[:, self.form.index("k")]
            if "k" in self.form.names
            else np.array([np.exp(self.log_k[0])])
        )
        return Truths(
            theta=theta,
            sharpness=k,
            noise=np.array([self.noise.sd]),
            scatter=np.array([self.scatter.sd]),
            bend=np.zeros(1),
            level=None if self.log_level is None else np.exp([self.log_level[0]]),
        )

    def fitted(
        self, left: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], covariance: np.ndarray
    ) -> Prior:
        """The posterior given measured values. left: u -> (what is left of them [n], derivatives of
        the prediction by u [n, k]); covariance [n, n] of noise."""
        weight, prior = np.linalg.inv(covariance), np.linalg.inv(self.covariance)
        u, information = self.mean.copy(), prior
        for _ in range(50):
            e, slope = left(u)
            information = slope.T @ weight @ slope + prior
            step = np.linalg.solve(information, slope.T @ weight @ e - prior @ (u - self.mean))
            u = u + np.clip(step, -2 * self.error, 2 * self.error)
            if np.abs(step).max() < 1e-10:
                break
        return replace(self, mean=u, covariance=np.linalg.inv(information))


def within(values: np.ndarray, group: Sequence[str] | np.ndarray) -> tuple[float, int]:
    """Mean square of values around the mean of their group, and its degrees of freedom."""
    _, codes = np.unique(group, return_inverse=True)
    size = np.bincount(codes)
    dof = len(values) - len(size)
    return (
        float(((values - (np.bincount(codes, values) / size)[codes]) ** 2).sum()) / dof
        if dof
        else 0.0
    ), dof
