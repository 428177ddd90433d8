"""`capacity plan`: what is there, what can be learned from it, which runs come next, and whether to
go on. Nothing is trained here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from capacity.base.errors import ConfigError
from capacity.design.finished import Finished, finished, read_prior
from capacity.design.optimal import USABLE, Effects, Most, predicted
from capacity.design.prior import Prior
from capacity.design.search import Search, best, cheapest
from capacity.design.simulate import Forecast, Simulation, crossed, forecast
from capacity.design.space import Space, grid
from capacity.design.target import Own, Target
from capacity.fitting.statistics import student

TRUTHS = 8  # plausible truths that the criterion is averaged over
TURNS = 3  # a design, its simulation, and what that says of the criterion's width
FLOORS = 100  # simulated studies that show what scatter over models leaves
SHARE = 0.5  # of the proposed hours that come first

Verdict = Literal["reached", "go on", "not within the budget"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a plan is made for. budget: hours in all, those of finished runs included; prior_file: a
    fit of another study; assumed: numbers that the user states; batch: hours of the next batch
    (None: half of what is proposed); simulations: studies per forecast."""

    results: Path
    budget: float
    prior_file: Path | None = None
    assumed: dict[str, float] = field(default_factory=dict)
    batch: float | None = None
    simulations: int = 300
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the report says. new [J]: runs by cell that the whole plan asks for; batch:
    of them those to train next. now: the interval that is there. floor: width that all models of
    the space with any number of seeds would give; lacks: what keeps every plan from an interval."""

    target: Target
    space: Space
    prior: Prior
    finished: Finished
    budget: float
    new: np.ndarray
    batch: np.ndarray
    cost: float
    batch_cost: float
    now: dict | None
    expected: Forecast | None
    naive: np.ndarray
    naive_cost: float
    naive_expected: Forecast | None
    floor: float
    more_models: int | None
    verdict: Verdict
    lacks: str


@dataclass(frozen=True, kw_only=True)
class _Now:
    """Where a plan begins: the prior updated by what is there, the interval, and what runs would
    contribute."""

    target: Target
    space: Space
    request: Request
    prior: Prior
    known: Own
    finished: Finished
    interval: dict | None
    effects: Effects

    @property
    def there(self) -> np.ndarray:
        """[J] finished runs."""
        if self.finished.table.empty:
            return np.zeros(len(self.space.cells))
        cells = self.finished.table.cell.to_numpy()
        return np.bincount(cells, minlength=len(self.space.cells)).astype(float)

    @property
    def most(self) -> Most:
        """Runs that may be added, of each model or of each cell."""
        space, there = self.space, self.there
        if not self.target.per_model:
            return np.maximum(space.most - there, 0)
        of_models = np.array([there[space.cluster == c].sum() for c in range(len(space.models))])
        return np.maximum(space.most - of_models, 0), space.cluster

    @property
    def search(self) -> Search:
        """The choice of runs for what is left of the budget."""
        return Search(
            effects=self.effects,
            cost=self.space.cost,
            budget=max(self.request.budget - self.finished.hours, 0.0),
            most=self.most,
            done=self.there,
        )

    def forecast(self, new: np.ndarray) -> Forecast:
        """Simulated studies of what is there and new runs [J]."""
        runs = [(j, run.seed) for j, run in self.space.runs(new, self.finished.seeds)]
        how = Simulation(
            count=self.request.simulations,
            seed=self.request.seed,
            done=self.finished.table,
            known=self.known,
        )
        return forecast(self.target, self.space, self.prior, runs, how)


def plan(target: Target, space: Space, request: Request) -> Plan:
    """The plan for a budget. ConfigError where the form is not about the study's data."""
    now = _now(target, space, request)
    nothing = np.zeros(len(space.cells))
    reached = now.interval is not None and now.interval["width"] <= target.width
    new, expected = (nothing, None) if reached else _design(now)
    enough = expected is not None and expected.middle <= target.width and bool(new.any())
    verdict: Verdict = "reached" if reached else "go on" if enough else "not within the budget"
    cost = float(space.cost(new))
    batch, naive = nothing, nothing
    if new.any():
        hours = request.batch if request.batch is not None else SHARE * cost
        batch = best(replace(now.search, budget=hours, most=new))
        naive = grid(space, max(cost + now.finished.hours, 1e-9))
    floor, more = (0.0, None) if reached else _floor(now)
    return Plan(
        target=target,
        space=space,
        prior=now.prior,
        finished=now.finished,
        budget=request.budget,
        new=new,
        batch=batch if batch.any() else new,
        cost=cost,
        batch_cost=float(space.cost(batch if batch.any() else new)),
        now=now.interval,
        expected=expected,
        naive=naive,
        naive_cost=float(space.cost(naive)),
        naive_expected=_naive(now, naive),
        floor=floor if expected is None else min(floor, expected.middle),
        more_models=more,
        verdict=verdict,
        lacks=target.lacks(space, now.effects),
    )


