"""Complete studies simulated before they are trained, through the estimator and the interval that
real ones get."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from capacity.design.prior import Prior, Truths
from capacity.design.space import Space
from capacity.design.target import Own, Runs, Target

STUDIES = 300


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of simulated studies [n]: width of the interval (infinite where there is none), estimate, its
    ends, and the target."""

    width: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    target: np.ndarray

    @property
    def given(self) -> np.ndarray:
        """[n] whether a study ends with an interval that has two ends."""
        return np.isfinite(self.width)

    @property
    def middle(self) -> float:
        """Median width; infinite where half of the studies have none."""
        return float(np.median(self.width))

    def quantiles(self, low: float = 0.05, high: float = 0.95) -> tuple[float, float]:
        """Range of widths."""
        ends = np.quantile(self.width, [low, high], method="nearest")
        return float(ends[0]), float(ends[1])

    def reached(self, width: float) -> float:
        """Part of the studies whose interval is at most this wide."""
        return float((self.width <= width).mean())

    @property
    def coverage(self) -> float:
        """Part of the intervals that hold the target."""
        return (
            float(((self.low <= self.target) & (self.target <= self.high))[self.given].mean())
            if self.given.any()
            else float("nan")
        )

    @property
    def bias(self) -> float:
        """Median error of the estimate."""
        given = ~np.isnan(self.value)
        return float(np.median((self.value - self.target)[given])) if given.any() else float("nan")

    @property
    def squared_error(self) -> float:
        """Mean squared error; infinite where a study has no estimate."""
        return float(
            np.mean(np.where(np.isnan(self.value), np.inf, (self.value - self.target) ** 2))
        )


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """How studies are simulated: how many, from which seed, under which truths (None: drawn from
    the prior); done, known: finished runs, which stay as they are, and what they say of each model
    (see `Target.simulate`)."""

    count: int = STUDIES
    seed: int = 0
    truths: Truths | None = None
    done: pd.DataFrame = field(default_factory=pd.DataFrame)
    known: Own = field(default_factory=dict)


def crossed(space: Space, number: np.ndarray) -> Runs:
    """(cell, seed) of a grid: each cell has the same seeds, as the axes of a study file have."""
    return [(j, seed) for j, count in enumerate(np.asarray(number, int)) for seed in range(count)]


def forecast(
    target: Target, space: Space, prior: Prior, runs: Runs, how: Simulation | None = None
) -> Forecast:
    """Studies of these runs, each under a truth of its own. The noise of a study depends on its
    number and the seed only."""
    how = how or Simulation()
    count, seed = how.count, how.seed
    truths = how.truths or prior.draw(np.random.default_rng([seed, 1]), count)
    each = [truths.one(i % len(truths.theta)) for i in range(count)]
    parts = []
    if runs:
        studies = [
            target.simulate(space, runs, truth, np.random.default_rng([seed, 2, i]), how.known)
            | {"study": np.full(len(runs), i)}
            for i, truth in enumerate(each)
        ]
        columns = {name: np.concatenate([study[name] for study in studies]) for name in studies[0]}
        parts.append(pd.DataFrame(columns))
    if len(how.done):
        repeated = pd.concat([how.done] * count, ignore_index=True)
        parts.append(repeated.assign(study=np.repeat(np.arange(count), len(how.done))))
    points = [None] * count
    if parts:
        points = target.points_by_study(pd.concat(parts, ignore_index=True))
    measured = [target.measure(some) for some in points]

    def column(name: str) -> np.ndarray:
        return np.array([np.nan if one[name] is None else one[name] for one in measured])

    return Forecast(
        width=column("width"),
        value=column("value"),
        low=column("low"),
        high=column("high"),
        target=np.array([target.truth(space, truth) for truth in each]),
    )
