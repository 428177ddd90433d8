"""Plateaus of random data: capacity of a model and seed against parameters, by a line through 0, a
power or a line with an intercept.

Points are those of `analysis.random.plateaus`: runs that the data limit are bounds, runs near the
corner are biased by it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from capacity.analysis.random import plateaus
from capacity.base.errors import ConfigError
from capacity.design.optimal import Effects, orthogonal
from capacity.design.prior import Prior, Truths
from capacity.design.random_data import BEND, RandomData
from capacity.design.space import Space
from capacity.design.target import CAPACITY, STARTS, Target
from capacity.fitting import fit as estimate

EXPONENT = (1.0, 0.05)
# what c0 may be off by, as a part of the smallest model's capacity: the pocket study's is -0.19 of
# it
INTERCEPT = 0.2
LEAST = 0.05  # of the assumed capacity, below which no draw of a capacity falls


class Plateau(RandomData):
    """C = alpha P, or C = a P^gamma."""

    stated = ("capacity", "k", "noise", "scatter", "bend")

    def assumed(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        if self.form.name == "capacity_linear":
            return super().assumed(space)
        # a = alpha P0^(1 - gamma): the capacity is known in the middle of the sizes, not at P = 1
        middle = float(np.log(self.sizes(space)).mean())
        turn = np.array([[1.0, -middle], [0.0, 1.0]])
        return (
            np.array([math.log(CAPACITY[0]) + (1 - EXPONENT[0]) * middle, EXPONENT[0]]),
            turn @ np.diag([CAPACITY[1], EXPONENT[1]]) ** 2 @ turn.T,
        )

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any target; capacity: bits per parameter in the middle of the sizes, which an
        exponent given beside it turns around."""
        if self.form.name == "capacity_linear":
            return super().assume(
                prior,
                space,
                {"alpha" if name == "capacity" else name: value for name, value in given.items()},
            )
        middle = float(np.log(self.sizes(space)).mean())
        gamma = given["gamma"] if "gamma" in given else float(prior.mean[1])
        capacity = given.get("capacity", math.exp(prior.mean[0] + (prior.mean[1] - 1) * middle))
        _check_capacity("capacity", capacity)
        prior = super().assume(
            prior, space, {name: value for name, value in given.items() if name != "capacity"}
        )
        if "a" in given or not {"gamma", "capacity"} & set(given):
            return prior
        words = f"{capacity:.3g} bits per parameter and gamma = {gamma:.3g}, " + (
            "given" if {"gamma", "capacity"} <= set(given) else "one of them given"
        )
        mean = np.array([math.log(capacity) + (1 - gamma) * middle, gamma])
        return replace(prior, mean=mean).sourced(truth=words)

    def _misspecification_words(self) -> str:
        if self.form.name == "capacity_linear":
            return super()._misspecification_words()
        return f"the exponent may change by +-{2 * BEND[self.form.name]:g} per e-fold, assumed"

    def _law(self, sizes: np.ndarray, truths: Truths) -> np.ndarray:
        return self.form.predict({"parameters": sizes}, truths.theta)

    def trend(self, sizes: np.ndarray) -> np.ndarray:
        """[C] an exponent that differs from 1 or, where the form has one, that changes with
        size."""
        line = super().trend(sizes)
        return line if self.form.name == "capacity_linear" else line**2

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes, to first order, where it measures."""
        cluster = space.cluster
        slope = self.slopes({"parameters": self.sizes(space)[cluster]}, truths)
        usable, bias = self.full(space, truths)
        ones = np.ones_like(usable)
        return Effects(
            slope=slope,
            usable=usable,
            bias=bias,
            noise=truths.noise[:, None] * ones,
            own=ones,
            trend=orthogonal(self.trend(self.sizes(space))[cluster], slope),
            scatter=truths.scatter,
            bend=prior.bend,
            cluster=cluster,
            contrast=self.contrast(truths),
            prior=prior.error,
        )

    def truth(self, space: Space, truths: Truths) -> float:
        """Least squares of log C, which is linear in the coordinates of both forms, over all models
        without noise or corner."""
        middle = replace(truths, theta=np.ones_like(truths.theta))
        slope = self.slopes({"parameters": self.sizes(space)}, middle)[0]
        rest = np.log(self.capacities(space, truths)[0]) - np.log(
            self.form.predict({"parameters": self.sizes(space)}, middle.theta[0])
        )
        u = np.linalg.lstsq(slope, rest, rcond=None)[0] + [
            float(p.to_search(1.0)) for p in self.form.parameters
        ]
        j = self.form.index(self.parameter)
        return float(self.form.parameters[j].to_natural(u[j]))

    def points(self, frame: pd.DataFrame) -> estimate.Points:
        """Plateaus of a table of runs, clustered by model."""
        return _points(plateaus.units(frame))

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """As `points`, with one call for all studies."""
        replicates = plateaus.units(table.assign(model=table.study.astype(str) + " " + table.model))
        replicates[["study", "model"]] = replicates.model.str.split(" ", n=1, expand=True)
        by_study = {str(study): _points(part) for study, part in replicates.groupby("study")}
        return [by_study.get(str(study)) for study in sorted(table.study.unique())]

    def _share(self, slope: np.ndarray) -> np.ndarray:
        return np.ones(slope.shape[:-1])

    def informative(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.loc[plateaus.classify(frame) == "capacity_limited"]


class Intercept(Plateau):
    """C = c0 + alpha P. A width of c0 is in bits, because c0 may be 0 or negative; one of alpha is
    relative to alpha."""

    @property
    def absolute(self) -> bool:
        """Whether a width is absolute."""
        return self.parameter == "c0"

    def assumed(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        # the capacity is known in the middle of the sizes, c0 against that of the smallest model
        smallest, middle = CAPACITY[0] * self.sizes(space).min(), self._middle(space)
        turn = np.array([[smallest, 0.0], [-smallest / middle, CAPACITY[0]]])
        return np.array([0.0, CAPACITY[0]]), turn @ np.diag([INTERCEPT, CAPACITY[1]]) ** 2 @ turn.T

    def _middle(self, space: Space) -> float:
        return float(np.exp(np.log(self.sizes(space)).mean()))

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any target; capacity: bits per parameter in the middle of the sizes. Two of c0,
        alpha and capacity determine the third; one alone keeps the capacity of the middle, or
        c0."""
        stated = [name for name in ("c0", "alpha", "capacity") if name in given]
        if not stated:
            return Target.assume(self, prior, space, given)
        if len(stated) == 3:
            raise ConfigError("--assume: c0, alpha and capacity are one too many; give two of them")
        for name in stated:
            if name != "c0":
                _check_capacity(name, given[name])
        c0, alpha = self._line(prior, space, given)
        sizes = self.sizes(space)
        least = min(c0 + alpha * size for size in (sizes.min(), sizes.max()))
        if not (alpha > 0 and math.isfinite(c0) and least > 0):
            raise ConfigError(
                f"--assume {', '.join(f'{name}={given[name]:g}' for name in stated)}: c0 + alpha P "
                f"= {c0:.4g} + {alpha:.4g} P; expected bits above 0 for every model of {space.name}"
            )
        others = {name: value for name, value in given.items() if name not in stated}
        line = {"c0": c0, "alpha": alpha}
        words = f"c0 = {c0:,.0f} bits, alpha = {alpha:.3g}, " + (
            "given" if len(stated) == 2 else "one of them given"
        )
        return Target.assume(self, prior, space, others | line).sourced(truth=words)

    def _line(self, prior: Prior, space: Space, given: dict[str, float]) -> tuple[float, float]:
        """c0 and alpha that follow from the given ones and the prior."""
        middle, (c0, alpha) = self._middle(space), map(float, prior.mean)
        capacity = given["capacity"] if "capacity" in given else alpha + c0 / middle
        if "c0" in given or "alpha" not in given:
            c0 = given.get("c0", c0)
            return c0, given["alpha"] if "alpha" in given else capacity - c0 / middle
        return (capacity - given["alpha"]) * middle, given["alpha"]

    def _law(self, sizes: np.ndarray, truths: Truths) -> np.ndarray:
        return np.maximum(super()._law(sizes, truths), LEAST * CAPACITY[0] * sizes)

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes; the smallest models carry c0, its interval takes
        the noise of all."""
        return replace(super().effects(space, truths, prior), pooled=True)

    def truth(self, space: Space, truths: Truths) -> float:
        """Least squares of log C over all models, without noise or corner; not linear in c0 and
        alpha."""
        sizes = self.sizes(space)
        if not truths.bend.any() or len(sizes) < len(self.form.names):
            return float(truths.theta[0, self.form.index(self.parameter)])
        points = estimate.Points({"parameters": sizes}, self.capacities(space, truths)[0])
        return estimate.fit(self.form, points, kept=STARTS, delta=np.inf).values[self.parameter]


def _check_capacity(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(
            f"--assume {name}={value:g}: expected a positive number of bits per parameter"
        )


def _points(replicates: pd.DataFrame) -> estimate.Points:
    return estimate.Points(
        {"parameters": replicates.parameters.to_numpy(float)},
        replicates.bits.to_numpy(float),
        cluster=replicates.model.to_numpy(),
        lower_bound=replicates.lower_bound.to_numpy(bool),
    )
