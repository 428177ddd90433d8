"""Which runs are worth most per hour: a c-optimal design, found greedily and polished by exchanges
(criterion and sources: `optimal`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from capacity.design.optimal import USABLE, Effects, Most, criterion, predicted

EXCHANGES = 40
TURNS = 7  # of the bisection for the cheapest design
FORCED = 40  # cells, the best to have one run more of, for which others are given up
WORTH = 0.05  # a run has to lower the log criterion by this part of its share of the budget


@dataclass(frozen=True, kw_only=True)
class Search:
    """A choice of runs. cost: designs [B, J] -> hours [B]; budget: hours; most: limits of what may
    be added, of each cell [J], or of each model with the model of each cell; done [J]: usable runs
    that are there, which cost nothing."""

    effects: Effects
    cost: Callable[[np.ndarray], np.ndarray]
    budget: float
    most: Most
    done: np.ndarray | None = None

    @property
    def there(self) -> np.ndarray:
        """[J] runs that are there."""
        if self.done is None:
            return np.zeros(self.effects.usable.shape[1])
        return np.asarray(self.done, float)

    @property
    def usable(self) -> np.ndarray:
        """[J] cells that may get runs."""
        return self.effects.usable.mean(0) >= USABLE

    def value(self, new: np.ndarray) -> np.ndarray:
        """[B] criterion of designs [B, J] or [J] beside what is there."""
        return criterion(self.effects, self.there + new)

    def lowest(self, trials: np.ndarray) -> np.ndarray:
        """The best of designs [B, J], as [1, J]; none of none."""
        return trials[[np.argmin(self.value(trials))]] if len(trials) else trials

    def hours(self, design: np.ndarray) -> float:
        """Hours of one design [J]."""
        return float(self.cost(design[None])[0])

    def allowed(self, designs: np.ndarray) -> np.ndarray:
        """[B] whether designs [B, J] keep to the limits of seeds."""
        if isinstance(self.most, tuple):
            limit, cluster = self.most
            return np.all(designs @ np.eye(cluster.max() + 1)[cluster] <= limit, axis=-1)
        return np.all(designs <= self.most, axis=-1)

    def completed(self, designs: np.ndarray) -> np.ndarray:
        """Designs [B, J] with what their runs need beside them."""
        return self.effects.completed(designs, self.there, self.most)


def best(search: Search, polish: bool = True, exchanges: int = EXCHANGES) -> np.ndarray:
    """Runs to add by cell [J] for at most the budget.

    Greedy by the fall of the log criterion per hour, then exchanges of one run for another wherever
    the budget allows; polish: then also of one run for several, which budgets of a few runs need.
    """
    usable = search.usable
    starts = [np.zeros(len(usable))] + [
        start
        for start in search.effects.starts(search.there, search.most)
        if search.hours(start) <= search.budget
    ]
    new = search.lowest(np.array([_filled(search, start) for start in starts]))[0]
    for _ in range(exchanges):
        goal = search.value(new)[0] * (1 - 1e-4)
        better = search.lowest(_exchanged(search, new))
        if polish and (not len(better) or search.value(better)[0] >= goal):
            better = search.lowest(_with_one_more(search, new))
        if not len(better) or search.value(better)[0] >= goal:
            break
        new = _filled(search, better[0])
    return new


def _exchanged(search: Search, new: np.ndarray) -> np.ndarray:
    """Designs [B, J] with one run of another cell in place of one, within budget and limits."""
    one = np.eye(len(new))
    cells = np.flatnonzero(search.usable)
    trials = [new - one[i] + one[j] for i in np.flatnonzero(new) for j in cells if i != j]
    if not trials:
        return np.empty((0, len(new)))
    designs = search.completed(np.array(trials))
    designs = designs[search.allowed(designs)]
    return designs[search.cost(designs) <= search.budget] if len(designs) else designs


def _with_one_more(search: Search, new: np.ndarray) -> np.ndarray:
    """Designs [B, J] with one more run of a cell, and fewer of others."""
    cells = np.flatnonzero(search.usable)
    if len(cells) > FORCED:
        cells = cells[np.argsort(search.value(new + np.eye(len(new))[cells]))[:FORCED]]
    return np.array([_forced(search, new, int(j)) for j in cells])


def _forced(search: Search, new: np.ndarray, j: int) -> np.ndarray:
    """One run of cell j more, and for it fewer of those that are missed least for their hours."""
    one = np.eye(len(new))
    tried = search.completed(new + one[[j]])[0]
    while search.hours(tried) > search.budget or not search.allowed(tried[None])[0]:
        used = np.array([i for i in np.flatnonzero(tried) if i != j], int)
        if not len(used):
            return new
        fewer = tried - one[used]
        saved = np.maximum(search.hours(tried) - search.cost(fewer), 1e-12)
        loss = np.log(search.value(fewer) / search.value(tried)[0])
        tried = fewer[np.argmin(loss / saved)]
    return _filled(search, tried)


def _filled(search: Search, new: np.ndarray) -> np.ndarray:
    """More runs, one by one, while the budget lasts and they are worth their cost."""
    step = np.eye(len(new))[search.usable]
    while True:
        trials = search.completed(new + step)
        price = search.cost(trials)
        fits = (price <= search.budget) & search.allowed(trials)
        if not fits.any():
            return new
        trials, price = trials[fits], price[fits]
        gain = np.log(search.value(new)[0]) - np.log(search.value(trials))
        # runs that share their stack's steps may cost next to nothing
        rate = gain / np.maximum(price - search.hours(new), 1e-3 * price)
        if rate.max() * search.budget <= WORTH:
            return new
        new = trials[np.argmax(rate)]


def cheapest(search: Search, half: float, turns: int = TURNS) -> np.ndarray | None:
    """The cheapest design within the budget whose predicted half-width (median over truths) is at
    most `half`; None where there is none."""

    def width(number: np.ndarray) -> float:
        return float(np.median(predicted(search.effects, search.there + number)[0]))

    narrow = best(search, polish=False)
    if width(narrow) > half:
        return None
    low, high = 0.0, search.hours(narrow)
    for _ in range(turns):
        middle = np.sqrt(low * high) if low > 0 else high / 3
        tried = best(replace(search, budget=middle), polish=False)
        if width(tried) <= half:
            narrow, high = tried, search.hours(tried)
        else:
            low = middle
        if low > 0.93 * high:
            break
    return narrow
