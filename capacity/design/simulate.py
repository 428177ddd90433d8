"""Complete studies simulated before they are trained, through the estimator and the interval that
real ones get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from capacity.design.prior import Prior, Truths
from capacity.design.space import Space
from capacity.design.targets import Question

STUDIES = 300


@dataclass(frozen=True)
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
        told = ~np.isnan(self.value)
        return float(np.median((self.value - self.target)[told])) if told.any() else float("nan")

    @property
    def squared_error(self) -> float:
        """Mean squared error; infinite where a study has no estimate."""
        return float(
            np.mean(np.where(np.isnan(self.value), np.inf, (self.value - self.target) ** 2))
        )


def crossed(space: Space, number) -> list[tuple[int, int]]:
    """(cell, seed) of a grid: each cell has the same seeds, as the axes of a study file have."""
    return [(j, seed) for j, count in enumerate(np.asarray(number, int)) for seed in range(count)]


def forecast(
    question: Question,
    space: Space,
    prior: Prior,
    runs: list[tuple[int, int]],
    *,
    count: int = STUDIES,
    seed: int = 0,
    done: pd.DataFrame | None = None,
    known: dict[str, tuple[float, float]] | None = None,
    truths: Truths | None = None,
) -> Forecast:
    """Studies of these runs (cell, seed), each under a truth of its own, drawn from the prior or
    given in turn. done, known: finished runs, which stay as they are, and what they tell of each
    model's own capacity (see `Question.simulate`). A study's noise depends on its number and the
    seed only."""
    truths = truths or prior.draw(np.random.default_rng([seed, 1]), count)
    each = [truths.one(i % len(truths.theta)) for i in range(count)]
    studies = [
        question.simulate(space, runs, truth, np.random.default_rng([seed, 2, i]), known)
        | {"study": np.full(len(runs), i)}
        for i, truth in enumerate(each)
    ]
    parts = (
        [
            pd.DataFrame(
                {name: np.concatenate([study[name] for study in studies]) for name in studies[0]}
            )
        ]
        if runs
        else []
    )
    if done is not None and len(done):
        parts.append(
            pd.concat([done] * count, ignore_index=True).assign(
                study=np.repeat(np.arange(count), len(done))
            )
        )
    points = (
        question.points_by_study(pd.concat(parts, ignore_index=True)) if parts else [None] * count
    )
    found = [question.measure(some) for some in points]
    ends = [[np.nan if one[end] is None else one[end] for one in found] for end in ("low", "high")]
    target = [question.truth(space, truth) for truth in each]
    return Forecast(
        *map(
            np.array,
            ([one["width"] for one in found], [one["value"] for one in found], *ends, target),
        )
    )
