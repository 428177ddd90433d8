"""Kinds of questions: what a run tells of a form, how a study is simulated, and how its records
become points of a fit.

    question = ask("capacity_linear", "alpha", 0.05)
    columns = question.simulate(space, [(cell, seed), ...], truths.one(0), dice)    # of a table of
                                                                                    finished runs
    question.measure(question.points(pd.DataFrame(columns)))                       # estimate and
                                                                                   interval, as of a
                                                                                   real study

A kind is a subclass of `Question` with `prior`, `effects`, `simulate`, `points` and `learned`,
named for its forms in `ask`. Corner: all runs of random data. Capacity: plateaus of units (model,
seed), as `laws.fit` has them; both with variants in `corner`. Exposures: bits per parameter of one
model against exposures (`exposure`). Precision: capacity of models trained with fewer bits, as a
part of fp32's (`precision`).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from capacity.analysis.random import plateaus as fit
from capacity.base.errors import ConfigError
from capacity.design.optimal import Effects, orthogonal
from capacity.design.prior import Prior, Truths, Variance, within
from capacity.design.space import Space
from capacity.fitting import capacity_forms, forms, intervals
from capacity.fitting import fit as estimate
from capacity.fitting.simulated import SEED_NOISE, SHAPE_SCATTER

# searched to the end; the forms asked here have one minimum, and a plan fits hundreds of studies
STARTS = 4
SHARE = 0.3  # of the slope by log capacity, below which a run is one that its data stop
FLOOR = 0.002  # noise of a run that its data stop, relative
CAPACITY = (
    3.5,
    0.15,
    # bits per parameter, and what it may be off by, relative: Morris et al. find 3.5 to 3.8, pocket
    # models 2.8 to 3.4
)
SHARPNESS = (5.0, 0.25)  # k of 4 to 5.5 (`capacity_forms.smooth_corner`)
EXPONENT = (1.0, 0.05)
BEND = {
    "capacity_linear": 0.05,
    "smooth_corner": 0.05,
    "hard_corner": 0.05,
    "capacity_power": 0.02,
    "capacity_affine": 0.02,
}


@dataclass(frozen=True)
class Question:
    """A form, the parameter that is asked for, and the width that its interval should have."""

    form: forms.Form
    parameter: str
    width: float
    settled = {}  # parameters that no study can tell, and why
    per_model = True  # whether a model, not a cell, has a largest number of runs
    ladder = False  # whether a study is a ladder of formats, see `space.space_of`
    delta = None  # where the loss of a real fit turns from squared to absolute, see `estimate.fit`

    @property
    def absolute(self) -> bool:
        """Whether a width is absolute (exponents and other plain numbers) or relative to the
        value."""
        p = self.form.parameters[self.form.index(self.parameter)]
        return p.unit == "" and p.scale == "linear"

    @property
    def unit(self) -> str:
        """Of an absolute width; nothing for plain numbers."""
        return self.form.parameters[self.form.index(self.parameter)].unit if self.absolute else ""

    @property
    def spent(self) -> int:
        """Degrees of freedom of models that the form takes up."""
        return len(self.form.parameters)

    def width_of(self, value: float, low: float | None, high: float | None) -> float:
        """Width of an interval, in the way that this question counts it; infinite where an end is
        open."""
        if low is None or high is None:
            return math.inf
        return (high - low) / (1.0 if self.absolute else abs(value))

    def half(self, width: float) -> float:
        """Half of a width, in the coordinate in which `asked` has a slope of 1."""
        p = self.form.parameters[self.form.index(self.parameter)]
        return math.asinh(width / 2) if p.scale == "log" else width / 2

    def asked(self, truths: Truths) -> np.ndarray:
        """[T, k] c of the criterion: the parameter, in units of its width."""
        j = self.form.index(self.parameter)
        c = np.zeros_like(truths.theta)
        c[:, j] = (
            1.0
            if self.absolute or self.form.parameters[j].scale == "log"
            else 1 / np.abs(truths.theta[:, j])
        )
        return c

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """A prior with numbers that the user states: parameters of the form, noise, scatter, bend,
        k. ConfigError names what may be stated."""
        mean, sources = prior.mean.copy(), dict(prior.sources)
        for name, value in given.items():
            allowed = dict.fromkeys((*self.form.names, *self.stated))
            least = (
                self.form.parameters[self.form.index(name)].low if name in self.form.names else 0.0
            )
            if (
                name not in allowed
                or not max(least, -1e300) <= value < math.inf
                or (value == 0 == least and name != "bend")
            ):
                raise ConfigError(
                    f"--assume {name}={value:g}: expected a positive number for one of "
                    f"{', '.join(allowed)}"
                )
            if name in self.form.names:
                j = self.form.index(name)
                mean[j] = float(self.form.parameters[j].to_search(value))
                sources["truth"] = f"{name} = {value:g}, given"
            elif name in ("noise", "scatter"):
                prior = replace(prior, **{name: Variance(value)})
            elif name == "bend":
                prior = replace(prior, bend=value)
            else:
                prior = replace(prior, log_k=(math.log(max(value, 1.0)), prior.log_k[1]))
            if name not in self.form.names:
                sources["corner" if name == "k" else name] = f"{value:g}, given"
        return replace(prior, mean=mean, sources=sources)

    def slopes(self, x: dict, truths: Truths) -> np.ndarray:
        """[T, J, k] of T(f) by the coordinates of the search."""
        value, by = self.form.slopes(self.form.inputs(x), truths.theta)
        over = 1 / value if self.form.transform == "log" else 1.0
        return np.stack(
            [
                np.broadcast_to(d, value.shape)
                * over
                * (truths.theta[:, i, None] if p.scale == "log" else 1.0)
                for i, (d, p) in enumerate(zip(by, self.form.parameters))
            ],
            axis=-1,
        )

    def measure(self, points: estimate.Points | None) -> dict:
        """Estimate, ends and width of the asked parameter's interval, as the fitting engine has
        them; reason: why there is none."""
        try:
            if points is None:
                raise ValueError("no run tells anything")
            found = estimate.fit(self.form, points, delta=self.delta, kept=STARTS)
            end = intervals.of(found, names=[self.parameter])[self.parameter]
        except ValueError as error:
            return {
                "value": math.nan,
                "low": None,
                "high": None,
                "width": math.inf,
                "reason": str(error),
            }
        return {name: end[name] for name in ("value", "low", "high", "reason")} | {
            "width": self.width_of(end["value"], end["low"], end["high"])
        }

    def lacks(self, space: Space, effects: Effects) -> str:
        """What keeps every plan of this space from an interval; empty where nothing does."""
        return ""

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """Points of each study of a table with a column `study`, in order; None for a study whose
        runs tell nothing."""
        return [self.points(part) if len(part) else None for _, part in table.groupby("study")]

    def truth(self, space: Space, truths: Truths) -> float:
        """What a study of the whole space, without noise, says of the parameter under a single
        truth: the target of every estimate."""
        if not truths.bend.any():
            return float(truths.theta[0, self.form.index(self.parameter)])
        return estimate.fit(self.form, self.ideal(space, truths), kept=STARTS, delta=np.inf).values[
            self.parameter
        ]


class Corner(Question):
    """All finished runs of random data, m = H (1 + (H / (alpha P))^k)^(-1/k), clustered by
    model."""

    kinds = ("uniform",)
    stated = ("k", "noise", "scatter", "bend")
    noise_words, scatter_words = (
        "capacity over seeds of one model",
        "capacity over models, around the law",
    )

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        places = [(cell.label, cell.config.items) for cell in space.cells]
        if twice := next((place for place in places if places.count(place) > 1), None):
            raise ConfigError(
                f"{space.name}: {twice[0]}, N = {twice[1]:,}: several lengths of training of one "
                f"model and data set, hence several "
                "recipes; a law of capacity needs one (give train.exposures=.. behind the study)"
            )
        mean, covariance = self._assumed(space)
        return Prior(
            self.form,
            mean,
            covariance,
            (math.log(SHARPNESS[0]), SHARPNESS[1]),
            Variance(SEED_NOISE),
            Variance(SHAPE_SCATTER),
            BEND[self.form.name],
            {
                "truth": f"assumed, {CAPACITY[0]:g} bits per parameter +-{CAPACITY[1]:.0%}",
                "corner": "assumed",
                "noise": "assumed",
                "scatter": "assumed",
                "bend": self._bend_words(),
            },
        )

    def _assumed(self, space):
        return np.log([CAPACITY[0], SHARPNESS[0]]), np.diag([CAPACITY[1], SHARPNESS[1]]) ** 2

    def _bend_words(self) -> str:
        return f"C / P may follow P^(+-{BEND[self.form.name]:g}), assumed"

    def capacities(self, space: Space, truths: Truths) -> np.ndarray:
        """[T, C] bits of the models of the space, by the form and its bend, without scatter."""
        sizes = self.sizes(space)
        return self._law(sizes, truths) * np.exp(truths.bend[:, None] * self.trend(sizes))

    def _law(self, sizes, truths):
        return truths.theta[:, :1] * sizes

    @staticmethod
    def sizes(space: Space) -> np.ndarray:
        """[C] parameters of the models."""
        found = {cell.label: cell.parameters for cell in space.cells}
        return np.array([found[label] for label in space.labels])

    def trend(self, sizes) -> np.ndarray:
        """[C] the bend that the form lacks: an exponent that differs from 1."""
        return np.log(sizes) - np.log(sizes).mean()

    def full(self, space: Space, truths: Truths) -> tuple[np.ndarray, np.ndarray]:
        """[T, J] chance that a run measures a plateau, and what the corner takes away, relative. It
        measures where its ceiling is above CORNER times its bits, m = H (1 + r^k)^(-1/k) at r = H /
        C, hence where r^k > CORNER^k - 1."""
        from scipy.special import ndtr

        k = truths.sharpness[:, None]
        room = np.log(_ceilings(space)) - np.log(self.capacities(space, truths))[:, space.cluster]
        spread = np.hypot(truths.scatter, truths.noise)[:, None]
        return ndtr((room - np.log(fit.CORNER**k - 1) / k) / spread), -np.log1p(
            np.exp(-k * room)
        ) / k

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell tells, to first order."""
        cluster = space.cluster
        slope = self.slopes(
            {"parameters": self.sizes(space)[cluster], "ceiling_bits": _ceilings(space)}, truths
        )
        share = self._share(slope)
        # what the data stop is far less noisy than the rest; many such runs would set the scale of
        # a robust fit and make outliers of the others
        return Effects(
            slope,
            (share > SHARE).astype(float),
            np.zeros_like(share),
            np.hypot(truths.noise[:, None] * share, FLOOR),
            share,
            orthogonal(share * self.trend(self.sizes(space))[cluster], slope),
            truths.scatter,
            prior.bend,
            cluster,
            self.asked(truths),
            prior.error,
        )

    def simulate(
        self,
        space: Space,
        runs: list[tuple[int, int]],
        truths: Truths,
        dice=None,
        known: dict[str, tuple[float, float]] | None = None,
    ) -> dict:
        """Columns of a table of finished runs (cell, seed) under a single truth. dice: None for no
        noise; known: mean and sd, by model, of the log of its own capacity over the law's, where
        runs have told something of it."""
        cells, cluster = np.array([j for j, _ in runs], int), space.cluster
        log_capacity, small = np.log(self.capacities(space, truths)[0]), 0.0
        if dice is not None:
            middle, spread = (
                np.array(
                    [
                        (known or {}).get(label, (0.0, truths.scatter[0]))[i]
                        for label in space.labels
                    ]
                )
                for i in (0, 1)
            )
            log_capacity = log_capacity + middle + spread * dice.standard_normal(len(middle))
        log_capacity = log_capacity[cluster[cells]]
        if dice is not None:
            log_capacity = log_capacity + truths.noise[0] * dice.standard_normal(len(cells))
            small = FLOOR * dice.standard_normal(len(cells))
        ceiling = _ceilings(space)[cells]
        bits = capacity_forms.smooth_corner(
            np.exp(log_capacity), ceiling, 1.0, truths.sharpness[0]
        ) * np.exp(small)
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "label": np.array(space.labels)[cluster[cells]],
            "status": np.full(len(cells), "finished"),
            "parameters_total": self.sizes(space)[cluster[cells]],
            "strict_bits": bits,
            "strict_ceiling_bits": ceiling,
            "gain_last_tenth": np.zeros(len(cells)),
        }

    def ideal(self, space: Space, truths: Truths) -> estimate.Points:
        """All cells, without noise."""
        return self.points(
            pd.DataFrame(self.simulate(space, [(j, 0) for j in range(len(space.cells))], truths))
        )

    def points(self, frame) -> estimate.Points:
        """Of a table of runs."""
        done = frame[(frame.status == "finished") & (frame.strict_bits > 0)]
        return estimate.Points(
            {
                "parameters": done.parameters_total.to_numpy(float),
                "ceiling_bits": done.strict_ceiling_bits.to_numpy(float),
            },
            done.strict_bits.to_numpy(float),
            cluster=done.label.to_numpy(),
        )

    def _share(self, slope) -> np.ndarray:
        """[...] of slopes [..., k]: the slope by log capacity."""
        return slope[..., self.form.index("alpha")]

    def _measured(self, frame) -> pd.DataFrame:
        """Rows that tell the law: label, cell, parameters_total, strict_ceiling_bits,
        strict_bits."""
        return frame[(frame.status == "finished") & (frame.strict_bits > 0)]

    def learned(
        self, prior: Prior, space: Space, frame, source: str
    ) -> tuple[Prior, dict[str, tuple[float, float]]]:
        """The belief after these runs, and of each model's own capacity the mean and sd of its log
        over the law's."""
        rows = self._measured(frame)
        if rows.empty:
            return prior, {}
        labels, codes = np.unique(rows.label, return_inverse=True)
        x = {
            "parameters": rows.parameters_total.to_numpy(float),
            "ceiling_bits": rows.strict_ceiling_bits.to_numpy(float),
        }
        y = np.log(rows.strict_bits.to_numpy(float))

        def left(u):
            truths = replace(prior, mean=u).middle()
            return y - np.log(np.maximum(self.form.predict(x, truths.theta[0]), 1.0)), self.slopes(
                x, truths
            )[0]

        def share(u):
            return self._share(left(u)[1])

        full = share(prior.mean) > 0.5
        square, dof = within(y[full], [f"{a} {b}" for a, b in zip(codes[full], rows.cell[full])])
        noise, scatter, now = prior.noise.updated(square, dof), prior.scatter, prior
        sources = prior.sources | ({"noise": f"{counted(dof)} of {source}"} if dof else {})
        for _ in range(
            3
        ):  # the truth given the scatter, the scatter given what is then left of the models' means
            own = share(now.mean)
            covariance = scatter.sd**2 * np.outer(own, own) * np.equal.outer(
                codes, codes
            ) + np.diag((noise.sd * own) ** 2 + FLOOR**2)
            now = prior.fitted(left, covariance)
            weight, rest = share(now.mean) ** 2, left(now.mean)[0] * share(now.mean)
            size = np.maximum(np.bincount(codes, weight), 1e-9)
            mean, free = (
                np.bincount(codes, rest) / size,
                int((size > 0.5).sum()) - len(now.mean) + (self.form.name == "smooth_corner"),
            )
            if free > 0:
                between = float((mean[size > 0.5] ** 2).sum()) / free - float(
                    (noise.sd**2 / size[size > 0.5]).mean()
                )
                scatter = prior.scatter.updated(max(between, 0.0), free)
        if free > 0:
            sources["scatter"] = f"{counted(free)} of {source}"
        sources["truth"] = f"{len(y)} values of {source}, and {prior.sources['truth']}"
        if "k" in self.form.names:
            sources["corner"] = "as the truth"
        shrink = scatter.sd**2 / (scatter.sd**2 + noise.sd**2 / size)
        known = {
            label: (float(s * m), float(scatter.sd * math.sqrt(1 - s)))
            for label, s, m in zip(labels, shrink, mean)
        }
        return replace(now, noise=noise, scatter=scatter, sources=sources), known


