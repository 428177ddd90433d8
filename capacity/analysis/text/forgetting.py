"""What views of a sequence leave behind, and how it fades: canaries that were seen at set steps
(data/views.py).

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

import textwrap

import numpy as np
import pandas as pd

from capacity.fitting import fit as estimate
from capacity.fitting.forms import form as law

FORMS = ("power", "exponential", "logarithmic")
LAWS = {
    "power": law("forgetting_power"),
    "exponential": law("forgetting_exponential"),
    "logarithmic": law("forgetting_log"),
}
# a form is fitted to lags up to the last / TAIL and judged by what it says of the later ones
TAIL = 8.0
FEWEST = 6  # different lags
CELL = [
    "label",
    "batch",
    "text",
    "point",
    "views",
]  # point: part of training after which the last view comes
AXES = ("views", "parameters", "batch", "point")
MOST_DRAWS = 400


def value(form: str, lag, *numbers):
    """A form at these lags, in bits; numbers: (a, t0, b) in the order of `forms`, of the
    exponential (a, tau, c)."""
    return LAWS[form].curve({"lag": np.asarray(lag, float)}, *numbers)[0]


def fit(form: str, lag, bits) -> np.ndarray:
    """Least squares of the bits: three numbers as `value` takes them, within the bounds of
    `forms`."""
    return estimate.fit(LAWS[form], estimate.Points({"lag": lag}, bits), delta=np.inf).theta


def half_life(form: str, a, t0, b) -> float:
    """Lag at which half of the memory at lag 0 is left; infinite where it never falls so far."""
    if form == "power":
        return t0 * (2 ** (1 / b) - 1) if b * 1000 > 1 else np.inf
    if form == "exponential":
        return -t0 * np.log((a / 2 - b) / (a - b)) if b < a / 2 else np.inf
    return t0 * (2 ** (a / 2 / b) - 1) if a / 2 < 1000 * b else np.inf


def memory(views: dict, seq_len: int) -> pd.DataFrame:
    """Of one run's record (measures.text.views): canary, views, lag (updates) and bits of each
    canary at each probe after its last view. Controls are left out."""
    step, loss = np.array(views["step"]), np.array(views["loss_bits_per_token"], float)
    seen, last = np.array(views["views"]), np.array(views["last_update"])
    control = loss[:, seen == 0].mean(1, keepdims=True)
    gain = control - loss
    bits = seq_len * (gain - gain[:1])  # the first probe is before any view
    rows = [
        (j, seen[j], step[i] - last[j], bits[i, j])
        for j in np.flatnonzero(seen > 0)
        for i in np.flatnonzero(step >= last[j])
    ]
    return pd.DataFrame(rows, columns=["canary", "views", "lag", "bits"])


def half_octave(lag: pd.Series) -> pd.Series:
    """Number of the half octave of lag + 1."""
    return np.round(2 * np.log2(lag + 1)).astype(int)


def binned(table: pd.DataFrame) -> pd.DataFrame:
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


def first_half(curve: pd.DataFrame, at_first: float) -> float:
    """Lag at which a curve falls below half of `at_first` for good, between points straight in log
    lag; infinite where it does not, 0 where it never was above."""
    above = np.flatnonzero(curve.bits.to_numpy() >= at_first / 2)
    if not len(above):
        return 0.0
    i = above[-1]
    if i == len(curve) - 1:
        return np.inf
    x, y = np.log1p(curve.lag.to_numpy()), curve.bits.to_numpy()
    return float(np.expm1(x[i] + (y[i] - at_first / 2) / (y[i] - y[i + 1]) * (x[i + 1] - x[i])))


def cells(runs: pd.DataFrame, views: dict[str, dict]) -> pd.DataFrame:
    """`memory` of all runs, with what a cell is told apart by (CELL) and unit, a canary of a
    run."""
    parts = []
    for _, run in runs.iterrows():
        table = memory(views[run.run_id], int(run.seq_len))
        parts.append(
            table.assign(
                label=run.label,
                parameters=run.parameters_total,
                batch=run["train.batch_size"],
                text=run["data.canary_text"],
                point=run["data.last_view"],
                spacing=run["data.view_spacing"],
                run=run.run_id,
                unit=[f"{run.run_id}/{j}" for j in table.canary],
            )
        )
    return pd.concat(parts, ignore_index=True)


def judge(runs: pd.DataFrame, views: dict[str, dict], *, n_boot: int = 1000, seed: int = 0) -> dict:
    """By cell: bits at first (mean over lags of up to one spacing) and at the end (the last two
    half octaves), the lag by which half of the bits at first is lost for good, and each form's
    error; over cells: which form the curves speak for, and how bits at first and half-life go with
    views, parameters, batch and point of training.

    runs: finished runs with canaries at set steps. Intervals are 95% bootstraps over canaries (of
    all seeds) within cells.
    """
    table = cells(runs, views)
    dice = np.random.default_rng(seed)
    out = []
    for key, group in table.groupby(CELL, sort=True):
        out.append(dict(zip(CELL, key)) | _cell(group, dice, min(n_boot, MOST_DRAWS)))
    strong = [cell for cell in out if cell["errors"] is not None]
    found: dict = {"cells": out, "strong": len(strong), "forms": _compare(strong)}
    for name in ("first_bits", "half_life"):
        sure = [c for c in strong if 0 < c[name]["interval"][0] and c[name]["interval"][1] < np.inf]
        found[name] = {
            kind: _power_law([c for c in sure if c["text"] == kind], name)
            for kind in sorted({c["text"] for c in strong})
        }
    lives = {
        kind: [cell["half_life"]["value"] for cell in strong if cell["text"] == kind]
        for kind in sorted({c["text"] for c in strong})
    }
    found["medians"] = {
        kind: {
            "curves": len(some),
            "median": float(np.median(some)),
            "low": min(some),
            "high": max(some),
        }
        for kind, some in lives.items()
    }
    for cell in out:
        del cell["draws"]
    return found


def told_medians(found: dict) -> str:
    """Half-lives of the curves that have one, by kind, in words."""
    kinds = {"random": "random tokens", "pool": "passages of the text"}
    return "; ".join(
        f"**{m['median']:,.0f} updates** ({kinds[kind]}, median of {m['curves']} curves, "
        f"{m['low']:,.0f} to {m['high']:,.0f})"
        for kind, m in found["medians"].items()
    )


def _cell(group: pd.DataFrame, dice: np.random.Generator, n_boot: int) -> dict:
    curve, spacing = binned(group), group.spacing.iloc[0]
    units = group.unit.unique()
    # canary by bin, so that a draw is a choice of rows
    grid = group.assign(bin=half_octave(group.lag)).pivot_table(
        index="unit", columns="bin", values="bits"
    )
    soon = (curve.lag <= spacing).to_numpy()

    def numbers(bits: np.ndarray) -> tuple[float, float, float]:
        first = float(np.nanmean(bits[soon]))
        return first, float(bits[-2:].mean()), first_half(curve.assign(bits=bits), first)

    values = grid.to_numpy()
    best = numbers(curve.bits.to_numpy())
    draws = np.array(
        [
            numbers(np.nanmean(values[dice.integers(0, len(units), len(units))], axis=0))
            for _ in range(n_boot)
        ]
    )
    ends = np.quantile(
        draws, [0.025, 0.975], axis=0, method="nearest"
    )  # a half-life may be infinite
    cell = {
        "parameters": int(group.parameters.iloc[0]),
        "canaries": len(units),
        "draws": draws,
        "lags": curve.lag.tolist(),
        "bits": curve.bits.tolist(),
        "errors": None,
    }
    for i, name in enumerate(("first_bits", "last_bits", "half_life")):
        cell[name] = {"value": best[i], "interval": ends[:, i].tolist()}
    # a form is asked only where there is something to forget
    if len(curve) >= FEWEST and best[0] > 4 * draws[:, 0].std() and 0 < best[2] < np.inf:
        cell["errors"] = {form: _errors(form, curve) for form in FORMS}
    return cell


def _errors(form: str, curve: pd.DataFrame) -> dict:
    """Of a form fitted to all lags, its numbers and root mean square error in bits; fitted to the
    earlier lags, that on the later ones."""
    lag, bits = curve.lag.to_numpy(), curve.bits.to_numpy()
    early = lag <= lag.max() / TAIL
    whole, part = fit(form, lag, bits), fit(form, lag[early], bits[early])

    def error(numbers, at):
        return float(np.sqrt(np.mean((value(form, lag[at], *numbers) - bits[at]) ** 2)))

    return {
        "a": whole[0],
        "t0": whole[1],
        "b": whole[2],
        "half_life": half_life(form, *whole),
        "rmse": error(whole, lag >= 0),
        "tail": error(part, ~early),
    }


def _compare(strong: list[dict]) -> dict:
    """By form: median error relative to the first bits, in the fit and on later lags, and in how
    many cells it is the best of all. The forms have three numbers each, so errors compare without a
    correction for their count."""
    out = {}
    for form in FORMS:
        out[form] = {
            kind: float(
                np.median([c["errors"][form][kind] / c["first_bits"]["value"] for c in strong])
            )
            if strong
            else None
            for kind in ("rmse", "tail")
        }
        out[form] |= {
            f"best_{kind}": sum(
                form == min(FORMS, key=lambda f: c["errors"][f][kind]) for c in strong
            )
            for kind in ("rmse", "tail")
        }
    return out


def _power_law(cells: list[dict], name: str) -> dict:
    """log2 of a number = constant + exponents x log2 of AXES, least squares over cells whose
    interval is finite; an axis with one value only is left out. 95% intervals: of the cells'
    bootstrap draws, those with a number for every cell."""
    axes = [axis for axis in AXES if len({cell[axis] for cell in cells}) > 1]
    if len(cells) < len(axes) + 3 or not axes:
        return {"reason": f"{len(cells)} curves for {len(axes)} exponents and a constant"}
    x = np.column_stack(
        [np.ones(len(cells))] + [np.log2([cell[axis] for cell in cells]) for axis in axes]
    )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return {"reason": f"{', '.join(axes)} do not vary apart"}
    column = {"first_bits": 0, "half_life": 2}[name]
    inverse = np.linalg.pinv(x)
    best = inverse @ np.log2([cell[name]["value"] for cell in cells])
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.log2(np.stack([cell["draws"][:, column] for cell in cells], axis=1))
    draws = y[np.isfinite(y).all(1)] @ inverse.T
    if len(draws) < 0.5 * len(y):
        return {"reason": "too many bootstrap draws have none"}
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {"curves": len(cells), "at_one": float(2 ** best[0])} | {
        axis: {"exponent": float(best[i]), "interval": [float(low[i]), float(high[i])]}
        for i, axis in enumerate(axes, 1)
    }


def lines(found: dict) -> list[str]:
    """For the report, at most 80 columns."""
    out = [
        "",
        "Canaries seen at set steps: bits above controls, by updates since the last view",
        f"  {'shape':6s}{'batch':>6s} "
        f"{'kind':7s}{'last at':>8s}{'views':>6s}{'at first':>9s}{'at the end':>11s}{'half-life (updates)':>22s}",
    ]
    for c in found["cells"]:
        first, last, half = c["first_bits"], c["last_bits"], c["half_life"]
        high = f"{half['interval'][1]:.0f}" if half["interval"][1] < np.inf else "none"
        told = (
            f"{half['value']:.0f} [{half['interval'][0]:.0f}, {high}]"
            if c["errors"] is not None
            else "-"
        )
        out.append(
            f"  {c['label'][:6]:6s}{c['batch']:>6d} "
            f"{c['text']:7s}{c['point']:>8.0%}{c['views']:>6d}{first['value']:>9.1f}{last['value']:>11.1f}{told:>22s}"
        )
    if not found["strong"]:
        return out + ["  no curve has enough to forget for a form"]
    out.append(
        f"  {'form':12s}{'error':>7s}{'on later lags':>15s}{'best of':>9s} (error / bits at first, "
        f"medians)"
    )
    for form, f in found["forms"].items():
        out.append(
            f"  {form:12s}{f['rmse']:>7.1%}{f['tail']:>15.1%}{f['best_rmse']:>6d}, "
            f"{f['best_tail']:d} of {found['strong']} curves"
        )
    out += textwrap.wrap(
        "half is lost after " + told_medians(found).replace("*", ""),
        80,
        initial_indent="  ",
        subsequent_indent="    ",
    )
    for name, words in (("first_bits", "bits at first"), ("half_life", "half-life")):
        for kind, law in found[name].items():
            out += textwrap.wrap(
                f"{words}, {kind}: "
                + (
                    f"no law: {law['reason']}"
                    if "reason" in law
                    else ", ".join(
                        f"{axis}^{law[axis]['exponent']:.2f} [{law[axis]['interval'][0]:.2f}, "
                        f"{law[axis]['interval'][1]:.2f}]"
                        for axis in AXES
                        if axis in law
                    )
                ),
                80,
                initial_indent="  ",
                subsequent_indent="    ",
            )
    return out
