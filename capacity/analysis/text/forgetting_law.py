"""How what is left of a sequence scales: bits at first and half-life as products of powers of
views, parameters, batch and point of training, over the curves of `forgetting`.

    log2 y = constant + exponents x log2 of AXES + scatter of runs + scatter of curves + noise

noise: what resampling the canaries of a curve gives, which is known. The law is not exact: curves
lie off it by more than that, those of the same runs together, and the standard errors have both
(`fitting.random_effects`). Without them an interval tells how well canaries are counted, not how
well the law holds.

Every curve counts, also one with too little to forget: its bits enter by

    asinh(bits / (4 sd)),

which is their logarithm where they are large and the bits themselves where noise is, so that a
curve is not left out because its canaries happened to leave nothing. A curve that has more than
NEAR of all that it could have is a lower bound, as is a half-life that was not reached.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from capacity.analysis.text.schema import Exponent, ForgettingCell, LackOfFit, NoLaw, PowerLaw
from capacity.fitting import random_effects
from capacity.fitting.statistics import student

AXES = ("views", "parameters", "batch", "point")
SAME_RUNS = ("model", "batch", "point")  # curves of equal ones are of the same runs
# Part of the code length of a sequence that was never seen. A law of powers passes all bounds, and
# where m = M (1 - exp(-x / M)) is half of M it lies 0.47 octaves above, as far as curves scatter.
NEAR = 0.5
SOFT = 4.0  # standard deviations below which bits count as they are, not by their logarithm
STEPS = 100
SETTLED = 1e-6  # octaves
NORMAL = 2 * student(1e9)  # standard deviations between the ends of a normal 95% interval


def power_law(cells: list[ForgettingCell], name: str) -> PowerLaw | NoLaw:
    """Of "first_bits" or "half_life" of these curves, of one kind of canaries: exponents with 95%
    intervals (Student's t), scatter in octaves by source, and the lack of fit without it. An axis
    with one value only is left out."""
    informative = [cell for cell in cells if _says_something(cell, name)]
    axes = [axis for axis in AXES if len({cell[axis] for cell in informative}) > 1]
    measured = [cell for cell in informative if not _is_bound(cell, name)]
    if len(measured) < len(axes) + 3 or not axes:
        n, n_bounds = len(informative), len(informative) - len(measured)
        bounds = f", {n_bounds} of them bounds" if n_bounds else ""
        return {"reason": f"{n} curves{bounds} for {len(axes)} exponents and a constant"}
    x = np.column_stack(
        [np.ones(len(informative))]
        + [np.log2([cell[axis] for cell in informative]) for axis in axes]
    )
    bound = np.array([_is_bound(cell, name) for cell in informative])
    if np.linalg.matrix_rank(x[~bound]) < x.shape[1]:
        return {"reason": f"{', '.join(axes)} do not vary apart"}
    try:
        return _fitted(informative, x, axes, bound, name)
    except (ValueError, np.linalg.LinAlgError) as error:
        return {"reason": str(error)}


def _fitted(
    cells: list[ForgettingCell], x: np.ndarray, axes: list[str], bound: np.ndarray, name: str
) -> PowerLaw:
    runs = [repr([cell[key] for key in SAME_RUNS]) for cell in cells]
    sources = {"curves": np.eye(len(cells)), "runs": random_effects.shared(runs)}
    soft = name == "first_bits"
    y, sd = (_of_bits if soft else _of_half_lives)(cells)
    value, known = y, sd**2
    beta, begin = _start(y, sd, x, soft), None
    for i in range(STEPS if soft else 0):
        value, known = _working(y, sd, x @ beta)
        effects = random_effects.effects(value, x, sources, known, bound, begin)
        begin, away = effects.variances, effects.beta - beta
        # weak curves weigh by where the line puts them, so that whole steps can go to and fro
        beta = beta + away / (1 + i // 4)
        if np.abs(away).max() <= SETTLED:
            break
    if soft:
        value, known = _working(y, sd, x @ beta)
    effects, free = random_effects.effects(value, x, sources, known, bound), ~bound
    if soft and np.abs(effects.beta - beta).max() > 1e-3:
        raise ValueError("the search for the exponents did not settle")
    law: dict[str, object] = {
        "curves": len(cells),
        "bounds": int(bound.sum()),
        "at_one": float(2 ** effects.beta[0]),
        "scatter": {name: float(np.sqrt(v)) for name, v in effects.variances.items()},
        "lack_of_fit": cast(
            LackOfFit, random_effects.lack_of_fit(value[free], x[free], known[free])
        ),
    }
    for i, axis in enumerate(axes, 1):
        low, high, dof = effects.interval(np.eye(x.shape[1])[i])
        exponent: Exponent = {
            "exponent": float(effects.beta[i]),
            "interval": [low, high],
            "dof": float(dof),
        }
        law[axis] = exponent
    return cast(PowerLaw, law)


def _says_something(cell: ForgettingCell, name: str) -> bool:
    """Whether a curve has noise that is known; of half-lives, whether it had something to lose."""
    low, high = cell["first_bits"]["interval"] or (np.nan, np.nan)
    if name == "first_bits":
        return bool(high > low)
    low, high = _ends(cell)
    return bool(cell["strong"] and (low > 0 or high < np.inf))


def _is_bound(cell: ForgettingCell, name: str) -> bool:
    if name == "first_bits":
        return cell["share"] > NEAR
    return not np.isfinite(_half_life(cell))


def _half_life(cell: ForgettingCell) -> float:
    value = cell["half_life"]["value"]
    return np.inf if value is None else value  # as a file has it


def _ends(cell: ForgettingCell) -> tuple[float, float]:
    low, high = cell["half_life"]["interval"] or (0.0, np.inf)
    return (0.0 if low is None else low), (np.inf if high is None else high)


def _of_bits(cells: list[ForgettingCell]) -> tuple[np.ndarray, np.ndarray]:
    """Bits at first and their standard deviation."""
    ends = np.array([cell["first_bits"]["interval"] for cell in cells], float)
    return np.array([cell["first_bits"]["value"] for cell in cells]), (
        ends[:, 1] - ends[:, 0]
    ) / NORMAL


def _of_half_lives(cells: list[ForgettingCell]) -> tuple[np.ndarray, np.ndarray]:
    """log2 of half-lives and their standard deviation; of a half-life that was not reached the last
    lag. An interval that has one end gives the standard deviation by that end."""
    y, sd = [], []
    for cell in cells:
        value, (low, high) = _half_life(cell), _ends(cell)
        value = value if np.isfinite(value) else max(cell["lags"])
        y.append(np.log2(value))
        sides = [np.log2(value / low)] if 0 < low < value else []
        sides += [np.log2(high / value)] if high < np.inf else []
        sd.append(max(np.mean(sides), 1e-3) / (NORMAL / 2) if sides else 0.0)
    return np.array(y), np.array(sd)


def _start(y: np.ndarray, sd: np.ndarray, x: np.ndarray, soft: bool) -> np.ndarray:
    """Least squares of logarithms, of bits those that stand clear of their noise; else a plane."""
    if not soft:
        return np.linalg.lstsq(x, y, rcond=None)[0]
    level = np.log2(np.maximum(y, sd))
    clear = np.where(y > SOFT * sd, 1.0, 0.1)[:, None]
    return np.linalg.lstsq(x * clear, level * clear[:, 0], rcond=None)[0]


def _working(y: np.ndarray, sd: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits as values of log2 bits near the line, and their variances: `line` plus the distance of
    asinh(bits / (SOFT sd)) from the line's, over its slope."""
    bits, unit = np.exp2(line), SOFT * sd
    slope = bits * np.log(2) / np.hypot(bits, unit)
    value = line + (np.arcsinh(y / unit) - np.arcsinh(bits / unit)) / slope
    return value, (sd / (bits * np.log(2))) ** 2


def exponents(law: PowerLaw) -> dict[str, Exponent]:
    """Those that the law has, in the order of AXES."""
    known = cast(dict[str, Exponent], law)
    return {axis: known[axis] for axis in AXES if axis in known}
