"""What a plan is about: a parameter of a form, how studies of it are simulated, and how records
become points of a fit.

    target = make_target("capacity_linear", "alpha", 0.05)                        # `registry`
    columns = target.simulate(space, [(cell, seed), ...], truths.one(0), rng)     # of finished runs
    target.measure(target.points(pd.DataFrame(columns)))      # estimate and interval, as of a study

A kind of target is a subclass with `prior`, `effects`, `simulate`, `points` and `learned`, named
for its forms in `registry`: `plateau` and `corner` for random data, `exposure` for one model that
sees its data more or less often, `formats` for models trained with few bits per weight.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd

from capacity.base.errors import ConfigError
from capacity.base.words import plural
from capacity.design.optimal import Effects
from capacity.design.prior import Prior, Truths, Variance
from capacity.design.space import Space
from capacity.fitting import bounds, forms, intervals
from capacity.fitting import fit as estimate

# searched to the end; the forms of plans have one minimum, and a plan fits hundreds of studies
STARTS = 4
FLOOR = 0.002  # noise of a data-limited run, relative
# bits per parameter, and by how much they may be off, relative: Morris et al. find 3.5 to 3.8,
# pocket models 2.8 to 3.4
CAPACITY = (3.5, 0.15)
SHARPNESS = (5.0, 0.25)  # k of 4 to 5.5 (`capacity_forms.smooth_corner`)

Own = dict[str, tuple[float, ...]]  # model -> what its runs say of the model's own deviations
Runs = list[tuple[int, int]]  # (cell, seed)


@dataclass(frozen=True)
class Target(ABC):
    """A form, one of its parameters, and the width that the interval of the parameter should have.

    kinds: of data that the form is about. stated: names beside the form's that `--assume` takes.
    fixed: parameters that no study can estimate, and why. per_model: whether the limit of seeds is
    one of a model, not of a cell. formats: whether cells differ by the format they are trained in
    (`space.space_of`). delta: where the loss of a real fit turns from squared to absolute.
    """

    form: forms.Form
    parameter: str
    width: float
    kinds: ClassVar[tuple[str, ...]]
    stated: ClassVar[tuple[str, ...]]
    noise_words: ClassVar[str]
    scatter_words: ClassVar[str]
    fixed: ClassVar[Mapping[str, str]] = {}
    per_model: ClassVar[bool] = True
    formats: ClassVar[bool] = False
    delta: ClassVar[float | None] = None

    @abstractmethod
    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""

    @abstractmethod
    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes, to first order."""

    @abstractmethod
    def simulate(
        self,
        space: Space,
        runs: Runs,
        truths: Truths,
        rng: np.random.Generator | None = None,
        known: Own | None = None,
    ) -> dict[str, np.ndarray]:
        """Columns of a table of finished runs under a single truth. rng: None for no noise; known:
        what finished runs say of each model, as `learned` has it."""

    @abstractmethod
    def points(self, frame: pd.DataFrame) -> estimate.Points | None:
        """Points of a fit from a table of runs; None where the runs make none."""

    @abstractmethod
    def learned(
        self, prior: Prior, space: Space, frame: pd.DataFrame, source: str
    ) -> tuple[Prior, Own]:
        """The prior updated by these runs, and by model the mean and standard deviation of its own
        deviations; source: where the runs come from, in words."""

    @property
    def absolute(self) -> bool:
        """Whether a width is absolute (exponents and other plain numbers) or relative to the
        value."""
        p = self.form.parameters[self.form.index(self.parameter)]
        return p.unit == "" and p.scale == "linear"

    @property
    def unit(self) -> str:
        """Of an absolute width; empty for plain numbers."""
        return self.form.parameters[self.form.index(self.parameter)].unit if self.absolute else ""

    @property
    def spent(self) -> int:
        """Degrees of freedom of models that the form takes up."""
        return len(self.form.parameters)

    def width_of(self, value: float, low: float | None, high: float | None) -> float:
        """Width of an interval as this target counts it; infinite where an end is open."""
        if low is None or high is None:
            return math.inf
        return (high - low) / (1.0 if self.absolute else abs(value))

    def half(self, width: float) -> float:
        """Half of a width, in the coordinate in which `contrast` has a slope of 1."""
        p = self.form.parameters[self.form.index(self.parameter)]
        return math.asinh(width / 2) if p.scale == "log" else width / 2

    def contrast(self, truths: Truths) -> np.ndarray:
        """[T, k] c of the criterion: the parameter, in units of its width."""
        j = self.form.index(self.parameter)
        c = np.zeros_like(truths.theta)
        relative = not (self.absolute or self.form.parameters[j].scale == "log")
        c[:, j] = 1 / np.abs(truths.theta[:, j]) if relative else 1.0
        return c

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """A prior with numbers that the user states: parameters of the form, noise, scatter, bend,
        k. ConfigError names what may be stated."""
        for name, value in given.items():
            self._check_assumption(name, value)
            if name in self.form.names:
                mean, j = prior.mean.copy(), self.form.index(name)
                mean[j] = float(self.form.parameters[j].to_search(value))
                prior = replace(prior, mean=mean).sourced(truth=f"{name} = {value:g}, given")
                continue
            if name in ("noise", "scatter"):
                prior = replace(prior, **{name: Variance(value)})
            elif name == "bend":
                prior = replace(prior, bend=value)
            else:
                prior = replace(prior, log_k=(math.log(max(value, 1.0)), prior.log_k[1]))
            prior = prior.sourced(**{"corner" if name == "k" else name: f"{value:g}, given"})
        return prior

    def _check_assumption(self, name: str, value: float) -> None:
        allowed = dict.fromkeys((*self.form.names, *self.stated))
        least = 0.0
        if name in self.form.names:
            least = self.form.parameters[self.form.index(name)].low
        if (
            name not in allowed
            or not max(least, -1e300) <= value < math.inf
            or (value == 0 == least and name != "bend")
        ):
            raise ConfigError(
                f"--assume {name}={value:g}: expected a positive number for one of "
                f"{', '.join(allowed)}"
            )

    def slopes(self, x: dict[str, np.ndarray], truths: Truths) -> np.ndarray:
        """[T, J, k] of T(f) by the coordinates of the search."""
        value, by = self.form.slopes(self.form.inputs(x), truths.theta)
        over = 1 / value if self.form.transform == "log" else 1.0
        return np.stack(
            [
                np.broadcast_to(d, value.shape)
                * over
                * (truths.theta[:, i, None] if p.scale == "log" else 1.0)
                for i, (d, p) in enumerate(zip(by, self.form.parameters, strict=True))
            ],
            axis=-1,
        )

    def measure(self, points: estimate.Points | None) -> dict:
        """Estimate, ends and width of the parameter's interval, as the fitting engine has them;
        reason: why there is none."""
        try:
            if points is None:
                raise ValueError("no finished run is informative for this form")
            fit = estimate.fit(self.form, points, delta=self.delta, kept=STARTS)
            ends = intervals.of(fit, names=[self.parameter])
            end = ends[self.parameter]
        except ValueError as error:
            return {
                "value": math.nan,
                "low": None,
                "high": None,
                "width": math.inf,
                "reason": str(error),
                "bounds": [],
            }
        return {name: end[name] for name in ("value", "low", "high", "reason")} | {
            "width": self.width_of(end["value"], end["low"], end["high"]),
            "bounds": bounds.told(fit, ends),
        }

    def lacks(self, space: Space, effects: Effects) -> str:
        """What keeps every plan of this space from an interval; empty where nothing does."""
        return ""

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """Points of each study of a table with a column `study`, in order; None for a study
        without any."""
        return [self.points(part) if len(part) else None for _, part in table.groupby("study")]

    def ideal(self, space: Space, truths: Truths) -> estimate.Points:
        """Points of all cells, one run each, without noise."""
        runs = [(j, 0) for j in range(len(space.cells))]
        points = self.points(pd.DataFrame(self.simulate(space, runs, truths)))
        if points is None:
            raise ValueError(f"{space.name}: its cells make no points of {self.form.name}")
        return points

    def truth(self, space: Space, truths: Truths) -> float:
        """The parameter according to a study of the whole space, without noise, under a single
        truth: what every estimate aims at."""
        if not truths.bend.any():
            return float(truths.theta[0, self.form.index(self.parameter)])
        return estimate.fit(self.form, self.ideal(space, truths), kept=STARTS, delta=np.inf).values[
            self.parameter
        ]


def dof_words(dof: int) -> str:
    """Degrees of freedom in words."""
    return plural(dof, "degree of freedom", "degrees of freedom")


def coordinates(form: forms.Form, values: tuple[float, ...]) -> np.ndarray:
    """[k] values of a form's parameters in the coordinates in which it is searched."""
    return np.array([float(p.to_search(v)) for p, v in zip(form.parameters, values, strict=True)])