def _now(target: Target, space: Space, request: Request) -> _Now:
    kind = space.cells[0].config.data.kind
    if kind not in target.kinds:
        raise ConfigError(
            f"{space.name}: {target.form.name} is not about {kind} data; allowed: "
            f"{', '.join(target.kinds)}"
        )
    prior = target.prior(space)
    if path := request.prior_file:
        prior, _ = target.learned(prior, space, read_prior(path, target, space), str(path))
    prior, known, interval = target.assume(prior, space, request.assumed), {}, None
    done = finished(space, request.results)
    if len(done.table):
        source = f"finished runs of {space.name}"
        prior, known = target.learned(prior, space, done.table, source)
        interval = target.measure(target.points(done.table))
    truths = prior.draw(np.random.default_rng([request.seed, 3]), TRUTHS)
    return _Now(
        target=target,
        space=space,
        request=request,
        prior=prior,
        known=known,
        finished=done,
        interval=interval,
        effects=target.effects(space, truths, prior),
    )


def _design(now: _Now) -> tuple[np.ndarray, Forecast | None]:
    """Runs to add [J] and what studies with them would give: the cheapest that simulation finds
    narrow enough, or the best that the budget buys.

    scale: simulated over first-order width, by which the criterion is corrected each turn.
    """
    target, search = now.target, now.search
    kept, expected, scale = None, None, 1.0
    new = np.zeros(len(now.space.cells))
    for _ in range(TURNS):
        cheap = cheapest(search, target.half(target.width) / scale)
        new = best(search) if cheap is None else cheap
        if not (new.any() or now.there.any()):
            break
        expected = now.forecast(new)
        enough = expected.middle <= target.width
        if enough and (kept is None or now.space.cost(new) < now.space.cost(kept[0])):
            kept = new, expected
        # a design of the first order that is wide enough, or the whole budget that does not buy it:
        # nothing more to learn
        if enough is (cheap is not None):
            break
        first = np.median(predicted(now.effects, now.there + new)[0])
        ratio = 2 * scale
        if np.isfinite(expected.middle):
            ratio = target.half(expected.middle) / first
        scale = ratio if enough else max(ratio, 1.02 * scale)
    return kept or (new, expected)


def _naive(now: _Now, naive: np.ndarray) -> Forecast | None:
    """What a grid [J] of the same cost would give; None where there is none."""
    if not naive.any():
        return None
    prior = now.prior if len(now.finished.table) else now.target.prior(now.space)
    how = Simulation(count=now.request.simulations, seed=now.request.seed)
    return forecast(now.target, now.space, prior, crossed(now.space, naive), how)


def _floor(now: _Now) -> tuple[float, int | None]:
    """Median width of studies without noise over seeds, with all models of the space, and how many
    models like these the wanted width would need (None: there are enough). 0 where every run is a
    replicate."""
    target, space, effects = now.target, now.space, now.effects
    if effects.cluster is None or len(space.models) < 3:
        return 0.0, None
    usable = effects.usable.mean(0)
    cells = [
        max(
            np.flatnonzero(space.cluster == c),
            key=lambda j: (effects.usable[:, j].mean(), space.cells[j].load),
        )
        for c in range(len(space.models))
    ]
    # sharpness needs runs near the corner, a law of precision needs its formats
    if target.form.name == "smooth_corner" or space.formats:
        cells = np.flatnonzero(usable >= USABLE)
    quiet = replace(now.prior, noise=replace(now.prior.noise, sd=1e-3 * now.prior.noise.sd))
    runs = [(int(j), space.seeds[0]) for j in cells]
    how = Simulation(count=FLOORS, seed=now.request.seed)
    floor = forecast(target, space, quiet, runs, how).middle
    if floor <= target.width or not np.isfinite(floor):
        return floor, None
    models, spent = len(space.models), target.spent

    def width(m: int) -> float:
        t = student(m - spent) / student(models - spent)
        return floor * np.sqrt(models / m) * t

    return floor, next((m for m in range(models, 10_000) if width(m) <= target.width), None)
