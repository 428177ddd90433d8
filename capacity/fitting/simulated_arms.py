"""Studies of a few arms with planted noise: do intervals of ratios and of peaks hold the truth?

    cell = Cell("one loud", arms=3, seeds=3)
    coverage(cell, range(400))             # by number and method: coverage, median width

An arm's replicates are normal about its true mean, with a noise of its own; seeds may add a part
that all arms share. Each study asks for the ratio of every other arm to the first one, of the
largest of some arms to the largest of others, and, where the best of several settings is taken by
each seed's own number, of those. The methods:

    here        `noise` and `ratios`, as `analysis.arm_ratio` uses them
    pooled      what stood before: one relative noise for all arms, no pairs, no selection
    moderated   variances of all arms drawn to the line (Smyth 2004), also where there are three
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from capacity.fitting import noise, ratios
from capacity.fitting.noise import OWN, Spread
from capacity.fitting.ratios import Mean
from capacity.fitting.statistics import fieller, student

NOISES = ("proportional", "constant", "one loud", "scattered", "filling")
LEVELS = np.array([0.27, 0.012, 0.18, 0.07, 0.5, 0.35, 0.1, 0.22, 0.03, 0.42])  # R of arms


@dataclass(frozen=True)
class Cell:
    """A kind of study. noise: how an arm's sd follows from its mean, see `sd_of`; shared: part of
    the variance that arms share by seed; options: settings of which each seed takes the best."""

    noise: str
    arms: int = 3
    seeds: int = 3
    shared: float = 0.0
    options: int = 1

    @property
    def name(self) -> str:
        parts = [f"{self.noise}, {self.arms} arms, {self.seeds} seeds"]
        parts += [f"{self.shared:.0%} shared"] * (self.shared > 0)
        parts += [f"best of {self.options}"] * (self.options > 1)
        return ", ".join(parts)


def sd_of(kind: str, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard deviations of runs of arms. proportional: 12% of the mean; constant: the same for
    all; one loud: 38% in the arm that has learned least, 4% in the others, as in the committed
    studies of junk; scattered: a factor of two either way about a line; filling: highest half way,
    next to none at the ends."""
    if kind == "proportional":
        return 0.12 * means
    if kind == "constant":
        return np.full(len(means), 0.015)
    if kind == "one loud":
        return np.where(means == means.min(), 0.38, 0.04) * means
    if kind == "scattered":
        return 0.03 * np.sqrt(means) * np.exp(0.7 * rng.standard_normal(len(means)))
    return 0.3 * means * (0.56 - means)


Told = tuple[str, str, int, bool, float]


def once(cell: Cell, draw: int) -> Iterator[Told]:
    """(number, method, arm, whether the interval holds the truth, its width over the truth) of one
    simulated study; of an interval without ends the width is infinite."""
    rng = np.random.default_rng([draw, cell.arms, cell.seeds, NOISES.index(cell.noise), 18])
    means = LEVELS[: cell.arms]
    sd = sd_of(cell.noise, means, rng)
    size = (cell.options, cell.arms, cell.seeds)
    own, all_arms = rng.standard_normal(size), rng.standard_normal((cell.options, 1, cell.seeds))
    z = math.sqrt(1 - cell.shared) * own + math.sqrt(cell.shared) * all_arms
    values = (means[:, None] + sd[:, None] * z).max(0)
    truth = means + sd * _largest(cell.options)
    yield from _ratios(values, truth)
    if cell.options > 1:  # the best option by itself is worth less than the best of each seed
        for number, method, arm, holds, width in _ratios(values, means):
            yield f"{number} to the best single option", method, arm, holds, width
    yield from _peaks(values, truth, means)


def _ratios(values: np.ndarray, truth: np.ndarray) -> Iterator[Told]:
    for method in ("here", "pooled", "moderated"):
        spreads = _spreads(values, method)
        for i in range(1, len(values)):
            ends = _interval(values[i], values[0], spreads[i], spreads[0], method)
            yield "ratio", method, i, *_covered_and_width(ends, truth[i] / truth[0])


