"""What targets of random data have in common: capacity by model, the rounded corner between what
a model can hold and what its data hold, and beliefs about both.

A run has m = H (1 + (H / C)^k)^(-1/k) bits: H those of its data, C the capacity of its model. A
model's own capacity scatters around the law, its runs around the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from capacity.analysis.random import plateaus
from capacity.base.errors import ConfigError
from capacity.design.prior import Prior, Truths, Variance, within
from capacity.design.space import Space
from capacity.design.target import CAPACITY, FLOOR, SHARPNESS, Own, Runs, Target, dof_words
from capacity.fitting import capacity_forms
from capacity.fitting.simulated import MODEL_SCATTER, SEED_NOISE

BEND = {
    "capacity_linear": 0.05,
    "smooth_corner": 0.05,
    "hard_corner": 0.05,
    "capacity_power": 0.02,
    "capacity_affine": 0.02,
}
ROUNDS = 3  # the truth given the scatter, the scatter given what is then left of the models' means


class RandomData(Target):
    """Runs on random data, clustered by model."""

    kinds = ("uniform",)
    stated = ("k", "noise", "scatter", "bend")
    noise_words = "capacity over seeds of one model"
    scatter_words = "capacity over models, around the law"

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        places = [(cell.model, cell.config.items) for cell in space.cells]
        if twice := next((place for place in places if places.count(place) > 1), None):
            raise ConfigError(
                f"{space.name}: {twice[0]}, N = {twice[1]:,}: several lengths of training of one "
                f"model and data set, hence several recipes; a law of capacity needs one (give "
                f"train.exposures=.. behind the study)"
            )
        mean, covariance = self.assumed(space)
        return Prior(
            form=self.form,
            mean=mean,
            covariance=covariance,
            log_k=(math.log(SHARPNESS[0]), SHARPNESS[1]),
            noise=Variance(SEED_NOISE),
            scatter=Variance(MODEL_SCATTER),
            bend=BEND[self.form.name],
            sources={
                "truth": f"assumed, {CAPACITY[0]:g} bits per parameter +-{CAPACITY[1]:.0%}",
                "corner": "assumed",
                "noise": "assumed",
                "scatter": "assumed",
                "bend": self._misspecification_words(),
            },
        )

    def assumed(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        """Mean [k] and covariance [k, k] of the coordinates of the search."""
        return np.log([CAPACITY[0]]), np.array([[CAPACITY[1] ** 2]])

    def _misspecification_words(self) -> str:
        return f"C / P may follow P^(+-{BEND[self.form.name]:g}), assumed"

    def capacities(self, space: Space, truths: Truths) -> np.ndarray:
        """[T, C] bits of the models of the space, by the form and its bend, without scatter."""
        sizes = self.sizes(space)
        return self._law(sizes, truths) * np.exp(truths.bend[:, None] * self.trend(sizes))

    def _law(self, sizes: np.ndarray, truths: Truths) -> np.ndarray:
        return truths.theta[:, :1] * sizes

    @staticmethod
    def sizes(space: Space) -> np.ndarray:
        """[C] parameters of the models."""
        by_model = {cell.model: cell.parameters for cell in space.cells}
        return np.array([by_model[model] for model in space.models])

    def trend(self, sizes: np.ndarray) -> np.ndarray:
        """[C] the trend that the form lacks: an exponent that differs from 1."""
        return np.log(sizes) - np.log(sizes).mean()

    def full(self, space: Space, truths: Truths) -> tuple[np.ndarray, np.ndarray]:
        """[T, J] chance that a run measures a plateau, and what the corner takes away, relative.

        A run measures where its ceiling is above CORNER times its bits, m = H (1 + r^k)^(-1/k) at
        r = H / C, hence where r^k > CORNER^k - 1.
        """
        from scipy.special import ndtr

        k = truths.sharpness[:, None]
        room = np.log(ceilings(space)) - np.log(self.capacities(space, truths))[:, space.cluster]
        spread = np.hypot(truths.scatter, truths.noise)[:, None]
        return ndtr((room - np.log(plateaus.CORNER**k - 1) / k) / spread), -np.log1p(
            np.exp(-k * room)
        ) / k

    def simulate(
        self,
        space: Space,
        runs: Runs,
        truths: Truths,
        rng: np.random.Generator | None = None,
        known: Own | None = None,
    ) -> dict[str, np.ndarray]:
        """As of any target; known: mean and standard deviation, by model, of the log of its own
        capacity over the law's."""
        cells = np.array([j for j, _ in runs], int)
        cluster = space.cluster[cells]
        log_capacity, small = np.log(self.capacities(space, truths)[0]), 0.0
        if rng is not None:
            usual = (0.0, truths.scatter[0])
            middle, spread = np.array([(known or {}).get(model, usual) for model in space.models]).T
            log_capacity = log_capacity + middle + spread * rng.standard_normal(len(middle))
        log_capacity = log_capacity[cluster]
        if rng is not None:
            log_capacity = log_capacity + truths.noise[0] * rng.standard_normal(len(cells))
            small = FLOOR * rng.standard_normal(len(cells))
        ceiling = ceilings(space)[cells]
        bits = capacity_forms.smooth_corner(np.exp(log_capacity), ceiling, 1.0, truths.sharpness[0])
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "model": np.array(space.models)[cluster],
            "status": np.full(len(cells), "finished"),
            "parameters_total": self.sizes(space)[cluster],
            "strict_bits": bits * np.exp(small),
            "strict_ceiling_bits": ceiling,
            "gain_last_tenth": np.zeros(len(cells)),
        }

    def _share(self, slope: np.ndarray) -> np.ndarray:
        """[...] of slopes [..., k]: the slope by log capacity."""
        return slope[..., self.form.index("alpha")]

    def informative(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows that are informative: model, cell, parameters_total, strict_ceiling_bits,
        strict_bits."""
        return frame.loc[(frame.status == "finished") & (frame.strict_bits > 0)]

    def learned(
        self, prior: Prior, space: Space, frame: pd.DataFrame, source: str
    ) -> tuple[Prior, Own]:
        """The prior updated by these runs, and of each model's own capacity the mean and standard
        deviation of its log over the law's."""
        rows = self.informative(frame)
        if rows.empty:
            return prior, {}
        models, codes = np.unique(rows.model, return_inverse=True)
        x = {
            "parameters": rows.parameters_total.to_numpy(float),
            "ceiling_bits": rows.strict_ceiling_bits.to_numpy(float),
        }
        y = np.log(rows.strict_bits.to_numpy(float))

        def left(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            truths = replace(prior, mean=u).middle()
            value = np.maximum(self.form.predict(x, truths.theta[0]), 1.0)
            return y - np.log(value), self.slopes(x, truths)[0]

        full = self._share(left(prior.mean)[1]) > 0.5
        square, dof = within(
            y[full], [f"{a} {b}" for a, b in zip(codes[full], rows.cell[full], strict=True)]
        )
        noise = prior.noise.updated(square, dof)
        fitted = self._fitted(prior, left, codes, noise)
        now, size, scatter = fitted.prior, fitted.size, fitted.prior.scatter
        sources = {"truth": f"{len(y)} values of {source}, and {prior.sources['truth']}"}
        if dof:
            sources["noise"] = f"{dof_words(dof)} of {source}"
        if fitted.dof > 0:
            sources["scatter"] = f"{dof_words(fitted.dof)} of {source}"
        if "k" in self.form.names:
            sources["corner"] = "as the truth"
        shrink = scatter.sd**2 / (scatter.sd**2 + noise.sd**2 / size)
        known = {
            model: (float(s * m), float(scatter.sd * math.sqrt(1 - s)))
            for model, s, m in zip(models, shrink, fitted.mean, strict=True)
        }
        return now.sourced(**sources), known

    def _fitted(
        self,
        prior: Prior,
        left: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        codes: np.ndarray,
        noise: Variance,
    ) -> _Fitted:
        """Law and scatter over models in turn. left: as `Prior.fitted` takes it; codes [n]: model
        of each value."""
        now, scatter = prior, prior.scatter
        alike = np.equal.outer(codes, codes)
        for _ in range(ROUNDS):
            own = self._share(left(now.mean)[1])
            of_models = scatter.sd**2 * np.outer(own, own) * alike
            now = prior.fitted(left, of_models + np.diag((noise.sd * own) ** 2 + FLOOR**2))
            rest, slope = left(now.mean)
            share = self._share(slope)
            size = np.maximum(np.bincount(codes, share**2), 1e-9)
            mean = np.bincount(codes, rest * share) / size
            known = size > 0.5
            dof = int(known.sum()) - len(now.mean) + (self.form.name == "smooth_corner")
            if dof > 0:
                between = float((mean[known] ** 2).sum()) / dof
                between -= float((noise.sd**2 / size[known]).mean())
                scatter = prior.scatter.updated(max(between, 0.0), dof)
        return _Fitted(replace(now, noise=noise, scatter=scatter), size, mean, dof)


@dataclass(frozen=True)
class _Fitted:
    """The updated prior; by model [C] the weight of its runs and the mean of what the law leaves of
    them; degrees of freedom of the scatter over models."""

    prior: Prior
    size: np.ndarray
    mean: np.ndarray
    dof: int


def ceilings(space: Space) -> np.ndarray:
    """[J] bits of the data of each cell."""
    return np.array([cell.ceiling for cell in space.cells])
