"""Simulated studies of text whose curves and runs lie off their law: what intervals of exponents of
forgetting and of the point where members are hidden have to hold.

Sources of variation, few groups, noise that differs between runs, and laws of another form are what
`scripts/coverage_sources.py` asks about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pandas as pd

from capacity.analysis.text import crossing, forgetting_law
from capacity.analysis.text import membership_law as law
from capacity.analysis.text.schema import ForgettingCell, Frame

CANARIES = 48
EXPONENTS = {"views": 0.45, "parameters": 1.2, "batch": -0.8}
SIGMOID = (1.3, 2.0, 3.0)  # c1, c2, c3 of the sigmoid in log t
POINT = cast(float, law.crossing_logarithmic(0.75, *SIGMOID))


@dataclass(frozen=True)
class Curves:
    """A study of forgetting. curves, runs: scatter about the law in octaves; noise: standard
    deviation of bits at first, of a curve between `noise` and `noise` x `unequal`; sizes, batches:
    sets of runs; misspecification: octaves by which the law falls short at the largest size (a
    wrong form)."""

    name: str
    curves: float = 0.0
    runs: float = 0.0
    noise: float = 2.0
    unequal: float = 1.0
    sizes: tuple[int, ...] = (4000, 11000, 35000)
    batches: tuple[int, ...] = (16, 64)
    misspecification: float = 0.0

    def draw(self, rng: np.random.Generator) -> list[ForgettingCell]:
        """Curves of every size, batch and number of views (4, 16, 64)."""
        cells = []
        for size in self.sizes:
            for batch in self.batches:
                shared = rng.normal(0, self.runs) - self.misspecification * (
                    size == max(self.sizes)
                )
                for views in (4, 16, 64):
                    exact = 0.002 * views**0.45 * size**1.2 * batch**-0.8
                    exact *= 2 ** (shared + rng.normal(0, self.curves))
                    cells.append(self._cell(rng, exact, size=size, batch=batch, views=views))
        return cells

    def _cell(
        self, rng: np.random.Generator, exact: float, *, size: int, batch: int, views: int
    ) -> ForgettingCell:
        noise = self.noise * self.unequal ** rng.random()
        bits, sd = rng.normal(exact, noise), noise * np.sqrt(rng.chisquare(CANARIES) / CANARIES)
        return {
            "model": str(size),
            "parameters": size,
            "batch": batch,
            "text": "random",
            "point": 0.25,
            "views": views,
            "canaries": CANARIES,
            "lags": [],
            "bits": [],
            "errors": None,
            "share": 0.1,
            "strong": bool(bits > 4 * sd),
            "first_bits": {"value": float(bits), "interval": _ends(bits, sd)},
            "last_bits": {"value": 0.0, "interval": None},
            "half_life": {"value": 0.0, "interval": None},
        }


@dataclass(frozen=True)
class Runs:
    """A study of membership. sd: in log t, of text, split, set-up; training: of F1 at 3/4, in log
    t, and of a run up to `unequal` times that; missed: standard deviation in log t of what the form
    misses at each size of the data (a wrong form)."""

    name: str
    texts: int = 6
    splits: int = 2
    seeds: int = 2
    models: int = 1
    sizes: tuple[float, ...] = (1.8, 2.6, 4.0, 6.0)
    sd: dict[str, float] = field(default_factory=dict)
    training: float = 0.05
    unequal: float = 1.0
    missed: float = 0.0

    def draw(self, rng: np.random.Generator) -> Frame:
        """Runs with pool, data.split_seed, model, tokens_per_parameter and loss_f1_median."""
        sd = {"text": 0.0, "split": 0.0, "set-up": 0.0} | self.sd
        missed = dict(zip(self.sizes, rng.normal(0, self.missed, len(self.sizes)), strict=True))
        models = rng.normal(0, sd["set-up"], self.models)
        rows = []
        for text in range(self.texts):
            of_text = rng.normal(0, sd["text"])
            for split in range(self.splits):
                moved = of_text + rng.normal(0, sd["split"])
                for model, of_model in enumerate(models):
                    for t in self.sizes:
                        at = t / np.exp(moved + of_model + missed[t])
                        for _ in range(self.seeds):
                            rows.append((text, split, model, t, self._f1(rng, at)))
        columns = ["pool", "data.split_seed", "model.d_model", "tokens_per_parameter"]
        table = pd.DataFrame(rows, columns=[*columns, "loss_f1_median"])
        return table.assign(model=[f"2x{model}" for model in table["model.d_model"]])

    def _f1(self, rng: np.random.Generator, at: float) -> float:
        f = float(law.logarithmic([at], *SIGMOID)[0])
        slope = _slope(POINT) * 4 * np.sqrt(max(0.0, (1 - f) * (f - 0.5)))
        return f + rng.normal(0, self.training) * slope * self.unequal ** rng.random()


def _slope(t: float) -> float:
    """Of F1 by log t at a point of the planted law."""
    low, high = law.logarithmic([t / 1.001, t * 1.001], *SIGMOID)
    return float((low - high) / (2 * np.log(1.001)))


def _ends(value: float, sd: float) -> list[float]:
    return [float(value - 1.96 * sd), float(value + 1.96 * sd)]


def held(study: Curves | Runs, draw: int) -> Iterator[tuple[str, bool, float]]:
    """Of one simulated study, by number and method: whether the 95% interval holds what was
    planted, and its width (of exponents as it is, of tokens per parameter in log t)."""
    rng = np.random.default_rng([draw, 11])
    if isinstance(study, Curves):
        cells = study.draw(rng)
        fitted = forgetting_law.power_law(cells, "first_bits")
        exponents = {} if "reason" in fitted else forgetting_law.exponents(fitted)
        before = canaries_alone(cells)
        for axis, exponent in exponents.items():
            for method, (low, high) in (
                ("sources", exponent["interval"]),
                ("canaries resampled", before[axis]),
            ):
                yield f"{axis}, {method}", low <= EXPONENTS[axis] <= high, high - low
        return
    table = study.draw(rng)
    t, f1 = (table[name].to_numpy(float) for name in ("tokens_per_parameter", "loss_f1_median"))
    at = law.fit(t, f1, "membership_log", crossing.groups(table))["falls_to"]["0.75"]
    for method, ends in (("sources", at["interval"]), ("runs as replicates", at["over_runs"])):
        if ends is not None:
            yield f"t, {method}", ends[0] <= POINT <= ends[1], float(np.log(ends[1] / ends[0]))


def canaries_alone(cells: list[ForgettingCell]) -> dict[str, list[float]]:
    """Exponents by least squares of the logarithms over curves that stand clear of their noise,
    with intervals of that noise alone: what was done before, for comparison."""
    some = [cell for cell in cells if cell["strong"]]
    axes = [axis for axis in EXPONENTS if len({cell[axis] for cell in some}) > 1]
    x = np.column_stack(
        [np.ones(len(some))] + [np.log2([cell[axis] for cell in some]) for axis in axes]
    )
    y = np.array([cell["first_bits"]["value"] for cell in some])
    ends = np.array([cell["first_bits"]["interval"] for cell in some])
    sd = (ends[:, 1] - ends[:, 0]) / 3.92
    noise = np.random.default_rng(0).normal(size=(400, len(y)))
    drawn = np.log2(np.maximum(y + sd * noise, 1e-9)) @ np.linalg.pinv(x).T
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {axis: [float(low[i]), float(high[i])] for i, axis in enumerate(axes, 1)}


STUDIES: tuple[Curves | Runs, ...] = (
    Curves("forgetting: the law holds"),
    Curves("forgetting: curves scatter", curves=0.4),
    Curves("forgetting: runs scatter", curves=0.2, runs=0.3),
    Curves("forgetting: unequal noise, weak curves", curves=0.3, noise=2.0, unequal=8.0),
    Curves("forgetting: few sets of runs", curves=0.2, runs=0.3, batches=(16,)),
    Curves("forgetting: wrong form, the largest size holds less", curves=0.2, misspecification=0.7),
    Runs("membership: training alone", texts=1, splits=1, seeds=3),
    Runs("membership: texts and splits differ", sd={"text": 0.06, "split": 0.06}),
    Runs("membership: three splits of one text", texts=1, splits=3, sd={"split": 0.08}),
    Runs("membership: two models differ", texts=1, splits=1, models=2, sd={"set-up": 0.05}),
    Runs("membership: unequal noise", texts=4, sd={"split": 0.05}, unequal=4.0),
    Runs(
        "membership: wrong form",
        texts=1,
        splits=1,
        seeds=3,
        sizes=(1.3, 1.8, 2.6, 3.6, 5.0, 7.0),
        missed=0.06,
    ),
    Runs("membership: one split, splits differ", texts=1, splits=1, seeds=3, sd={"split": 0.08}),
)