def _peaks(values: np.ndarray, truth: np.ndarray, means: np.ndarray) -> Iterator[Told]:
    """The largest of four equally good models over the largest of two, which are half as good."""
    if len(values) < 6:
        return
    scale = np.array([1, 1, 1, 1, 0.5, 0.5]) / means[:6]
    v, good = values[:6] * scale[:, None], truth[:6] * scale
    planted = good[:4].max() / good[4:].max()
    top = [int(v[:4].mean(1).argmax()), 4 + int(v[4:].mean(1).argmax())]
    for method in ("here", "pooled"):
        spreads = _spreads(v, method)

        def of(i: int, j: int, level: float = 0.95) -> list[float] | None:
            return _interval(v[i], v[j], spreads[i], spreads[j], method, level)  # noqa: B023

        if method == "here":
            value = float(v[top[0]].mean() / v[top[1]].mean())
            ends = ratios.of_largest(value, 4, 2, lambda i, j, level: of(i, 4 + j, level))
        else:
            ends = of(top[0], top[1])
        yield "ratio of peaks", method, 0, *_covered_and_width(ends, planted)


def _largest(options: int) -> float:
    """Mean of the largest of so many standard normals."""
    if options == 1:
        return 0.0
    x = np.linspace(-8, 8, 4001)
    from scipy.special import ndtr

    density = options * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * ndtr(x) ** (options - 1)
    return float((x * density).sum() * (x[1] - x[0]))


def _spreads(values: np.ndarray, method: str) -> list[Spread | None]:
    n = values.shape[1]
    means, variances = values.mean(1), values.var(1, ddof=1)
    levels = np.maximum(np.abs(means), noise.FLOOR * 0.56)
    if method == "pooled":
        relative = float((variances / levels**2).mean())
        dof = float(len(values) * (n - 1))
        worst = np.maximum(variances, relative * levels**2)
        return [Spread(float(v), dof, False) for v in worst]
    if method == "here":
        return noise.spreads(values.tolist(), levels.tolist())
    out: list[Spread | None] = []
    for i, (level, own) in enumerate(zip(levels, variances, strict=True)):
        rest = np.arange(len(values)) != i
        fitted = noise.line(levels[rest], variances[rest], np.full(len(values) - 1, n - 1))
        assert fitted is not None
        prior = fitted.at(float(level))
        total = prior.dof + n - 1
        variance = (prior.dof * prior.variance + (n - 1) * float(own)) / total
        out.append(Spread(variance, total, False))
    return out


def _interval(
    a: np.ndarray,
    b: np.ndarray,
    spread_a: Spread | None,
    spread_b: Spread | None,
    method: str,
    level: float = 0.95,
) -> list[float] | None:
    assert spread_a is not None and spread_b is not None
    if method == "here" and len(a) >= OWN:
        return ratios.of_pairs(a, b, level=level)["interval"]
    n = len(a)
    one = Mean(float(a.mean()), spread_a.variance / n, spread_a.dof)
    other = Mean(float(b.mean()), spread_b.variance / n, spread_b.dof)
    if method != "pooled":
        return ratios.of_means(one, other, level)["interval"]
    cov = [[one.variance, 0.0], [0.0, other.variance]]
    return fieller(one.value, other.value, cov, float(student(one.dof, level)))[1]


def _covered_and_width(ends: list[float] | None, truth: float) -> tuple[bool, float]:
    if ends is None:
        return True, math.inf
    return ends[0] <= truth <= ends[1], (ends[1] - ends[0]) / truth


def coverage(cell: Cell, draws: Iterable[int]) -> list[dict[str, Any]]:
    """A row per number and method of the simulated studies of a kind: coverage over all arms, that
    of the arm that is covered least and of the one that is covered most, and the median width."""
    outcomes: dict[tuple[str, str], list[tuple[int, bool, float]]] = {}
    studies = 0
    for draw in draws:
        studies += 1
        for number, method, arm, holds, width in once(cell, draw):
            outcomes.setdefault((number, method), []).append((arm, holds, width))
    return [
        {"study": cell.name, "number": number, "method": method, "studies": studies}
        | _summary(rows)
        for (number, method), rows in outcomes.items()
    ]


def _summary(rows: list[tuple[int, bool, float]]) -> dict[str, Any]:
    arm, holds, width = (np.array(column) for column in zip(*rows, strict=True))
    by_arm = [float(holds[arm == one].mean()) for one in sorted(set(arm.tolist()))]
    return {
        "intervals": len(rows),
        "coverage": float(holds.mean()),
        "least": min(by_arm),
        "most": max(by_arm),
        "width": float(np.median(width)),
    }
