"""Capacity laws of one study by the fitting engine, side by side: which form its plateaus follow,
and which corner its runs.

The headline of a study of random data is `fit.estimate`, a geometric mean over models with two
intervals. Here the same units are fitted as any other law is (robust loss, bounds as bounds,
intervals by cluster), so that forms can be told apart by the sizes that they did not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.base.files import plain
from capacity.base.words import digits, ends
from capacity.fitting import fit, misfit, selection

if TYPE_CHECKING:
    import pandas as pd

PLATEAUS = ("capacity_linear", "capacity_affine", "capacity_power")
RUNS = ("hard_corner", "smooth_corner")
SHOWN = {
    "capacity_linear": ("C = alpha P", "alpha"),
    "capacity_affine": ("C = c0 + alpha P", "alpha"),
    "capacity_power": ("C = a P^gamma", "gamma"),
    "hard_corner": ("m = min(alpha P, H)", "alpha"),
    "smooth_corner": ("m = smooth corner", "alpha"),
}


def compared(
    units: pd.DataFrame,
    runs: pd.DataFrame,
    convention: dict[str, str],
    *,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """{"plateaus": ..., "runs": ...}, each with forms, the one with the smallest held-out error
    first (rows of `selection.forms`, with `record` of `selection.record` and `lack_of_fit`, by
    which models, or models and sizes of the data, lie off it by more than seeds do, in the log), or
    a reason why there are none.

    units: of `fit.units`, clustered by model. runs: parameters, ceiling, bits, model of all runs
    that hold something, and whether their data were more than they hold (over). convention: what
    the numbers count, kept with the fits. resamples: of the cluster bootstrap beside the intervals.
    """
    parts = {
        "plateaus": (
            PLATEAUS,
            units.model.to_numpy(),
            fit.Points(
                {"parameters": units.parameters.to_numpy(float)},
                units.bits.to_numpy(float),
                cluster=units.model.to_numpy(),
                lower_bound=units.lower_bound.to_numpy(bool),
                convention=convention,
            ),
        ),
        "runs": (
            RUNS,
            runs.place.to_numpy(),
            fit.Points(
                {
                    "parameters": runs.parameters.to_numpy(float),
                    "ceiling_bits": runs.ceiling.to_numpy(float),
                },
                runs.bits.to_numpy(float),
                cluster=runs.model.to_numpy(),
                convention=convention,
            ),
        ),
    }
    comparisons = {
        what: _forms_compared(names, points, places, resamples=resamples, seed=seed)
        for what, (names, places, points) in parts.items()
    }
    if not runs.over.any():  # nothing but ceilings: any alpha above them fits
        comparisons["runs"] = {"forms": [], "without": {}, "reason": "no run is over-filled"}
    return comparisons


def _forms_compared(
    names: Sequence[str], points: fit.Points, places: np.ndarray, *, resamples: int, seed: int
) -> dict[str, Any]:
    fits, rows, without = {}, [], {}
    for name in names:
        try:
            fits[name] = fit.fit(name, points)
            rows.append(selection.row_of(fits[name], "parameters"))
        except ValueError as error:
            without[name] = str(error)
    rows = selection.ranked(rows)
    for row in rows:
        fitted = fits[row["form"]]
        # Huber's would clip what lies off
        row["lack_of_fit"] = misfit.lack_of_fit(fitted.squared, places)
        row["record"] = selection.record(
            fitted, "parameters", resamples=resamples, seed=seed, held=row["held_out"]
        )
    return plain(
        {
            "forms": rows,
            "without": without,
            "reason": None if rows else next(iter(without.values())),
        }
    )


def best(fit: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The form of plateaus that predicts held-out sizes best; None where it is C = alpha P, or
    where none predicts any. fit: numbers of one convention."""
    rows = fit["forms"]["plateaus"]["forms"]  # the smallest error first
    first = next((row for row in rows if row["held_out"]["rms_percent"] is not None), None)
    return None if first is None or first["form"] == "capacity_linear" else first


def largest(row: Mapping[str, Any]) -> str:
    """Error, in percent, of the largest size as the others predict it."""
    last = row["held_out"].get("largest")
    return "–" if not last or last["percent"] is None else f"{last['percent']:+.1f}%"


def rms(row: Mapping[str, Any]) -> str:
    """Error over all sizes left out in turn."""
    value = row["held_out"].get("rms_percent")
    return "–" if value is None else f"{value:.1f}%"


def more(row: Mapping[str, Any]) -> str:
    """AICc above the best form's."""
    return "–" if row["aicc_difference"] is None else f"{row['aicc_difference']:.1f}"


def number(row: Mapping[str, Any]) -> str:
    """The parameter that is asked for, with its interval."""
    name = SHOWN[row["form"]][1]
    entry = row["record"]["intervals"][name]
    return f"{name} {digits(entry['value'], 4)} {ends(interval(entry), 4)}".strip()


def interval(entry: Mapping[str, Any]) -> list[float] | None:
    """Both ends of an entry of `intervals.of`, None where one is open or there is none."""
    return None if entry["low"] is None or entry["high"] is None else [entry["low"], entry["high"]]
