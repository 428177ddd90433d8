"""What views of a sequence leave behind, and how it fades: canaries that were seen at set steps
(feed/canary_schedule.py).

    memory(lag) of a canary, in bits = S x (loss that never seen ones have now - its own - the same
    difference before any view)

The difference to controls takes out what training does to all such sequences, the difference to
before takes out that some are harder than others. lag: updates since the canary's last view. Losses
are code lengths, so memory is what a code for the canary became shorter by.

    power        a (1 + lag / t0)^(-b)                  forgets everything, ever more slowly
    exponential  c + (a - c) exp(-lag / t0), c >= 0     keeps a baseline c (Tirumala et al., arXiv
                 2205.10770, section 5)
    logarithmic  a - b log2(1 + lag / t0)               equal loss per doubling (Chang et al., arXiv
                 2406.11813, fit a line in log lag)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from capacity.analysis.text.forgetting_law import power_law
from capacity.analysis.text.schema import (
    Forgetting,
    ForgettingCell,
    FormErrors,
    FormScore,
    Frame,
    Median,
    NoLaw,
    PowerLaw,
)
from capacity.analysis.text.sizes import parameters
from capacity.fitting import bounds
from capacity.fitting import fit as estimate
from capacity.fitting.forms import form as law

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FORMS = ("power", "exponential", "logarithmic")
LAWS = {
    "power": law("forgetting_power"),
    "exponential": law("forgetting_exponential"),
    "logarithmic": law("forgetting_log"),
}
# a form is fitted to lags up to the last / TAIL and judged by its predictions of the later ones
TAIL = 8.0
FEWEST = 6  # different lags
# what curves differ in; point: part of training after which the last view comes
CELL = ["model", "batch", "text", "point", "views"]
MOST_DRAWS = 400


def value(form: str, lag: ArrayLike, *numbers: float) -> np.ndarray:
    """A form at these lags, in bits; numbers: (a, t0, b) in the order of `forms`, of the
    exponential (a, tau, c)."""
    return LAWS[form].curve({"lag": np.asarray(lag, float)}, *numbers)[0]


def fit(form: str, lag: ArrayLike, bits: ArrayLike) -> np.ndarray:
    """Least squares of the bits: three numbers as `value` takes them, within the bounds of
    `forms`."""
    return _fitted(form, lag, bits).theta


def _fitted(form: str, lag: ArrayLike, bits: ArrayLike) -> estimate.Fit:
    points = estimate.Points({"lag": np.asarray(lag, float)}, np.asarray(bits, float))
    return estimate.fit(LAWS[form], points, delta=np.inf)


def half_life(form: str, a: float, t0: float, b: float) -> float:
    """Lag at which half of the memory at lag 0 is left; infinite where it never falls so far."""
    if form == "power":
        return t0 * (2 ** (1 / b) - 1) if b * 1000 > 1 else np.inf
    if form == "exponential":
        return -t0 * np.log((a / 2 - b) / (a - b)) if b < a / 2 else np.inf
    return t0 * (2 ** (a / 2 / b) - 1) if a / 2 < 1000 * b else np.inf


def memory(views: dict[str, Any], seq_len: int) -> Frame:
    """Of one run's record (measures.text.views): canary, views, lag (updates) and bits of each
    canary at each probe after its last view, and most, what they would be if the canary cost no
    bit. Controls are left out."""
    step, loss = np.array(views["step"]), np.array(views["loss_bits_per_token"], float)
    seen, last = np.array(views["views"]), np.array(views["last_update"])
    control = loss[:, seen == 0].mean(1, keepdims=True)
    gain = control - loss
    bits = seq_len * (gain - gain[:1])  # the first probe is before any view
    most = seq_len * (control - gain[:1])
    rows = [
        (j, seen[j], step[i] - last[j], bits[i, j], most[i, j])
        for j in np.flatnonzero(seen > 0)
        for i in np.flatnonzero(step >= last[j])
    ]
    return pd.DataFrame(rows, columns=["canary", "views", "lag", "bits", "most"])


def half_octave(lag: Frame) -> Frame:
    """Number of the half octave of lag + 1."""
    return np.round(2 * np.log2(lag + 1)).astype(int)


def binned(table: Frame) -> Frame:
    """Mean bits by half octaves of the lag, each canary counting once per bin: bin, lag (mean),
    bits, canaries."""
    each = (
        table.assign(bin=half_octave(table.lag))
        .groupby(["bin", "unit"])
        .agg(lag=("lag", "mean"), bits=("bits", "mean"))
        .reset_index()
    )
    return (
        each.groupby("bin")
        .agg(lag=("lag", "mean"), bits=("bits", "mean"), canaries=("unit", "size"))
        .reset_index()
    )


def first_half(lag: np.ndarray, bits: np.ndarray, at_first: float) -> float:
    """Lag at which a curve (lag, bits [n]) falls below half of `at_first` for good, between points
    straight in log lag; infinite where it does not, 0 where it never was above."""
    above = np.flatnonzero(bits >= at_first / 2)
    if not len(above):
        return 0.0
    i = above[-1]
    if i == len(bits) - 1:
        return np.inf
    (x, x_next), (y, y_next) = np.log1p(lag[i : i + 2]), bits[i : i + 2]
    return float(np.expm1(x + (y - at_first / 2) / (y - y_next) * (x_next - x)))


def cells(runs: Frame, views: dict[str, dict[str, Any]]) -> Frame:
    """`memory` of all runs, with what cells differ in (CELL) and unit, a canary of a run."""
    parts = []
    for (_, run), p in zip(runs.iterrows(), parameters(runs), strict=True):
        table = memory(views[run.run_id], int(run.seq_len))
        parts.append(
            table.assign(
                model=run.model,
                parameters=p,
                batch=run["train.batch_size"],
                text=run["data.canary_text"],
                point=run["data.last_view"],
                spacing=run["data.view_spacing"],
                run=run.run_id,
                unit=[f"{run.run_id}/{j}" for j in table.canary],
            )
        )
    return pd.concat(parts, ignore_index=True)


def analyse(
    runs: Frame, views: dict[str, dict[str, Any]], *, n_boot: int = 1000, seed: int = 0
) -> Forgetting:
    """By cell: bits at first (mean over lags of up to one spacing) and at the end (the last two
    half octaves), the lag by which half of the bits at first is lost for good, and each form's
    error; over cells: which form the curves favour, and how bits at first and half-life scale with
    views, parameters, batch and point of training (`forgetting_law`).

    runs: finished runs with canaries at set steps. Intervals of cells are 95% bootstraps over
    canaries (of all seeds). A half-life may be infinite.
    """
    table = cells(runs, views)
    rng = np.random.default_rng(seed)
    curves = [
        _cell(dict(zip(CELL, key, strict=True)), group, rng, min(n_boot, MOST_DRAWS))
        for key, group in table.groupby(CELL, sort=True)
    ]
    laws, lives = laws_of(curves), {}
    for cell in curves:
        if cell["strong"]:
            lives.setdefault(cell["text"], []).append(cell["half_life"]["value"])
    return {
        "cells": curves,
        "strong": sum(cell["strong"] for cell in curves),
        "forms": compare_forms([cell for cell in curves if cell["errors"] is not None]),
        "first_bits": laws["first_bits"],
        "half_life": laws["half_life"],
        "medians": {kind: _median(some) for kind, some in sorted(lives.items())},
    }


def _median(lives: list[float]) -> Median:
    """Of half-lives, some of them infinite; the range is that of the finite ones."""
    lost = [life for life in lives if life < np.inf]
    return {
        "curves": len(lives),
        "kept": len(lives) - len(lost),
        "median": float(np.median(lives)),
        "low": min(lost, default=None),
        "high": max(lost, default=None),
    }


def laws_of(cells: list[ForgettingCell]) -> dict[str, dict[str, PowerLaw | NoLaw]]:
    """By number, "first_bits" and "half_life", and kind of canaries, the law over curves."""
    kinds = sorted({cell["text"] for cell in cells if cell["strong"]})
    return {
        name: {
            kind: power_law([cell for cell in cells if cell["text"] == kind], name)
            for kind in kinds
        }
        for name in ("first_bits", "half_life")
    }


def _cell(
    about: dict[str, Any], group: Frame, rng: np.random.Generator, n_boot: int
) -> ForgettingCell:
    """A cell; its intervals from n_boot draws of its canaries."""
    curve, spacing = binned(group), group.spacing.iloc[0]
    units = group.unit.unique()
    # canary by bin, so that a draw is a choice of rows
    grid = group.assign(bin=half_octave(group.lag)).pivot_table(
        index="unit", columns="bin", values="bits"
    )
    lag = curve.lag.to_numpy()
    soon = lag <= spacing

    def numbers(bits: np.ndarray) -> tuple[float, float, float]:
        first = float(np.nanmean(bits[soon]))
        return first, float(bits[-2:].mean()), first_half(lag, bits, first)

    values = grid.to_numpy()
    best = numbers(curve.bits.to_numpy())
    draws = np.array(
        [
            numbers(np.nanmean(values[rng.integers(0, len(units), len(units))], axis=0))
            for _ in range(n_boot)
        ]
    )
    # an order statistic, because a half-life may be infinite
    ends = np.quantile(draws, [0.025, 0.975], axis=0, method="nearest")
    cell = about | {
        "parameters": int(group.parameters.iloc[0]),
        "canaries": len(units),
        "lags": curve.lag.tolist(),
        "bits": curve.bits.tolist(),
        "errors": None,
        "share": best[0] / float(group.most[group.lag <= spacing].mean()),
    }
    for i, name in enumerate(("first_bits", "last_bits", "half_life")):
        cell[name] = {"value": best[i], "interval": ends[:, i].tolist()}
    cell["strong"] = len(curve) >= FEWEST and best[0] > 4 * draws[:, 0].std()
    # forms are fitted only where there is something to forget and half of it is lost
    if cell["strong"] and 0 < best[2] < np.inf:
        cell["errors"] = {form: form_errors(form, curve) for form in FORMS}
    return cast(ForgettingCell, cell)


def form_errors(form: str, curve: Frame) -> FormErrors:
    """Of a form fitted to all lags, its numbers, which of them lie on a bound, and root mean square
    error in bits; fitted to the earlier lags, that on the later ones. curve: lag, bits."""
    lag, bits = curve.lag.to_numpy(float), curve.bits.to_numpy(float)
    early = lag <= lag.max() / TAIL
    fitted, part = _fitted(form, lag, bits), fit(form, lag[early], bits[early])
    whole = fitted.theta

    def error(numbers: np.ndarray, at: np.ndarray) -> float:
        return float(np.sqrt(np.mean((value(form, lag[at], *numbers) - bits[at]) ** 2)))

    return {
        "a": whole[0],
        "t0": whole[1],
        "b": whole[2],
        "half_life": half_life(form, *whole),
        "rmse": error(whole, lag >= 0),
        "tail": error(part, ~early),
        "on_bound": {name: side for name, (side, _) in bounds.on(fitted).items()},
    }


def compare_forms(strong: list[ForgettingCell]) -> dict[str, FormScore]:
    """By form: median error relative to the first bits, in the fit and on later lags, and in how
    many cells it is the best of all. The forms have three numbers each, so errors compare without a
    correction for their count."""

    errors = [(cell["errors"] or {}, cell["first_bits"]["value"]) for cell in strong]

    def median(form: str, kind: str) -> float | None:
        ratios = [by_form[form][kind] / first for by_form, first in errors]
        return float(np.median(ratios)) if ratios else None

    def best(form: str, kind: str) -> int:
        return sum(form == min(FORMS, key=lambda f: e[f][kind]) for e, _ in errors)

    return {
        form: {
            "rmse": median(form, "rmse"),
            "tail": median(form, "tail"),
            "best_rmse": best(form, "rmse"),
            "best_tail": best(form, "tail"),
            "on_bound": _on_bound(form, [by_form[form] for by_form, _ in errors]),
        }
        for form in FORMS
    }


def _on_bound(form: str, fitted: list[FormErrors]) -> dict[str, int]:
    """In how many curves each parameter lies on a bound, by parameter and bound, such as "c at its
    lower bound"."""
    counts: dict[str, int] = {}
    for name in LAWS[form].names:
        for side, word in bounds.SIDES.items():
            if n_curves := sum(one.get("on_bound", {}).get(name) == side for one in fitted):
                counts[f"{name} at its {word} bound"] = n_curves
    return counts
