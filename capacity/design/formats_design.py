"""What runs in several formats contribute, to first order: points of a law of precision are parts
of the fp32 capacity of their model.

A point is a model in a format, whatever the number of its seeds, at the largest of its data sizes;
it is divided by the fp32 capacity of its model. So the scatter of capacity over models is gone, the
noise of fp32 runs is shared by all points of a model, and the fp32 point itself is 1 without noise.
Seeds make points quieter but not heavier, as in the law of `analysis.precision`. For points g of a
model with n_g seeds, fp32 runs n_0, weights w_g of the fit and values f_g,

    variance = scatter^2 (sum w_g s_g)^2 + noise^2 / n_0 (sum w_g f_g)^2
               + sum w_g^2 f_g^2 noise^2 / n_g                               summed over the models

with s the slope of f by the logarithm of the bits: a bit is worth a little more or less to a model
than to others. Below FEWEST_FORMATS formats there is no law, which a factor on the width says, so
that the search can find its way there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.analysis.precision.analysis import FEWEST_FORMATS
from capacity.design.optimal import (
    LEAST_DOF,
    USABLE,
    Effects,
    Most,
    by_models,
    degrees,
    weigh,
)
from capacity.fitting.statistics import student

ABSENT = 4.0  # factor on the width for each format that is missing


@dataclass(frozen=True, kw_only=True)
class FormatEffects(Effects):
    """Effects of points [J'], which are the cells [J] and then the casts to bf16 of cells that are
    quantized so when they are measured.

    source [J']: cell of each; larger [J', J']: points of the same model and format with more data,
    which take its place; formats [J', R]: which of the quantized formats it is in; top [J']: fp32
    and its cast; fp32 [J']; value [T, J']: part of the fp32 capacity. bias is that of a run, noise
    relative. usable is of cells, all else of points.
    """

    source: np.ndarray
    larger: np.ndarray
    formats: np.ndarray
    top: np.ndarray
    fp32: np.ndarray
    value: np.ndarray

    def completed(self, trials: np.ndarray, done: np.ndarray, most: Most) -> np.ndarray:
        """Designs [B, J] with one fp32 run for each model that has none: on the least data that its
        capacity allows."""
        cells = self.usable.shape[1]
        cluster, full, trials = self.models[:cells], self.fp32[:cells], trials.copy()
        for model in range(cluster.max() + 1):
            places = np.flatnonzero((cluster == model) & full & (_limits(most) > 0))
            if len(places):
                good = places[self.usable[:, places].mean(0) >= USABLE]
                lacks = ((trials[:, cluster == model] > 0).any(1)) & ~(
                    ((trials + done)[:, (cluster == model) & full] > 0).any(1)
                )
                trials[lacks, good[0] if len(good) else places[-1]] += 1
        return trials

    def starts(self, done: np.ndarray, most: Most) -> list[np.ndarray]:
        """Every model in fp32, and every format of every model once, on the least data that its
        capacity allows."""
        asked = (self.usable.mean(0) >= USABLE) & (_limits(most) > 0)
        cells = len(asked)
        larger = self.larger[:cells, :cells]  # [i, j]: j has more data than i
        least = asked & ~(larger & asked[:, None]).any(0)
        return [(least & self.fp32[:cells]).astype(float), least.astype(float)]

    def predict(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Half-width, bias with trend, and degrees of freedom, each [B, T], of designs [B, J] (runs
        by cell)."""
        seeds = number[:, self.source]  # [B, J']
        seeds = np.where((seeds > 0) @ self.larger.T, 0.0, seeds)
        models = np.eye(self.models.max() + 1)[self.models]  # [J', C]
        base = (seeds * self.fp32) @ models  # [B, C]
        there = (seeds > 0) * (base > 0)[:, self.models]
        n = there[:, None, :] * np.ones((1, len(self.scatter), 1))
        typical = np.sqrt(np.median((self.noise * self.value) ** 2, axis=1) + self.scatter**2)
        weights = weigh(self, n, typical)
        w = n * weights.of_runs
        quiet = np.where(self.top, 0.0, 1 / np.maximum(seeds, 1.0))[:, None, :]
        below = np.where(self.top, 0.0, self.value)  # what the noise of fp32 moves
        noise = (self.noise**2).mean(1)[:, None]
        each = (
            self.scatter[:, None] ** 2 * ((w * self.own) @ models) ** 2
            + noise * ((w * below) @ models) ** 2 / np.maximum(base, 1.0)[:, None, :]
            + (w**2 * below**2 * self.noise**2 * quiet) @ models
        )
        count, hat = by_models(self.slope, n, models, weights.inverse)
        variance = each.sum(-1) + weights.assumed
        dof = np.clip(
            degrees(each, count, hat), LEAST_DOF, np.maximum(count.sum(-1) - 1, LEAST_DOF)
        )
        # a corner takes away from a run and from the fp32 runs that it is divided by
        taken = (there * self.fp32)[:, None, :] * self.bias @ models  # [B, T, C]
        moved = below * (self.bias - taken[..., self.models])
        off = np.hypot((w * moved).sum(-1), self.bend * (w * self.trend).sum(-1))
        missing = np.maximum(FEWEST_FORMATS - (there @ self.formats > 0).sum(-1), 0)
        factor = ABSENT ** missing[:, None]
        return factor * student(dof) * np.sqrt(variance), factor * off, dof


def _limits(most: Most) -> np.ndarray:
    """[J] the most runs of each cell, which is what targets of formats state."""
    if isinstance(most, tuple):
        raise ValueError("formats limit the seeds of a cell, not of a model")
    return np.asarray(most)