class Capacity(Corner):
    """Plateaus of units (model, seed) against parameters: runs that the data stop are bounds, runs
    near the corner are biased by it."""

    def _assumed(self, space):
        if self.form.name == "capacity_linear":
            return np.log([CAPACITY[0]]), np.array([[CAPACITY[1] ** 2]])
        # a = alpha P0^(1 - gamma): the capacity is known in the middle of the sizes, not at P = 1
        middle = float(np.log(self.sizes(space)).mean())
        turn = np.array([[1.0, -middle], [0.0, 1.0]])
        return (
            np.array([math.log(CAPACITY[0]) + (1 - EXPONENT[0]) * middle, EXPONENT[0]]),
            turn @ np.diag([CAPACITY[1], EXPONENT[1]]) ** 2 @ turn.T,
        )

    stated = ("capacity", "k", "noise", "scatter", "bend")

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any question; capacity: bits per parameter in the middle of the sizes, which an
        exponent given beside it turns around."""
        if self.form.name == "capacity_linear":
            return super().assume(
                prior,
                space,
                {"alpha" if name == "capacity" else name: value for name, value in given.items()},
            )
        middle = float(np.log(self.sizes(space)).mean())
        gamma = given.get("gamma", prior.mean[1])
        capacity = given.get("capacity", math.exp(prior.mean[0] + (prior.mean[1] - 1) * middle))
        if not 0 < capacity < math.inf:
            raise ConfigError(
                f"--assume capacity={capacity:g}: expected a positive number of bits per parameter"
            )
        prior = super().assume(
            prior, space, {name: value for name, value in given.items() if name != "capacity"}
        )
        if "a" in given or not {"gamma", "capacity"} & set(given):
            return prior
        words = f"{capacity:.3g} bits per parameter and gamma = {gamma:.3g}, " + (
            "given" if {"gamma", "capacity"} <= set(given) else "one of them given"
        )
        return replace(
            prior,
            mean=np.array([math.log(capacity) + (1 - gamma) * middle, gamma]),
            sources=prior.sources | {"truth": words},
        )

    def _bend_words(self) -> str:
        if self.form.name == "capacity_linear":
            return super()._bend_words()
        return f"the exponent may change by +-{2 * BEND[self.form.name]:g} per e-fold, assumed"

    def _law(self, sizes, truths):
        return self.form.predict({"parameters": sizes}, truths.theta)

    def trend(self, sizes) -> np.ndarray:
        """[C] an exponent that differs from 1 or, where the form has one, that changes with
        size."""
        line = super().trend(sizes)
        return line if self.form.name == "capacity_linear" else line**2

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell tells, to first order, where it measures."""
        cluster = space.cluster
        slope = self.slopes({"parameters": self.sizes(space)[cluster]}, truths)
        usable, bias = self.full(space, truths)
        ones = np.ones_like(usable)
        trend = orthogonal(self.trend(self.sizes(space))[cluster], slope)
        return Effects(
            slope,
            usable,
            bias,
            truths.noise[:, None] * ones,
            ones,
            trend,
            truths.scatter,
            prior.bend,
            cluster,
            self.asked(truths),
            prior.error,
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

    def points(self, frame) -> estimate.Points:
        """Units of a table of runs, as `laws.fit.units` has them, clustered by model."""
        return self._of_units(fit.units(frame))

    @staticmethod
    def _of_units(units) -> estimate.Points:
        return estimate.Points(
            {"parameters": units.parameters.to_numpy(float)},
            units.bits.to_numpy(float),
            cluster=units.label.to_numpy(),
            lower_bound=units.lower_bound.to_numpy(bool),
        )

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """As `points`, with one call for all studies."""
        units = fit.units(table.assign(label=table.study.astype(str) + " " + table.label))
        units[["study", "label"]] = units.label.str.split(" ", n=1, expand=True)
        found = {int(study): self._of_units(part) for study, part in units.groupby("study")}
        return [found.get(study) for study in sorted(table.study.unique())]

    def _share(self, slope) -> np.ndarray:
        return np.ones(slope.shape[:-1])

    def _measured(self, frame) -> pd.DataFrame:
        return frame[fit.classify(frame) == "saturated"]


def _ceilings(space: Space) -> np.ndarray:
    return np.array([cell.ceiling for cell in space.cells])


def counted(dof: int) -> str:
    """Degrees of freedom in words."""
    return f"{dof} degree{'s' * (dof != 1)} of freedom"


def ask(form: str, parameter: str, width: float) -> Question:
    """The question that a command names; ConfigError, in one line, with what is allowed."""
    kinds = _kinds()
    if form not in kinds:
        near = difflib.get_close_matches(form, kinds, 1, 0.4)
        raise ConfigError(
            f"--form {form}: "
            + ("no plan knows how to simulate it" if form in forms.FORMS else "unknown")
            + (f" (did you mean {near[0]}?)" if near else "")
            + f"; allowed: {', '.join(kinds)}"
        )
    law = forms.FORMS[form]
    if parameter not in law.names:
        raise ConfigError(f"--parameter {parameter}: {form} has {', '.join(law.names)}")
    if parameter in kinds[form].settled:
        raise ConfigError(
            f"--parameter {parameter}: {kinds[form].settled[parameter]}; allowed: "
            + ", ".join(name for name in law.names if name not in kinds[form].settled)
        )
    if not 0 < width < math.inf:
        raise ConfigError(f"--width {width:g}: expected a number above 0")
    return kinds[form](law, parameter, width)


def _kinds() -> dict[str, type[Question]]:
    from capacity.design.corner import Affine, Hard
    from capacity.design.exposure import CURVES, Exposures
    from capacity.design.formats import LADDERS, Precision

    return (
        {
            "capacity_linear": Capacity,
            "capacity_affine": Affine,
            "capacity_power": Capacity,
            "smooth_corner": Corner,
            "hard_corner": Hard,
        }
        | dict.fromkeys(CURVES, Exposures)
        | dict.fromkeys(LADDERS, Precision)
    )
