"""Formats of training: capacity of models trained with few bits per weight, as a part of fp32's,
against the bits of a code (see `target`).

Points are those of a law of capacity in `analysis.precision`: of each model and format the mean
over seeds at the data size that holds most, over the same of fp32 (hence R / R_fp32, 1 at 32 bits
by construction), clipped at 0, squared loss, clusters are models. x are the bits of a code, as
there. A study is simulated run by run: a model has its own fp32 capacity and its own worth of a
bit, f(b e^z) / f(32 e^z) with z normal; a run has noise, and its data a corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths
from capacity.base.errors import ConfigError
from capacity.design import formats_table as of_runs
from capacity.design.formats_design import FormatEffects
from capacity.design.formats_table import CAST
from capacity.design.optimal import USABLE, Effects, orthogonal
from capacity.design.prior import Prior, Truths, Variance
from capacity.design.space import Cell, Space
from capacity.design.target import (
    CAPACITY,
    FLOOR,
    SHARPNESS,
    STARTS,
    Own,
    Runs,
    Target,
    coordinates,
    dof_words,
)
from capacity.fitting import capacity_forms, forms
from capacity.fitting import fit as estimate
from capacity.fitting.simulated import MODEL_SCATTER, SEED_NOISE

# By form, what our own models trained quantized say (results/studies/precision/uniform@pocket:
# three models of 4K to 12K parameters, random data, all tensors; rounded), and what it may be off
# by, in the coordinate in which it is searched. c is 1, since points are parts of fp32; the fits'
# own c is 0.91 to 1.07, which is their misfit.
ASSUMED = {
    "precision_effective": ((1.0, 5.5), (0.05, 0.4)),
    "precision_shifted": ((1.0, 1.4, 3.3), (0.05, 0.4, 0.3)),
    "precision_noise": ((1.0, 42.0), (0.05, 0.8)),
    "precision_storage": ((0.13, 1.0), (0.03, 0.05)),
}
OTHER = {
    "precision_effective": "precision_storage",
    "precision_shifted": "precision_storage",
    "precision_noise": "precision_shifted",
    "precision_storage": "precision_shifted",
}
# bits at which half of fp32 is held, by parameters: where two forms are laid over each other
HALF = {
    "precision_effective": lambda c, b0: b0 * np.log(2),
    "precision_shifted": lambda c, a, b0: b0 * np.log(2 * a),
    "precision_noise": lambda c, a: np.log2(2 * a) / 2,
    "precision_storage": lambda s, c: c / (2 * s),
}
# of a bit, over models, relative: 0.11 to 0.17 (sd of the log) at 1 to 2 bits in the same study,
# 0.01 at 6
WORTH = 0.10
BEND = 0.5  # part of the way to another form
FULL = 32.0
# bits per parameter of facts after 1000 exposures (3.3, arXiv 2404.05405, section 5), and what it
# may be off by
PEOPLE = (2.0, 0.3)
STEP = 1e-3  # relative, of bits, for a slope
ROUNDS = 3  # the truth given the scatter, the scatter given what is then left of the models


class Formats(Target):
    """Capacity in a format over capacity in fp32, one point per model and format."""

    kinds = ("uniform", "bios", "biod", "corpus")
    stated = ("capacity", "k", "noise", "scatter", "bend")
    fixed = {"c": "it is 1 by construction, since points are parts of the capacity in fp32"}
    noise_words = "capacity over seeds of one model and format"
    scatter_words = "worth of a bit over models"
    formats, per_model, delta = True, False, np.inf

    @property
    def spent(self) -> int:
        """Degrees of freedom of models that the form takes up."""
        return 1

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        value, error = ASSUMED[self.form.name]
        level = CAPACITY if space.cells[0].config.data.kind == "uniform" else PEOPLE
        words = ", ".join(f"{name} = {v:g}" for name, v in zip(self.form.names, value, strict=True))
        return Prior(
            form=self.form,
            mean=coordinates(self.form, value),
            covariance=np.diag(error) ** 2,
            log_k=(math.log(SHARPNESS[0]), SHARPNESS[1]),
            noise=Variance(SEED_NOISE),
            scatter=Variance(WORTH),
            bend=BEND,
            sources={
                "truth": f"{words}, loosely, from this package's own study of three pocket models, "
                f"random data",
                "capacity": f"{level[0]:g} bits per parameter in fp32 +-{level[1]:.0%}, assumed",
                "corner": "assumed",
                "noise": "assumed",
                "scatter": "assumed, from the same study",
                "bend": f"the law may lie +-{BEND:.0%} of the way to {OTHER[self.form.name]}",
            },
            log_level=(math.log(level[0]), level[1]),
        )

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any target; capacity: bits per parameter in fp32."""
        if "capacity" in given:
            capacity = given["capacity"]
            if not 0 < capacity < math.inf:
                raise ConfigError(
                    f"--assume capacity={capacity:g}: expected a positive number of bits per "
                    f"parameter"
                )
            prior = replace(prior, log_level=(math.log(capacity), _level(prior)[1])).sourced(
                capacity=f"{capacity:g} bits per parameter in fp32, given"
            )
        for name in self.fixed:
            if name in given:
                raise ConfigError(f"--assume {name}={given[name]:g}: {self.fixed[name]}")
        return super().assume(
            prior, space, {name: value for name, value in given.items() if name != "capacity"}
        )

    # --- the law, as parts of fp32 ---

    def normalized(self, truths: Truths) -> Truths:
        """The same truths with c such that 32 bits hold 1."""
        theta, j = truths.theta.copy(), self.form.index("c")
        theta[:, j] = 1.0
        if self.form.name == "precision_storage":
            s = self.form.index("s")
            theta[:, s] = np.maximum(theta[:, s], 1.001 / FULL)
        else:
            theta[:, j] = 1 / self.form.predict({"bits_per_weight": FULL}, theta)[:, 0]
        return replace(truths, theta=theta)

    def part(self, bits: np.ndarray, truths: Truths) -> np.ndarray:
        """[T, n] part of the fp32 capacity that weights of so many bits [n] or [T, n] hold, by the
        form and its bend towards another."""
        misspecification = truths.bend[:, None] * self.trend(bits, truths)
        return _part(self.form, bits, truths.theta) + misspecification

    def trend(self, bits: np.ndarray, truths: Truths) -> np.ndarray:
        """[T, n] another form less this one, laid over it where half is held."""
        other = forms.FORMS[OTHER[self.form.name]]
        theirs = np.array(ASSUMED[other.name][0])
        middle = HALF[self.form.name](*truths.theta.T), HALF[other.name](*theirs)
        ratio = middle[1] / np.maximum(np.broadcast_to(middle[0], len(truths.theta)), 1e-3)
        rows = [_part(other, bits, theirs[None], r)[0] for r in ratio]
        return np.stack(rows) - _part(self.form, bits, truths.theta)

    def truth(self, space: Space, truths: Truths) -> float:
        """Least squares over the formats of the space, without noise or corner."""
        truths = self.normalized(truths)
        if not truths.bend.any():
            return float(truths.theta[0, self.form.index(self.parameter)])
        bits = np.unique(_points_of(space)[1])
        points = estimate.Points(
            {"bits_per_weight": bits}, np.maximum(self.part(bits, truths)[0], 0.0)
        )
        return estimate.fit(self.form, points, kept=STARTS, delta=self.delta).values[self.parameter]

    # --- what runs contribute ---

    def effects(self, space: Space, truths: Truths, prior: Prior) -> FormatEffects:
        """What one run of each cell contributes, to first order."""
        from scipy.special import ndtr

        truths = self.normalized(truths)
        source, bits = _points_of(space)
        model, load = space.cluster[source], np.array([cell.load for cell in space.cells])[source]
        same = np.equal.outer(model, model) & np.equal.outer(bits, bits)
        value = np.maximum(_part(self.form, bits, truths.theta), 1e-6)
        slope = self.slopes({"bits_per_weight": bits}, truths)
        ceiling = np.array([cell.ceiling / cell.parameters for cell in space.cells])[source]
        k = truths.sharpness[:, None]
        room = np.log(ceiling) - np.log(_levels(truths)[:, None] * value)
        # a run is data-limited where it holds nearly all of its data (`bit_widths.HELD_WHOLE`); as
        # of plateaus, r^k > (H / m)^k - 1
        least = np.log(np.maximum((ceiling / load / bit_widths.HELD_WHOLE) ** k - 1, 1e-9)) / k
        spread = np.sqrt(MODEL_SCATTER**2 + truths.noise**2 + truths.scatter**2)[:, None]
        cells = len(space.cells)
        top = bits >= CAST
        return FormatEffects(
            slope=slope,
            usable=ndtr((room - least) / spread)[:, :cells],
            bias=-np.log1p(np.exp(-k * room)) / k,
            noise=truths.noise[:, None] * np.ones_like(value),
            own=_worth_slope(self.form, bits, truths.theta),
            trend=orthogonal(self.trend(bits, truths), slope),
            scatter=truths.scatter,
            bend=prior.bend,
            cluster=model,
            contrast=self.contrast(truths),
            prior=prior.error,
            source=source,
            larger=same & np.greater.outer(load, load).T,
            formats=np.equal.outer(bits, np.unique(bits[~top])).astype(float),
            top=top,
            fp32=bits == FULL,
            value=value,
        )

    def lacks(self, space: Space, effects: Effects) -> str:
        """Formats, or fp32, in which all models would hold nearly all of the study's data."""
        measured = {
            cell.trained_in["format"]
            for cell, usable in zip(space.cells, effects.usable.mean(0), strict=True)
            if usable >= USABLE
        }
        enough = len(measured - {"fp32"}) >= precision_laws.FEWEST_FORMATS
        if enough and "fp32" in measured:
            return ""
        names = dict.fromkeys(cell.trained_in["format"] for cell in space.cells)
        full = [name for name in names if name not in measured]
        return (
            f"In {', '.join(full)} models may hold nearly all of the study's data: capacity there "
            f"needs more data."
        )

    def simulate(
        self,
        space: Space,
        runs: Runs,
        truths: Truths,
        rng: np.random.Generator | None = None,
        known: Own | None = None,
    ) -> dict[str, np.ndarray]:
        """As of any target; known: by model mean and standard deviation of the log of the worth of
        a bit, and of the log of bits per parameter in fp32."""
        truths, number = self.normalized(truths), len(space.models)
        usual = (0.0, truths.scatter[0], math.log(_levels(truths)[0]), MODEL_SCATTER)
        z, sds, level, level_sds = np.array(
            [(known or {}).get(model, usual) for model in space.models]
        ).T
        if rng is not None:
            z = z + sds * rng.standard_normal(number)
            level = level + level_sds * rng.standard_normal(number)
        cells = np.array([j for j, _ in runs], int)
        cluster, at = space.cluster[cells], [space.cells[j] for j in cells]
        bits = np.array([cell.trained_in["code_bits"] for cell in at])
        size = np.array([cell.parameters for cell in at])
        ceiling = np.array([cell.ceiling for cell in at])

        def share(bits: np.ndarray) -> np.ndarray:
            worth = np.exp(z[cluster])
            bent = truths.bend[0] * self.trend(bits * worth, truths)[0]
            return np.maximum(_part(self.form, bits, truths.theta, worth)[0] + bent, 1e-9)

        luck = truths.noise[0] * rng.standard_normal(len(cells)) if rng is not None else 0.0
        small = FLOOR * rng.standard_normal(len(cells)) if rng is not None else 0.0
        held = capacity_forms.smooth_corner(
            size * np.exp(level[cluster] + luck) * share(bits), ceiling, 1.0, truths.sharpness[0]
        ) * np.exp(small)
        cast = np.array([_cast(cell) for cell in at])
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "model": np.array(space.models)[cluster],
            "status": np.full(len(cells), "finished"),
            "parameters_total": size,
            "strict_ceiling_bits": ceiling,
            "held_bits": held,
            "cast_bits": np.where(cast, held * share(np.full(len(cells), CAST)), np.nan),
            "load": np.array([cell.load for cell in at]),
            **{
                name: np.array([cell.trained_in[name] for cell in at])
                for name in ("method", "format", "code_bits")
            },
        }

    def points(self, frame: pd.DataFrame) -> estimate.Points | None:
        """Those that fit-laws would fit to these runs; None where it would fit none."""
        return self.points_by_study(frame.assign(study=0))[0]

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """As `points`, with one call for all studies."""
        mean = of_runs.relative(table.assign(model=table.study.astype(str) + " " + table.model))
        study, model = (mean.model.str.split(" ", n=1).str[i] for i in (0, 1))
        out: list[estimate.Points | None] = []
        by_study = {str(key): part for key, part in mean.assign(model=model).groupby(study)}
        for key in map(str, sorted(table.study.unique())):
            part = by_study.get(key)
            if part is None or of_runs.number_of_formats(part) < precision_laws.FEWEST_FORMATS:
                out.append(None)
            else:
                out.append(precision_laws.points(part))
        return out

    def measure(self, points: estimate.Points | None) -> dict:
        """As of any target; a study without a format at which a parameter matters leaves the
        parameter without curvature."""
        with np.errstate(invalid="ignore"):
            return super().measure(points)

    def learned(
        self, prior: Prior, space: Space, frame: pd.DataFrame, source: str
    ) -> tuple[Prior, Own]:
        """The prior updated by these runs, and `known` of each model."""
        done = frame.loc[frame.status == "finished"]
        rows = of_runs.rows(done)
        mean = of_runs.relative(done)
        mean = mean.loc[~mean.format.isin(precision_laws.TOP)].reset_index(drop=True)
        noise, sources = prior.noise, {}
        square, dof = of_runs.noise_of(rows)
        if dof:
            noise = noise.updated(square, dof)
            sources["noise"] = f"{dof_words(dof)} of {source}"
        levels, seeds, now = of_runs.fp32_levels(done, prior), of_runs.seeds(rows), prior
        if levels and np.isfinite(done.strict_ceiling_bits).all():
            spread = MODEL_SCATTER / math.sqrt(len(levels))
            middle = float(np.mean(list(levels.values())))
            now = replace(now, log_level=(middle, spread))
            sources["capacity"] = (
                f"{math.exp(middle):.3g} bits per parameter in fp32, {len(levels)} "
                f"models of {source}"
            )
        now = replace(now, noise=noise)
        if mean.empty:
            of_models = _OfModels({}, {}, levels, seeds, 0.0)
            return now.sourced(**sources), of_models.known(now)
        now, models, z, of_z = self._fitted(now, mean, seeds)
        if len(models) > 1:
            sources["scatter"] = f"{dof_words(len(models) - 1)} of {source}"
        sources["truth"] = f"{len(mean)} points of {source}, and {prior.sources['truth']}"
        of_models = _OfModels(
            dict(zip(models, z, strict=True)),
            dict(zip(models, of_z, strict=True)),
            levels,
            seeds,
            _level(now)[0],
        )
        return now.sourced(**sources), of_models.known(now)

    def _fitted(
        self, prior: Prior, mean: pd.DataFrame, seeds: dict[tuple[str, str], int]
    ) -> tuple[Prior, np.ndarray, np.ndarray, np.ndarray]:
        """Law and scatter of the worth of a bit in turn: the prior updated by points (columns x, y,
        model, format), the models [C], the worth of a bit to each and its variance [C]."""
        x, y, noise = mean.x.to_numpy(), mean.y.to_numpy(), prior.noise
        models, codes = np.unique(mean.model, return_inverse=True)
        alike = np.equal.outer(codes, codes)
        of_points = np.array(
            [seeds[key] for key in zip(mean.model, mean.format, strict=True)], float
        )
        of_base = np.array([seeds[model, "fp32"] for model in mean.model], float)
        now, scatter = prior, prior.scatter

        def left(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            truths = self.normalized(replace(now, mean=u).middle())
            slope = self.slopes({"bits_per_weight": x}, truths)[0]
            slope[:, self.form.index("c")] = 0.0  # it is what 32 bits say
            return y - _part(self.form, x, truths.theta)[0], slope

        z = of_z = np.zeros(len(models))
        for _ in range(ROUNDS):
            truths = self.normalized(now.middle())
            value = _part(self.form, x, truths.theta)[0]
            own = _worth_slope(self.form, x, truths.theta)[0]
            random = noise.sd**2 * (
                np.diag(value**2 / of_points) + np.outer(value, value) * alike / of_base
            ) + FLOOR**2 * np.eye(len(y))
            misspecification = prior.bend * self.trend(x, truths)[0]
            start = replace(now, mean=prior.mean, covariance=prior.covariance)
            now = start.fitted(
                left,
                random
                + np.outer(misspecification, misspecification)
                + scatter.sd**2 * np.outer(own, own) * alike,
            )
            pull = np.equal.outer(np.arange(len(models)), codes) * own
            pull = pull / np.maximum((pull**2).sum(1), 1e-9)[:, None]
            z, of_z = pull @ left(now.mean)[0], np.diag(pull @ random @ pull.T)
            if len(models) > 1:
                between = float(z.var(ddof=1) - of_z.mean())
                scatter = prior.scatter.updated(max(between, 0.0), len(models) - 1)
        return replace(now, scatter=scatter), models, z, of_z


@dataclass(frozen=True)
class _OfModels:
    """By model: worth of a bit z (log) and its variance, log bits per parameter in fp32 where
    measured, seeds by model and format; log_level: of models without fp32 runs."""

    z: Mapping[str, float]
    of_z: Mapping[str, float]
    levels: dict[str, float]
    seeds: dict[tuple[str, str], int]
    log_level: float

    def known(self, prior: Prior) -> Own:
        """As `simulate` takes it, shrunk by the scatter and noise of the prior."""
        scatter, out = prior.scatter, {}
        for model in {*self.z, *self.levels}:
            keep = 0.0
            if model in self.z:
                keep = scatter.sd**2 / (scatter.sd**2 + self.of_z[model])
            own = (self.log_level, MODEL_SCATTER)
            if model in self.levels:
                sd = prior.noise.sd / math.sqrt(self.seeds[model, "fp32"])
                own = (self.levels[model], sd)
            out[model] = (
                float(keep * self.z.get(model, 0.0)),
                float(scatter.sd * math.sqrt(1 - keep)),
                *own,
            )
        return out


def _level(prior: Prior) -> tuple[float, float]:
    if prior.log_level is None:
        raise ValueError("the prior of a law of precision states no bits per parameter in fp32")
    return prior.log_level


def _levels(truths: Truths) -> np.ndarray:
    if truths.level is None:
        raise ValueError("truths of a law of precision state no bits per parameter in fp32")
    return truths.level


def _part(
    form: forms.Form, bits: np.ndarray, theta: np.ndarray, worth: float | np.ndarray = 1.0
) -> np.ndarray:
    """[T, n] part of the fp32 capacity by a form; worth: what a bit is worth to a model, which
    leaves fp32 at 1."""
    at, top = (
        np.broadcast_to(b * np.asarray(worth, float), np.shape(bits))
        for b in (np.asarray(bits, float), FULL)
    )
    rows = [
        form.predict({"bits_per_weight": at}, t) / form.predict({"bits_per_weight": top}, t)
        for t in theta
    ]
    return np.stack(rows)


def _worth_slope(form: forms.Form, bits: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """[T, n] slope of the part by the log of the worth of a bit."""
    more, less = (_part(form, bits, theta, 1 + step) for step in (STEP, -STEP))
    return (more - less) / (2 * STEP)


def _cast(cell: Cell) -> bool:
    return cell.trained_in["format"] == "fp32" and "bf16" in cell.config.quantize.methods


def _points_of(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Cell and bits of a code of every point that runs of the space make."""
    casts = [j for j, cell in enumerate(space.cells) if _cast(cell)]
    bits = [cell.trained_in["code_bits"] for cell in space.cells] + [CAST] * len(casts)
    return np.array([*range(len(space.cells)), *casts], int), np.array(bits)
