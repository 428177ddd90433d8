"""Ladders of formats: capacity of models trained with few bits per weight, as a part of fp32's,
against the bits of a code. See `questions`.

Points are those of `laws.precision_laws.law` for the question of capacity: of each shape and rung
the mean over seeds at the data size that holds most, over the same of fp32 (hence R / R_fp32, 1 at
32 bits by construction), clipped at 0, squared loss, clusters are shapes. x are the bits of a code,
as there. A study is simulated run by run: a shape has its own fp32 capacity and its own worth of a
bit, f(b e^z) / f(32 e^z) with z normal; a run has noise, and its data a corner.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths as precision
from capacity.base.errors import ConfigError
from capacity.design.formats_design import Ladder
from capacity.design.optimal import USABLE, orthogonal
from capacity.design.prior import Prior, Truths, Variance, within
from capacity.design.space import Space
from capacity.design.targets import CAPACITY, FLOOR, SHARPNESS, STARTS, Question, counted
from capacity.fitting import capacity_forms, forms
from capacity.fitting import fit as estimate
from capacity.fitting.simulated import SEED_NOISE, SHAPE_SCATTER

# By form, what our own ladder of models trained quantized says
# (results/studies/precision/uniform@pocket: three shapes of 4K to 12K parameters, random data, all
# tensors; rounded), and what it may be off by, in the coordinate in which it is searched. c is 1,
# since points are parts of fp32; the fits' own c is 0.91 to 1.07, which is their misfit.
LADDERS = {
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
# of a bit, over shapes, relative: 0.11 to 0.17 (sd of the log) at 1 to 2 bits on the same ladder,
# 0.01 at 6
WORTH = 0.10
BEND = 0.5  # part of the way to another form
FULL = 32.0
CAST = 16.0
PEOPLE = (
    2.0,
    0.3,
    # bits per parameter of facts after 1000 exposures (3.3, arXiv 2404.05405, section 5), and what
    # it may be off by
)
STEP = 1e-3  # relative, of bits, for a slope


class Precision(Question):
    """Capacity on a ladder over capacity in fp32, one point per shape and rung."""

    kinds = ("uniform", "bios", "biod", "corpus")
    stated = ("capacity", "k", "noise", "scatter", "bend")
    settled = {"c": "it is 1 by construction, since points are parts of the capacity in fp32"}
    noise_words, scatter_words = (
        "capacity over seeds of one model and format",
        "worth of a bit over models",
    )
    ladder, per_model, delta, spent = True, False, np.inf, 1

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        value, error = LADDERS[self.form.name]
        level = CAPACITY if space.cells[0].config.data.kind == "uniform" else PEOPLE
        said = ", ".join(f"{name} = {v:g}" for name, v in zip(self.form.names, value))
        return Prior(
            self.form,
            np.array([float(p.to_search(v)) for p, v in zip(self.form.parameters, value)]),
            np.diag(error) ** 2,
            (math.log(SHARPNESS[0]), SHARPNESS[1]),
            Variance(SEED_NOISE),
            Variance(WORTH),
            BEND,
            {
                "truth": f"{said}, loosely, from this package's own ladder of three pocket shapes, "
                f"random data",
                "capacity": f"{level[0]:g} bits per parameter in fp32 +-{level[1]:.0%}, assumed",
                "corner": "assumed",
                "noise": "assumed",
                "scatter": "assumed, from the same ladder",
                "bend": f"the law may lie +-{BEND:.0%} of the way to {OTHER[self.form.name]}",
            },
            (math.log(level[0]), level[1]),
        )

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any question; capacity: bits per parameter in fp32."""
        if "capacity" in given:
            if not 0 < given["capacity"] < math.inf:
                raise ConfigError(
                    f"--assume capacity={given['capacity']:g}: expected a positive number of bits "
                    f"per parameter"
                )
            words = f"{given['capacity']:g} bits per parameter in fp32, given"
            prior = replace(
                prior,
                log_level=(math.log(given["capacity"]), prior.log_level[1]),
                sources=prior.sources | {"capacity": words},
            )
        for name in self.settled:
            if name in given:
                raise ConfigError(f"--assume {name}={given[name]:g}: {self.settled[name]}")
        return super().assume(
            prior, space, {name: value for name, value in given.items() if name != "capacity"}
        )

    # --- the law, as parts of fp32 ---

    def told(self, truths: Truths) -> Truths:
        """The same truths with c such that 32 bits hold 1."""
        theta, j = truths.theta.copy(), self.form.index("c")
        theta[:, j] = 1.0
        if self.form.name == "precision_storage":
            theta[:, self.form.index("s")] = np.maximum(
                theta[:, self.form.index("s")], 1.001 / FULL
            )
        else:
            theta[:, j] = 1 / self.form.predict({"bits_per_weight": FULL}, theta)[:, 0]
        return replace(truths, theta=theta)

    def part(self, bits, truths: Truths) -> np.ndarray:
        """[T, n] part of the fp32 capacity that weights of so many bits [n] or [T, n] hold, by the
        form and its bend towards another."""
        return self._part(self.form, bits, truths.theta) + truths.bend[:, None] * self.trend(
            bits, truths
        )

    @staticmethod
    def _part(form, bits, theta, worth=1.0):
        """Of a form; worth: what a bit is to a shape, which leaves fp32 at 1."""
        at, top = (
            np.broadcast_to(b * np.asarray(worth, float), np.shape(bits))
            for b in (np.asarray(bits, float), FULL)
        )
        rows = [
            form.predict({"bits_per_weight": at}, t) / form.predict({"bits_per_weight": top}, t)
            for t in theta
        ]
        return np.stack(rows)

    def trend(self, bits, truths: Truths) -> np.ndarray:
        """[T, n] another form less this one, laid over it where half is held."""
        other = forms.FORMS[OTHER[self.form.name]]
        theirs = np.array(LADDERS[other.name][0])
        middle = HALF[self.form.name](*truths.theta.T), HALF[other.name](*theirs)
        ratio = middle[1] / np.maximum(np.broadcast_to(middle[0], len(truths.theta)), 1e-3)
        rows = [self._part(other, bits, theirs[None], r)[0] for r in ratio]
        return np.stack(rows) - self._part(self.form, bits, truths.theta)

    def truth(self, space: Space, truths: Truths) -> float:
        """Least squares over the rungs of the space, without noise or corner."""
        truths = self.told(truths)
        if not truths.bend.any():
            return float(truths.theta[0, self.form.index(self.parameter)])
        bits = np.unique(_points_of(space)[1])
        points = estimate.Points(
            {"bits_per_weight": bits}, np.maximum(self.part(bits, truths)[0], 0.0)
        )
        return estimate.fit(self.form, points, kept=STARTS, delta=self.delta).values[self.parameter]

    # --- what runs tell ---

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Ladder:
        """What one run of each cell tells, to first order."""
        from scipy.special import ndtr

        truths = self.told(truths)
        source, bits = _points_of(space)
        label, load = space.cluster[source], np.array([cell.load for cell in space.cells])[source]
        same = np.equal.outer(label, label) & np.equal.outer(bits, bits)
        value = np.maximum(self._part(self.form, bits, truths.theta), 1e-6)
        slope = self.slopes({"bits_per_weight": bits}, truths)
        own = (
            self._part(self.form, bits, truths.theta, 1 + STEP)
            - self._part(self.form, bits, truths.theta, 1 - STEP)
        ) / (2 * STEP)
        ceiling = np.array([cell.ceiling / cell.parameters for cell in space.cells])[source]
        k = truths.sharpness[:, None]
        room = np.log(ceiling) - np.log(truths.level[:, None] * value)
        # a run is stopped by its data where it holds nearly all of them
        # (`laws.precision.HELD_WHOLE`); as of plateaus, r^k > (H / m)^k - 1
        least = np.log(np.maximum((ceiling / load / precision.HELD_WHOLE) ** k - 1, 1e-9)) / k
        spread = np.sqrt(SHAPE_SCATTER**2 + truths.noise**2 + truths.scatter**2)[:, None]
        cells = len(space.cells)
        top = bits >= CAST
        rungs = np.unique(bits[~top])
        return Ladder(
            slope,
            ndtr((room - least) / spread)[:, :cells],
            -np.log1p(np.exp(-k * room)) / k,
            truths.noise[:, None] * np.ones_like(value),
            own,
            orthogonal(self.trend(bits, truths), slope),
            truths.scatter,
            prior.bend,
            label,
            self.asked(truths),
            prior.error,
            source=source,
            larger=same & np.greater.outer(load, load).T,
            rungs=np.equal.outer(bits, rungs).astype(float),
            top=top,
            fp32=bits == FULL,
            value=value,
        )

    def lacks(self, space: Space, effects: Ladder) -> str:
        """Rungs, or fp32, at which all models would hold nearly all of the study's data."""
        told = {
            cell.rung["rung"]
            for cell, usable in zip(space.cells, effects.usable.mean(0))
            if usable >= USABLE
        }
        if len(told - {"fp32"}) >= precision_laws.FEWEST_RUNGS and "fp32" in told:
            return ""
        full = [
            rung
            for rung in dict.fromkeys(cell.rung["rung"] for cell in space.cells)
            if rung not in told
        ]
        return (
            f"In {', '.join(full)} models may hold nearly all of the study's data: capacity there "
            f"needs more data."
        )

    def simulate(
        self, space: Space, runs: list[tuple[int, int]], truths: Truths, dice=None, known=None
    ) -> dict:
        """Columns of a table of finished runs (cell, seed) under a single truth; dice: None for no
        noise; known: by model mean and sd of the log of the worth of a bit, and of the log of bits
        per parameter in fp32."""
        truths, number = self.told(truths), len(space.labels)
        usual = (0.0, truths.scatter[0], math.log(truths.level[0]), SHAPE_SCATTER)
        means, sds, levels, level_sds = np.array(
            [(known or {}).get(label, usual) for label in space.labels]
        ).T
        z, level = means, levels
        if dice is not None:
            z, level = (
                z + sds * dice.standard_normal(number),
                level + level_sds * dice.standard_normal(number),
            )
        cells = np.array([j for j, _ in runs], int)
        cluster, at = space.cluster[cells], [space.cells[j] for j in cells]
        bits = np.array([cell.rung["code_bits"] for cell in at])
        size, ceiling = (
            np.array([getattr(cell, name) for cell in at]) for name in ("parameters", "ceiling")
        )

        def share(bits):
            worth = np.exp(z[cluster])
            bent = truths.bend[0] * self.trend(bits * worth, truths)[0]
            return np.maximum(self._part(self.form, bits, truths.theta, worth)[0] + bent, 1e-9)

        luck = truths.noise[0] * dice.standard_normal(len(cells)) if dice is not None else 0.0
        small = FLOOR * dice.standard_normal(len(cells)) if dice is not None else 0.0
        held = capacity_forms.smooth_corner(
            size * np.exp(level[cluster] + luck) * share(bits), ceiling, 1.0, truths.sharpness[0]
        ) * np.exp(small)
        cast = np.array([_cast(cell) for cell in at])
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "label": np.array(space.labels)[cluster],
            "status": np.full(len(cells), "finished"),
            "parameters_total": size,
            "strict_ceiling_bits": ceiling,
            "held_bits": held,
            "cast_bits": np.where(cast, held * share(np.full(len(cells), CAST)), np.nan),
            "load": np.array([cell.load for cell in at]),
            **{
                name: np.array([cell.rung[name] for cell in at])
                for name in ("way", "rung", "code_bits")
            },
        }

    def points(self, frame) -> estimate.Points | None:
        """Those that fit-laws would fit to these runs; None where it would fit none."""
        return self.points_by_study(frame.assign(study=0))[0]

    def points_by_study(self, table: pd.DataFrame) -> list[estimate.Points | None]:
        """As `points`, with one call for all studies."""
        mean = _on_ladder(table.assign(label=table.study.astype(str) + " " + table.label))
        study, label = (mean.label.str.split(" ", n=1).str[i] for i in (0, 1))
        found = {int(key): part for key, part in mean.assign(label=label).groupby(study)}
        rungs = {
            s: part.rung[~part.rung.isin(precision_laws.TOP)].nunique() for s, part in found.items()
        }
        return [
            precision_laws.points(found[s])
            if rungs.get(s, 0) >= precision_laws.FEWEST_RUNGS
            else None
            for s in sorted(table.study.unique())
        ]

    def measure(self, points: estimate.Points | None) -> dict:
        """As of any question; a study with no rung at which a parameter matters leaves it without
        curvature."""
        with np.errstate(invalid="ignore"):
            return super().measure(points)

    def learned(
        self, prior: Prior, space: Space, frame, source: str
    ) -> tuple[Prior, dict[str, tuple]]:
        """The belief after these runs, and `known` of each model."""
        done = frame[frame.status == "finished"]
        rows = _rows(done)
        mean = _on_ladder(done)
        mean = mean[~mean.rung.isin(precision_laws.TOP)].reset_index(drop=True)
        sources = dict(prior.sources)
        # a run that its data stop has next to no noise
        held = rows[
            (rows.held_bits > 0)
            & (rows.way != "cast")
            & (rows.bits_per_parameter < precision.HELD_WHOLE * rows.load)
        ]
        square, dof = within(
            np.log(held.held_bits.to_numpy(float)),
            [f"{r.label} {r.rung} {r.load}" for r in held.itertuples()],
        )
        noise, scatter, now = prior.noise.updated(square, dof), prior.scatter, prior
        if dof:
            sources["noise"] = f"{counted(dof)} of {source}"
        levels = self._levels(done, prior)
        seeds = _seeds(rows)
        if levels and np.isfinite(done.strict_ceiling_bits).all():
            spread = SHAPE_SCATTER / math.sqrt(len(levels))
            now = replace(now, log_level=(float(np.mean(list(levels.values()))), spread))
            sources["capacity"] = (
                f"{math.exp(now.log_level[0]):.3g} bits per parameter in fp32, {len(levels)} "
                f"models of {source}"
            )
        if mean.empty:
            return replace(now, noise=noise, sources=sources), self._known(
                space, {}, {}, levels, noise, scatter, seeds
            )
        x, y = mean.x.to_numpy(), mean.y.to_numpy()
        labels, codes = np.unique(mean.label, return_inverse=True)
        alike = np.equal.outer(codes, codes)
        of_points, of_base = (
            np.array([seeds[key] for key in keys], float)
            for keys in (zip(mean.label, mean.rung), zip(mean.label, ["fp32"] * len(mean)))
        )

        def left(u):
            truths = self.told(replace(now, mean=u).middle())
            slope = self.slopes({"bits_per_weight": x}, truths)[0]
            slope[:, self.form.index("c")] = 0.0  # it is what 32 bits say
            return y - self._part(self.form, x, truths.theta)[0], slope

        for _ in range(
            3
        ):  # the truth given the scatter, the scatter given what is then left of the models
            truths = self.told(now.middle())
            value = self._part(self.form, x, truths.theta)[0]
            own = (
                self._part(self.form, x, truths.theta, 1 + STEP)
                - self._part(self.form, x, truths.theta, 1 - STEP)
            )[0] / (2 * STEP)
            random = noise.sd**2 * (
                np.diag(value**2 / of_points) + np.outer(value, value) * alike / of_base
            ) + FLOOR**2 * np.eye(len(y))
            bend = prior.bend * self.trend(x, truths)[0]
            start = replace(now, mean=prior.mean, covariance=prior.covariance)
            now = start.fitted(
                left, random + np.outer(bend, bend) + scatter.sd**2 * np.outer(own, own) * alike
            )
            pull = np.equal.outer(np.arange(len(labels)), codes) * own
            pull = pull / np.maximum((pull**2).sum(1), 1e-9)[:, None]
            z, of_z = pull @ left(now.mean)[0], np.diag(pull @ random @ pull.T)
            if len(labels) > 1:
                between = float(z.var(ddof=1) - of_z.mean())
                scatter = prior.scatter.updated(max(between, 0.0), len(labels) - 1)
                sources["scatter"] = f"{counted(len(labels) - 1)} of {source}"
        sources["truth"] = f"{len(y)} points of {source}, and {prior.sources['truth']}"
        known = self._known(
            space,
            dict(zip(labels, z)),
            dict(zip(labels, of_z)),
            levels,
            noise,
            scatter,
            seeds,
            math.exp(now.log_level[0]),
        )
        return replace(now, noise=noise, scatter=scatter, sources=sources), known

    def _levels(self, done, prior: Prior) -> dict[str, float]:
        """By model, log bits per parameter in fp32, with what the corner took away."""
        out, k = {}, math.exp(prior.log_k[0])
        for label, part in done[done.rung == "fp32"].groupby("label"):
            part = part[part.load == part.load.max()]
            room = np.maximum(
                (part.strict_ceiling_bits / part.held_bits) ** k - 1, 0.3
            )  # of runs near their ceiling nobody knows
            with np.errstate(invalid="ignore"):
                full = np.where(
                    np.isfinite(room), part.strict_ceiling_bits / room ** (1 / k), part.held_bits
                )
            out[label] = float(np.log(full / part.parameters_total).mean())
        return out

    def _known(self, space, z, of_z, levels, noise, scatter, seeds, level=1.0) -> dict[str, tuple]:
        out = {}
        for label in {*z, *levels}:
            keep = scatter.sd**2 / (scatter.sd**2 + of_z[label]) if label in z else 0.0
            own = (
                (levels[label], noise.sd / math.sqrt(seeds[label, "fp32"]))
                if label in levels
                else (math.log(level), SHAPE_SCATTER)
            )
            out[label] = (
                float(keep * z.get(label, 0.0)),
                float(scatter.sd * math.sqrt(1 - keep)),
                *own,
            )
        return out


