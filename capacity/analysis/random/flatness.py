"""Whether plateaus are flat: a model that is full should hold as much of more data as of less.

A plateau is a mean over capacity-limited runs. Runs of one model and one size of the data are
replicates of each other; where sizes of the data differ by more, the plateau is not flat (the
corner is round, or more data need longer training), and what it holds depends on which sizes were
tried. Its interval then holds the scatter of sizes about it, too (`fitting.misfit`, in the
logarithm of bits per parameter; the scatter is taken to be the same for all models).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from capacity.analysis import lack_of_fit
from capacity.base.frames import Frame
from capacity.base.words import digits, percent
from capacity.fitting import misfit, nested
from capacity.fitting.misfit import POINTS
from capacity.fitting.statistics import student

SIZES = "sizes of the data"


def of(used: Frame, bits: str, count: str) -> dict[str, Any]:
    """Of the capacity-limited runs of a study: lack_of_fit (None without replicates, or with one
    size of the data for each model), scatter by source and interval by model ([low, high], bits per
    parameter, over seeds and sizes of the data); the last two are empty where sizes are not seen to
    scatter. bits, count: columns of memorized bits and of parameters."""
    nothing: dict[str, Any] = {"lack_of_fit": None, "scatter": {}, "intervals": {}}
    if used.empty:
        return nothing
    models, model = np.unique(used.model.to_numpy(str), return_inverse=True)
    places = (used.model + " " + used.n_sequences.astype(str)).to_numpy()
    y = np.log(used[bits].to_numpy(float) / used[count].to_numpy(float))
    level = np.bincount(model, y) / np.bincount(model)
    rest = y - level[model]
    nothing["lack_of_fit"] = misfit.pure_error(rest, places, len(models))
    if nothing["lack_of_fit"] is None:
        return nothing
    try:
        effects = nested.fit(y, model, places)
    except (ValueError, np.linalg.LinAlgError):
        return nothing
    if not effects.places:
        return nothing
    runs_of = used.groupby(["model", "seed"]).model.transform("size").to_numpy(float)
    seeds_of = used.groupby("model").seed.transform("nunique").to_numpy(float)
    weight = 1 / runs_of / seeds_of  # as plateaus are formed: runs of a seed, then seeds
    intervals = {}
    for i, name in enumerate(models):
        pull = np.where(model == i, weight, 0.0)
        variance, dof = effects.of(pull)
        reach = float(student(dof)) * math.sqrt(variance)
        middle = float(pull @ y)
        intervals[str(name)] = [math.exp(middle - reach), math.exp(middle + reach)]
    variances = {POINTS: effects.points, SIZES: effects.places}
    scatter = {name: math.sqrt(value) for name, value in variances.items()}
    return nothing | {"scatter": scatter, "intervals": intervals}


def told(flatness: dict[str, Any] | None) -> list[str]:
    """Whether plateaus are flat, in words; nothing of a file of before."""
    if flatness is None or flatness["lack_of_fit"] is None:
        return []
    fit = flatness["lack_of_fit"]
    between, within = fit["dof"]
    words = (
        f"plateaus are {'not flat' if lack_of_fit.shown(fit) else 'flat as far as runs tell'}: "
        "between sizes of the data of a model, by the noise of runs of equal size, "
        f"F({between}, {within}) = {digits(fit['ratio'])}, p = {digits(fit['p'], 2)}"
    )
    if scatter := flatness["scatter"]:
        words += (
            f"; sizes of the data scatter by {percent(scatter[SIZES])}, beside "
            f"{percent(scatter[POINTS])} of runs"
        )
    return [words]
