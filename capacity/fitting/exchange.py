"""What a bit of one kind costs in bits of another, where one capacity holds both: the exchange rate
of a frontier, and whether the frontier is straight.

    y + pi x = alpha

x, y: bits of two families per parameter that one model holds, over mixes z of what it is asked for.
A block is what shares a model and a seed; its own alpha cancels, since only differences between its
mixes count. Both x and y are measured, so that regressing one on the other would pull pi towards 0;
the mix was set by plan and has no error, and serves as the instrument (Wald 1940, Ann. Math. Stat.
11, 284; Angrist and Pischke 2009, section 4.1):

    a = sum (z - mean z) y,   b = -sum (z - mean z) x,   pi = mean a / mean b   over blocks

The interval is Fieller's, with blocks, and with models, as replicates (`ratios.paired`); it has no
ends where b is not distinguishable from 0, that is, where the mix does not move the second family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from capacity.fitting import ratios
from capacity.fitting.statistics import LEVEL, sign_flips, t_interval


@dataclass(frozen=True)
class Block:
    """The mixes of one model and seed: mix z, x and y [n] each, n at least 2; group: the model."""

    group: str
    z: Sequence[float]
    x: Sequence[float]
    y: Sequence[float]

    def contrasts(self) -> tuple[float, float]:
        """a and b."""
        z, x, y = (np.asarray(v, float) for v in (self.z, self.x, self.y))
        off = z - z.mean()
        return float(off @ y), float(-(off @ x))

    def bulge(self) -> float | None:
        """How far the inner mixes lie above the chord between the outer ones, in y, on average;
        None with fewer than three mixes, or where the outer ones hold equally much of x."""
        order = np.argsort(self.z)
        x, y = (np.asarray(v, float)[order] for v in (self.x, self.y))
        if len(x) < 3 or x[-1] == x[0]:
            return None
        chord = y[0] + (y[-1] - y[0]) * (x[1:-1] - x[0]) / (x[-1] - x[0])
        return float((y[1:-1] - chord).mean())


def rate(blocks: Sequence[Block], level: float = LEVEL) -> dict[str, Any]:
    """pi of some blocks: value, interval (the wider of that over blocks and that over models, None
    where either has no ends), over_blocks, over_models, blocks, models, why (there is none).

    A single model has no interval over models, and its interval holds for that model alone.
    """
    pairs = np.array([block.contrasts() for block in blocks]).reshape(-1, 2)
    groups = sorted({block.group for block in blocks})
    out: dict[str, Any] = {"blocks": len(blocks), "models": len(groups), "value": None}
    out |= {"interval": None, "over_blocks": None, "over_models": None, "why": None}
    if len(blocks) < 2:
        return out | {"why": "fewer than two seeds or models with several mixes"}
    a, b = pairs.T
    if not b.mean() > 0:
        return out | {"why": "with more random rows in the mix no fewer facts are held"}
    told = ratios.of_pairs(a, b, level=level)
    out |= {"value": told["value"], "over_blocks": told["interval"], "why": told["why"]}
    widest = told["interval"]
    if len(groups) > 1:
        by = [block.group for block in blocks]
        mean_a, mean_b = (
            np.array([v[[g == name for g in by]].mean() for name in groups]) for v in (a, b)
        )
        over = ratios.of_pairs(mean_a, mean_b, level=level)
        out |= {"over_models": over["interval"], "why": told["why"] or over["why"]}
        both = [told["interval"], over["interval"]]
        widest = None if None in both else max(both, key=lambda ends: ends[1] - ends[0])
    return out | {"interval": widest}


def level_of(blocks: Sequence[Block], pi: float) -> dict[str, float]:
    """alpha by model: mean of y + pi x over its points."""
    out: dict[str, list[float]] = {}
    for block in blocks:
        held = np.asarray(block.y, float) + pi * np.asarray(block.x, float)
        out.setdefault(block.group, []).extend(held.tolist())
    return {group: float(np.mean(values)) for group, values in out.items()}


def straightness(blocks: Sequence[Block]) -> dict[str, Any]:
    """Whether frontiers bulge outwards (concave: separate resources) or inwards: the mean of
    `bulge` over blocks with Student's interval and the exact sign-flip test, two-sided."""
    values = [v for v in (block.bulge() for block in blocks) if v is not None]
    return _mean_of(values)


def shares(blocks: Sequence[Block], pure: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean over mixes of y / y_pure + x / x_pure, less 1: 0 where two families share one capacity,
    above where each has resources of its own (the relative yield total of mixtures, de Wit and van
    den Bergh 1965, Neth. J. Agric. Sci. 13, 212). pure: y and x that the model of each block holds
    of either family alone; blocks where one is not above 0 are left out."""
    values = []
    for block, (y_pure, x_pure) in zip(blocks, pure, strict=True):
        if y_pure > 0 and x_pure > 0:
            total = np.asarray(block.y, float) / y_pure + np.asarray(block.x, float) / x_pure
            values.append(float(total.mean()) - 1)
    return _mean_of(values)


def _mean_of(values: Sequence[float]) -> dict[str, Any]:
    n = len(values)
    if n < 2:
        value = values[0] if values else None
        return {"blocks": n, "value": value, "interval": None, "p": None, "smallest_p": None}
    d = np.asarray(values, float)
    low, high = t_interval(d)
    flips = sign_flips(d)
    return {
        "blocks": n,
        "value": float(d.mean()),
        "interval": None if math.isnan(low) else [low, high],
        "p": flips["p"],
        "smallest_p": flips["smallest_p"],
    }
