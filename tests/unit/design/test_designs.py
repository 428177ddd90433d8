"""Designs against brute force and known optima, and the studies that are written of them."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capacity.design import optimal
from capacity.design import search as searches
from capacity.design import space as spaces
from capacity.study import load_study
from capacity.sweep.packs import Limits, make_stacks
from designs import best, line, search, space  # noqa: F401


def of_models(models, per_model=1, scatter=0.05, noise=0.015):
    """Effects of cells that all measure the same number, with scatter over models."""
    ones = np.ones((1, models * per_model))
    return optimal.Effects(
        slope=ones[..., None],
        usable=ones,
        bias=0 * ones,
        noise=noise * ones,
        own=ones,
        trend=0 * ones,
        scatter=np.array([scatter]),
        bend=0.0,
        cluster=np.repeat(np.arange(models), per_model),
        contrast=np.ones((1, 1)),
        prior=np.ones(1),
    )


def cost_of_runs(space, runs):
    """Hours of runs, cut into stacks as a sweep cuts them."""
    speed = space.speed
    limits = Limits(most=space.costs.stack, device=speed.device, speed=speed)
    stacks = make_stacks(runs, math.inf, limits)
    return sum(speed.seconds(stack) for stack in stacks) / 3600


def linear_cost(prices):
    return lambda number: np.asarray(number, float) @ np.asarray(prices, float)


# --- the optimum ---


@pytest.mark.parametrize(
    "levels, prices, budget",
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], 7),
        ([0, 1, 2, 4], [1, 2, 3, 6], 20),
        ([-1, 0, 3], [3, 1, 2], 15),
        ([0, 5, 6], [1, 1, 4], 12),
    ],
)
def test_a_design_is_as_good_as_the_best_of_all(levels, prices, budget):
    effects, cost = line(levels), linear_cost(prices)
    every = np.array(
        [
            n
            for n in itertools.product(*(range(budget // p + 1) for p in prices))
            if cost(n) <= budget
        ],
        float,
    )
    least = optimal.criterion(effects, every).min()
    found = best(effects, cost, budget, np.full(len(levels), 99))
    assert cost(found) <= budget
    assert (
        optimal.criterion(effects, found)[0] <= 1.08 * least
    )  # 4% of the width: greedy and exchanges are no exact search


def test_a_slope_is_measured_at_the_ends():
    """Elfving (1952): half of the runs at each end, where a run costs the same everywhere."""
    found = best(line([0, 1, 2, 3, 4]), linear_cost(np.ones(5)), 12, np.full(5, 99))
    assert found.tolist() == [6, 0, 0, 0, 6]


def test_twice_the_noise_needs_four_times_the_budget():
    def price(noise):
        cost = linear_cost([1, 1])
        choice = search(line([0, 2], noise), cost, 220, np.full(2, 999))
        return float(cost(searches.cheapest(choice, 0.3, turns=14)))

    one, two = price(1.0), price(2.0)
    assert one > 40 and two / one == pytest.approx(4, rel=0.15)


def test_a_run_that_is_worth_more_for_the_same_hours_is_never_left_for_another():
    noise = np.array([[1.0, 1.5, 1.0, 1.2, 1.0]])
    found = best(line([0, 0, 2, 4, 4], noise=noise), linear_cost(np.ones(5)), 10, np.full(5, 99))
    assert found[1] == found[3] == 0 and found[0] > 0 and found[4] > 0


def test_a_new_model_beats_another_seed_and_scatter_is_a_floor():
    effects = of_models(6, per_model=2)
    found = best(effects, linear_cost(np.ones(12)), 6, (np.full(6, 8), effects.cluster))
    assert found.reshape(6, 2).sum(1).tolist() == [1] * 6
    half, off, dof = optimal.predicted(effects, np.full(12, 1e7))
    assert dof[0, 0] == pytest.approx(5, rel=1e-3) and off[0, 0] == 0
    assert half[0, 0] == pytest.approx(
        2.5706 * 0.05 / math.sqrt(6), rel=1e-3
    )  # t of 5 degrees of freedom


def test_no_model_gets_more_runs_than_allowed_and_finished_ones_count():
    effects = of_models(4)
    cost = linear_cost(np.ones(4))
    assert best(
        replace(effects, scatter=np.array([1e-4])),
        cost,
        100,
        (np.array([2, 2, 2, 1]), effects.cluster),
    ).tolist() == [
        2,
        2,
        2,
        1,
    ]
    found = best(effects, cost, 2, (np.full(4, 8), effects.cluster), done=np.array([1, 0, 1, 0]))
    assert found.tolist() == [0, 1, 0, 1]


def test_a_trend_that_the_form_lacks_spreads_a_design():
    """Without it the cheapest models would do; with it the sum of weights times trend has to
    vanish."""
    trend = np.linspace(-1, 1, 6)[None]
    prices = linear_cost([1, 1, 1, 4, 5, 6])
    plain = of_models(6)
    most = (np.full(6, 8), plain.cluster)
    narrow, wide = (
        best(e, prices, 8, most) for e in (plain, replace(plain, trend=trend, bend=0.5))
    )

    def off(number):
        return abs(float(number @ trend[0]) / number.sum())

    assert off(wide) < 0.5 * off(narrow)


# --- the space ---


def test_costs_are_those_of_the_stacks_that_a_sweep_trains(space):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        number = rng.integers(0, 4, len(space.cells))
        runs = [run for _, run in space.runs(number)]
        assert float(space.cost(number)) == pytest.approx(cost_of_runs(space, runs), rel=0.05)
    assert space.cost(np.zeros(len(space.cells))) == 0


def test_a_written_study_has_the_runs_of_the_design(space, tmp_path):
    number = np.random.default_rng(1).integers(0, 3, len(space.cells))
    runs = [run for _, run in space.runs(number, {0: [0, 1], 7: [2]})]
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(space, runs, 'what: "this"?'))
    study = load_study(str(path), [])
    assert {run.run_id for run in study.runs} == {run.run_id for run in runs} and len(
        runs
    ) == number.sum()
    assert cost_of_runs(space, study.runs) == pytest.approx(cost_of_runs(space, runs))
    units = [(run.shape, run.seed) for run in runs]
    assert len(set(units)) == len(units)  # every run of a model is a replicate of its own


def test_a_written_study_of_formats_has_the_runs_of_the_design(tmp_path):
    some = spaces.space_of(
        "precision/uniform@pocket", [], Path("nowhere"), "cpu", spaces.Choice(formats=True)
    )
    number = np.random.default_rng(1).integers(0, 3, len(some.cells))
    runs = [run for _, run in some.runs(number)]
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(some, runs, "?"))
    written = load_study(str(path), []).runs
    assert {run.run_id for run in written} == {run.run_id for run in runs}
    assert {run.run_id for run in runs} <= {
        run.run_id for run in load_study("precision/uniform@pocket", []).runs
    }
    assert {run.run_id for run in written if run.quantize.methods} == {
        run.run_id for run in runs if run.train.qat == "none"
    }


def test_settings_given_with_the_command_are_in_the_written_study(tmp_path):
    given = ["data.n_sequences=80", "train.exposures=300"]
    narrow = spaces.space_of("pocket", given, Path("nowhere"), "cpu")
    assert len(narrow.cells) == 4 and all(cell.config.items == 80 for cell in narrow.cells)
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(narrow, [narrow.cells[1].run(5)], "?"))
    assert [run.run_id for run in load_study(str(path), []).runs] == [narrow.cells[1].run(5).run_id]


def test_the_naive_grid_is_what_the_budget_affords(space):
    whole = np.full(len(space.cells), 2)
    price = float(space.cost(whole))
    assert (spaces.grid(space, price * 1.001) == 2).all() and (
        spaces.grid(space, 2.2 * price) >= 3
    ).all()
    for part in (0.9, 0.6, 0.4):
        number = spaces.grid(space, part * price)
        used = np.unique(space.cluster[number > 0])
        assert 0 < space.cost(number) <= part * price and {0, len(space.models) - 1} <= set(used)
        assert all((number[space.cluster == c] == number.max()).all() for c in used)
    assert not spaces.grid(space, 1e-6).any()