def _cast(cell) -> bool:
    return cell.rung["rung"] == "fp32" and "bf16" in cell.config.quantize.methods


def _points_of(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Cell and bits of a code of every point that runs of the space make."""
    casts = [j for j, cell in enumerate(space.cells) if _cast(cell)]
    bits = [cell.rung["code_bits"] for cell in space.cells] + [CAST] * len(casts)
    return np.array([*range(len(space.cells)), *casts], int), np.array(bits)


def _rows(frame) -> pd.DataFrame:
    """Finished runs, and the casts of those that have one, as `laws.precision.points` has them."""
    done = frame[frame.status == "finished"]
    done = done.assign(run_id="", parameters=done.parameters_total, stored_bits_per_weight=np.nan)
    cast = done[done.cast_bits.notna()]
    cast = cast.assign(way="cast", rung="cast bf16", code_bits=CAST, held_bits=cast.cast_bits)
    rows = pd.concat([done, cast], ignore_index=True)[list(precision.PARTS)]
    return rows.assign(
        bits_per_parameter=rows.held_bits / rows.parameters, bits_per_stored_bit=np.nan
    )


def _way(rows) -> str:
    return next(iter(rows.way[rows.way.isin(precision.LADDERS)]), "")


def _on_ladder(frame) -> pd.DataFrame:
    rows = _rows(frame)
    return precision_laws.on_ladder(
        precision_laws.relative(precision.capacity(rows)), _way(rows), "relative"
    )


def _seeds(rows) -> dict[tuple[str, str], int]:
    """By model and rung, runs behind its capacity."""
    return (
        {key: len(part) for key, part in precision.capacity(rows).groupby(["label", "rung"])}
        if len(rows)
        else {}
    )
