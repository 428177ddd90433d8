"""Runs in formats as points of a law of precision, by the rules of `analysis.precision`."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths
from capacity.design.prior import Prior, within

CAST = 16.0  # bits of bf16


def noise_of(points: pd.DataFrame) -> tuple[float, int]:
    """Mean square of log bits over seeds, and its degrees of freedom; data-limited runs, which have
    next to no noise, are left out."""
    held = points[
        (points.held_bits > 0)
        & (points.method != "cast")
        & (points.bits_per_parameter < bit_widths.HELD_WHOLE * points.load)
    ]
    groups = [
        f"{model} {format} {load}"
        for model, format, load in zip(held.model, held.format, held.load, strict=True)
    ]
    return within(np.log(held.held_bits.to_numpy(float)), groups)


def fp32_levels(done: pd.DataFrame, prior: Prior) -> dict[str, float]:
    """By model, log bits per parameter in fp32, with what the corner took away."""
    out, k = {}, math.exp(prior.log_k[0])
    for model, part in done.loc[done.format == "fp32"].groupby("model"):
        part = part.loc[part.load == part.load.max()]
        # nobody knows the capacity behind runs near their ceiling
        room = np.maximum((part.strict_ceiling_bits / part.held_bits) ** k - 1, 0.3)
        with np.errstate(invalid="ignore"):
            full = np.where(
                np.isfinite(room), part.strict_ceiling_bits / room ** (1 / k), part.held_bits
            )
        out[str(model)] = float(np.log(full / part.parameters_total).mean())
    return out


def number_of_formats(mean: pd.DataFrame) -> int:
    """Formats of points beside fp32 and its cast."""
    return mean.format[~mean.format.isin(precision_laws.TOP)].nunique()


def rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Finished runs, and the casts of those that have one, as `bit_widths.points` has them."""
    done = frame.loc[frame.status == "finished"]
    done = done.assign(run_id="", parameters=done.parameters_total, stored_bits_per_weight=np.nan)
    cast = done[done.cast_bits.notna()]
    cast = cast.assign(method="cast", format="cast bf16", code_bits=CAST, held_bits=cast.cast_bits)
    rows = pd.concat([done, cast], ignore_index=True)[list(bit_widths.PARTS)]
    return rows.assign(
        bits_per_parameter=rows.held_bits / rows.parameters, bits_per_stored_bit=np.nan
    )


def relative(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds as parts of fp32, with columns model, format, x and y."""
    points = rows(frame)
    method = next(iter(points.method[points.method.isin(bit_widths.METHODS)]), "")
    return precision_laws.of_method(
        precision_laws.relative(bit_widths.capacity(points)), method, "relative"
    )


def seeds(points: pd.DataFrame) -> dict[tuple[str, str], int]:
    """By model and format, runs behind its capacity."""
    if points.empty:
        return {}
    chosen = bit_widths.capacity(points)
    return chosen.groupby(["model", "format"]).size().to_dict()
